"""The core of on-policy algorithms over text: rollouts, KL penalty, micro-batches, records, exact resume."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import LinearSchedule, explained_variance
from torch import Tensor, nn

from textgym.agents.common.health import clip_gradients, require_finite
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import adapt_kl_coef, kl_estimates, require_adaptable, scale_rewards
from textgym.agents.common.metrics import describe_texts, mean
from textgym.agents.common.on_policy_state import ResumableOnPolicyAlgorithm
from textgym.agents.common.policies import require_policy
from textgym.agents.common.reference import Reference
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer, EpisodeSamples, Segment, split_segments
from textgym.agents.common.rollout_plans import UNFINISHED_TEXTS, UnfinishedTexts, require_plan
from textgym.agents.common.text_agent import require_steps
from textgym.agents.common.text_rollout import TextRolloutAlgorithm
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.facts import AgentFacts
from textgym.checks import check_ranges
from textgym.models.loading import load_language_model
from textgym.models.stored_values import Check, number, one_of, optional, positive, truth
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.types import FloatArray

_ABOVE_0 = math.nextafter(0, 1)
_POSITIVE = ("learning_rate", "kl_target", "kl_horizon", "clip_reward", "temperature")
_NOT_NEGATIVE = ("kl_coef", "missing_eos_penalty", "vf_coef", "ent_coef", "max_grad_norm")
_OPTIONAL = (
    *("n_steps", "rollout_texts", "micro_batch_size", "kl_target", "clip_reward"),
    *("target_kl", "clip_range_vf", "clip_range_high"),
)
_COUNTS = (
    *("n_steps", "rollout_texts", "batch_size", "micro_batch_size", "n_epochs", "lora_rank"),
    *("n_minibatches", "group_size"),
)


class OnPolicyAgent(TextRolloutAlgorithm):
    """The core of on-policy algorithms that fine-tune a language model on a token-level text environment.

    The reward of token t is ``score_t - kl_coef * (log pi(a_t) - log ref(a_t))``, where ``score_t`` is the
    environment's reward, which comes with the last token (Ziegler et al. 2019, arXiv:1909.08593, eq. 2). A subclass
    says how the policy learns from a rollout: ``train``, and :meth:`loss`, whose gradients the core accumulates.
    Callbacks and logging are those of Stable-Baselines3.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), or its id, of which one copy is made.
        learning_rate: Peak learning rate: a number decays linearly to 0 over the run, a schedule is used as it is.
        n_steps: Tokens per environment and rollout; by default the maximum response length.
        rollout_texts: Complete responses per rollout, instead of ``n_steps`` tokens: a multiple of the number of
            environments, each of which writes its share, beginning with a new prompt. What an environment writes beyond
            its share is not used.
        unfinished_texts: Treatment of texts that the end of ``n_steps`` steps finds unfinished: ``"bootstrap"`` lets a
            value stand for what they would still get; ``"drain"`` finishes them, and begins no new ones from some step
            on; ``"carry"`` goes on in the next rollout, and learns from them when they end, with the log-probabilities
            and values of when their tokens were sampled; ``"carry_recompute"`` with those of the current policy.
        batch_size: Approximate number of transitions (tokens) per minibatch; whole episodes are kept together.
        gamma: Discount factor; 1 is usual for text.
        gae_lambda: Lambda of generalized advantage estimation, which trades bias for variance.
        ent_coef: Entropy bonus coefficient.
        vf_coef: Value loss coefficient, where values are learned.
        max_grad_norm: Maximum gradient norm (clipping).
        kl_coef: KL penalty coefficient.
        kl_target: Target KL (nats per response); enables the adaptive coefficient, which starts at ``kl_coef``.
        kl_horizon: Horizon of the adaptive coefficient: responses over which it may change by about 20 %.
        reference_model: Reference model for the KL penalty: name or folder of a model with the policy's architecture;
            by default the model that training starts from.
        missing_eos_penalty: Penalty for a response that does not end within the token budget.
        scale_rewards: Divide scores by their standard deviation in the first rollout (the mean is not shifted). The
            scale is then fixed, because the value head learns it.
        clip_reward: Clip scores to plus or minus this.
        recompute_log_probs: Recompute the log-probabilities of a rollout with the training forward pass before an
            update; by default only in half precision, where cached decoding and the training pass differ visibly.
        micro_batch_size: Transitions per forward and backward pass; gradients are accumulated. Saves memory.
        shard: Share out weights, gradients and moments of updates over the processes (FSDP2), for models whose update
            does not fit one. A whole copy of the weights, which writes the texts, stays in each.
        tensorboard_log, policy_kwargs, verbose, seed, device, stats_window_size: See Stable-Baselines3.

    Attributes:
        reference: The model that the KL penalty is to.
        reference_log_probs: (T, B) its log-probabilities of the rollout's tokens.
    """

    facts: ClassVar[AgentFacts] = AgentFacts(
        not_options=("policy", "policy_kwargs", "tensorboard_log", "verbose", "stats_window_size"),
        reference_option="reference_model",
        policy=LanguageModelPolicy,
        limits={
            **dict.fromkeys(_POSITIVE, (_ABOVE_0, math.inf)),
            **dict.fromkeys(_COUNTS, (1, math.inf)),
            **dict.fromkeys(("gamma", "gae_lambda"), (0.0, 1.0)),
        },
        check=lambda options: require_adaptable(options["kl_coef"], options["kl_target"]),
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **ResumableOnPolicyAlgorithm.settings,
        "rollout_texts": optional(positive),
        "unfinished_texts": one_of(*UNFINISHED_TEXTS),
        "batch_size": positive,
        "kl_coef": number,
        "kl_target": optional(number),
        "kl_horizon": number,
        "missing_eos_penalty": number,
        "scale_rewards": truth,
        "clip_reward": optional(number),
        "recompute_log_probs": optional(truth),
        "micro_batch_size": optional(positive),
        "shard": truth,
    }
    adapted: ClassVar[tuple[str, ...]] = ("kl_coef",)
    counters: ClassVar[Mapping[str, Check]] = {
        **ResumableOnPolicyAlgorithm.counters,
        "_values_are_centered": truth,
        "_score_spread": optional(number),
    }
    reference: Reference
    reference_log_probs: FloatArray

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        gae_lambda: float,
        learning_rate: float | Schedule = 1e-4,
        n_steps: int | None = None,
        rollout_texts: int | None = None,
        unfinished_texts: UnfinishedTexts = "bootstrap",
        batch_size: int = 768,
        gamma: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.1,
        max_grad_norm: float = 1.0,
        kl_coef: float = 0.05,
        kl_target: float | None = None,
        kl_horizon: float = 10_000.0,
        reference_model: str | None = None,
        missing_eos_penalty: float = 0.0,
        scale_rewards: bool = False,
        clip_reward: float | None = None,
        recompute_log_probs: bool | None = None,
        micro_batch_size: int | None = None,
        shard: bool = False,
        tensorboard_log: str | Path | None = None,
        policy_kwargs: dict[str, object] | None = None,
        stats_window_size: int = 100,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        require_policy(policy)
        if isinstance(env, str):
            env = make_vec_env(env)
        # Plain floats, because a checkpoint holds such, and arithmetic in a numpy type would give other numbers.
        self.kl_coef, self.kl_horizon = float(kl_coef), float(kl_horizon)
        self.kl_target = None if kl_target is None else float(kl_target)
        self.missing_eos_penalty, self.scale_rewards, self.clip_reward = missing_eos_penalty, scale_rewards, clip_reward
        self.recompute_log_probs, self.reference_model = recompute_log_probs, reference_model
        self.rollout_texts, self.batch_size, self.micro_batch_size = rollout_texts, batch_size, micro_batch_size
        self.unfinished_texts, self.shard = unfinished_texts, shard
        self._begin_records()
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            learning_rate=learning_rate if callable(learning_rate) else LinearSchedule(learning_rate, 0.0, 1.0),
            n_steps=n_steps,  # type: ignore[arg-type]  # known when there is an environment
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            rollout_buffer_class=EpisodeRolloutBuffer,
            rollout_buffer_kwargs={"ranks": self.ranks},
            stats_window_size=stats_window_size,
            tensorboard_log=None if tensorboard_log is None else str(tensorboard_log),
            # clip_gradients, which every step passes, looks at the norm already.
            policy_kwargs={"step_check": None, **(policy_kwargs or {})},
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self._check_settings()
        if _init_setup_model:
            self._setup_model()

    def _begin_records(self) -> None:
        """Set up what is measured, and what the first rollouts decide."""
        super()._begin_records()
        self._metrics: dict[str, float] = {}
        self._values_are_centered = False
        self._score_spread: float | None = None
        self._largest_reward = 0.0

    def _check_settings(self) -> None:
        """Refuse numbers out of range before they cost a rollout.

        Raises:
            ValueError: One of them is.
        """
        limits = dict.fromkeys(_NOT_NEGATIVE, (0.0, math.inf)) | dict(self.facts.limits)
        values = {name: value for name, value in vars(self).items() if not callable(value)}  # schedules are
        check_ranges(values, limits, counts=_COUNTS, may_lack=_OPTIONAL)
        require_adaptable(self.kl_coef, self.kl_target)

    def _setup_model(self) -> None:
        self.n_steps = require_steps(self.n_steps, self.env)
        require_plan(self.unfinished_texts, self.rollout_texts)
        if self.rollout_texts is not None and self.rollout_texts % self.all_envs:
            raise ValueError(
                f"expected {argument('rollout_texts')} to be a multiple of the {self.all_envs} environments, got "
                f"{self.rollout_texts}; each writes as many"
            )
        super()._setup_model()
        self.reference = Reference(self.policy)
        if self.reference_model is not None:
            self.set_reference(load_language_model(self.reference_model, device=self.device))
        if self.shard and self.ranks.size > 1:
            self._share_out()

    def _share_out(self) -> None:
        """Let updates run on weights that are shared out over the processes.

        Raises:
            ValueError: The policy trains adapters, or is compiled.
        """
        from textgym.agents.common.sharding import Shards  # which takes long to import

        policy = self.policy
        if policy.model.adapter is not None or policy.options.compile:
            raise ValueError(
                f"expected {argument('shard')} for a policy that trains all weights and is not compiled, got another; "
                f"leave out {argument('lora_rank')} and {argument('compile')}, or {argument('shard')}"
            )
        names = ("model", "value_head", *(() if policy.critic is None else ("critic",)))
        self.shards = Shards({name: getattr(policy, name) for name in names}, self.ranks)
        settings = {"lr": self.lr_schedule(1), **policy.optimizer_kwargs}
        policy.optimizer = policy.optimizer_class(self.shards.parameters(), **settings)

    @property
    def steps_per_iteration(self) -> int:
        """Tokens of one rollout; of ``rollout_texts`` whole texts, the most that they can have."""
        return super().steps_per_iteration if self.rollout_texts is None else self.rollout_texts * self.longest_text

    @property
    def longest_text(self) -> int:
        """The most tokens that can be written in an episode, in all of its turns."""
        try:
            turns = int(self.env.get_attr("task")[0].max_turns)  # type: ignore[union-attr]
        except AttributeError:  # an environment of somebody else, or none
            turns = 1
        return turns * self._longest_response()

    @property
    def frozen_network(self) -> nn.Module | None:
        """The reference model; ``None`` where it is the policy's own without its adapters."""
        return self.reference.network

    def set_reference(self, model: TextModel) -> None:
        """Let the KL penalty be to ``model`` from now on, instead of to the policy that training started from.

        Raises:
            ModelError: It has not the policy's architecture, or the policy trains adapters, whose reference is the
                model without them.
        """
        self.reference.replace(model)

    # ----------------------------------------------------------------- rewards
    def shape_rewards(self) -> None:
        """Rewards <- scores - kl_coef * (log pi - log ref), then returns and advantages again."""
        buffer = self.rollout_buffer
        reference = self.reference_log_probs = self._score_rollout(self.reference.log_probs)
        self._renew_log_probs()
        log_probs = buffer.log_probs.astype(np.float64)
        kl = kl_estimates(log_probs, np.where(buffer.counted, reference, log_probs))
        self.reference.check_start(kl.k1)
        scores = self._scores(buffer.rewards.astype(np.float64))
        texts = len(self._of_ends(scores))
        penalty = self.kl_coef * kl.k1 if self.penalizes_rewards else 0.0
        buffer.rewards = (scores - penalty).astype(np.float32)
        if texts and self.learns_values and not self._values_are_centered:
            self._center_values(scores)
        self._record_rollout(kl.k1, kl.k3, self.estimate_advantages())
        if self.kl_target is not None and texts:
            self.kl_coef = adapt_kl_coef(self.kl_coef, self._metrics["kl"], self.kl_target, texts, self.kl_horizon)

    def _renew_log_probs(self) -> None:
        """Recompute log-probabilities before the update, where that is wanted; of tokens that were carried, values too.

        Other tokens that were carried keep those of the policy that sampled them, which is gone.
        """
        buffer, recompute = self.rollout_buffer, self.recompute_log_probs
        stale = buffer.ages > 0
        if recompute or (recompute is None and self.policy.model.rounds_to_half):
            own = self._score_rollout(self.policy.log_probs)
            buffer.log_probs = np.where(stale, buffer.log_probs, own.astype(np.float32))
        if self.unfinished_texts == "carry_recompute":
            self._rescore(stale)

    def estimate_advantages(self) -> Mapping[str, float]:
        """Compute the advantages (T, B) in the buffer from its rewards: by default generalized advantage estimation.

        Statistics over the whole rollout belong here; those over an optimizer step in :meth:`scaled_advantages`.

        Returns:
            Numbers to log, by name.
        """
        self.rollout_buffer.recompute_returns()
        return {}

    @property
    def penalizes_rewards(self) -> bool:
        """Return whether the KL penalty is part of the rewards; otherwise :meth:`loss` may have it."""
        return True

    @property
    def learns_values(self) -> bool:
        """Return whether the value head is trained, so that it starts at the mean score."""
        return True

    def _center_values(self, scores: FloatArray) -> None:
        """Start the value head at the mean score of the first texts that are finished.

        Texts that the end of the rollout cut have values for returns. At 0, far from the scores, these would give them
        large advantages of one sign, and the first updates would follow those instead of the reward.
        """
        average = float(np.mean(self._of_ends(scores)))
        self.policy.value_head.bias.data += average
        self.rollout_buffer.shift_values(average)
        self._values_are_centered = True

    def _of_ends(self, numbers: FloatArray) -> FloatArray:
        """Numbers (n,) of the last tokens of finished texts, in all processes, given those of all tokens, (T, B)."""
        ends = [numbers[step, env] for step, env, _ in self.finished]
        return self.everywhere(np.array(ends, dtype=np.float64))

    def _scores(self, rewards: FloatArray) -> FloatArray:
        """Terminal scores (T, B), scaled and clipped, minus what a missing EOS costs."""
        first = self._of_ends(rewards)
        if len(first) and self.scale_rewards and self._score_spread is None:
            # Scores that differ by less than a thousandth of their size are all the same score.
            varied = float(first.std()) > 1e-3 * max(1e-3, float(np.abs(first).max()))
            self._score_spread = float(first.std()) if varied else None
        rewards = scale_rewards(rewards, self._score_spread, self.clip_reward)
        for step, env, info in self.finished:
            if info.get("finish_reason") == "length":
                rewards[step, env] -= self.missing_eos_penalty
        self._largest_reward = float(np.abs(rewards).max(initial=0.0))
        return rewards

    # ------------------------------------------------------------------ update
    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimize, a mean over the tokens (N,) of ``sample``, and statistics, scalars.

        Both are averaged over the micro-batches of an optimizer step, by :meth:`size`, and statistics over the steps;
        of those called ``..._max`` the largest is taken.
        """
        raise NotImplementedError

    def size(self, sample: EpisodeSamples) -> int:
        """Return the weight of a micro-batch in a mean over several: the number of things that :meth:`loss` is over."""
        return len(sample.actions)

    def scaled_advantages(self, advantages: Tensor) -> Tensor:
        """Advantages (N,) of one optimizer step, as :meth:`loss` gets them: centred, say."""
        return advantages

    @contextmanager
    def updating(self) -> Iterator[list[dict[str, float]]]:
        """Around ``train``: modes, learning rate, times; yields the list that statistics of steps go to."""
        self._is_updating = True
        steps: list[dict[str, float]] = []
        stands_in = nullcontext() if self.shards is None else self.shards.standing_in(self.policy)
        with self._timed("update"), stands_in:
            self.policy.set_training_mode(True)
            self._update_learning_rate(self.policy.optimizer)
            yield steps
        self._record_update(steps)
        self._snapshot, self._is_updating = None, False

    def accumulate_gradients(self, members: list[Segment], at_once: int | None = None) -> dict[str, float]:
        """Compute the gradients of :meth:`loss` over one minibatch, in micro-batches.

        Args:
            members: The minibatch.
            at_once: Transitions per forward and backward pass; ``micro_batch_size`` counts if given; neither: all.

        Returns:
            Statistics of the loss, means over the tokens, and ``"loss"``.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        self.policy.optimizer.zero_grad(set_to_none=True)
        at_once = self.micro_batch_size or at_once
        chunks = list(split_segments(members, at_once)) if at_once else [members]
        samples = [self.rollout_buffer.samples(chunk) for chunk in chunks]
        everywhere, own = self.ranks.concatenate(torch.cat([sample.advantages for sample in samples]))
        advantages = self.scaled_advantages(everywhere)[own]  # their statistics are of all processes
        parts, sizes = advantages.split([len(sample.actions) for sample in samples]), list(map(self.size, samples))
        in_all = int(self.everywhere(np.array(sizes)).sum())
        # Where weights are shared out, all processes gather them as often: some read a text once more, for nothing.
        idle = 0 if self.shards is None else int(self.everywhere(np.array([len(sizes)])).max()) - len(sizes)
        total: dict[str, float] = defaultdict(float)
        for place, size in (*enumerate(sizes), *[(0, 0)] * idle):
            share = size / in_all
            loss, statistics = self.loss(samples[place], parts[place])
            (loss * share).backward()
            for name, value in _numbers({"loss": loss, **statistics}).items():
                total[name] = max(total[name], value) if name.endswith("_max") else total[name] + share * value
        total = _combined(self.ranks.all_gather_json(total))
        require_finite("loss", total["loss"], self._largest_reward)
        return total

    def step_optimizer(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Add up the gradients of all processes, clip them, and step along them.

        Returns:
            ``statistics``, and the norm of the gradients before.

        Raises:
            FloatingPointError: A gradient is not finite; the weights stay as they are.
        """
        if self.shards is None:  # whose gradients are added up as soon as they are there
            self.ranks.sum_gradients(self.policy.parameters())
        norm = clip_gradients(self.policy.parameters(), self.max_grad_norm, self._largest_reward)
        self.policy.optimizer.step()
        return {**statistics, "grad_norm": norm}

    # ----------------------------------------------------------------- records
    def _record_rollout(self, k1: FloatArray, k3: FloatArray, more: Mapping[str, float]) -> None:
        infos, counted = self._infos(), self.rollout_buffer.counted
        length = self._mean_length()
        # Per token times tokens per text: the rollout holds pieces of texts too, which a sum over texts would miscount.
        tokens = float(self.n_steps) if length is None else length
        metrics = {
            "kl": float(self.everywhere(k1[counted]).mean()) * tokens,
            "kl_k3": float(self.everywhere(k3[counted]).mean()) * tokens,
            "kl_coef": self.kl_coef,
            "texts": float(len(infos)),
        }
        if self.kl_target is not None:
            metrics["kl_target"] = self.kl_target
        if self.learns_values:
            errors = self.everywhere(self.rollout_buffer.advantages[counted])
            metrics["value_error"] = float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))
        if length is not None:
            metrics |= describe_texts(infos) | {"length": length}
        self._metrics = {**metrics, **self._describe_unfinished(), **more}

    def _record_update(self, steps: list[dict[str, float]]) -> None:
        buffer, metrics = self.rollout_buffer, self._metrics
        for name in steps[0] if steps else ():
            values = [step[name] for step in steps]
            metrics[name] = max(values) if name.endswith("_max") else mean(values)
        if self.learns_values:
            predicted, returns = (self.everywhere(each[buffer.counted]) for each in (buffer.values, buffer.returns))
            metrics["explained_variance"] = float(explained_variance(predicted, returns))
        self._end_record(metrics)


def _combined(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Statistics of an optimizer step, given those of all processes, each by its share in the step."""
    first, *others = parts
    for other in others:
        first = {
            name: max(value, other[name]) if name.endswith("_max") else value + other[name]
            for name, value in first.items()
        }
    return first


def _numbers(statistics: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars on the device as numbers, in one transfer."""
    with torch.no_grad():
        numbers = torch.stack([value.detach().float() for value in statistics.values()]).tolist()
    return dict(zip(statistics, numbers, strict=True))
