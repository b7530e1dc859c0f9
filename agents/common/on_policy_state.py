"""The state of a run of an agent of Stable-Baselines3, to and from a checkpoint.

Stable-Baselines3 saves weights, optimizer and counters. A run that is to go on bit for bit also needs the states of the
random generators, of the environments, the last observation, the reference model and the KL coefficient.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from textgym.agents.common.distributed import Alone, Communicator, current
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.policies import policy_of_record
from textgym.agents.common.policy_record import check_policy_record, rebuild_model, spaces_of
from textgym.agents.common.q_policy import TextQPolicy
from textgym.agents.common.random_states import cuda_states, describe_generators, restore_generators
from textgym.agents.common.snapshot import Snapshot, room_for_copy
from textgym.agents.common.vec_env import describe_vec_state, set_vec_state
from textgym.agents.options import EARLIER_NAMES
from textgym.errors import CheckpointError, RankLostError
from textgym.models.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.models.stored_values import (
    Check,
    StoredRecord,
    check_fields,
    either,
    fields,
    from_json,
    integer,
    listed,
    mapped,
    measured,
    number,
    optional,
    plain,
    positive,
    text,
    to_json,
    truth,
)
from textgym.models.weights import WeightsWatch
from textgym.rewards import load_reward_models
from textgym.types import IntArray, State

if TYPE_CHECKING:
    from textgym.agents.common.sharding import Shards

_IGNORED = ("tensorboard_log",)  # stood in checkpoints of earlier versions
_COUNTERS: Mapping[str, Check] = {
    "num_timesteps": integer,
    "_total_timesteps": integer,
    "_n_updates": integer,
    "_episode_num": integer,
    "_current_progress_remaining": number,
}
_LINEAR = fields({"start": number, "end": number, "end_fraction": number})
_SCHEDULE = either(optional(number), _LINEAR, fields({}))
_GENERATORS: Mapping[str, Check] = {
    "python": listed(plain, 3),
    "numpy": plain,
}
OPTIMIZER = fields({"class": text, "param_groups": listed(mapped(either(optional(number), truth, listed(number))))})
"""What a record may say about an optimizer."""
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "policy": mapped(plain),
    "n_envs": positive,
    "settings": mapped(plain),
    "schedules": mapped(_SCHEDULE),
    "counters": mapped(plain),
    "optimizer": OPTIMIZER,
    "rng": fields(_GENERATORS),
    "history": listed(mapped(optional(measured))),
    "environment": plain,
    "tokens_so_far": optional(listed(integer)),
    "infinite": optional(listed(text)),
    "carried": optional(listed(mapped(plain))),
    "other_ranks": optional(listed(mapped(plain))),
}
_OPTIONAL = ("environment", "tokens_so_far", "infinite", "carried", "other_ranks")
_OWN, _OWN_TENSORS = ("rng", "environment", "tokens_so_far", "carried"), ("rng.", "episode_starts")
"""What each of several processes has of its own: parts of a record, and beginnings of the names of tensors."""


class ResumableAlgorithm(BaseAlgorithm):
    """An algorithm that is saved without pickle and goes on bit for bit.

    A subclass names the arguments of its constructor that belong to a checkpoint, and what it has to remember besides:
    :meth:`own_tensors`, :meth:`own_record`. Everything else is done here. Of several processes that train one agent,
    the first writes the checkpoint. It needs no other for that: each tells it its random numbers and environments
    whenever a rollout begins, so that nothing is lost with one that dies.

    Attributes:
        kind: Name of the algorithm in its checkpoints.
        settings: Arguments of the constructor, kept as attributes of the same names, with what each may be. Where to
            log is none of them: that is for whoever loads a checkpoint to say.
        schedules: Names of the settings that may be functions of the remaining progress.
        adapted: Names of the settings that training changes.
        counters: Attributes that training counts up or decides once, with what each may be.
        own_checks: Checks of the entries of :meth:`own_record`.
        head: Name of the value head in the policy.
        ranks: The processes that train the agent; one, unless an algorithm knows how to make use of several.
        shards: Copies of the networks for updates, of which each process holds a part; ``None`` where none does.
    """

    ranks: Communicator = Alone()
    shards: Shards | None = None
    kind: ClassVar[str]
    settings: ClassVar[Mapping[str, Check]]
    schedules: ClassVar[tuple[str, ...]] = ("learning_rate",)
    adapted: ClassVar[tuple[str, ...]] = ()
    counters: ClassVar[Mapping[str, Check]] = _COUNTERS
    own_checks: ClassVar[Mapping[str, Check]] = {}
    head: ClassVar[str] = "value_head"

    policy: LanguageModelPolicy | TextQPolicy
    history: Any  # a History, of whoever keeps one
    _tokens_so_far: IntArray  # (n_envs,) of the texts that the next rollout goes on with
    _snapshot: Snapshot | None = None  # of the beginning of the rollout that is under way, or was broken off
    _is_updating = False

    @property
    def frozen_network(self) -> nn.Module | None:
        """A network that belongs to the state and is not trained, such as that of a reference model; ``None``: none."""
        return None

    def stored_settings(self) -> StoredRecord:
        """Return the arguments of the constructor that belong to a checkpoint."""
        own = vars(self)
        return {name: own[name] for name in self.settings}

    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return further tensors of the state, as they were when the rollout under way began."""
        return {}

    def own_record(self) -> StoredRecord:
        """Return further entries of the state's record; called when a rollout begins."""
        return {}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Go on from what :meth:`own_tensors` and :meth:`own_record` returned."""

    @classmethod
    def check_policy(cls, record: StoredRecord) -> None:
        """Check the record of the policy.

        Raises:
            CheckpointError: It is none.
        """
        check_policy_record(record)

    def get_state(self) -> State:
        """Return everything a run needs to go on bit for bit; of several processes, this one.

        In a rollout, or after an error in one, this is the state at its beginning; in the update after it too, if
        :meth:`remember_weights` was called.

        Raises:
            CheckpointError: An update is under way, or was broken off, and weights of before are gone.
        """
        tensors, record, _ = self._read_state(self._snapshot or self._take_snapshot())
        return State({name: tensor.clone() for name, tensor in tensors.items()}, record)

    def set_state(self, state: State) -> None:
        """Go on from a state of an agent that was made with the same arguments.

        Raises:
            CheckpointError: It is of another kind of agent, model or environment.
        """
        record = dict(state.record)
        if record.get("kind") != self.kind:
            raise CheckpointError(f"expected the state of {self.kind}, got one of {record.get('kind')!r}")
        self._check_record(record)
        _check_spaces(self, *spaces_of(record["policy"]))
        for name in self.adapted:
            setattr(self, name, record["settings"][name])
        self._write_state({name: tensor.clone() for name, tensor in state.tensors.items()}, record, Path("the state"))

    def save(self, path: str | Path, exclude: object = None, include: object = None) -> None:  # type: ignore[override]
        """Write the state of :meth:`get_state` to a folder of JSON and safetensors.

        Several processes all call it; the first writes what all of them need.

        Args:
            path: The folder; it is replaced in one step.
            exclude, include: Not supported; they exist for Stable-Baselines3's signature.

        Raises:
            CheckpointError: An update is under way, or a weight or a moment of the optimizer is not finite.
            RankLostError: Other processes have a part of it, and are gone.
        """
        if exclude is not None or include is not None:
            raise ValueError("expected a complete checkpoint, got exclude or include; leave them out")
        if self.shards is not None and self.ranks.has_left:
            raise RankLostError("expected all processes, each of which has a part of the optimizer's state, got one")
        now = self._snapshot or self._take_snapshot()
        if self.ranks.size > 1 and "other_ranks" not in now.record:
            self._gather_others(now)
        if self.ranks.rank and self.shards is None:
            return
        tensors, record, buffers = self._read_state(now)
        if self.ranks.rank:
            return
        write_checkpoint(Path(path), tensors, record, self.policy.save_config, may_be_infinite=buffers)

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: VecEnv | None = None, device: torch.device | str = "auto", **changes: object
    ) -> Self:
        """Load a checkpoint that :meth:`save` wrote. Nothing is unpickled.

        The run resumes with ``learn(n, reset_num_timesteps=False)``; by default ``learn`` begins a new run, with new
        texts and the first learning rate.

        Args:
            path: The folder.
            env: Environment to continue in: one of :func:`~textgym.agents.common.vec_env.make_vec_env`, made with the
                same arguments and wrapped alike, is brought back to where it was; without one, the policy can act but
                not learn.
            device: Where to put the model.
            changes: Constructor arguments to change, such as a learning-rate schedule, which is not stored.

        Raises:
            CheckpointError: If the folder is damaged or of another kind, or learning is to go on in more processes, or
                fewer, than those that wrote it.
        """
        folder = Path(path)
        tensors, record = read_checkpoint(folder, cls.kind)
        cls._check_record(record)
        if env is not None:
            record, tensors = _part_of_rank(record, tensors, current())
        settings = record["settings"] | _schedules(record["schedules"], changes) | changes
        policy, model = policy_of_record(record["policy"]["kind"]), rebuild_model(record["policy"], folder)
        settings["policy_kwargs"] = record["policy"]["options"] | changes.get("policy_kwargs", {}) | {"model": model}
        agent = cls(policy, env, **settings, device=device, _init_setup_model=False)  # type: ignore[call-arg]
        if agent.env is None:
            agent.observation_space, agent.action_space = spaces_of(record["policy"])
            agent.n_envs = record["n_envs"]
        else:
            _check_spaces(agent, *spaces_of(record["policy"]))
        agent._setup_model()
        agent._write_state(tensors, record, folder)
        return agent

    def remember_weights(self) -> None:
        """Copy what the next update changes, so that a state can be had of an update that fails.

        For callbacks, in ``_on_rollout_end``. Of weights that take too much memory there is no copy: the state is then
        to be had until the first step of the optimizer.
        """
        if self._snapshot is None or self.shards is not None:  # nobody has all that changes
            return
        trained = {f"policy.{name}" for name, parameter in self.policy.named_parameters() if parameter.requires_grad}
        weights = {name: tensor for name, tensor in _named(self.policy, "policy.")[0].items() if name in trained}
        changing = weights | self._optimizer_tensors()
        self._snapshot.record["optimizer"] = describe_optimizer(self.policy.optimizer)
        if sum(tensor.nbytes for tensor in changing.values()) > room_for_copy(self.device):
            self._snapshot.unchanged = WeightsWatch(self.policy.model, self.policy.optimizer)
            head = self.policy.get_submodule(self.head)  # may be shifted before the first step
            changing = _named(head, f"policy.{self.head}.")[0]
        self._snapshot.tensors |= {name: tensor.clone() for name, tensor in changing.items()}
        self._snapshot.has_weights = True

    def _remember_start(self) -> None:
        """Remember what the rollout that begins will change: all but weights and optimizer."""
        self._snapshot, self._is_updating = None, False
        self._snapshot = self._take_snapshot()
        if self.ranks.size > 1:
            self._gather_others(self._snapshot)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.policy.optimizer).items()}

    def _take_snapshot(self) -> Snapshot:
        tensors = {"rng.torch": torch.get_rng_state()}
        tensors |= {f"rng.cuda.{i}": state for i, state in enumerate(cuda_states(self.ranks))}
        own = vars(self)
        record = {
            "kind": self.kind,
            "n_envs": self.n_envs,
            "settings": self.stored_settings(),
            "schedules": {name: _constant(own[name]) for name in self.schedules},
            "counters": {name: own[name] for name in self.counters},
            "rng": describe_generators(),
            "history": list(self.history),
            **self.own_record(),
        }
        problems: list[str] = []
        if self._last_obs is not None and self.env is not None:
            state, problems = describe_vec_state(self.env)
            record["environment"] = to_json(state)
            record["tokens_so_far"] = self._tokens_so_far.tolist()
            tensors["episode_starts"] = torch.from_numpy(np.array(self._last_episode_starts, dtype=np.uint8))
        return Snapshot(tensors, record, problems)

    def _gather_others(self, now: Snapshot) -> None:
        """Add to a snapshot what each other process has of its own."""
        own = {name: to_json(now.record[name]) for name in _OWN if name in now.record}
        tensors = {name: tensor.tolist() for name, tensor in now.tensors.items() if name.startswith(_OWN_TENSORS)}
        now.record["other_ranks"] = self.ranks.all_gather_json({**own, "tensors": tensors})[1:]

    def _read_state(self, now: Snapshot) -> tuple[dict[str, Tensor], StoredRecord, set[str]]:
        """Tensors (the weights themselves, no copies), the record, and the names of tensors that are buffers."""
        if self._is_updating:
            now.require_weights()
        for problem in now.problems:
            warnings.warn(problem, stacklevel=4)
        tensors, buffers = _named(self.policy, "policy.")
        if self.frozen_network is not None:
            reference, more = _named(self.frozen_network, "reference.")
            tensors, buffers = tensors | reference, buffers | more
        if not now.is_whole:
            tensors |= self._optimizer_tensors()
        tensors |= {f"own.{name}": tensor for name, tensor in self.own_tensors().items()}
        optimizer = describe_optimizer(self.policy.optimizer)
        record = {"optimizer": optimizer, **now.record, "policy": self.policy.describe()}
        return tensors | now.tensors, to_json(record), buffers

    def _write_state(self, tensors: dict[str, Tensor], record: StoredRecord, folder: Path) -> None:
        """Take over what :meth:`_read_state` gave; ``folder`` is where it comes from, for errors."""
        load_unique(self.policy, part(tensors, "policy."), folder)
        if self.frozen_network is not None:
            load_unique(self.frozen_network, part(tensors, "reference."), folder)
        moments = part(tensors, "optimizer.")
        if self.shards is not None:
            moments = self.shards.shared_out(moments)
        restore_optimizer(self.policy.optimizer, moments, record["optimizer"])
        for name in self.counters:
            setattr(self, name, record["counters"][name])
        self.history = list(record["history"])
        if self.env is not None:
            if "environment" in record:
                self._restore_environment(self.env, record, tensors["episode_starts"])
            _load_rewards(self.env)
        self.take_own(part(tensors, "own."), record)
        self._snapshot, self._is_updating = None, False
        restore_generators(record["rng"], tensors)

    def _restore_environment(self, env: VecEnv, record: StoredRecord, episode_starts: Tensor) -> None:
        if "env" in record["environment"] and env.num_envs != len(episode_starts):
            raise CheckpointError(
                f"expected {len(episode_starts)} environments, got {env.num_envs}; make as many as before"
            )
        self._last_obs = set_vec_state(env, from_json(record["environment"]))
        if self._last_obs is not None:
            self._last_episode_starts = episode_starts.numpy().astype(bool)
        self._tokens_so_far = np.array(record.get("tokens_so_far", self._tokens_so_far), dtype=np.int64)

    @classmethod
    def _check_record(cls, record: StoredRecord) -> None:
        """Check that a record holds what a state has, and nothing else; settings get their present names.

        Raises:
            CheckpointError: Something is unknown, missing, or of another kind.
        """
        check_fields(dict.fromkeys(_OPTIONAL) | record, {**_RECORD, **cls.own_checks}, "parts of a run")
        settings = {
            name if name in cls.settings else EARLIER_NAMES.get(name, name): value
            for name, value in record["settings"].items()
        }
        record["settings"] = {name: value for name, value in settings.items() if name not in _IGNORED}
        check_fields(record["settings"], cls.settings, "settings of a run", may_lack=True)
        check_fields(record["schedules"], dict.fromkeys(cls.schedules, _SCHEDULE), "schedules of a run")
        check_fields(record["counters"], cls.counters, "counters of a run")
        cls.check_policy(record["policy"])


class ResumableOnPolicyAlgorithm(ResumableAlgorithm, OnPolicyAlgorithm):
    """An on-policy algorithm that is saved without pickle and goes on bit for bit."""

    settings: ClassVar[Mapping[str, Check]] = {
        "n_steps": positive,
        "gamma": number,
        "gae_lambda": number,
        "ent_coef": number,
        "vf_coef": number,
        "max_grad_norm": number,
        "seed": optional(integer),
    }
    policy: LanguageModelPolicy


def _named(module: nn.Module, prefix: str) -> tuple[dict[str, Tensor], set[str]]:
    """Return the tensors of a module, and the names of those that are buffers, such as masks."""
    tensors = {f"{prefix}{name}": tensor for name, tensor in unique_tensors(module.state_dict()).items()}
    return tensors, {f"{prefix}{name}" for name, _ in module.named_buffers()}


def _check_spaces(agent: BaseAlgorithm, observation_space: spaces.Dict, action_space: spaces.Discrete) -> None:
    """Compare the environment with that of the checkpoint."""
    if agent.observation_space != observation_space or agent.action_space != action_space:
        raise CheckpointError(
            f"expected an environment like that of the checkpoint, with {observation_space} and {action_space}, got "
            f"{agent.observation_space} and {agent.action_space}; make it with the same model and budgets"
        )


def _load_rewards(env: VecEnv) -> None:
    """Let environments load their reward models now: later, that would draw from the generators of the run."""
    try:
        rewards = env.get_attr("reward")
    except AttributeError:  # environments of somebody else
        return
    for reward in rewards[:1]:
        load_reward_models(reward)


def _part_of_rank(
    record: StoredRecord, tensors: dict[str, Tensor], ranks: Communicator
) -> tuple[StoredRecord, dict[str, Tensor]]:
    """Return a state with the random numbers and environments of one of several processes.

    Raises:
        CheckpointError: It is of more processes, or fewer.
    """
    others = record.get("other_ranks") or []
    if len(others) + 1 != ranks.size:
        raise CheckpointError(
            f"expected as many processes as wrote the checkpoint, {len(others) + 1}, got {ranks.size}; go on with "
            f"torchrun --nproc_per_node {len(others) + 1}, or load it without an environment, to act"
        )
    if ranks.rank == 0:
        return record, tensors
    own = others[ranks.rank - 1]
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OWN_TENSORS)}
    mine = {name: torch.tensor(values, dtype=torch.uint8) for name, values in own["tensors"].items()}
    return {**record, **{name: own[name] for name in _OWN if name in own}}, kept | mine


def _constant(schedule: Schedule | float | None) -> dict[str, float] | float | None:
    """A schedule as JSON: a linear one by its ends, a constant one by its value."""
    match schedule:
        case None | float() | int():
            return schedule
        case FloatSchedule(value_schedule=inner):
            return _constant(inner)
        case LinearSchedule(start=start, end=end, end_fraction=end_fraction):
            return {"start": float(start), "end": float(end), "end_fraction": float(end_fraction)}
    values = {float(schedule(progress)) for progress in (1.0, 0.7, 0.3, 0.0)}
    return values.pop() if len(values) == 1 else {}


def _schedules(stored: Mapping[str, object], changes: Collection[str]) -> dict[str, object]:
    """Constructor arguments from :func:`_constant`'s records."""
    arguments: dict[str, object] = {}
    for name, value in stored.items():
        if value == {} and name not in changes:
            raise CheckpointError(
                f"expected a linear or constant {name}, got one that was not stored; pass {name}=... to load"
            )
        match value:
            case dict() if value:
                arguments[name] = LinearSchedule(**value)
            case float() if name == "learning_rate":
                arguments[name] = LinearSchedule(value, value, 1.0)
            case _:
                arguments[name] = value
    return arguments
