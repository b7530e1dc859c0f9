"""The core of agents that learn from feedback on texts: pairs, reference log-probabilities, measures, exact resume."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym import console
from textgym.agents.common.feedback_ids import (
    FeedbackEncoder,
    PreferencePair,
    compared_by_reward,
    encode_preferences,
    pack_ids,
    unpack_ids,
)
from textgym.agents.common.fine_tuning import load_start_model
from textgym.agents.common.offline import OfflineAgent, draw_some
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.errors import CheckpointError, DataError, TextGymError
from textgym.evaluation.sampling import Sampling
from textgym.feedback.records.splitting import split_records
from textgym.feedback.sources import digest_of, read_feedback
from textgym.feedback.types import Record
from textgym.models.log_probs import response_batch, token_log_probs
from textgym.models.optimizer_state import part
from textgym.models.stored_values import Check, StoredRecord, fields, integer, number, optional, text
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.rewards import reward_name
from textgym.text.batching import length_batches
from textgym.types import State, Task

_ABOVE_0 = math.nextafter(0, 1)
_ROUNDING = 1e-4  # rewards that differ by less are equal
_TOKENS_AT_ONCE = 8192
_COMPARISONS = 500  # that the reward makes, unless their number is given

_Item = TypeVar("_Item", bound=tuple[Any, ...])


class LogProbs(NamedTuple):
    """Log-probabilities of ``K`` responses to each of ``B`` prompts.

    Attributes:
        sums: (B, K) of whole responses, in nats.
        lengths: (B, K) tokens of the responses.
    """

    sums: Tensor
    lengths: Tensor

    @property
    def means(self) -> Tensor:
        """Return the means per token, (B, K)."""
        return self.sums / self.lengths


def score_responses(model: TextModel, texts: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> LogProbs:
    """Score responses by the log-probabilities of their tokens, with gradients; prompts are read once where possible.

    Args:
        model: The model.
        texts: ``B`` prompts, each with ``K`` responses, as ids; responses are at least one id long.
    """
    prompts = [prompt for prompt, responses in texts for _ in responses]
    tails = [response for _, responses in texts for response in responses]
    batch, actions = response_batch(model, prompts, tails)
    lengths = [len(tail) for tail in tails]
    sums = torch.stack([each.sum() for each in token_log_probs(model, batch, actions).split(lengths)])  # (B K,)
    shape = len(texts), -1
    return LogProbs(sums.reshape(shape), torch.tensor(lengths, device=sums.device).reshape(shape))


def share_right(leads: Tensor) -> Tensor:
    """Return the share of leads (N,) above 0, a scalar; those within rounding errors of it count half."""
    points = torch.where(leads.abs() < _ROUNDING, 0.5, (leads > 0).to(leads.dtype))
    return points.mean()


class FeedbackAgent(OfflineAgent, Generic[_Item]):
    """The core of agents that learn from people's feedback on whole texts, without a reward model.

    Where the loss compares with a reference model, that is the model before the first step: what it makes of every
    text is computed once and kept, in checkpoints as well, so that it takes no memory while the agent learns. A
    checkpoint also holds the feedback, as ids: a run that is resumed goes on with what it began with, although a
    project may have grown meanwhile.

    Args:
        model: Trained in place.
        items: Feedback to learn from; without any the agent can act, but not learn.
        held_out: Feedback that the agent is measured on.
        batch_size: Items of feedback (pairs, or labelled texts) per optimizer step.
        learning_rate: Peak learning rate; 5e-7 to 5e-6 is usual for models of a billion weights and more.
        warmup: Warm-up: share of the steps with rising learning rate.
        max_grad_norm: Maximum gradient norm (clipping).
        log_every: Steps between log records.
        seed: Order of the feedback.

    Attributes:
        items, held_out: Feedback to learn from, and to be measured on, as ids.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    wanted = "feedback to learn from"
    facts: ClassVar[AgentFacts] = AgentFacts(
        samples=False,
        labels_option="labels",
        data_option="feedback",
        limits={
            **dict.fromkeys(("learning_rate", "beta"), (_ABOVE_0, math.inf)),
            **dict.fromkeys(("batch_size", "log_every", "labels", "lora_rank"), (1, math.inf)),
            "held_out": (0.0, 0.9),
            "warmup": (0.0, 1.0),
        },
        defaults=RunDefaults(steps=200, save_every=100),
    )
    own_checks: ClassVar[Mapping[str, Check]] = {
        "feedback": optional(fields({"source": text, "digest": text})),
        "held_out": integer,
    }
    parts: ClassVar[int]
    """Number of lists of ids that an item is stored as."""

    def __init__(
        self,
        model: TextModel,
        items: Sequence[_Item] = (),
        held_out: Sequence[_Item] = (),
        *,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        warmup: float = 0.1,
        max_grad_norm: float = 1.0,
        log_every: int = 10,
        seed: int = 0,
    ) -> None:
        self.items, self.held_out = list(items), list(held_out)
        self._references: tuple[Tensor, Tensor] | None = None  # (n, K) and (m, K)
        self._packed: dict[str, Tensor] | None = None
        self._feedback: dict[str, str] | None = None  # where it came from
        texts = [self.texts_of(item) for item in (*self.items, *self.held_out)]
        super().__init__(
            model,
            [len(prompt) + sum(map(len, responses)) for prompt, responses in texts[: len(self.items)]],
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup=warmup,
            max_grad_norm=max_grad_norm,
            log_every=log_every,
            seed=seed,
        )
        if texts:
            pairs = [(len(prompt), max(map(len, responses))) for prompt, responses in texts]
            prompt, response = max(pairs, key=lambda pair: model.context_of(*pair))
            model.require_context(prompt + response, "the longest text of the feedback", response=response)

    # ----------------------------------------------------- what a subclass says
    @abstractmethod
    def texts_of(self, item: _Item) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        """Return the prompt of an item and the responses whose log-probabilities matter."""

    @classmethod
    @abstractmethod
    def encode(cls, records: Sequence[Record], encoder: FeedbackEncoder) -> list[_Item]:
        """Return what records say, as items."""

    @classmethod
    @abstractmethod
    def unpack(cls, tensors: Mapping[str, Tensor], vocabulary: int) -> list[_Item]:
        """Return the items that :meth:`pack` packed."""

    @abstractmethod
    def pack(self, items: Sequence[_Item]) -> dict[str, Tensor]:
        """Return items as tensors by name."""

    @abstractmethod
    def measure(self, items: Sequence[_Item], log_probs: LogProbs, reference: Tensor | None) -> tuple[float, float]:
        """Return the share of held-out items that the agent gets right, and its mean loss on them."""

    @property
    def uses_reference(self) -> bool:
        """Return whether the loss compares with the reference model."""
        return True

    def response_tokens(self) -> int:
        """Return the number of tokens of all responses that the feedback is about."""
        return sum(len(response) for item in self.items for response in self.texts_of(item)[1])

    # -------------------------------------------------------------------- making
    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        feedback: str | Path | Sequence[Record] | None = None,
        labels: int | None = None,
        held_out: float = 0.1,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent that learns from feedback about the task of an environment.

        Args:
            env: Environment of the token grain, single or vector.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            feedback: Feedback: a project of ``textgym feedback``, or a file of any shape; in Python records too. By
                default the reward of the environment compares texts of the start model.
            labels: Number of preferences, or of labelled texts, of the feedback to learn from at most, drawn by the
                seed; by default all. Without feedback: comparisons that the reward makes, by default 500.
            held_out: Share of the prompts held out to measure accuracy on.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Order of the feedback, choice of what is held out, and first weights of adapters.
            device: Where the model runs.
            options: Arguments of the constructor.

        Raises:
            DataError: The feedback expresses nothing to learn from.
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        loaded, task = load_start_model(env, model, device), env_attribute(env, "task")
        budgets = env_attribute(env, "max_prompt_tokens"), env_attribute(env, "max_new_tokens")
        match feedback:
            case None:
                reward, count = env_attribute(env, "reward"), _COMPARISONS if labels is None else labels
                console.remark(
                    f"No {argument('feedback')}: the reward {reward_name(reward)!r} compares {count:,} pairs of texts."
                )
                records: Sequence[Record] = compared_by_reward(
                    loaded, task, reward, count, Sampling(*budgets, seed=seed)
                )
            case str() | Path():
                records = read_feedback(feedback)
            case _:
                records = feedback
        encoder = FeedbackEncoder(task, loaded, budgets[0])
        inside, outside = split_records(records, held_out, seed)
        items = cls.encode(inside, encoder)
        if not items:
            raise DataError(
                f"expected {cls.wanted}, got {len(inside)} records that tell no texts apart (ties, equal grades, or "
                "texts too long for the model); collect other answers"
            )
        if feedback is not None:
            items = draw_some(items, labels, seed)
        if lora_rank is not None:
            loaded.add_lora(lora_rank, seed=seed)
        agent = cls(loaded, items, cls.encode(outside, encoder), seed=seed, **options)
        agent.env = env if isinstance(env, VecEnv) else None
        if isinstance(feedback, str | Path):
            agent._feedback = {"source": str(feedback), "digest": digest_of(records)}
        return agent

    def changed_sources(self) -> list[str]:
        """Return a sentence about the file that the feedback was read from, if it says something else by now."""
        if self._feedback is None or not Path(self._feedback["source"]).is_file():
            return []
        source = self._feedback["source"]
        try:
            unchanged = digest_of(read_feedback(source, quiet=True)) == self._feedback["digest"]
        except TextGymError:
            unchanged = False
        if unchanged:
            return []
        return [
            f"the feedback in {source!r} has changed since the run began, which goes on with the {len(self.items):,} "
            "items that it began with; start a new run to learn from the others"
        ]

    # ----------------------------------------------------------------- reference
    @property
    def references(self) -> tuple[Tensor, Tensor] | None:
        """Log-probabilities under the reference model, (n, K) and held out (m, K); ``None`` if none is used.

        They are computed before the first step, from the model as it is then.
        """
        if self.uses_reference and self._references is None:
            self._references = self._scored(self.items).sums, self._scored(self.held_out).sums
        return self._references

    @torch.no_grad()
    def _scored(self, items: Sequence[_Item]) -> LogProbs:
        """Score items (n, K) by the model as it is, a few at once."""
        texts = [self.texts_of(item) for item in items]
        sizes = [len(responses) * (len(prompt) + max(map(len, responses))) for prompt, responses in texts]
        order, parts = list[int](), list[LogProbs]()
        for rows in length_batches(sizes, _TOKENS_AT_ONCE):
            order += rows
            parts.append(score_responses(self.text_model, [texts[row] for row in rows]))
        if not parts:
            return LogProbs(torch.zeros(0, 2), torch.zeros(0, 2))
        back = torch.tensor(np.argsort(order))
        return LogProbs(*(torch.cat(each)[back.to(each[0].device)] for each in zip(*parts, strict=True)))

    def _reference_of(self, rows: Sequence[int]) -> Tensor | None:
        """Return reference log-probabilities (B, K) of a batch."""
        known = self.references
        return None if known is None else known[0][list(rows)].to(self.text_model.device)

    def measures(self, task: Task) -> dict[str, float | None]:
        """Return the accuracy and the mean loss on held-out feedback, whatever the task; ``None`` where there is none.

        What the agent gets right, :meth:`measure` says; what is equal counts half.
        """
        names = "preference_accuracy", "preference_loss"
        if not self.held_out:
            return dict.fromkeys(names)
        reference = None if self.references is None else self.references[1]
        found = self.measure(self.held_out, self._scored(self.held_out), reference)
        return dict(zip(names, found, strict=True))

    # --------------------------------------------------------------------- state
    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return the feedback, and what the reference model makes of it."""
        tensors = {f"own.{name}": tensor for name, tensor in self._stored_items().items()}
        if self.references is not None:
            tensors["own.references"] = torch.cat([each.cpu() for each in self.references])
        return tensors

    def _stored_items(self) -> dict[str, Tensor]:
        if self._packed is None:
            self._packed = self.pack([*self.items, *self.held_out])
        return self._packed

    def own_record(self) -> StoredRecord:
        """Return where the feedback came from, and how much of it is held out."""
        return {"feedback": self._feedback, "held_out": len(self.held_out)}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Take over what the reference model makes of the feedback, which must be the agent's."""
        stored, own = part(tensors, "own."), self._stored_items()
        if any(name not in stored or not torch.equal(stored[name].cpu(), tensor) for name, tensor in own.items()):
            raise CheckpointError("expected the state of an agent with this feedback, got one with other feedback")
        self._references, self._feedback = None, record["feedback"]
        if self.uses_reference:
            shape = len(self.items) + len(self.held_out), 2
            known = stored.get("references")
            if known is None or tuple(known.shape) != shape or not known.is_floating_point():
                raise CheckpointError(
                    "expected log-probabilities of the reference model in a checkpoint, got none; use another one"
                )
            self._references = known[: len(self.items)], known[len(self.items) :]

    @classmethod
    def remake(cls, model: TextModel, env: Any, settings: Mapping[str, Any], state: State, device: str) -> Self:
        """Make the agent of a checkpoint, with the feedback that stands there."""
        items = cls.unpack(part(state.tensors, "own."), model.vocab_size)
        count = len(items) - state.record["held_out"]
        if not 0 <= count <= len(items):
            raise CheckpointError("expected no more held-out feedback in a checkpoint than feedback, got more")
        agent = cls(model, items[:count], items[count:], **settings)
        agent.env = env if isinstance(env, VecEnv) else None
        return agent


