"""Proximal policy optimization of a language model: Stable-Baselines3's PPO plus what text needs."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import LinearSchedule, explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.episode_batch import EpisodeBatch
from textgym.agents.common.first_ratio import KL, check_equal
from textgym.agents.common.health import Watch, clip_gradients, require_finite
from textgym.agents.common.losses import (
    adapt_kl_coef,
    clipped_policy_loss,
    clipped_value_loss,
    kl_estimates,
    normalize_advantages,
    require_adaptable,
    scale_rewards,
    token_numbers,
)
from textgym.agents.common.metrics import describe_texts, mean
from textgym.agents.common.on_policy_state import load_ppo, save_ppo
from textgym.agents.common.prompt_sharing import hidden_states
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer, Segment, split_segments
from textgym.errors import ModelError
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.sampling import log_probs_of
from textgym.models.weights import WeightsWatch
from textgym.types import FloatArray

_LARGE_ERROR = 30.0  # of the values, on average: at it the policy moves about half as far as with rewards of order 1


class PPO(stable_baselines3.PPO):
    """PPO with a KL penalty to the model training started from (Ziegler et al. 2019, arXiv:1909.08593).

    The reward of token t is ``score_t - kl_coef * (log pi(a_t) - log ref(a_t))``, where ``score_t`` is the
    environment's reward, which comes with the last token. Everything that is not listed here is Stable-Baselines3's.

    Args:
        policy: :class:`CausalLMPolicy` or its name.
        env: Token-level text environment (``make_vec_env``).
        learning_rate: A number decays linearly to 0 over the run; a schedule is used as it is.
        n_steps: Tokens per environment and rollout.
        batch_size: Transitions per optimizer step, about; whole episodes are kept together.
        n_epochs: Passes over a rollout.
        gamma, gae_lambda: 1 and 0.95, usual for text.
        clip_range: Clipping of the probability ratio.
        clip_range_vf: Clipping of the value change (the larger loss of both branches); ``None`` for none. A value can
            then not follow returns that are far from it: use it with rewards of order 1 around 0.
        normalize_advantage: Normalise advantages over the tokens of a minibatch: mean 0 and, unless ``whiten_rewards``
            has set the scale, standard deviation 1.
        ent_coef, vf_coef, max_grad_norm: Weights of entropy and value loss, and the largest gradient norm.
        kl_coef: Weight of the KL penalty.
        kl_target: Hold the KL per text (nats) near this by adapting ``kl_coef``, then above 0; ``None``: it is fixed.
        kl_horizon: Texts over which ``kl_coef`` may change by about 20 %.
        missing_eos_penalty: Charged to a text that the token budget cut.
        whiten_rewards: Divide scores by the standard deviation that those of the first rollout have (the mean is not
            shifted). The scale stays, because the value head learns it.
        clip_reward: Clip scores to plus or minus this.
        recompute_log_probs: Score the rollout again with the training forward before updating. Default: only in half
            precision, where cached decoding and the training forward differ visibly.
        micro_batch_size: Transitions per forward and backward pass, for memory; gradients are accumulated.
        target_kl: Stop the epochs when the update moved further than 1.5 times this.
        tensorboard_log, policy_kwargs, verbose, seed, device, stats_window_size: As in Stable-Baselines3.

    Attributes:
        history: One record (name -> number) per iteration.
        finished: Terminal infos of the last rollout: texts, rewards by name, finish reasons.
        seconds: Time of the last iteration by part: rollout, reference, update.
    """

    rollout_buffer: EpisodeRolloutBuffer
    policy: CausalLMPolicy
    policy_aliases = {"CausalLMPolicy": CausalLMPolicy}  # noqa: RUF012

    def __init__(
        self,
        policy: str | type[CausalLMPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int = 48,
        batch_size: int = 768,
        n_epochs: int = 4,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        *,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 1.0,
        kl_coef: float = 0.05,
        kl_target: float | None = None,
        kl_horizon: float = 10_000.0,
        missing_eos_penalty: float = 0.0,
        whiten_rewards: bool = False,
        clip_reward: float | None = None,
        recompute_log_probs: bool | None = None,
        micro_batch_size: int | None = None,
        target_kl: float | None = None,
        tensorboard_log: str | Path | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        # Plain floats, because a checkpoint holds such, and arithmetic in a numpy type would give other numbers.
        self.kl_coef, self.kl_horizon = float(kl_coef), float(kl_horizon)
        self.kl_target = None if kl_target is None else float(kl_target)
        self.missing_eos_penalty = missing_eos_penalty
        self.whiten_rewards, self.clip_reward = whiten_rewards, clip_reward
        self.recompute_log_probs, self.micro_batch_size = recompute_log_probs, micro_batch_size
        self._check_settings()
        self._begin_records()
        with warnings.catch_warnings():
            # Minibatches hold whole episodes, so the buffer size need not be a multiple of the batch size.
            warnings.filterwarnings("ignore", message="(?s).*mini-batch size.*")
            super().__init__(
                policy,
                env,  # type: ignore[arg-type]
                learning_rate=LinearSchedule(learning_rate, 0.0, 1.0) if not callable(learning_rate) else learning_rate,
                n_steps=n_steps,
                batch_size=batch_size,
                n_epochs=n_epochs,
                gamma=gamma,
                gae_lambda=gae_lambda,
                clip_range=clip_range,
                clip_range_vf=clip_range_vf,
                normalize_advantage=normalize_advantage,
                ent_coef=ent_coef,
                vf_coef=vf_coef,
                max_grad_norm=max_grad_norm,
                rollout_buffer_class=EpisodeRolloutBuffer,
                target_kl=target_kl,
                stats_window_size=stats_window_size,
                tensorboard_log=None if tensorboard_log is None else str(tensorboard_log),
                policy_kwargs=policy_kwargs,
                verbose=verbose,
                seed=seed,
                device=device,
                _init_setup_model=_init_setup_model,
            )

    def _begin_records(self) -> None:
        """Set up what is measured, and what the first rollouts decide."""
        self.history: list[dict[str, float]] = []
        self.finished: list[tuple[int, int, dict[str, Any]]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self._reference: CausalLM | None = None
        self._metrics: dict[str, float] = {}
        self._values_are_centered = False
        self._score_spread: float | None = None
        self._watch, self._largest_reward, self._scale_is_told = Watch(), 0.0, False
        self._start: WeightsWatch | None = None  # of the weights that the policy shares with its reference at first
        self._tokens_so_far = np.zeros(0, dtype=np.int64)  # (n_envs,) of the texts that the next rollout goes on with

    def _check_settings(self) -> None:
        """Refuse numbers out of range before they cost a rollout.

        Raises:
            ValueError: One of them is.
        """
        for name, least, optional in (
            ("kl_coef", 0.0, False),
            ("kl_target", math.nextafter(0, 1), True),
            ("kl_horizon", math.nextafter(0, 1), False),
            ("missing_eos_penalty", 0.0, False),
            ("clip_reward", math.nextafter(0, 1), True),
            ("micro_batch_size", 1, True),
        ):
            value = getattr(self, name)
            if not (optional if value is None else least <= value < math.inf):
                bound = "above 0" if 0 < least < 1 else f"of at least {least:g}"
                raise ValueError(f"expected {name} {bound}, got {value}; choose another{' or leave it out' * optional}")
        require_adaptable(self.kl_coef, self.kl_target)

    def _setup_model(self) -> None:
        super()._setup_model()
        self.policy.step_check.remove()  # clip_gradients, which every step passes, looks at the norm already
        self._tokens_so_far = np.zeros(self.n_envs, dtype=np.int64)
        if self.policy.model.adapter is None:
            self._reference = copy.deepcopy(self.policy.model).eval().requires_grad_(False)
            if self.policy.options.compile:
                self._reference.compile_trunk()
        elif self.policy.options.lora_rank is None:  # an adapter that was trained before: it is the start
            self.policy.model.remember_start()
        self._start = WeightsWatch(self.policy.model)
        self._start_values = torch.cat(self._start.probes)

    def set_reference(self, model: CausalLM) -> None:
        """Let the KL penalty be to ``model`` from now on, instead of to the policy that training started from.

        Raises:
            ModelError: It has not the policy's architecture, or the policy trains adapters, whose reference is the
                model without them.
        """
        if self._reference is None:
            raise ModelError(
                "expected a policy that trains its own weights, got adapters; merge them or leave them out"
            )
        try:
            self._reference.load_state_dict(model.state_dict())
        except RuntimeError as error:
            raise ModelError(
                f"expected a reference of the policy's architecture, got {model.source!r} ({error}); choose another"
            ) from None
        self._start = None  # the policy does not start as its reference

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # Stable-Baselines3 counts the rollout just made, so that a rate that decays to 0 wastes the last iteration.
        super()._update_current_progress_remaining(num_timesteps - self.n_steps * self.n_envs, total_timesteps)

    # ----------------------------------------------------------------- rollout
    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Collect a rollout as Stable-Baselines3 does, then put the KL penalty into its rewards."""
        self.finished, self._rollout_step = [], 0
        self.seconds = defaultdict(float)
        with self._timed("rollout"):
            # A separate critic's pass over whole texts costs less than one per token, and nobody needs values before.
            if self.policy.critic is not None:
                self.policy.values_come_later, self.rollout_buffer.late_values = True, self._late_values
            try:
                going_on = super().collect_rollouts(*args, **kwargs)
            finally:
                self.policy.values_come_later, self.policy.ended = False, None
        if going_on:
            with self._timed("reference"):
                self._shape_rewards()
        return going_on

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        super()._update_info_buffer(infos, dones)
        for env in np.flatnonzero(dones) if dones is not None else ():
            self.finished.append((self._rollout_step, int(env), infos[env]))
        self._rollout_step += 1
        # Stable-Baselines3 now asks for the values after the last step. Where a text has ended, that is the value of
        # the next prompt, which counts for nothing; where all have, to read these takes a fifth of a rollout. (With a
        # single environment it may ask for the value of a truncated text first.)
        if self._rollout_step == self.n_steps and self.n_envs > 1 and dones is not None:
            self.policy.ended = np.asarray(dones, dtype=bool)

    def _shape_rewards(self) -> None:
        """Rewards <- scores - kl_coef * (log pi - log ref), then returns and advantages anew."""
        buffer = self.rollout_buffer
        reference = self._score_rollout(self._reference_log_probs)
        recompute = self.recompute_log_probs
        if recompute or (recompute is None and self.policy.model.rounds_to_half):
            buffer.log_probs = self._score_rollout(self._log_probs).astype(np.float32)
        kl = kl_estimates(buffer.log_probs.astype(np.float64), reference)
        self._check_start(kl.k1)
        scores = self._scores(buffer.rewards.astype(np.float64))
        buffer.rewards = (scores - self.kl_coef * kl.k1).astype(np.float32)
        if self.finished and not self._values_are_centered:
            self._center_values(scores)
        buffer.recompute_returns()
        self._look_at_scale()
        self._record_rollout(kl.k1, kl.k3)
        if self.kl_target is not None and self.finished:
            self.kl_coef = adapt_kl_coef(
                self.kl_coef, self._metrics["kl"], self.kl_target, len(self.finished), self.kl_horizon
            )

    def _center_values(self, scores: FloatArray) -> None:
        """Start the value head at the mean score of the first texts that are finished.

        Texts that the end of the rollout cut have values for returns. At 0, far from the scores, these would praise or
        blame them, and the first updates would follow that instead of the reward.
        """
        mean = float(np.mean([scores[step, env] for step, env, _ in self.finished]))
        self.policy.value_head.bias.data += mean
        self.rollout_buffer.shift_values(mean)
        self._values_are_centered = True

    def _check_start(self, k1: FloatArray) -> None:
        """Before the first update the KL is 0, if nobody changed the policy or its reference since it was built."""
        start, self._start = self._start, None
        if start is not None and not start.sees_change() and torch.equal(torch.cat(start.probes), self._start_values):
            check_equal(torch.from_numpy(k1), self.policy.model, KL, self.policy.options.tolerate_mismatch)

    def _look_at_scale(self) -> None:
        """Warn, once, of rewards whose value loss takes up the gradient: it is clipped as a whole."""
        error = float(np.sqrt(np.mean(np.square(self.rollout_buffer.advantages, dtype=np.float64))))
        if error > _LARGE_ERROR and not self._scale_is_told:
            self._scale_is_told = True
            warnings.warn(
                f"expected rewards of order 1, got some that are {error:.1e} off their predicted values: the value "
                f"loss then fills the gradient, which is clipped at {self.max_grad_norm:g}, and the policy hardly "
                "moves; divide the reward, or pass whiten_rewards=True (textgym train --whiten-rewards)",
                stacklevel=2,
            )

    def _scores(self, rewards: FloatArray) -> FloatArray:
        """Terminal scores (T, B), scaled and clipped, minus what a missing EOS costs."""
        ends = [(step, env) for step, env, _ in self.finished]
        if ends and self.whiten_rewards and self._score_spread is None:
            first = np.array([rewards[end] for end in ends])
            # Scores that differ by less than a thousandth of their size are all the same score.
            varied = float(first.std()) > 1e-3 * max(1e-3, float(np.abs(first).max()))
            self._score_spread = float(first.std()) if varied else None
        rewards = scale_rewards(rewards, self._score_spread, self.clip_reward)
        for step, env, info in self.finished:
            if info.get("finish_reason") == "length":
                rewards[step, env] -= self.missing_eos_penalty
        self._largest_reward = float(np.abs(rewards).max(initial=0.0))
        return rewards

    @torch.no_grad()
    def _score_rollout(self, score: Callable[..., Tensor]) -> FloatArray:
        """Numbers (T, B) of the transitions, ``score(batch, actions)`` of passes over whole texts."""
        buffer = self.rollout_buffer
        numbers = np.zeros(buffer.actions.shape[:2], dtype=np.float64)
        # Texts of similar length together: less padding.
        segments = sorted(buffer.segments(), key=lambda s: len(s.prefix) + s.stop - s.start)
        for members in split_segments(segments, self.micro_batch_size or self.batch_size):
            batch, index = buffer.episode_batch(members)
            actions = torch.from_numpy(buffer.actions.reshape(-1)[index]).to(self.device)
            numbers.reshape(-1)[index] = score(batch, actions).flatten().cpu().numpy()
        return numbers

    def _late_values(self) -> FloatArray:
        self.policy.values_come_later = False
        return self._score_rollout(lambda batch, actions: self.policy.critic_values(batch))

    def _log_probs(self, batch: EpisodeBatch, actions: Tensor, network: CausalLM | None = None) -> Tensor:
        network = network or self.policy.model
        return log_probs_of(self.policy.action_logits(hidden_states(network, batch), network), actions)

    def _reference_log_probs(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        if self._reference is not None:
            return self._log_probs(batch, actions, self._reference)
        with self.policy.model.as_start():
            return self._log_probs(batch, actions)

    # ------------------------------------------------------------------ update
    def train(self) -> None:
        """Update the policy on the rollout."""
        with self._timed("update"):
            self.policy.set_training_mode(True)
            self._update_learning_rate(self.policy.optimizer)
            steps: list[dict[str, float]] = []
            for _ in range(self.n_epochs):
                going_on = self._train_epoch(steps)
                self._n_updates += 1
                if not going_on:
                    break
        self._record_update(steps)

    def _train_epoch(self, steps: list[dict[str, float]]) -> bool:
        """Pass once over the rollout; false if the policy moved too far."""
        for members in self.rollout_buffer.minibatches(self.batch_size):
            self.policy.optimizer.zero_grad(set_to_none=True)
            statistics = self._accumulate_gradients(members)
            if self.target_kl is not None and statistics["approx_kl"] > 1.5 * self.target_kl:
                return False
            norm = clip_gradients(self.policy.parameters(), self.max_grad_norm, self._largest_reward)
            self.policy.optimizer.step()
            steps.append({**statistics, "grad_norm": norm})
        return True

    def _accumulate_gradients(self, members: list[Segment]) -> dict[str, float]:
        """Forward and backward over one minibatch, in micro-batches; mean statistics over its tokens."""
        chunks = list(split_segments(members, self.micro_batch_size)) if self.micro_batch_size else [members]
        samples = [self.rollout_buffer.samples(chunk) for chunk in chunks]
        advantages = torch.cat([sample.advantages for sample in samples])
        if self.normalize_advantage:
            # Whitened scores are of size 1 already. Dividing again would, where all texts get the same reward, blow up
            # what the KL penalty leaves to full-sized steps, which drift.
            advantages = advantages - advantages.mean() if self.whiten_rewards else normalize_advantages(advantages)
        total: dict[str, float] = defaultdict(float)
        for sample, part in zip(samples, advantages.split([len(sample.actions) for sample in samples]), strict=True):
            share = len(part) / len(advantages)
            loss, statistics = self._loss(sample, part)
            (loss * share).backward()
            for name, value in statistics.items():
                total[name] = max(total[name], value) if name == "ratio_max" else total[name] + share * value
        require_finite("loss", total["loss"], self._largest_reward)
        return total

    def _loss(self, sample: Any, advantages: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Policy loss + vf_coef * value loss - ent_coef * entropy, each a mean over the tokens (N,)."""
        progress = self._current_progress_remaining
        clip_range = self.clip_range(progress)  # type: ignore[operator]
        clip_range_vf = self.clip_range_vf(progress) if callable(self.clip_range_vf) else self.clip_range_vf
        values, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        policy_loss = clipped_policy_loss(log_probs, sample.old_log_prob, advantages, clip_range).mean()
        value_loss = clipped_value_loss(values.flatten(), sample.old_values, sample.returns, clip_range_vf).mean()
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        with torch.no_grad():
            log_ratio = log_probs - sample.old_log_prob
            ratio = log_ratio.exp()
            statistics = {
                "loss": loss,
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy": entropy.mean(),
                "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
                "approx_kl": (log_ratio.expm1() - log_ratio).mean(),
                "ratio_max": ratio.max(),
            }
            numbers = torch.stack([value.float() for value in statistics.values()]).tolist()  # one transfer for all
        return loss, dict(zip(statistics, numbers, strict=True))

    # -------------------------------------------------------------------- logs
    def _record_rollout(self, k1: FloatArray, k3: FloatArray) -> None:
        infos = [info for _, _, info in self.finished]
        numbers = token_numbers(self.rollout_buffer.episode_starts > 0, self._tokens_so_far)
        self._tokens_so_far = numbers[-1]
        # Per token times tokens per text: the rollout holds pieces of texts too, which a sum over texts would miscount.
        length = mean([numbers[step, env] for step, env, _ in self.finished]) if infos else float(self.n_steps)
        metrics = {
            "kl": float(k1.mean()) * length,
            "kl_k3": float(k3.mean()) * length,
            "kl_coef": self.kl_coef,
            "texts": float(len(infos)),
        }
        if infos:
            metrics |= describe_texts(infos) | {"length": length}
        if metrics["kl"] < -1.0 and metrics["texts"] >= 16:
            warnings.warn(
                f"the KL to the reference is negative ({metrics['kl']:.2f} nats per text): sampled and scored "
                "distributions differ",
                stacklevel=2,
            )
        self._metrics = metrics

    def _record_update(self, steps: list[dict[str, float]]) -> None:
        buffer, metrics = self.rollout_buffer, self._metrics
        for name in steps[0] if steps else ():
            values = [step[name] for step in steps]
            metrics[name] = max(values) if name == "ratio_max" else mean(values)
        metrics["explained_variance"] = float(explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        metrics["learning_rate"] = self.policy.optimizer.param_groups[0]["lr"]
        metrics["tokens_per_second"] = buffer.actions.size / max(1e-9, sum(self.seconds.values()))
        metrics["timesteps"] = float(self.num_timesteps)
        self.history.append(dict(metrics))
        self._watch.look(metrics)
        for name, value in metrics.items():
            self.logger.record(f"textgym/{name}", value)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

    # ------------------------------------------------------------- checkpoints
    def save(self, path: str | Path, exclude: Any = None, include: Any = None) -> None:  # type: ignore[override]
        """Write everything a run needs to go on bit for bit, to a folder of JSON and safetensors.

        Call it between iterations (as in a callback's ``_on_rollout_start``); a rollout under way is not saved.

        Args:
            path: The folder; it is replaced in one step.
            exclude, include: Not supported; they exist for Stable-Baselines3's signature.
        """
        if exclude is not None or include is not None:
            raise ValueError("expected a complete checkpoint, got exclude or include; leave them out")
        save_ppo(self, Path(path))

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: VecEnv | None = None, device: torch.device | str = "auto", **changes: Any
    ) -> PPO:
        """Load a checkpoint that :meth:`save` wrote. Nothing is unpickled.

        The run goes on with ``learn(n, reset_num_timesteps=False)``; by default ``learn`` starts anew, with new texts
        and the first learning rate.

        Args:
            path: The folder.
            env: Environment to go on with: one of :func:`make_vec_env`, made with the same arguments and wrapped alike,
                is brought back to where it was; without one, the policy can act but not learn.
            device: Where to put the model.
            changes: Constructor arguments to change, such as a learning-rate schedule, which is not stored.

        Raises:
            CheckpointError: If the folder is damaged or of another kind.
        """
        agent: PPO = load_ppo(cls, Path(path), env, device, changes)
        return agent
