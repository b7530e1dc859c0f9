"""Agents of Stable-Baselines3 whose policy is a language model: how they are made, act, learn, and keep records."""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.common.estimate import seconds_per_token
from textgym.agents.common.history import KeepsHistory, log_record
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import token_numbers
from textgym.agents.common.metrics import mean
from textgym.agents.common.observations import to_tensors
from textgym.agents.common.on_policy_state import ResumableOnPolicyAlgorithm
from textgym.agents.common.policies import POLICIES, policy_for
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.envs.types import Info
from textgym.models.decoding.sampling import sample_tokens
from textgym.models.device import pick_device
from textgym.models.text_model import TextModel
from textgym.types import IntArray


class Finished(NamedTuple):
    """A text that a rollout finished: after which step, in which environment, and its last info."""

    step: int
    env: int
    info: Info


class TextAgent(KeepsHistory, ResumableOnPolicyAlgorithm):
    """An on-policy algorithm of Stable-Baselines3 whose policy is a language model.

    It is a :class:`~textgym.types.Trainable`: callbacks, schedules and loggers are those of Stable-Baselines3.

    Attributes:
        history: One record (name -> number) per iteration.
        finished: The texts that the last rollout finished, with terminal infos: texts, rewards by name, finish reasons.
        seconds: Time of the last iteration by part.
        n_epochs: Passes over a rollout.
    """

    grain: Literal["token"] = "token"
    policy_aliases = dict(POLICIES)  # noqa: RUF012
    n_epochs: int = 1
    rollout_buffer: EpisodeRolloutBuffer
    finished: list[Finished]
    seconds: dict[str, float]

    @classmethod
    def create(
        cls,
        env: VecEnv,
        model: str | Path | TextModel | None = None,
        *,
        seed: int | None = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent from its options and those of its policy, all by name.

        Args:
            env: Environment of :func:`~textgym.agents.common.vec_env.make_vec_env`.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            seed: Seed of all random numbers.
            device: Where the model runs.
            options: Arguments of the constructor, and of
                :class:`~textgym.agents.common.language_model_policy.LanguageModelPolicy`.
        """
        of_policy = options.keys() & inspect.signature(LanguageModelPolicy).parameters.keys()
        policy_kwargs = {"model": model, **options.pop("policy_kwargs", {})}
        policy_kwargs |= {name: options.pop(name) for name in of_policy}
        policy = policy_for(policy_kwargs["model"], env.action_space)
        kind: Any = cls  # constructors differ; each names its own options
        agent: Self = kind(policy, env, policy_kwargs=policy_kwargs, seed=seed, device=pick_device(device), **options)
        return agent

    def _begin_records(self) -> None:
        """Set up what is measured; before the constructor of Stable-Baselines3, which needs some of it."""
        self.history = []
        self.finished, self.seconds = [], defaultdict(float)
        self._log_is_due = False
        self._tokens_so_far = np.zeros(0, dtype=np.int64)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._tokens_so_far = np.zeros(self.n_envs, dtype=np.int64)

    # ----------------------------------------------------------------- acting
    @property
    def text_model(self) -> TextModel:
        """The language model that writes."""
        return self.policy.model

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text.

        Args:
            observations: Batched, arrays (n, ...).
            greedy: Take the most likely token.
            generator: Source of randomness; by default torch's global one.

        Returns:
            Ids (n,).
        """
        self.policy.set_training_mode(False)
        with torch.no_grad():
            distribution = self.policy.get_distribution(to_tensors(observations, self.device)).distribution
            logits = cast("torch.distributions.Categorical", distribution).logits  # (n, V)
            tokens = logits.argmax(-1) if greedy else sample_tokens(logits, generator).tokens
        return tokens.cpu().numpy()

    # --------------------------------------------------------------- learning
    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make whole iterations until so many tokens are written; arguments as in Stable-Baselines3."""
        self._check_steps(total_timesteps, reset_num_timesteps)
        return super().learn(
            total_timesteps,
            callback,
            log_interval,
            type(self).__name__ if tb_log_name is None else tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    @property
    def steps_per_iteration(self) -> int:
        """Tokens of one rollout."""
        return self.n_steps * self.n_envs

    def seconds_per_step(self) -> float:
        """Seconds of a token, written, scored and learnt from; right within a factor of two or so."""
        try:
            prompt = self.env.get_attr("max_prompt_tokens")[0] / 3  # type: ignore[union-attr]  # few fill their budget
        except AttributeError:
            prompt = 0.0  # an environment of somebody else
        parameters = sum(parameter.numel() for parameter in self.policy.parameters())
        read = 1 + prompt / self._longest_response()
        return seconds_per_token(parameters, self.device, read, self.passes)

    @property
    def passes(self) -> int:
        """Passes over a rollout that an update takes, about."""
        return self.n_epochs

    def _longest_response(self) -> int:
        """The environment's ``max_new_tokens``, or else ``n_steps``."""
        budget = response_budget(self.env)
        return self.n_steps if budget is None else budget

    # ---------------------------------------------------------------- records
    def dump_logs(self, iteration: int = 0) -> None:
        """Note that Stable-Baselines3 wants to log the iteration: its record is whole only after the update."""
        self._log_is_due = True

    def _mean_length(self) -> float | None:
        """Mean tokens of the texts that the rollout finished, ``None`` without any; those under way are counted on."""
        numbers = token_numbers(self.rollout_buffer.episode_starts > 0, self._tokens_so_far)
        self._tokens_so_far = numbers[-1]
        return mean([numbers[step, env] for step, env, _ in self.finished]) if self.finished else None

    def _end_record(self, metrics: dict[str, float]) -> None:
        """Complete the record of an iteration, keep it, and log it if that is due."""
        metrics["learning_rate"] = self.policy.optimizer.param_groups[0]["lr"]
        metrics["tokens_per_second"] = self.rollout_buffer.actions.size / max(1e-9, sum(self.seconds.values()))
        metrics["timesteps"] = float(self.num_timesteps)
        self._keep(dict(metrics))
        if self._log_is_due:
            log_record(self.logger, metrics, self.env)
        self._log_is_due = False

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start


def response_budget(env: VecEnv | None) -> int | None:
    """Return the ``max_new_tokens`` of an environment; ``None`` where there is no such number."""
    try:
        return None if env is None else int(env.get_attr("max_new_tokens")[0])
    except AttributeError:
        return None  # an environment of somebody else


def require_steps(n_steps: int | None, env: VecEnv | None) -> int:
    """Return the steps of a rollout: those that are given, or else the response budget of the environment.

    Raises:
        ValueError: There is neither.
    """
    steps = response_budget(env) if n_steps is None else n_steps
    if steps is None:
        raise ValueError("expected n_steps, or an environment with max_new_tokens, got neither; pass n_steps")
    return steps
