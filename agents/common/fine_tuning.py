"""The core of agents that train a language model by optimizer steps of their own: the step, its state, acting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from textgym.agents.common.distributed import current
from textgym.agents.common.health import clip_gradients, require_finite
from textgym.agents.common.history import KeepsHistory, log_record
from textgym.agents.common.observations import check_tokenizer
from textgym.agents.common.on_policy_state import OPTIMIZER
from textgym.agents.common.policy_record import DTYPES, dtype_name, write_model_config
from textgym.agents.common.token_writer import TokenWriter
from textgym.agents.common.vec_env import env_attribute
from textgym.errors import CheckpointError
from textgym.models.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model, rebuild_language_model
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.models.stored_values import (
    Check,
    StoredRecord,
    check_fields,
    fields,
    integer,
    listed,
    mapped,
    measured,
    number,
    one_of,
    optional,
    positive,
    text,
    to_json,
)
from textgym.models.text_model import TextModel
from textgym.types import IntArray, State


def load_start_model(env: Any, model: str | Path | TextModel | None, device: str) -> TextModel:
    """Load the model that an agent starts from, and check that it can act in an environment.

    Args:
        env: Token-level environment, single or vector.
        model: The model; ``None`` is the one whose tokenizer the environment uses.
        device: Where it runs.

    Raises:
        ModelError: Its context is too short for an episode.
        TokenizerMismatchError: Its ids mean other texts than the actions of the environment.
    """
    budget, most = env_attribute(env, "max_prompt_tokens"), env_attribute(env, "max_new_tokens")
    loaded = load_language_model(model or env_attribute(env, "tokenizer").name, device=pick_device(device))
    check_tokenizer(loaded, env.action_space)
    loaded.require_context(budget + most, turns=most, response=most)
    return loaded


class FineTuningAgent(KeepsHistory, ABC):
    """The core of agents that train a language model with AdamW, by losses that they compute themselves.

    A subclass says where losses come from: it computes them in :meth:`learn`, and hands each to :meth:`step`. It
    acts, is saved, loaded and resumed by what stands here. What it trains beside the model goes into :meth:`modules`,
    what else it has to remember into :meth:`own_tensors` and :meth:`own_record`.

    Class attributes:
        kind: Name of its checkpoints.
        settings: Constructor arguments that are stored in a checkpoint, each with its check.
        own_checks: Checks of the entries of :meth:`own_record`; one whose check accepts ``None`` may be missing.

    Args:
        model: Trained in place.
        learning_rate: Peak learning rate.
        max_grad_norm: Maximum gradient norm (clipping).
        seed: Seed of all random numbers.

    Attributes:
        model: The model.
        num_timesteps: Time steps made so far.
        losses: Losses of all optimizer steps so far.
        history: One record per iteration.
        seconds: Time of the last iteration by part.
        ranks: The processes that train the agent.

    Raises:
        ModelError: All weights are frozen.
    """

    grain: Literal["token"] = "token"
    kind: ClassVar[str]
    settings: ClassVar[Mapping[str, Check]] = {"learning_rate": number, "max_grad_norm": number, "seed": integer}
    own_checks: ClassVar[Mapping[str, Check]] = {}

    def __init__(self, model: TextModel, *, learning_rate: float, max_grad_norm: float, seed: int) -> None:
        model.require_trainable()
        model.hold_masters()
        self.model = model
        self.learning_rate, self.max_grad_norm, self.seed = learning_rate, max_grad_norm, seed
        self.ranks = current()
        self.logger = Logger(None, [])
        self.env: VecEnv | None = None
        self._writer = TokenWriter(model)

    # ------------------------------------------------------- what a subclass may add
    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name: those that are trained, and those whose weights belong to the state."""
        return {"model": self.model}

    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return further tensors of the state; their names begin with ``own.``."""
        return {}

    def own_record(self) -> StoredRecord:
        """Return further entries of the state's record."""
        return {}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Go on from what :meth:`own_tensors` and :meth:`own_record` returned, after everything else is in place."""

    @classmethod
    def remake(cls, model: TextModel, env: Any, settings: Mapping[str, Any], state: State, device: str) -> Self:
        """Make the agent of a checkpoint, whose state it takes over afterwards.

        Args:
            model: With fresh weights.
            env: Environment, if one was given.
            settings: Arguments of the constructor, with the changes that were asked for.
            state: Tensors and record of the checkpoint.
            device: Where the model will run.
        """
        agent = cls(model, **settings)
        agent.env = env if isinstance(env, VecEnv) else None
        return agent

    # ---------------------------------------------------------------- learning
    @abstractmethod
    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Learn for some time steps; see :meth:`~textgym.types.Trainable.learn`."""

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Return the time steps of an iteration."""

    def begin(self, steps: int) -> None:
        """Begin a training of so many time steps; the weights stay as they are."""
        self.num_timesteps, self._steps, self._is_updating = 0, steps, False
        self.losses: list[float] = []
        self.history = []
        self.seconds: dict[str, float] = {}
        self._statistics: dict[str, list[float]] = defaultdict(list)  # of the steps since the last record
        networks = self.modules().values()
        self._parameters = [each for network in networks for each in network.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )

    def step(
        self, loss: Tensor, statistics: Mapping[str, Tensor], *, rate_share: float = 1.0, share: float = 1.0
    ) -> float:
        """Take an optimizer step down a loss; of several processes, down the mean of theirs.

        Args:
            loss: Scalar with a gradient.
            statistics: Scalars to log: the record of an iteration has their means, and that of the gradient's norm,
                where there are any.
            rate_share: Share of the peak learning rate.
            share: Weight of this process in the mean of all of them; the weights add up to 1.

        Returns:
            The mean loss.

        Raises:
            FloatingPointError: If the loss or a gradient is not finite; the weights stay as they are.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * rate_share
        self._optimizer.zero_grad(set_to_none=True)
        (loss * share).backward()
        mean = float(self.ranks.sum(loss.detach() * share))
        require_finite(f"loss at step {len(self.losses)}", mean)
        self.ranks.sum_gradients(self._parameters)
        norm = clip_gradients(self._parameters, self.max_grad_norm)
        self._is_updating = True
        self._optimizer.step()
        self.after_step()
        self.losses.append(mean)
        self._collect(statistics, norm, share)
        self._is_updating = False
        return self.losses[-1]

    def _collect(self, statistics: Mapping[str, Tensor], norm: float, share: float) -> None:
        """Keep the statistics of a step for the next record; of several processes, their means."""
        if not statistics:
            return
        values = torch.stack([value.detach().float() for value in statistics.values()]).tolist()  # one transfer
        found = self.ranks.all_gather_json([share, dict(zip(statistics, values, strict=True))])
        for name in dict.fromkeys(name for _, own in found for name in own):
            known = [(weight, own[name]) for weight, own in found if name in own and weight]
            if len(known) == 1:
                self._statistics[name].append(known[0][1])
            elif known:  # a process may lack one, as of a kind of feedback that its part of the batch has none of
                self._statistics[name].append(sum(w * value for w, value in known) / sum(w for w, _ in known))
        self._statistics["grad_norm"].append(norm)

    def after_step(self) -> None:
        """Change what else an optimizer step changes: counters, and averages of weights."""

    def record(self, numbers: Mapping[str, float]) -> None:
        """Add a record to the history and to the logs: the means of the steps since the last one, and ``numbers``."""
        means = {name: float(np.mean(values)) for name, values in self._statistics.items()}
        self._statistics.clear()
        record = {
            **numbers,
            **means,
            "learning_rate": float(self._optimizer.param_groups[0]["lr"]),
            "timesteps": float(self.num_timesteps),
        }
        self._keep(record)
        log_record(self.logger, record, self.env)

    def get_env(self) -> VecEnv | None:
        """The environment it was made with, if Stable-Baselines3 can use it."""
        return self.env

    def set_logger(self, logger: Logger) -> None:
        """Write records to another logger of Stable-Baselines3."""
        self.logger = logger

    # ------------------------------------------------------------------ acting
    @property
    def text_model(self) -> TextModel:
        """The language model that writes."""
        return self.model

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text; see :meth:`~textgym.types.Agent.act`."""
        return self._writer.act(observations, greedy=greedy, generator=generator)

    # ------------------------------------------------------------- checkpoints
    def get_state(self) -> State:
        """Return what :meth:`set_state` needs to go on bit for bit, between any two steps.

        Raises:
            CheckpointError: A step was broken off in the middle.
        """
        tensors, record = self._read_state()
        return State({name: tensor.clone() for name, tensor in tensors.items()}, record)

    def set_state(self, state: State) -> None:
        """Go on, bit for bit, where :meth:`get_state` was called on an agent made with the same arguments.

        Raises:
            CheckpointError: It is of another model or optimizer.
        """
        self._check_record(state.record)
        self._write_state({name: tensor.clone() for name, tensor in state.tensors.items()}, state.record, Path("it"))

    def save(self, folder: str | Path) -> None:
        """Write the state to a folder of JSON and safetensors, replaced in one step.

        Raises:
            CheckpointError: A step was broken off in the middle, or a weight is not finite.
        """
        if self.ranks.rank:
            return  # the state of the first process is that of all of them
        tensors, record = self._read_state()
        buffers = [
            f"{name}.{buffer}" for name, module in self.modules().items() for buffer, _ in module.named_buffers()
        ]
        config = partial(write_model_config, self.model)
        write_checkpoint(Path(folder), tensors, record, config, may_be_infinite=buffers)

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: str = "auto", **changes: Any) -> Self:
        """Load what :meth:`save` wrote. Nothing is unpickled.

        Args:
            folder: The folder.
            env: Environment like the one that it was made with; without one it can act.
            device: Where the model runs.
            changes: Constructor arguments to change.

        Raises:
            CheckpointError: The folder is damaged or holds something else.
        """
        tensors, record = read_checkpoint(Path(folder), cls.kind)
        cls._check_record(record)
        model = rebuild_language_model(Path(folder), DTYPES[record["dtype"]], record["precision"], record.get("source"))
        if model.source is not None:
            model.restrict_vocabulary(model.tokenizer.vocab_size)
        settings = {**record["settings"], **changes}
        agent = cls.remake(model, env, settings, State(tensors, record), device)
        for module in agent.modules().values():
            module.to(pick_device(device))
        agent._write_state(tensors, record, Path(folder))
        return agent

    @classmethod
    def _check_record(cls, record: Mapping[str, Any]) -> None:
        """Check that a record holds what :meth:`_read_state` gives, and nothing else.

        Raises:
            CheckpointError: Something is unknown, missing, or of another kind.
        """
        checks = {**_RECORD, "settings": fields(cls.settings), **cls.own_checks}
        may_lack = {name: None for name, check in checks.items() if check(None)}
        check_fields({**may_lack, **record}, checks, f"parts of {cls.kind}")

    def _read_state(self) -> tuple[dict[str, Tensor], StoredRecord]:
        if self._is_updating:
            raise CheckpointError("expected an agent between optimizer steps, got one within; resume from a checkpoint")
        tensors = {
            f"{name}.{key}": tensor
            for name, module in self.modules().items()
            for key, tensor in unique_tensors(module.state_dict()).items()
        }
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self._optimizer).items()}
        tensors |= self.own_tensors()
        record = {
            "kind": self.kind,
            "settings": {name: vars(self)[name] for name in self.settings},
            **self.own_record(),
            "dtype": dtype_name(self.model),
            "precision": self.model.precision,
            "source": self.model.source,
            "steps": self._steps,
            "losses": list(self.losses),
            "history": list(self.history),
            "optimizer": describe_optimizer(self._optimizer),
        }
        if self._statistics:
            record["statistics"] = {name: list(values) for name, values in self._statistics.items()}
        return tensors, to_json(record)

    def _write_state(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any], folder: Path) -> None:
        """Take over what :meth:`_read_state` gave; ``folder`` is where it comes from, for errors."""
        self.begin(record["steps"])
        for name, module in self.modules().items():
            load_unique(module, part(tensors, f"{name}."), folder)
        restore_optimizer(self._optimizer, part(tensors, "optimizer."), record["optimizer"])
        self.losses, self.history = list(record["losses"]), list(record["history"])
        for name, values in (record.get("statistics") or {}).items():
            self._statistics[name] = list(values)
        self.take_own(tensors, dict(record))


_RECORD: Mapping[str, Check] = {
    "kind": text,
    "dtype": one_of(*DTYPES),
    "precision": one_of("fp32", "bf16"),
    "source": optional(text),
    "steps": positive,
    "losses": listed(number),
    "history": listed(mapped(measured)),
    "statistics": optional(mapped(listed(measured))),
    "optimizer": OPTIMIZER,
    "infinite": optional(listed(text)),
}
