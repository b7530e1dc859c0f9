"""Supervised fine-tuning: a language model imitates given responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.fine_tuning import load_start_model
from textgym.agents.common.offline import OfflineAgent
from textgym.agents.common.token_pairs import TokenPair, encode_pairs, warn_of_long_responses
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.errors import DataError
from textgym.models.log_probs import cross_entropy, response_batch
from textgym.models.stored_values import Check, StoredRecord, integer, number, optional, positive
from textgym.models.text_model import TextModel
from textgym.types import FloatArray, State, Task

_MEASURED_TEXTS = 256
_MEASURED_AT_ONCE = 32

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


class SFT(OfflineAgent):
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

    kind = "textgym.SFT"
    wanted = "texts to imitate"
    facts: ClassVar[AgentFacts] = AgentFacts(
        name="Supervised fine-tuning",
        method="supervised fine-tuning",
        samples=False,
        labels_option="limit",
        limits={
            "learning_rate": (math.nextafter(0, 1), math.inf),
            **dict.fromkeys(("batch_size", "limit", "log_every", "lora_rank"), (1, math.inf)),
            **dict.fromkeys(("warmup", "prompt_share"), (0.0, 1.0)),
        },
        defaults=RunDefaults(steps=500, eval_prompts=200, save_every=100, split="validation"),
    )
    settings: ClassVar[Mapping[str, Check]] = {
        "batch_size": positive,
        "learning_rate": number,
        "warmup": number,
        "prompt_share": number,
        "max_grad_norm": number,
        "log_every": positive,
        "seed": integer,
    }
    own_checks: ClassVar[Mapping[str, Check]] = {"limit": optional(positive)}

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
        self.pairs, self.prompt_share = pairs, prompt_share
        self._limit: int | None = None  # of the examples
        self._held_out: tuple[Task, list[TokenPair]] | None = None
        super().__init__(
            model,
            [len(pair.prompt) + len(pair.response) for pair in pairs],
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup=warmup,
            max_grad_norm=max_grad_norm,
            log_every=log_every,
            seed=seed,
        )
        if pairs:
            pair = max(pairs, key=lambda pair: model.context_of(len(pair.prompt), len(pair.response)))
            longest = len(pair.prompt) + len(pair.response)
            model.require_context(longest, "the longest text to imitate", response=len(pair.response))

    def response_tokens(self) -> int:
        """Return the number of tokens of all responses."""
        return sum(len(pair.response) for pair in self.pairs)

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
        loaded, task = load_start_model(env, model, device), env_attribute(env, "task")
        budget, length, room = env_attribute(env, "max_prompt_tokens"), loaded.context_length, loaded.room_for_prompt
        pairs = encode_pairs(task, task.dataset, loaded.tokenizer, limit, length, max_prompt_tokens=budget, room=room)
        warn_of_long_responses(pairs, env_attribute(env, "max_new_tokens"))
        if lora_rank is not None:
            loaded.add_lora(lora_rank, seed=seed)
        agent = cls(loaded, pairs, seed=seed, **options)
        agent._limit = limit
        agent.env = env if isinstance(env, VecEnv) else None
        return agent

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return - mean log pi(y_t | x, y_<t) over the response tokens of a batch; there is nothing else to log."""
        return response_loss(self.text_model, [self.pairs[row] for row in rows], self.prompt_share, rng), {}

    def size(self, rows: Sequence[int]) -> int:
        """The loss is a mean over tokens; those of prompts, which are drawn, are not counted here."""
        return sum(len(self.pairs[row].response) for row in rows)

    def redraw(self, rows: Sequence[int], rng: np.random.Generator) -> None:
        """Draw which prompt tokens count, as :meth:`loss` does."""
        if self.prompt_share:
            _draw([self.pairs[row] for row in rows], rng)

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

    def own_record(self) -> StoredRecord:
        """Return how many examples were used at most."""
        return {"limit": self._limit}

    @classmethod
    def remake(cls, model: TextModel, env: Any, settings: Mapping[str, Any], state: State, device: str) -> Self:
        """Make the agent of a checkpoint: with the texts of an environment, or without any."""
        if env is None:
            return cls(model, **{name: value for name, value in settings.items() if name != "limit"})
        return cls.create(env, model, device=device, **{"limit": state.record.get("limit"), **settings})


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
