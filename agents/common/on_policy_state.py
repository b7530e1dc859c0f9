"""What a PPO run consists of, to and from a checkpoint.

Stable-Baselines3 saves weights, optimizer and counters. A run that is to go on bit for bit also needs the states of the
random generators, of the environments, the last observation, the reference model and the KL coefficient.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.policy_record import check_policy_record, rebuild_model, spaces_of
from textgym.agents.common.vec_env import get_vec_state, set_vec_state
from textgym.errors import CheckpointError
from textgym.models.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.models.stored_values import (
    Check,
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

_KIND = "textgym.PPO"
_LARGEST_COPY = 3 * 2**29
"""Bytes of weights and moments, 12 per trained weight, that are copied before an update, on the same device."""
_LARGEST_SHARE = 1 / 16
"""Of a GPU's memory, for that copy."""
_SETTINGS: Mapping[str, Check] = {
    "n_steps": positive,
    "batch_size": positive,
    "n_epochs": positive,
    "gamma": number,
    "gae_lambda": number,
    "normalize_advantage": truth,
    "ent_coef": number,
    "vf_coef": number,
    "max_grad_norm": number,
    "kl_coef": number,
    "kl_target": optional(number),
    "kl_horizon": number,
    "missing_eos_penalty": number,
    "whiten_rewards": truth,
    "clip_reward": optional(number),
    "recompute_log_probs": optional(truth),
    "micro_batch_size": optional(positive),
    "target_kl": optional(number),
    "seed": optional(integer),
}
"""Constructor arguments in a checkpoint. Where to log is none of them: that is for whoever loads it to say."""
_IGNORED = ("tensorboard_log",)  # stood in checkpoints of earlier versions
_COUNTERS: Mapping[str, Check] = {
    "num_timesteps": integer,
    "_total_timesteps": integer,
    "_n_updates": integer,
    "_episode_num": integer,
    "_current_progress_remaining": number,
    "_values_are_centered": truth,
    "_score_spread": optional(number),
}
_LINEAR = fields({"start": number, "end": number, "end_fraction": number})
_SCHEDULE = either(optional(number), _LINEAR, fields({}))
_GENERATORS: Mapping[str, Check] = {
    "python": lambda value: isinstance(value, list) and len(value) == 3 and plain(value),
    "numpy": plain,
}
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "policy": mapped(plain),
    "n_envs": positive,
    "settings": mapped(plain),
    "schedules": fields(dict.fromkeys(("learning_rate", "clip_range", "clip_range_vf"), _SCHEDULE)),
    "counters": mapped(plain),
    "optimizer": fields(
        {"class": text, "param_groups": listed(mapped(either(optional(number), truth, listed(number))))}
    ),
    "rng": fields(_GENERATORS),
    "history": listed(mapped(optional(measured))),
    "environment": plain,
    "tokens_so_far": optional(listed(integer)),
    "infinite": optional(listed(text)),
}
_OPTIONAL = ("environment", "tokens_so_far", "infinite")


