"""The unmodified algorithms of Stable-Baselines3 and sb3-contrib as agents."""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from typing import Any, ClassVar, Self

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.metrics import describe_texts
from textgym.agents.common.policies import require_policy
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.common.text_agent import Finished, TextAgent, require_steps
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.checks import check_ranges

_ABOVE_0 = math.nextafter(0, 1)
_COUNTS = ("n_steps", "batch_size", "n_epochs", "n_critic_updates", "cg_max_steps", "line_search_max_iter")
_MAY_LACK = ("clip_range_vf", "target_kl")


class StockAgent(TextAgent):
    """The base of agents that learn as an algorithm of Stable-Baselines3 does, line by line.

    A subclass derives from this class and from the algorithm, in that order. Rollouts and updates are the algorithm's;
    added are what it lacks to be a :class:`~textgym.types.Trainable`: a history, states without pickle, exact resume.
    Arguments that are not named here are the algorithm's own, with its defaults. There is no KL penalty.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), or its id, of which one copy is made.
        n_steps: Tokens per environment and rollout; by default the maximum response length.
        gamma: Discount factor; 1 is usual for text.
        learning_rate: Learning rate, constant; a schedule is used as it is.
        gae_lambda: Lambda of generalized advantage estimation, which trades bias for variance.
        ent_coef: Entropy bonus coefficient.
        vf_coef: Value loss coefficient.
        max_grad_norm: Maximum gradient norm (clipping).
        normalize_advantage: Normalize advantages over the tokens of a minibatch to mean 0 and standard deviation 1.
        n_epochs: Passes over a rollout.
        clip_range: Clip range of the probability ratio.
        clip_range_vf: Clip range of the value change; no clipping by default.
        target_kl: Early stopping: end the epochs of an update when its approximate KL exceeds 1.5 times this.
        options: Further arguments of the algorithm.

    Attributes:
        buffer_class: Class of the rollout buffer.
    """

    facts: ClassVar[AgentFacts] = AgentFacts(
        not_options=(
            *("policy", "policy_kwargs", "tensorboard_log", "verbose", "stats_window_size", "use_sde"),
            *("sde_sample_freq", "rollout_buffer_class", "rollout_buffer_kwargs"),
        ),
        policy=LanguageModelPolicy,
        limits={
            **dict.fromkeys(("ent_coef", "vf_coef", "max_grad_norm"), (0.0, math.inf)),
            **dict.fromkeys(("learning_rate", "temperature"), (_ABOVE_0, math.inf)),
            **dict.fromkeys((*_COUNTS, "lora_rank"), (1, math.inf)),
            **dict.fromkeys(("gamma", "gae_lambda"), (0.0, 1.0)),
            **dict.fromkeys(("clip_range", "clip_range_vf", "target_kl"), (_ABOVE_0, math.inf)),
            "batch_size": (2, math.inf),
        },
    )
    buffer_class: ClassVar[type[RolloutBuffer]] = EpisodeRolloutBuffer

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        n_steps: int | None = None,
        gamma: float = 1.0,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        require_policy(policy)
        made = make_vec_env(env) if isinstance(env, str) else env
        steps = require_steps(n_steps, made if isinstance(made, VecEnv) else None)
        given = {"n_steps": steps, "gamma": gamma, **options}
        numbers = {name: value for name, value in given.items() if not callable(value)}  # schedules are
        check_ranges(numbers, self.facts.limits, counts=_COUNTS, may_lack=_MAY_LACK)
        self._begin_records()
        algorithm: Any = super()
        with warnings.catch_warnings():
            # It looks at the size of the rollout; the minibatches of our buffer are all of about one size.
            warnings.filterwarnings("ignore", "You have specified a mini-batch size", UserWarning)
            algorithm.__init__(policy, made, rollout_buffer_class=self.buffer_class, **given)

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
        callbacks = CallbackList([_Recorder(), *as_callbacks(callback)])
        return super().learn(total_timesteps, callbacks, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def begin_iteration(self) -> None:
        """Remember the state, which the rollout is about to change."""
        self._remember_start()
        self.finished, self.seconds = [], defaultdict(float)

    def train(self) -> None:
        """Update the policy as the algorithm does, and keep the record of the iteration."""
        self._is_updating = True
        with self._timed("update"):
            super().train()
        self._end_record(self._metrics())
        self._snapshot, self._is_updating = None, False

    def _metrics(self) -> dict[str, float]:
        """Return the numbers of the iteration: of the texts of its rollout, and what the algorithm logged."""
        metrics = {"texts": float(len(self.finished))} | describe_texts([info for _, _, info in self.finished])
        length = self._mean_length()
        if length is not None:
            metrics["length"] = length
        logged = {name: value for name, value in self.logger.name_to_value.items() if name.startswith("train/")}
        metrics |= {name.removeprefix("train/"): float(value) for name, value in logged.items()}
        if "entropy_loss" in metrics:
            metrics["entropy"] = -metrics.pop("entropy_loss")
        return metrics


def as_callbacks(callback: MaybeCallback) -> list[BaseCallback]:
    """Return whatever an algorithm is given as a callback as a list of callbacks."""
    match callback:
        case None:
            return []
        case list():
            return callback
        case BaseCallback():
            return [callback]
    return [ConvertCallback(callback)]


class _Recorder(BaseCallback):
    """Takes note of the beginning of a rollout, its texts and its time; the first of all callbacks."""

    model: StockAgent
    _start = 0.0

    def _on_rollout_start(self) -> None:
        self.model.begin_iteration()
        self._start = time.perf_counter()

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        ended = [Finished(self.locals["n_steps"], row, infos[row]) for row in np.flatnonzero(dones).tolist()]
        self.model.finished += ended
        return True

    def _on_rollout_end(self) -> None:
        self.model.seconds["rollout"] = time.perf_counter() - self._start
