"""Supervised fine-tuning: a language model imitates given responses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.health import clip_gradients, require_finite
from textgym.agents.common.history import KeepsHistory, log_record
from textgym.agents.common.observations import check_tokenizer
from textgym.agents.common.on_policy_state import OPTIMIZER
from textgym.agents.common.pair_counts import CountsPairs
from textgym.agents.common.policy_record import DTYPES, dtype_name, write_model_config
from textgym.agents.common.token_pairs import TokenPair, encode_pairs, endless_batches, warn_of_long_responses
from textgym.agents.common.token_writer import TokenWriter
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.errors import CheckpointError, DataError
from textgym.models.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model, rebuild_language_model
from textgym.models.log_probs import cross_entropy, response_batch
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.models.stored_values import (
    Check,
    check_fields,
    fields,
    integer,
    listed,
    mapped,
    number,
    one_of,
    optional,
    positive,
    text,
    to_json,
)
from textgym.models.text_model import TextModel
from textgym.types import FloatArray, IntArray, JsonObject, State, Task

_MEASURED_TEXTS = 256
_MEASURED_AT_ONCE = 32
_TRIALS = 3

__all__ = ["SFT", "TokenPair", "encode_pairs", "response_loss", "supervised_fine_tune"]


def response_loss(
    model: TextModel, pairs: Sequence[TokenPair], prompt_share: float = 0.0, rng: np.random.Generator | None = None
) -> Tensor:
    """Mean cross-entropy of the responses (and of a random share of the prompt tokens), a scalar in nats per token.

    Args:
        model: The language model.
        pairs: The batch.
        prompt_share: Share of the prompt tokens that count too.
        rng: Chooses them.
    """
    also = None
    if prompt_share and rng is not None:
        also = torch.from_numpy(_draw(pairs, rng) < prompt_share).to(model.device)
    batch, actions = response_batch(model, [pair.prompt for pair in pairs], [pair.response for pair in pairs], also)
    return cross_entropy(model, batch, actions)


def supervised_fine_tune(
    model: TextModel,
    pairs: Sequence[TokenPair],
    *,
    steps: int,
    progress: Callable[[int, float], object] | None = None,
    **settings: Any,
) -> list[float]:
    """Minimise the cross-entropy of the responses; all of :class:`SFT` in one call.

    Args:
        model: Trained in place.
        pairs: Texts to imitate.
        steps: Optimizer steps.
        progress: Called with (step, loss) after every step.
        settings: Further arguments of :class:`SFT`.

    Returns:
        Loss of every step, in nats per token.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite; the weights are those of the step before.
        ModelError: If a text is longer than the context of the model;
            :func:`~textgym.agents.common.token_pairs.encode_pairs` fits them.
    """
    agent = SFT(model, pairs, **settings)
    agent.begin(steps)
    while agent.num_timesteps < steps:
        loss = agent.advance()
        if progress is not None:
            progress(agent.num_timesteps - 1, loss)
    return agent.losses


class SFT(CountsPairs, KeepsHistory):
    """Supervised fine-tuning: AdamW on the cross-entropy of given responses, with linear warm-up and cosine decay.

    A time step is an optimizer step.

    Args:
        model: Trained in place.
        pairs: Texts to imitate; without any it can act, but not learn.
        batch_size: Sequences per optimizer step.
        learning_rate: Peak learning rate.
        warmup: Warm-up: share of the steps with rising learning rate.
        prompt_share: Share of the prompt tokens that also count in the loss, drawn at random.
        max_grad_norm: Maximum gradient norm (clipping).
        log_every: Steps between log records.
        seed: Order of the texts.

    Attributes:
        text_model: The model.
        pairs: Prompts with responses to imitate, as ids.
        num_timesteps: Steps made so far.
        losses: Losses of these steps, in nats per token.
        history: One record per iteration: mean loss, learning rate, steps.
        seconds: Time of the last iteration: update.

    Raises:
        ModelError: If a text is longer than the context of the model
            (:func:`~textgym.agents.common.token_pairs.encode_pairs` fits them), or all weights are frozen.
    """

    grain: Literal["token"] = "token"
    kind = "textgym.SFT"
    facts: ClassVar[AgentFacts] = AgentFacts(
        name="Supervised fine-tuning",
        method="supervised fine-tuning",
        samples=False,
        labels_option="limit",
        limits={
            "learning_rate": (math.nextafter(0, 1), math.inf),
            **dict.fromkeys(("batch_size", "limit", "log_every", "lora_rank"), (1, math.inf)),
        },
        defaults=RunDefaults(steps=500, eval_prompts=200, save_every=100, split="validation"),
    )

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[TokenPair] = (),
        *,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        warmup: float = 0.05,
        prompt_share: float = 0.0,
        max_grad_norm: float = 1.0,
        log_every: int = 10,
        seed: int = 0,
    ) -> None:
        model.require_trainable()
        model.hold_masters()
        if pairs:
            pair = max(pairs, key=lambda pair: model.context_of(len(pair.prompt), len(pair.response)))
            longest = len(pair.prompt) + len(pair.response)
            model.require_context(longest, "the longest text to imitate", response=len(pair.response))
        self.text_model, self.pairs = model, pairs
        self.batch_size, self.learning_rate, self.warmup = batch_size, learning_rate, warmup
        self.prompt_share, self.max_grad_norm, self.log_every = prompt_share, max_grad_norm, log_every
        self.seed = seed
        self._limit: int | None = None  # of the examples
        self._held_out: tuple[Task, list[TokenPair]] | None = None
        self.logger = Logger(None, [])
        self.env: VecEnv | None = None
        self._writer = TokenWriter(model)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.begin(1)

    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        limit: int | None = None,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent that imitates the demonstrations, or else the references, of an environment's examples.

        Args:
            env: Environment of either grain, single or vector.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            limit: Maximum number of training examples; by default all.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Order of the texts, and first weights of adapters.
            device: Where the model runs.
            options: Arguments of the constructor.

        Raises:
            DataError: There is nothing to imitate.
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        task, budget = env_attribute(env, "task"), env_attribute(env, "max_prompt_tokens")
        most = env_attribute(env, "max_new_tokens")
        loaded = load_language_model(model or env_attribute(env, "tokenizer").name, device=pick_device(device))
        check_tokenizer(loaded, env.action_space)
        loaded.require_context(budget + most, turns=most, response=most)
        length, room = loaded.context_length, loaded.room_for_prompt
        pairs = encode_pairs(task, task.dataset, loaded.tokenizer, limit, length, max_prompt_tokens=budget, room=room)
        warn_of_long_responses(pairs, most)
        if lora_rank is not None:
            loaded.add_lora(lora_rank, seed=seed)
        agent = cls(loaded, pairs, seed=seed, **options)
        agent._limit = limit
        agent.env = env if isinstance(env, VecEnv) else None
        return agent

    # ---------------------------------------------------------------- learning
    def begin(self, steps: int) -> None:
        """Begin a training of so many optimizer steps; the weights stay as they are."""
        self.num_timesteps, self._steps, self._is_updating = 0, steps, False
        self.losses: list[float] = []
        self.history: list[dict[str, float]] = []
        self.seconds: dict[str, float] = {}
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self._rng = np.random.default_rng(self.seed)
        self._batches = endless_batches(self.pairs, self.batch_size, self._rng)

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make ``total_timesteps`` optimizer steps.

        Args:
            total_timesteps: How many; ``reset_num_timesteps=False`` makes them after those that were made.
            callback: Called when an iteration of ``log_every`` steps starts and ends, and after each step, where it can
                end training.
            reset_num_timesteps: Begin a new training, of these weights.

        Raises:
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1.
            FloatingPointError: If a loss or a gradient is not finite; the weights are those of the step before.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        if reset_num_timesteps:
            self.begin(total_timesteps)
        self._steps = self.num_timesteps + total_timesteps
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < self._steps:
            going_on = self._iterate(watcher)
        watcher.on_training_end()
        return self

    def _iterate(self, watcher: BaseCallback) -> bool:
        """Make the steps up to the next record; false if the callback ends training."""
        watcher.on_rollout_start()
        start, going_on = time.perf_counter(), True
        while going_on:
            self.advance()
            watcher.update_locals(locals())
            going_on = watcher.on_step()
            if self.num_timesteps % self.log_every == 0 or self.num_timesteps == self._steps:
                break
        self.seconds = {"update": time.perf_counter() - start}
        watcher.on_rollout_end()
        if going_on:
            self._record()
        return going_on

    def advance(self) -> float:
        """Make one optimizer step.

        Returns:
            Loss of the step, in nats per token.

        Raises:
            DataError: There are no texts to imitate.
            FloatingPointError: If the loss or a gradient is not finite; the weights stay as they are.
        """
        if not self.pairs:
            raise DataError("expected texts to imitate, got none; make the agent with an environment")
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * _warmup_cosine(self.num_timesteps, self._steps, self.warmup)
        loss = response_loss(self.text_model, next(self._batches), self.prompt_share, self._rng)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        require_finite(f"loss at step {self.num_timesteps}", loss.item())
        clip_gradients(self._parameters, self.max_grad_norm)
        self._is_updating = True
        self._optimizer.step()
        self.losses.append(loss.item())
        self.num_timesteps += 1
        self._is_updating = False
        return self.losses[-1]

    def _record(self) -> None:
        record = {
            "loss": float(np.mean(self.losses[int(self.history[-1]["timesteps"]) if self.history else 0 :])),
            "learning_rate": float(self._optimizer.param_groups[0]["lr"]),
            "timesteps": float(self.num_timesteps),
        }
        self._keep(record)
        log_record(self.logger, record)

    @property
    def steps_per_iteration(self) -> int:
        """Optimizer steps between two records."""
        return self.log_every

    def seconds_per_step(self) -> float:
        """Seconds of a forward and backward pass, by trying; no weight changes."""
        rng = np.random.default_rng(self.seed)
        times = []
        for _ in range(_TRIALS):
            batch = [self.pairs[row] for row in rng.integers(len(self.pairs), size=self.batch_size)]
            start = time.perf_counter()
            response_loss(self.text_model, batch).backward()
            times.append(time.perf_counter() - start)
        self.text_model.zero_grad(set_to_none=True)
        return min(times)

    def measures(self, task: Task) -> dict[str, float | None]:
        """Return the mean ``"loss"`` per text of a task, nats per token; ``None`` where nothing is there to imitate."""
        if self._held_out is None or self._held_out[0] is not task:
            self._held_out = task, _pairs_to_measure(task, self.text_model)
        pairs = self._held_out[1]
        chunks = [pairs[start : start + _MEASURED_AT_ONCE] for start in range(0, len(pairs), _MEASURED_AT_ONCE)]
        if not chunks:
            return {"loss": None}
        with torch.no_grad():
            losses = [response_loss(self.text_model, chunk).item() for chunk in chunks]
        return {"loss": float(np.average(losses, weights=list(map(len, chunks))))}

    def get_env(self) -> VecEnv | None:
        """The environment it was made with, if Stable-Baselines3 can use it."""
        return self.env

    def set_logger(self, logger: Logger) -> None:
        """Write records to another logger of Stable-Baselines3."""
        self.logger = logger

    # ------------------------------------------------------------------ acting
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
        check_fields({**_OPTIONAL, **state.record}, _RECORD, "parts of supervised training")
        self._write_state({name: tensor.clone() for name, tensor in state.tensors.items()}, state.record, Path("it"))

    def save(self, folder: str | Path) -> None:
        """Write the state to a folder of JSON and safetensors, replaced in one step.

        Raises:
            CheckpointError: A step was broken off in the middle, or a weight is not finite.
        """
        tensors, record = self._read_state()
        buffers = [f"model.{name}" for name, _ in self.text_model.named_buffers()]
        config = partial(write_model_config, self.text_model)
        write_checkpoint(Path(folder), tensors, record, config, may_be_infinite=buffers)

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: str = "auto", **changes: Any) -> Self:
        """Load what :meth:`save` wrote. Nothing is unpickled.

        Args:
            folder: The folder.
            env: Environment with the texts that it was made with; without one it can act, but not learn.
            device: Where the model runs.
            changes: Constructor arguments, and ``limit``, to change.

        Raises:
            CheckpointError: The folder is damaged or holds something else.
        """
        tensors, record = read_checkpoint(Path(folder), cls.kind)
        check_fields({**_OPTIONAL, **record}, _RECORD, "parts of supervised training")
        model = rebuild_language_model(Path(folder), DTYPES[record["dtype"]], record["precision"], record.get("source"))
        if model.source is not None:
            model.restrict_vocabulary(model.tokenizer.vocab_size)
        settings = {**record["settings"], **changes}
        if env is None:
            agent = cls(model, **{name: value for name, value in settings.items() if name != "limit"})
        else:
            agent = cls.create(env, model, device=device, **{"limit": record.get("limit"), **settings})
        agent.text_model.to(pick_device(device))
        agent._write_state(tensors, record, Path(folder))
        return agent

    def _read_state(self) -> tuple[dict[str, Tensor], JsonObject]:
        if self._is_updating:
            raise CheckpointError("expected an agent between optimizer steps, got one within; resume from a checkpoint")
        tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(self.text_model.state_dict()).items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self._optimizer).items()}
        record = {
            "kind": self.kind,
            "settings": {name: vars(self)[name] for name in _SETTINGS},
            "limit": self._limit,
            "dtype": dtype_name(self.text_model),
            "precision": self.text_model.precision,
            "source": self.text_model.source,
            "steps": self._steps,
            "losses": list(self.losses),
            "history": list(self.history),
            "optimizer": describe_optimizer(self._optimizer),
        }
        return tensors, to_json(record)

    def _write_state(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any], folder: Path) -> None:
        self.begin(record["steps"])
        load_unique(self.text_model, part(tensors, "model."), folder)
        restore_optimizer(self._optimizer, part(tensors, "optimizer."), record["optimizer"])
        self.losses, self.history = list(record["losses"]), list(record["history"])
        self.num_timesteps = len(self.losses)
        for _ in self.losses if self.pairs else ():  # the generator draws what it drew for the steps that were made
            batch = next(self._batches)
            if self.prompt_share:
                _draw(batch, self._rng)


_SETTINGS: Mapping[str, Check] = {
    "batch_size": positive,
    "learning_rate": number,
    "warmup": number,
    "prompt_share": number,
    "max_grad_norm": number,
    "log_every": positive,
    "seed": integer,
}
"""Constructor arguments in a checkpoint."""
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "settings": fields(_SETTINGS),
    "limit": optional(positive),
    "dtype": one_of(*DTYPES),
    "precision": one_of("fp32", "bf16"),
    "source": optional(text),
    "steps": positive,
    "losses": listed(number),
    "history": listed(mapped(number)),
    "optimizer": OPTIMIZER,
    "infinite": optional(listed(text)),
}
_OPTIONAL: Mapping[str, None] = {"infinite": None, "limit": None, "source": None}


def _pairs_to_measure(task: Task, model: TextModel) -> list[TokenPair]:
    """Encode held-out texts; none where there is nothing to imitate, or nothing fits."""
    try:
        return encode_pairs(
            task, task.dataset, model.tokenizer, _MEASURED_TEXTS, model.context_length, room=model.room_for_prompt
        )
    except DataError:
        return []


def _draw(pairs: Sequence[TokenPair], rng: np.random.Generator) -> FloatArray:
    """A number in [0, 1) for every predicted token of the padded batch, (B, T-1)."""
    return rng.random((len(pairs), max(len(pair.prompt) + len(pair.response) for pair in pairs) - 1))


def _warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step."""
    rising = max(1, int(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