class Snapshot(NamedTuple):
    """What a rollout changes of an agent, as it was when the rollout began: all but weights and optimizer.

    Attributes:
        tensors: States of random generators, and which episodes began; of :func:`with_weights`, those too.
        record: Counters, settings, environments: plain values that nothing else refers to.
        unchanged: What must not have changed since, where weights are not among the tensors.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    unchanged: WeightsWatch | None = None

    def require_weights(self) -> None:
        """Check that the weights of then are still known.

        Raises:
            CheckpointError: They changed, and there is no copy.
        """
        if self.unchanged is not None and self.unchanged.sees_change():
            raise CheckpointError("an update had begun to change the weights, which are too large to be copied before")


def take_snapshot(agent: Any) -> Snapshot:
    """Remember what the next rollout will change; up to the end of that rollout :func:`save_ppo` can go back to it."""
    tensors = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"rng.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    record = {
        "kind": _KIND,
        "n_envs": agent.n_envs,
        "settings": {name: getattr(agent, name) for name in _SETTINGS},
        "schedules": {
            name: _constant(getattr(agent, name)) for name in ("learning_rate", "clip_range", "clip_range_vf")
        },
        "counters": {name: getattr(agent, name) for name in _COUNTERS},
        "rng": {"python": random.getstate(), "numpy": to_json(np.random.get_state(legacy=False))},
        "history": list(agent.history),
    }
    if agent._last_obs is not None and agent.env is not None:
        record["environment"] = to_json(get_vec_state(agent.env))
        record["tokens_so_far"] = agent._tokens_so_far.tolist()
        tensors["episode_starts"] = torch.from_numpy(np.array(agent._last_episode_starts, dtype=np.uint8))
    return Snapshot(tensors, record)


def with_weights(agent: Any, snapshot: Snapshot) -> Snapshot:
    """Add a copy of what an update changes to a snapshot, so that it can be saved after an update that failed.

    Of weights that take too much memory there is no copy: it can then be saved until the first step of the optimizer.
    """
    trained = {f"policy.{name}" for name, parameter in agent.policy.named_parameters() if parameter.requires_grad}
    weights = {name: tensor for name, tensor in _named(agent.policy, "policy.")[0].items() if name in trained}
    changing = weights | _optimizer_tensors(agent)
    record, watch = {**snapshot.record, "optimizer": describe_optimizer(agent.policy.optimizer)}, None
    if sum(tensor.nbytes for tensor in changing.values()) > _room_for_copy(agent.device):
        record, watch = snapshot.record, WeightsWatch(agent.policy.model)
        changing = _named(agent.policy.value_head, "policy.value_head.")[0]  # may be shifted before the first step
    return Snapshot(snapshot.tensors | {name: tensor.clone() for name, tensor in changing.items()}, record, watch)


def _room_for_copy(device: torch.device) -> float:
    if device.type != "cuda":
        return _LARGEST_COPY
    return min(_LARGEST_COPY, _LARGEST_SHARE * torch.cuda.get_device_properties(device).total_memory)


def save_ppo(agent: Any, folder: Path, snapshot: Snapshot | None = None) -> None:
    """Write ``agent``, a :class:`textgym.agents.PPO`, to ``folder``.

    Args:
        agent: The agent, between iterations, in the rollout that began at the snapshot, or in the update after it.
        folder: Where it goes.
        snapshot: What the agent was when its rollout began; by default what it is now.

    Raises:
        CheckpointError: A weight or a moment of the optimizer is not finite, or the weights of the snapshot are gone.
    """
    now = take_snapshot(agent) if snapshot is None else snapshot
    now.require_weights()
    tensors, buffers = _named(agent.policy, "policy.")
    if agent._reference is not None:
        reference, more = _named(agent._reference, "reference.")
        tensors, buffers = tensors | reference, buffers | more
    record = {**now.record, "policy": agent.policy.describe()}
    if "optimizer" not in record:
        tensors |= _optimizer_tensors(agent)
        record["optimizer"] = describe_optimizer(agent.policy.optimizer)
    tensors |= now.tensors
    write_checkpoint(folder, tensors, record, agent.policy.save_config, may_be_infinite=buffers)


def _optimizer_tensors(agent: Any) -> dict[str, Tensor]:
    return {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(agent.policy.optimizer).items()}


def _named(module: nn.Module, prefix: str) -> tuple[dict[str, Tensor], set[str]]:
    """Return the tensors of a module, and the names of those that are buffers, such as masks."""
    tensors = {f"{prefix}{name}": tensor for name, tensor in unique_tensors(module.state_dict()).items()}
    return tensors, {f"{prefix}{name}" for name, _ in module.named_buffers()}


def load_ppo(cls: Any, folder: Path, env: VecEnv | None, device: torch.device | str, changes: dict[str, Any]) -> Any:
    """Read an agent of class ``cls`` from ``folder``; see :meth:`PPO.load`."""
    tensors, record = read_checkpoint(folder, _KIND)
    _check_record(record)
    settings = record["settings"] | _schedules(record["schedules"], changes) | changes
    model = rebuild_model(record["policy"], folder)
    settings["policy_kwargs"] = record["policy"]["options"] | changes.get("policy_kwargs", {}) | {"model": model}
    agent = cls(CausalLMPolicy, env, **settings, device=device, _init_setup_model=False)
    if agent.env is None:
        agent.observation_space, agent.action_space = spaces_of(record["policy"])
        agent.n_envs = record["n_envs"]
    else:
        _check_spaces(agent, *spaces_of(record["policy"]))
    agent._setup_model()
    agent.policy.model.source = record["policy"]["source"] or agent.policy.model.source
    load_unique(agent.policy, part(tensors, "policy."), folder)
    if agent._reference is not None:
        load_unique(agent._reference, part(tensors, "reference."), folder)
    restore_optimizer(agent.policy.optimizer, part(tensors, "optimizer."), record["optimizer"])
    for name in _COUNTERS:
        setattr(agent, name, record["counters"][name])
    agent.history = record["history"]
    if env is not None and "environment" in record:
        _restore_environment(agent, record["environment"], tensors["episode_starts"])
        agent._tokens_so_far = np.array(record.get("tokens_so_far", agent._tokens_so_far), dtype=np.int64)
    if agent.env is not None:
        _load_rewards(agent.env)
    _restore_generators(record["rng"], tensors)
    return agent


def _check_record(record: dict[str, Any]) -> None:
    """Check that a record holds what :func:`save_ppo` writes, and nothing else.

    Raises:
        CheckpointError: Something is unknown, missing, or of another kind.
    """
    check_fields(dict.fromkeys(_OPTIONAL) | record, _RECORD, "parts of a PPO run")
    for name in _IGNORED:
        record["settings"].pop(name, None)
    check_fields(record["settings"], _SETTINGS, "settings of PPO", may_lack=True)
    check_fields(record["counters"], _COUNTERS, "counters of PPO")
    check_policy_record(record["policy"])


def _check_spaces(agent: Any, observation_space: spaces.Dict, action_space: spaces.Discrete) -> None:
    """Compare the environment with that of the checkpoint."""
    if agent.observation_space != observation_space or agent.action_space != action_space:
        raise CheckpointError(
            f"expected an environment like that of the checkpoint, with {observation_space} and {action_space}, got "
            f"{agent.observation_space} and {agent.action_space}; make it with the same model and budgets"
        )


def _restore_environment(agent: Any, state: Any, episode_starts: Tensor) -> None:
    env = agent.env
    if env is None:
        raise CheckpointError("expected an agent with an environment, got none; make it with env=")
    if "env" in state and env.num_envs != len(episode_starts):
        raise CheckpointError(
            f"expected {len(episode_starts)} environments, got {env.num_envs}; make as many as before"
        )
    agent._last_obs = set_vec_state(env, from_json(state))
    if agent._last_obs is not None:
        agent._last_episode_starts = episode_starts.numpy().astype(bool)


def _load_rewards(env: VecEnv) -> None:
    """Let environments load their reward models now: later, that would draw from the generators of the run."""
    try:
        rewards = env.get_attr("reward")
    except AttributeError:  # environments of somebody else
        return
    for reward in rewards[:1]:
        load_reward_models(reward)


def _restore_generators(record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    version, internal, gauss = record["python"]
    try:
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state(from_json(record["numpy"]))
        torch.set_rng_state(tensors["rng.torch"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"expected states of random generators in a checkpoint, got others ({error}); use another checkpoint"
        ) from error
    devices = [tensors[name] for name in sorted(tensors) if name.startswith("rng.cuda.")]
    if devices and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(devices)


def _constant(schedule: Any) -> dict[str, float] | float | None:
    """A schedule as JSON: a linear one by its ends, a constant one by its value."""
    inner = getattr(schedule, "value_schedule", schedule)
    if inner is None or isinstance(inner, float | int):
        return inner
    if isinstance(inner, LinearSchedule):
        return {"start": float(inner.start), "end": float(inner.end), "end_fraction": float(inner.end_fraction)}
    values = {float(inner(progress)) for progress in (1.0, 0.7, 0.3, 0.0)}
    return values.pop() if len(values) == 1 else {}


def _schedules(stored: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments from :func:`_constant`'s records."""
    arguments: dict[str, Any] = {}
    for name, value in stored.items():
        if value == {} and name not in changes:
            raise CheckpointError(
                f"expected a linear or constant {name}, got one that was not stored; pass {name}=... to load"
            )
        if isinstance(value, dict) and value:
            arguments[name] = LinearSchedule(**value)
        elif name == "learning_rate" and isinstance(value, float):
            arguments[name] = LinearSchedule(value, value, 1.0)
        else:
            arguments[name] = value
    return arguments
