"""Decentralized Policy Optimization: agents that write one text together and share its reward, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from torch import Tensor

from textgym.agents.common.distributed import current, require_one_each
from textgym.agents.common.history import KeepsHistory
from textgym.agents.common.metrics import describe_texts
from textgym.agents.common.on_policy_state import OPTIMIZER
from textgym.agents.common.policy_record import DTYPES, dtype_name, write_model_config
from textgym.agents.common.vec_env import env_attribute, final_infos
from textgym.agents.common.writers import Coefficients, Learning, Writer, Written
from textgym.agents.facts import AgentFacts, Processes, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.checks import check_ranges
from textgym.errors import CheckpointError, DataError
from textgym.models.checkpoint import read_checkpoint, write_checkpoint
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model, rebuild_language_model
from textgym.models.optimizer_state import part
from textgym.models.stored_values import (
    Check,
    StoredRecord,
    check_fields,
    fields,
    from_json,
    integer,
    listed,
    mapped,
    measured,
    number,
    one_of,
    optional,
    plain,
    positive,
    text,
    to_json,
)
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.tasks.base import prompt_of
from textgym.types import FloatArray, Prompt, State

Sees = Literal["all", "draft"]
_SEES: tuple[Sees, ...] = ("all", "draft")
_ABOVE_0 = math.nextafter(0, 1)
_CUE_TOKENS = 16  # around a draft, at most
_COUNTS = ("n_epochs", "batch_size", "max_prompt_tokens", "max_new_tokens")
_PENALTIES = ("beta_sqrt", "beta_kl", "sqrt_kl_target", "kl_target")


class DecentralizedPO(KeepsHistory):
    """Decentralized Policy Optimization (Su and Lu 2022, arXiv:2211.03032) of agents that write one text together.

    The first agent answers the prompt; every further one is shown what the one before it wrote, and writes it again.
    The text of the last one is the action, and its reward that of all of them. Each agent has a policy and a value
    function of its own and learns from its own tokens. Weights and gradients are never exchanged, and ratios are not
    clipped: penalties on how far each policy moves bound what the others' moves can spoil.

    Args:
        models: A language model for each agent, trained in place.
        env: Vector environment whose actions are whole texts, of a task of one turn; without one it can act.
        sees: Text that a further agent is shown: ``"all"``: the prompt and the draft before it, or the ``"draft"``
            alone, so that agents depend on each other.
        cue: Text behind a draft.
        learning_rate: Learning rate, constant.
        n_epochs: Optimizer steps per iteration; each reads all texts.
        gae_lambda: Lambda of generalized advantage estimation, which trades bias for variance.
        vf_coef: Value loss coefficient.
        max_grad_norm: Maximum gradient norm (clipping).
        beta_sqrt: First coefficient of the root of the KL divergence to the policy before the update.
        beta_kl: First coefficient of the KL divergence itself.
        sqrt_kl_target: Mean root of the KL divergence to hold: its coefficient is doubled or halved after an update.
        kl_target: Mean KL divergence to hold, per token, likewise.
        batch_size: Approximate number of tokens per forward and backward pass.
        max_prompt_tokens, max_new_tokens: Budgets of a prompt and of a text.
        seed: Seed of all random numbers.

    Attributes:
        num_timesteps: Texts of all agents together, as the environment got them.
        history: One record (name -> number) per iteration; numbers of agent 0 are called ``"agent0/..."``.
        seconds: Time of the last iteration by part: rollout, update.

    Raises:
        ValueError: An option is out of range, or there are several processes, and not one for each agent.
    """

    grain: Literal["episode"] = "episode"
    processes: ClassVar[Processes] = "agents"
    kind = "textgym.DecentralizedPO"
    text_model = None  # there are several
    facts: ClassVar[AgentFacts] = AgentFacts(
        name="Decentralized Policy Optimization",
        method="Decentralized Policy Optimization",
        not_options=("cue", "max_prompt_tokens", "max_new_tokens"),
        limits={
            **dict.fromkeys(("learning_rate", *_PENALTIES), (_ABOVE_0, math.inf)),
            **dict.fromkeys(("vf_coef", "max_grad_norm"), (0.0, math.inf)),
            **dict.fromkeys((*_COUNTS, "lora_rank"), (1, math.inf)),
            "agents": (2, 64),
            "gae_lambda": (0.0, 1.0),
        },
        defaults=RunDefaults(steps=20_000),
    )

    def __init__(
        self,
        models: Sequence[TextModel],
        env: Any = None,
        *,
        sees: Sees = "all",
        cue: str = "\n",
        learning_rate: float = 3e-4,
        n_epochs: int = 4,
        gae_lambda: float = 0.95,
        vf_coef: float = 0.1,
        max_grad_norm: float = 1.0,
        beta_sqrt: float = 1.0,
        beta_kl: float = 1.0,
        sqrt_kl_target: float = 0.1,
        kl_target: float = 0.01,
        batch_size: int = 768,
        max_prompt_tokens: int = 512,
        max_new_tokens: int = 48,
        seed: int = 0,
    ) -> None:
        if sees not in _SEES:
            raise ValueError(f"expected {argument('sees')} of {', '.join(_SEES)}, got {sees!r}; choose one of these")
        self.sees, self.cue, self.seed, self.learning_rate = sees, cue, seed, learning_rate
        self.n_epochs, self.gae_lambda, self.vf_coef, self.max_grad_norm = n_epochs, gae_lambda, vf_coef, max_grad_norm
        self.beta_sqrt, self.beta_kl = beta_sqrt, beta_kl
        self.sqrt_kl_target, self.kl_target, self.batch_size = sqrt_kl_target, kl_target, batch_size
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        check_ranges(vars(self), self.facts.limits, counts=_COUNTS)
        self.ranks = current()
        require_one_each(len(models))
        shown = [max_prompt_tokens, max_prompt_tokens + max_new_tokens + _CUE_TOKENS]  # a draft comes behind the prompt
        self.members = [
            Writer(
                model,
                number,
                prompt_tokens=shown[number > 0],
                new_tokens=max_new_tokens,
                learning_rate=learning_rate,
                coefficients=Coefficients(beta_sqrt, beta_kl),
                seed=seed,
            )
            for number, model in enumerate(models)
        ]
        self.env = env
        self.num_timesteps, self.history, self.seconds = 0, [], dict[str, float]()
        self._shown: list[str] | None = None  # prompts of the texts that are to be written
        self._position: tuple[dict[str, Tensor], StoredRecord] | None = None  # when the present rollout began
        self._is_updating = False

    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        agents: int = 2,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make a group of agents that all start from one model.

        Args:
            env: Environment whose actions are whole texts: a vector environment to learn in, or a single one.
            model: Start model; ``None`` is that of the task.
            agents: Number of agents.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Seed of all random numbers.
            device: Where the models run.
            options: Arguments of the constructor.

        Raises:
            TypeError: The constructor has no such option.
            ValueError: The task has several turns, or an option is out of range.
        """
        refuse_unknown(options, cls)
        check_ranges({"agents": agents}, cls.facts.limits, counts=("agents",))
        task = env_attribute(env, "task")
        if task.max_turns > 1:
            raise ValueError(
                f"expected a task of one turn, whose text the agents write together, got {task.name!r} of up to "
                f"{task.max_turns}; use another"
            )
        models = []
        for each in range(agents):
            loaded = load_language_model(task.model if model is None else model, device=pick_device(device))
            if each and isinstance(model, TextModel):
                raise TypeError(f"expected the name of a model, which {agents} agents load, got a model; save it first")
            if lora_rank is not None:
                loaded.add_lora(lora_rank, seed=seed + each)
            models.append(loaded)
        budgets = {"max_prompt_tokens": task.max_prompt_tokens, "max_new_tokens": task.max_new_tokens}
        cue = prompt_of(task, task.dataset[0]).suffix or "\n"
        return cls(models, env, seed=seed, **{"cue": cue, **budgets, **options})

    # ------------------------------------------------------------------ acting
    def act(
        self, observations: Sequence[str], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> list[str]:
        """Write a text to every prompt, one agent after the other; see :meth:`~textgym.types.Agent.act`."""
        texts: list[str] | None = None
        for member in self.members:
            texts = member.write(self._asked(observations, texts), greedy, generator).texts
        return texts or []

    def _asked(self, shown: Sequence[str], drafts: Sequence[str] | None) -> list[Prompt]:
        """Return what an agent is shown: the first one the prompts, others drafts too, or instead."""
        if drafts is None:
            return [Prompt("", each, "") for each in shown]
        if self.sees == "draft":
            return [Prompt("", draft, self.cue) for draft in drafts]
        return [Prompt("", each, draft + self.cue) for each, draft in zip(shown, drafts, strict=True)]

    # ---------------------------------------------------------------- learning
    @property
    def steps_per_iteration(self) -> int:
        """Texts of an iteration: one of each environment."""
        return 1 if self.env is None else int(self.env.num_envs)

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make whole iterations until so many texts are written; see :meth:`~textgym.types.Trainable.learn`.

        Raises:
            DataError: It was made without an environment.
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1.
            FloatingPointError: If a loss or a gradient is not finite.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        if self.env is None:
            raise DataError("expected an environment to learn in, got none; make or load the agents with one")
        if reset_num_timesteps:
            self.num_timesteps = 0
        end = self.num_timesteps + total_timesteps
        if self._shown is None:
            self._shown = list(self.env.reset(seed=self.seed)[0])
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < end:
            going_on = self._iterate(watcher)
        watcher.on_training_end()
        self._gather()
        return self

    def _iterate(self, watcher: BaseCallback) -> bool:
        """Write, be paid, learn apart; false if the callback ends training."""
        self._position = self._read_position()
        watcher.on_rollout_start()
        start = time.perf_counter()
        written = self._write_together(self._shown or [])
        observations, rewards, _, _, infos = self.env.step(written[-1].texts)
        paid = np.array(self.ranks.all_gather_json(np.asarray(rewards, dtype=np.float64).tolist())[0])
        self.num_timesteps += len(paid)
        watcher.update_locals(locals())
        if not watcher.on_step():
            return False
        self.seconds = {"rollout": time.perf_counter() - start}
        watcher.on_rollout_end()
        start, self._is_updating = time.perf_counter(), True
        learning = Learning(*(vars(self)[name] for name in Learning._fields))
        found = {str(member.number): member.learn(written[member.number], paid, learning) for member in self._own()}
        self._shown, self._position, self._is_updating = list(observations), None, False
        self.seconds = {**self.seconds, "update": time.perf_counter() - start}
        self._record(infos, paid, {name: of for each in self.ranks.all_gather_json(found) for name, of in each.items()})
        return True

    def _own(self) -> list[Writer]:
        """The agents of this process."""
        return self.members if self.ranks.size == 1 else [self.members[self.ranks.rank]]

    def _write_together(self, shown: Sequence[str]) -> list[Written]:
        """Let all agents write, each in its process; drafts are what the next one observes."""
        found: list[Written] = []
        for member in self.members:
            asked = self._asked(shown, found[-1].texts if found else None)
            written = member.write(asked, False, member.generator) if member in self._own() else Written([], [], [])
            if self.ranks.size > 1:
                texts = self.ranks.all_gather_json(written.texts)[member.number]
                written = written._replace(texts=texts)
            found.append(written)
        return found

    def _record(self, infos: Mapping[str, Any], paid: FloatArray, found: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the record of an iteration: of the texts, and of every agent's update."""
        of_agents = {
            f"agent{place}/{name}": value for place, numbers in sorted(found.items()) for name, value in numbers.items()
        }
        record = {
            **describe_texts(final_infos(dict(infos), len(paid))),
            "texts": float(len(paid)),
            "tokens": len(paid) * sum(numbers["length"] for numbers in found.values()),
            **of_agents,
            "timesteps": float(self.num_timesteps),
        }
        self._keep(record)

    def _gather(self) -> None:
        """Let every process know all agents as they are now: to evaluate and to save them, not to learn from them."""
        if self.ranks.size == 1:
            return
        own = self.members[self.ranks.rank]
        found = zip(self.ranks.all_gather_tensors(own.tensors()), self.ranks.all_gather_json(own.record()), strict=True)
        for member, (tensors, record) in zip(self.members, found, strict=True):
            if member is not own:
                member.take(tensors, record, Path("another process"))

    # ------------------------------------------------------------- checkpoints
    def get_state(self) -> State:
        """Return the state; in a rollout, or after an error in one, that at its beginning.

        Of several processes, this one's: the other agents are as they were when learning began or was last saved.

        Raises:
            CheckpointError: An update was broken off.
        """
        tensors, record = self._read_state()
        return State({name: tensor.clone() for name, tensor in tensors.items()}, record)

    def set_state(self, state: State) -> None:
        """Go on from a state of agents that were made with the same arguments.

        Raises:
            CheckpointError: It is of other agents or models.
        """
        _check_record(state.record)
        self._write_state(
            {name: tensor.clone() for name, tensor in state.tensors.items()}, dict(state.record), Path("it")
        )

    def save(self, folder: str | Path) -> None:
        """Write all agents to a folder of JSON and safetensors, replaced in one step.

        Several processes all call it, and tell each other their agents; the first one writes.

        Raises:
            CheckpointError: An update was broken off, or a weight is not finite.
        """
        self._gather()
        tensors, record = self._read_state()
        if self.ranks.rank:
            return
        buffers = {f"{each.number}.model.{name}" for each in self.members for name, _ in each.model.named_buffers()}
        config = partial(write_model_config, self.members[0].model)
        write_checkpoint(Path(folder), tensors, record, config, may_be_infinite=buffers)

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: str = "auto", **changes: Any) -> Self:
        """Load what :meth:`save` wrote. Nothing is unpickled.

        Args:
            folder: The folder.
            env: Environment like the one that it was made with; without one it can act.
            device: Where the models run.
            changes: Constructor arguments to change.

        Raises:
            CheckpointError: The folder is damaged or holds something else.
        """
        tensors, record = read_checkpoint(Path(folder), cls.kind)
        _check_record(record)
        models = [
            rebuild_language_model(Path(folder), DTYPES[record["dtype"]], record["precision"], record["source"])
            for _ in record["members"]
        ]
        for model in models:
            if model.source is not None:
                model.restrict_vocabulary(model.tokenizer.vocab_size)
            model.to(pick_device(device))
        agent = cls(models, env, **{**record["settings"], **changes})
        agent._write_state(tensors, record, Path(folder))
        return agent

    def _read_position(self) -> tuple[dict[str, Tensor], StoredRecord]:
        """The parts of the state that a rollout changes: random generators, the environment, counters."""
        record = {
            "num_timesteps": self.num_timesteps,
            "history": list(self.history),
            "shown": self._shown,
            "environment": None if self._shown is None else to_json(env_attribute(self.env, "get_state")()),
        }
        return {f"{each.number}.generator": each.generator.get_state() for each in self.members}, record

    def _read_state(self) -> tuple[dict[str, Tensor], StoredRecord]:
        if self._is_updating:
            raise CheckpointError("expected agents between updates, got some within one; resume from a checkpoint")
        tensors = {f"{each.number}.{name}": value for each in self.members for name, value in each.tensors().items()}
        began, position = self._position or self._read_position()
        model = self.members[0].model
        record = {
            "kind": self.kind,
            "settings": {name: vars(self)[name] for name in _SETTINGS},
            "members": [each.record() for each in self.members],
            "dtype": dtype_name(model),
            "precision": model.precision,
            "source": model.source,
            **position,
        }
        return {**tensors, **{name: value for name, value in began.items() if name in tensors}}, to_json(record)

    def _write_state(self, tensors: Mapping[str, Tensor], record: StoredRecord, folder: Path) -> None:
        for member, of in zip(self.members, record["members"], strict=True):
            member.take(part(tensors, f"{member.number}."), of, folder)
        self.num_timesteps, self.history = record["num_timesteps"], list(record["history"])
        self._position, self._is_updating, self._shown = None, False, None
        if self.env is not None and record["environment"] is not None:
            env_attribute(self.env, "set_state")(from_json(record["environment"]))
            self._shown = list(record["shown"])


_SETTINGS: Mapping[str, Check] = {
    "sees": one_of(*_SEES),
    "cue": text,
    **dict.fromkeys(_COUNTS, positive),
    **dict.fromkeys(("learning_rate", "gae_lambda", "vf_coef", "max_grad_norm", *_PENALTIES), number),
    "seed": integer,
}
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "settings": fields(_SETTINGS),
    "members": listed(fields({"optimizer": OPTIMIZER, "sqrt": number, "kl": number})),
    "dtype": one_of(*DTYPES),
    "precision": one_of("fp32", "bf16"),
    "source": optional(text),
    "num_timesteps": integer,
    "history": listed(mapped(optional(measured))),
    "shown": optional(listed(text)),
    "environment": plain,
    "infinite": optional(listed(text)),
}


def _check_record(record: Mapping[str, Any]) -> None:
    """Check that a record holds what a group has, and nothing else.

    Raises:
        CheckpointError: Something is unknown, missing, or of another kind.
    """
    check_fields({"infinite": None, **record}, _RECORD, "parts of decentralized agents")
