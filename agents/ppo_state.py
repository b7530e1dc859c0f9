"""What a PPO run consists of, to and from a checkpoint.

Stable-Baselines3 saves weights, optimizer and counters. A run that is to go on bit for bit also needs the states of the
random generators, of the environments, the last observation, the reference model and the KL coefficient.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.causal_lm_policy import CausalLMPolicy, rebuild_model, spaces_of
from textgym.agents.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.agents.vec_env import get_vec_state, set_vec_state
from textgym.errors import CheckpointError

_KIND = "textgym.PPO"
_SETTINGS = [
    "n_steps",
    "batch_size",
    "n_epochs",
    "gamma",
    "gae_lambda",
    "normalize_advantage",
    "ent_coef",
    "vf_coef",
    "max_grad_norm",
    "kl_coef",
    "kl_target",
    "kl_horizon",
    "missing_eos_penalty",
    "whiten_rewards",
    "clip_reward",
    "recompute_log_probs",
    "micro_batch_size",
    "target_kl",
    "seed",
    "tensorboard_log",
]
_COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "_values_are_centered",
    "_score_spread",
)


def save_ppo(agent: Any, folder: Path) -> None:
    """Write ``agent``, a :class:`textgym.agents.PPO`, to ``folder``."""
    tensors = {f"policy.{name}": tensor for name, tensor in unique_tensors(agent.policy.state_dict()).items()}
    if agent._reference is not None:
        reference = unique_tensors(agent._reference.state_dict())
        tensors |= {f"reference.{name}": tensor for name, tensor in reference.items()}
    tensors |= _optimizer_tensors(agent.policy.optimizer)
    tensors |= {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"rng.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    record = {
        "kind": _KIND,
        "policy": agent.policy.describe(),
        "n_envs": agent.n_envs,
        "settings": {name: getattr(agent, name) for name in _SETTINGS},
        "schedules": {
            name: _constant(getattr(agent, name)) for name in ("learning_rate", "clip_range", "clip_range_vf")
        },
        "counters": {name: getattr(agent, name) for name in _COUNTERS},
        "optimizer": {
            "class": type(agent.policy.optimizer).__name__,
            "param_groups": agent.policy.optimizer.state_dict()["param_groups"],
        },
        "rng": {"python": random.getstate(), "numpy": _to_json(np.random.get_state(legacy=False))},
        "history": agent.history,
    }
    if agent._last_obs is not None and agent.env is not None:
        record["environment"] = _to_json(get_vec_state(agent.env))
        tensors["episode_starts"] = torch.from_numpy(np.asarray(agent._last_episode_starts, dtype=np.uint8))
    write_checkpoint(folder, tensors, record, agent.policy.save_config)


def load_ppo(cls: Any, folder: Path, env: VecEnv | None, device: torch.device | str, changes: dict[str, Any]) -> Any:
    """Read an agent of class ``cls`` from ``folder``; see :meth:`PPO.load`."""
    tensors, record = read_checkpoint(folder, _KIND)
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
    load_unique(agent.policy, _part(tensors, "policy."), folder)
    if agent._reference is not None:
        load_unique(agent._reference, _part(tensors, "reference."), folder)
    _restore_optimizer(agent.policy.optimizer, _part(tensors, "optimizer."), record["optimizer"])
    for name, value in record["counters"].items():
        setattr(agent, name, value)
    agent.history = record["history"]
    if env is not None and "environment" in record:
        _restore_environment(agent, record["environment"], tensors["episode_starts"])
    _restore_generators(record["rng"], tensors)
    return agent


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
    agent._last_obs = set_vec_state(env, _from_json(state))
    if agent._last_obs is not None:
        agent._last_episode_starts = episode_starts.numpy().astype(bool)


def _restore_generators(record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    version, internal, gauss = record["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(_from_json(record["numpy"]))
    torch.set_rng_state(tensors["rng.torch"])
    devices = [tensors[name] for name in sorted(tensors) if name.startswith("rng.cuda.")]
    if devices and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(devices)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"optimizer.{index}.{name}": value.contiguous() if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    if record["class"] != type(optimizer).__name__:
        raise CheckpointError(
            f"expected optimizer {record['class']}, got {type(optimizer).__name__}; "
            "pass the policy_kwargs of the run to load"
        )
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = [
        {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in record["param_groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


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


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _to_json(value: Any) -> Any:
    """Arrays and numpy scalars as tagged JSON."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype", "shape"}:
            return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value
