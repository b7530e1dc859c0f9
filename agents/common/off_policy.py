"""The unmodified off-policy algorithms of Stable-Baselines3 as agents."""

from __future__ import annotations

import inspect
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.history import KeepsHistory, log_record
from textgym.agents.common.metrics import describe_texts, mean
from textgym.agents.common.observations import to_tensors
from textgym.agents.common.on_policy_state import ResumableAlgorithm
from textgym.agents.common.policy_record import check_policy_record
from textgym.agents.common.q_policy import Q_OPTIONS, TextQPolicy
from textgym.agents.common.replay import EpisodeReplayBuffer
from textgym.agents.common.stock import as_callbacks
from textgym.agents.common.text_agent import require_steps
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.checks import check_ranges
from textgym.envs.types import Info
from textgym.errors import CheckpointError
from textgym.models.device import pick_device
from textgym.models.optimizer_state import part
from textgym.models.stored_values import Check, StoredRecord, fields, integer, number, optional, plain, positive
from textgym.models.text_model import TextModel
from textgym.types import BoolArray, IntArray

_ABOVE_0 = math.nextafter(0, 1)
_COUNTS = ("buffer_size", "batch_size", "train_freq", "gradient_steps", "target_update_interval")


class StockQAgent(KeepsHistory, ResumableAlgorithm, OffPolicyAlgorithm):
    """The base of agents that learn as an off-policy algorithm of Stable-Baselines3 does, line by line.

    A subclass derives from this class and from the algorithm, in that order. What is added makes it a
    :class:`~textgym.types.Trainable`: a history, states without pickle, exact resume, the replay buffer included. An
    iteration is a rollout and the update after it.

    Args:
        policy: ``TextQPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), or its id, of which one copy is made.
        train_freq: Tokens per environment between two updates; by default the maximum response length.
        options: Further arguments of the algorithm.

    Attributes:
        history: One record (name -> number) per iteration.
        seconds: Time of the last iteration by part.
    """

    grain: Literal["token"] = "token"
    facts: ClassVar[AgentFacts] = AgentFacts(
        not_options=(
            *("policy", "policy_kwargs", "tensorboard_log", "verbose", "stats_window_size", "n_steps"),
            *("replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage"),
        ),
        policy=TextQPolicy,
        limits={
            "learning_rate": (_ABOVE_0, math.inf),
            **dict.fromkeys((*_COUNTS, "lora_rank"), (1, math.inf)),
            **dict.fromkeys(("gamma", "tau", "exploration_fraction"), (0.0, 1.0)),
            **dict.fromkeys(("exploration_initial_eps", "exploration_final_eps"), (0.0, 1.0)),
            **dict.fromkeys(("learning_starts", "max_grad_norm", "prior_scale", "temperature"), (0.0, math.inf)),
            "initial_value": (-math.inf, math.inf),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(_COUNTS, positive),
        **dict.fromkeys(("gamma", "tau", "exploration_fraction", "max_grad_norm"), number),
        **dict.fromkeys(("exploration_initial_eps", "exploration_final_eps"), number),
        "learning_starts": integer,
        "seed": optional(integer),
    }
    counters: ClassVar[Mapping[str, Check]] = {
        **ResumableAlgorithm.counters,
        "_n_calls": integer,
        "exploration_rate": number,
    }
    own_checks: ClassVar[Mapping[str, Check]] = {"action_space": fields({"generator": plain})}
    head = "q_net.value_head"
    policy_aliases = {"TextQPolicy": TextQPolicy}  # noqa: RUF012
    policy: TextQPolicy
    replay_buffer: EpisodeReplayBuffer
    text_model = None
    target_update_interval: int
    exploration_rate: float
    _n_calls: int

    def __init__(
        self,
        policy: str | type[TextQPolicy],
        env: GymEnv | str | None,
        *,
        train_freq: int | None = None,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        if isinstance(policy, str) and policy not in self.policy_aliases:
            raise ValueError(
                f"expected the policy 'TextQPolicy', or a class derived from it, got {policy!r}; the others of "
                "Stable-Baselines3 have no language model"
            )
        made = make_vec_env(env) if isinstance(env, str) else env
        steps = require_steps(train_freq, made if isinstance(made, VecEnv) else None)
        given = {"train_freq": steps, **options}
        numbers = {name: value for name, value in given.items() if not callable(value)}  # schedules are
        check_ranges(numbers, self.facts.limits, counts=_COUNTS)
        self.history = []
        self.seconds: dict[str, float] = defaultdict(float)
        self._infos: list[Info] = []
        self._lengths: list[int] = []
        self._loss: float | None = None
        self._log_is_due = False
        algorithm: Any = super()
        algorithm.__init__(policy, made, replay_buffer_class=EpisodeReplayBuffer, **given)

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
            options: Arguments of the constructor, and of :class:`~textgym.agents.common.q_policy.TextQPolicy`.
        """
        of_policy = options.keys() & inspect.signature(TextQPolicy).parameters.keys()
        policy_kwargs = {"model": model, **options.pop("policy_kwargs", {})}
        policy_kwargs |= {name: options.pop(name) for name in of_policy}
        return cls(TextQPolicy, env, policy_kwargs=policy_kwargs, seed=seed, device=pick_device(device), **options)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._tokens_so_far = np.zeros(self.n_envs, dtype=np.int64)

    # ------------------------------------------------------------------ acting
    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text: the best one, or, at a temperature, by softmax exploration.

        Args:
            observations: Batched, arrays (n, ...).
            greedy: Take the best token, whatever the temperature. Nothing else is drawn: epsilon is for training.
            generator: Source of randomness; by default torch's global one.

        Returns:
            Ids (n,).
        """
        self.policy.set_training_mode(False)
        with torch.no_grad():
            tokens = self.policy.choose(to_tensors(observations, self.device), greedy, generator)
        return tokens.cpu().numpy()

    # ---------------------------------------------------------------- learning
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
            CallbackList([_Recorder(), *as_callbacks(callback)]),
            log_interval,
            type(self).__name__ if tb_log_name is None else tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    @property
    def steps_per_iteration(self) -> int:
        """Tokens of one rollout."""
        return self._rollout_steps * self.n_envs

    @property
    def _rollout_steps(self) -> int:
        return cast("TrainFreq", self.train_freq).frequency  # a number before the model is set up

    def begin_iteration(self) -> None:
        """Remember the state, which the rollout is about to change."""
        self._remember_start()
        if self._will_update_target and self._snapshot is not None:
            target = self.policy.q_net_target.state_dict()
            self._snapshot.tensors |= {f"policy.q_net_target.{name}": each.clone() for name, each in target.items()}
        self._infos, self._lengths, self._loss = [], [], None
        self.seconds = defaultdict(float)

    @property
    def _will_update_target(self) -> bool:
        """Return whether the target network changes in the rollout that begins; see ``_on_step`` of the algorithm."""
        every = max(self.target_update_interval // self.n_envs, 1)
        return self._n_calls // every != (self._n_calls + self._rollout_steps) // every

    def take_step(self, infos: Sequence[Info], dones: BoolArray) -> None:
        """Take note of the texts that a step ended."""
        self._tokens_so_far = self._tokens_so_far + 1
        for row in np.flatnonzero(dones).tolist():
            self._infos.append(infos[row])
            self._lengths.append(int(self._tokens_so_far[row]))
        self._tokens_so_far[dones] = 0

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update the Q network as the algorithm does."""
        self._is_updating = True
        start = time.perf_counter()
        super().train(gradient_steps, batch_size)
        self.seconds["update"] = time.perf_counter() - start
        self._loss = float(self.logger.name_to_value["train/loss"])
        self._is_updating = False

    def end_iteration(self) -> None:
        """Keep the record of the iteration, of its rollout and of the update, if it was long enough for one."""
        self._snapshot = None
        metrics = {"texts": float(len(self._infos))} | describe_texts(self._infos)
        if self._lengths:
            metrics["length"] = mean(self._lengths)
        if self._loss is not None:
            metrics["loss"] = self._loss
        metrics |= {
            "exploration_rate": float(self.exploration_rate),
            "replayed_from": float(self.replay_buffer.size()),
            "learning_rate": float(self.policy.optimizer.param_groups[0]["lr"]),
            "tokens_per_second": self.steps_per_iteration / max(1e-9, sum(self.seconds.values())),
            "timesteps": float(self.num_timesteps),
        }
        self._keep(metrics)
        if self._log_is_due:
            log_record(self.logger, metrics, self.env)
        self._log_is_due = False

    def dump_logs(self) -> None:
        """Note that Stable-Baselines3 wants to log: the record of the iteration is whole only after the update."""
        self._log_is_due = True

    # ------------------------------------------------------------------- state
    def stored_settings(self) -> StoredRecord:
        """Return the arguments of the constructor that belong to a checkpoint."""
        return {**super().stored_settings(), "train_freq": self._rollout_steps}

    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return the replay buffer."""
        return {f"replay.{name}": tensor for name, tensor in self.replay_buffer.tensors().items()}

    def own_record(self) -> StoredRecord:
        """Return the state of the generator that random tokens are drawn with; the replay buffer remembers its own."""
        self.replay_buffer.remember()
        return {"action_space": {"generator": self.action_space.np_random.bit_generator.state}}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Go on with the replay buffer and the generator of a checkpoint.

        Raises:
            CheckpointError: They are none.
        """
        try:
            self.replay_buffer.set_tensors(part(tensors, "replay."))
            self.action_space.np_random.bit_generator.state = record["action_space"]["generator"]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"expected a replay buffer and a random generator in a checkpoint, got others ({error}); use another"
            ) from error

    @classmethod
    def check_policy(cls, record: StoredRecord) -> None:
        """Check the record of the policy.

        Raises:
            CheckpointError: It is none.
        """
        check_policy_record(record, fields(Q_OPTIONS))


class _Recorder(BaseCallback):
    """Takes note of the beginning of a rollout, its texts and its time; the first of all callbacks."""

    model: StockQAgent

    def __init__(self) -> None:
        super().__init__()
        self._start = 0.0
        self._is_open = False

    def _on_rollout_start(self) -> None:
        self._close()  # an update follows on a rollout or not, so that only the next one tells that it is done
        self.model.begin_iteration()
        self._start, self._is_open = time.perf_counter(), True

    def _on_step(self) -> bool:
        self.model.take_step(self.locals["infos"], self.locals["dones"])
        return True

    def _on_rollout_end(self) -> None:
        self.model.seconds["rollout"] = time.perf_counter() - self._start

    def _on_training_end(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._is_open:
            self.model.end_iteration()
        self._is_open = False