class PairAgent(FeedbackAgent[PreferencePair]):
    """The core of agents that learn from pairs of responses: raise what was chosen above what was rejected.

    A subclass says which rewards a policy implies, and what a pair costs.

    Args:
        model: Trained in place.
        pairs: Preferences to learn from; without any the agent can act, but not learn.
        held_out: Preferences that the agent is measured on.
        beta: Scale of the implied rewards; the larger, the nearer the policy stays to its reference.
        options: Arguments of :class:`FeedbackAgent`.
    """

    wanted = "preferences between two texts"
    settings: ClassVar[Mapping[str, Check]] = {"beta": number, **OfflineAgent.settings}
    parts = 3

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[PreferencePair] = (),
        held_out: Sequence[PreferencePair] = (),
        *,
        beta: float,
        **options: Any,
    ) -> None:
        self.beta = beta
        super().__init__(model, pairs, held_out, **options)

    @property
    def pairs(self) -> list[PreferencePair]:
        """The preferences that the agent learns from."""
        return self.items

    @abstractmethod
    def implied_rewards(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Return the rewards (B, 2) of chosen and rejected responses that the policy implies.

        Args:
            log_probs: Log-probabilities (B, 2) under the policy.
            reference: Sums (B, 2) of the reference model; ``None`` if none is used.
        """

    @abstractmethod
    def pair_losses(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Return what every pair costs, (B,); arguments as of :meth:`implied_rewards`."""

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the mean loss of a batch of pairs."""
        log_probs = score_responses(self.text_model, [self.texts_of(self.items[row]) for row in rows])
        reference = self._reference_of(rows)
        with torch.no_grad():
            statistics = self.statistics(log_probs, reference)
        return self.pair_losses(log_probs, reference).mean(), statistics

    def statistics(self, log_probs: LogProbs, reference: Tensor | None) -> dict[str, Tensor]:
        """Return the scalars to log of a batch."""
        rewards, sums = self.implied_rewards(log_probs, reference).unbind(1), log_probs.sums.unbind(1)
        found = {
            "accuracy": share_right(rewards[0] - rewards[1]),
            "margin": (rewards[0] - rewards[1]).mean(),
            "reward_chosen": rewards[0].mean(),
            "reward_rejected": rewards[1].mean(),
            "log_prob_chosen": sums[0].mean(),
            "log_prob_rejected": sums[1].mean(),
        }
        if reference is not None:
            # E_ref[log ref - log pi], if the responses are the reference's own
            found["forward_kl"] = (reference - log_probs.sums).mean()
        return found

    def measure(
        self, items: Sequence[PreferencePair], log_probs: LogProbs, reference: Tensor | None
    ) -> tuple[float, float]:
        """Return how often the chosen response has the higher implied reward, and the mean loss."""
        reference = None if reference is None else reference.to(log_probs.sums.device)
        chosen, rejected = self.implied_rewards(log_probs, reference).unbind(1)
        return share_right(chosen - rejected).item(), self.pair_losses(log_probs, reference).mean().item()

    def texts_of(self, item: PreferencePair) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        """Return the prompt, and both responses."""
        return item.prompt, (item.chosen, item.rejected)

    @classmethod
    def encode(cls, records: Sequence[Record], encoder: FeedbackEncoder) -> list[PreferencePair]:
        """Return the preferences that records express."""
        return encode_preferences(records, encoder)

    def pack(self, items: Sequence[PreferencePair]) -> dict[str, Tensor]:
        """Return pairs as tensors by name."""
        return pack_ids(items)

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], vocabulary: int) -> list[PreferencePair]:
        """Return the pairs that :meth:`pack` packed."""
        return [PreferencePair(*row) for row in unpack_ids(tensors, cls.parts, vocabulary)]
