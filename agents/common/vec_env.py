"""Gymnasium's native vector environments as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from textgym.envs.limits import use_a_budget
from textgym.envs.types import EnvState, Info
from textgym.errors import CheckpointError
from textgym.spaces import TokenSpace
from textgym.values import as_text


def make_vec_env(env_id: str, n_envs: int = 1, seed: int | None = None, **env_kwargs: Any) -> VecMonitor:
    """Make ``n_envs`` copies of a token-level environment for a Stable-Baselines3 algorithm.

    Args:
        env_id: A registered id, such as ``"TextSumm-v0"``.
        n_envs: Number of copies.
        seed: Copy ``i`` is seeded with ``seed + i`` at the first reset; ``None`` leaves them to chance.
        env_kwargs: Arguments of the environment; a ``reward`` may be a callable.

    Returns:
        A ``VecMonitor`` (SB3 logs no episode rewards without one) around a :class:`GymVecEnv`.

    Raises:
        ValueError: Actions of the environment are whole texts, for which SB3 has no policies.
    """
    try:
        envs = gym.make_vec(env_id, num_envs=n_envs, **env_kwargs)
    except TypeError as error:
        if not _is_episode_level(env_id):
            raise
        # That `model` is unknown does not tell what is wrong.
        raise ValueError(_whole_texts(env_id)) from error
    venv = GymVecEnv(envs)
    if seed is not None:
        venv.seed(seed)
    monitor = MonitoredTexts(venv)
    monitor.reset_infos = venv.reset_infos  # SB3's wrappers do not pass these on
    return monitor


def env_attribute(env: Any, name: str) -> Any:
    """Return an attribute of a text environment, such as its task, whatever wraps it; the first copy's of several."""
    return env.get_attr(name)[0] if isinstance(env, VecEnv) else _innermost(env, name)


def _innermost(env: Any, name: str) -> Any:
    """Return an attribute of what is within all wrappers of Gymnasium."""
    return getattr(env.unwrapped, name)


@runtime_checkable
class _Resumable(Protocol):
    """A vector environment that goes on from a state."""

    def get_state(self) -> EnvState: ...

    def set_state(self, state: EnvState, /) -> object: ...

    def observation(self) -> dict[str, np.ndarray]: ...


class GymVecEnv(VecEnv):
    """Stable-Baselines3's face of a Gymnasium vector environment with autoreset mode ``SAME_STEP``.

    ``infos[i]`` is an empty dict until copy ``i`` ends; then it holds the final info of the episode, the last
    observation as ``terminal_observation``, and ``TimeLimit.truncated``. What the environment reports at a reset is in
    ``reset_infos``.

    Args:
        env: The environment; ``SyncVectorEnv(..., autoreset_mode=AutoresetMode.SAME_STEP)`` works too.

    Raises:
        TypeError: ``env`` is no vector environment.
        ValueError: Its actions are whole texts, or it resets in another mode, in which SB3 would learn from wrong
            transitions.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                f"expected a gymnasium VectorEnv, got {type(env).__name__}; make it with gymnasium.make_vec"
            )
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"expected autoreset mode SAME_STEP, got {mode}; make the environment with that mode")
        if isinstance(env.single_action_space, gym.spaces.Text):
            raise ValueError(_whole_texts(env.spec.id if env.spec else type(env).__name__))
        self.env = env
        self.spec = env.spec
        self._actions: np.ndarray | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def __repr__(self) -> str:
        """Return what the environment within says of itself."""
        return f"<{type(self).__name__}{self.env}>"

    def reset(self) -> VecEnvObs:
        """Reset all copies with the seeds and options set before; shape of every array ``(num_envs, ...)``."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observations, infos = self.env.reset(seed=cast("int | None", seeds), options=_merge(self._options))
        self.reset_infos[:] = [_row_info(infos, row) for row in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return cast("VecEnvObs", observations)

    def seed_each(self, seeds: Sequence[int]) -> None:
        """Seed every copy by itself at the next reset; copies with equal seeds are given the same prompts.

        Raises:
            ValueError: There are not as many seeds as copies.
        """
        if len(seeds) != self.num_envs:
            raise ValueError(f"expected {self.num_envs} seeds, one per copy, got {len(seeds)}; give as many")
        self._seeds = list(seeds)

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all copies; rewards are float32, as SB3's buffers hold them."""
        observations, rewards, terminations, truncations, infos = self.env.step(self._actions)
        dones = np.logical_or(terminations, truncations)
        rows: list[Info] = [{} for _ in range(self.num_envs)]
        for row in dones.nonzero()[0].tolist():
            rows[row] = self._final_info(infos, row, bool(truncations[row] and not terminations[row]))
            self.reset_infos[row] = _row_info(infos, row, skip=("final_obs", "final_info"))
        return cast("VecEnvObs", observations), rewards.astype(np.float32), dones, rows

    def observation(self) -> dict[str, np.ndarray]:
        """Return the current observations again, for an algorithm that resumes."""
        return self._resumable().observation()

    def get_state(self) -> EnvState:
        """Return the state of the environment, for a bit-exact resume."""
        return self._resumable().get_state()

    def set_state(self, state: EnvState) -> None:
        """Bring the environment back to a state of :meth:`get_state`."""
        self._resumable().set_state(dict(state))
        self._reset_seeds()  # of before: the next reset continues with the state's own generators
        self._reset_options()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute; copies share one environment object, so they share its value."""
        try:
            value = getattr(self.env, attr_name)
        except AttributeError:  # wrappers keep private names to themselves
            value = _innermost(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all copies (they cannot differ).

        Raises:
            ValueError: ``indices`` names some copies only.
        """
        self._require_all(indices, "set_attr")
        setattr(self.env.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: object, indices: VecEnvIndices = None, **method_kwargs: object
    ) -> list[Any]:
        """Call a method once, for all copies; every copy gets its result, of ``action_masks`` its own row.

        Raises:
            ValueError: ``indices`` names some copies only.
        """
        if method_name == "action_masks":
            masks = self.env.unwrapped.action_masks()  # type: ignore[attr-defined]
            return [masks[row] for row in self._get_indices(indices)]
        self._require_all(indices, "env_method")
        result = _innermost(self.env, method_name)(*method_args, **method_kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Say for each copy that it has no single-environment wrapper."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Text has no images."""
        return [None] * self.num_envs

    def _final_info(self, infos: Info, row: int, truncated: bool) -> Info:
        """Return the last info of a copy in SB3's form."""
        info = _row_info(infos["final_info"], row)
        if truncated and "text" not in info and isinstance(self.action_space, TokenSpace):
            raise ValueError(use_a_budget("one that was cut by a limit of steps"))
        return info | {"terminal_observation": infos["final_obs"][row], "TimeLimit.truncated": truncated}

    def _resumable(self) -> _Resumable:
        """Return the environment if its state can be saved."""
        env = self.env.unwrapped
        if not isinstance(env, _Resumable):
            raise TypeError(f"expected an environment with get_state and set_state, got {type(env).__name__}")
        return env

    def _require_all(self, indices: VecEnvIndices, method: str) -> None:
        """Copies live in one object, so a call for some of them is a mistake."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"expected {method} for all {self.num_envs} copies, got indices {indices!r}; leave them out"
            )


class MonitoredTexts(VecMonitor):
    """Stable-Baselines3's ``VecMonitor``, which says what it is around."""

    def __repr__(self) -> str:
        """Return what the environment within says of itself."""
        return f"<{type(self).__name__}{self.venv}>"


def seed_copies(venv: VecEnv, seeds: Sequence[int]) -> None:
    """Seed every copy of a ``make_vec_env`` environment by itself at the next reset, whatever wraps them.

    Raises:
        TypeError: The environment is another one.
        ValueError: There are not as many seeds as copies.
    """
    _adapter(venv).seed_each(seeds)


def get_vec_state(venv: VecEnv) -> EnvState:
    """Return the state of an environment, as :func:`describe_vec_state` does; what cannot be read is warned about."""
    state, problems = describe_vec_state(venv)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return state


def describe_vec_state(venv: VecEnv) -> tuple[EnvState, list[str]]:
    """Return the state of an environment: arrays, lists and numbers only.

    ``"env"`` is the state of the copies of a ``make_vec_env`` environment, ``"wrappers"`` are the running sums of every
    ``VecMonitor`` and ``VecNormalize`` around it, outermost first.

    Returns:
        The state, and what cannot be read and is left out, a sentence each.
    """
    state: EnvState = {"wrappers": [sums for layer in _layers(venv) if (sums := _read_sums(layer))]}
    problems = []
    if unsaved := _unsaved_wrappers(venv):
        problems.append(
            f"the state of {', '.join(unsaved)} is not saved, if there is any: a resumed run may then differ"
        )
    try:
        state["env"] = _adapter(venv).get_state()
    except TypeError as error:
        problems.append(f"a run resumed from here begins with new texts: {error}")
    return state, problems


def set_vec_state(venv: VecEnv, state: EnvState) -> dict[str, np.ndarray] | None:
    """Bring an environment back to a state of :func:`get_vec_state`.

    Returns:
        Current observations; ``None`` if the state of the copies was not saved.

    Raises:
        CheckpointError: A ``VecNormalize`` was there and is not, or the other way round.
    """
    for kind in (VecMonitor, VecNormalize):
        layers = [layer for layer in _layers(venv) if isinstance(layer, kind)]
        saved = [sums for sums in state["wrappers"] if sums["wrapper"] == kind.__name__]
        if kind is VecNormalize and len(layers) != len(saved):
            raise CheckpointError(
                f"expected an environment with {len(saved)} VecNormalize around it, as it was saved, "
                f"got {len(layers)}; wrap it as before"
            )
        for layer, sums in zip(layers, saved, strict=False):  # a monitor only logs: it may come or go
            _write_sums(layer, sums)
    if "env" not in state:
        return None
    _adapter(venv).set_state(state["env"])
    return _adapter(venv).observation()


def _layers(venv: VecEnv) -> Iterable[VecEnv]:
    """Yield a VecEnv and everything it wraps, outermost first."""
    while isinstance(venv, VecEnvWrapper):
        yield venv
        venv = venv.venv
    yield venv


def _adapter(venv: VecEnv) -> GymVecEnv:
    """Return the innermost environment, which must be ours."""
    base = list(_layers(venv))[-1]
    if not isinstance(base, GymVecEnv):
        raise TypeError(
            f"expected an environment of textgym.agents.common.vec_env.make_vec_env, got {type(base).__name__}"
        )
    return base


def _token_level(name: str) -> str:
    return name.replace("Episode-v", "-v")


def _is_episode_level(env_id: object) -> bool:
    """Return whether an id is one of the two grains of a task, the one of whole texts."""
    name = as_text(env_id)  # Gymnasium takes specifications, too
    return _token_level(name) != name and {name, _token_level(name)} <= gym.registry.keys()


def _whole_texts(name: str) -> str:
    """Say why an environment whose actions are whole texts is none for SB3, and what helps."""
    token_level = _token_level(name)
    return (
        f"expected a token-level environment, got {name!r}, where an action is a whole text; use "
        f"{token_level if token_level != name else 'TextSumm-v0'!r} here, or gym.make and gym.make_vec for an agent "
        "that writes whole texts"
    )


def _read_sums(layer: VecEnv) -> EnvState:
    """Return what a monitor or normalizer has summed up; nothing of another layer."""
    match layer:
        case VecMonitor():
            sums = {"episode_returns": layer.episode_returns.copy(), "episode_lengths": layer.episode_lengths.copy()}
            return {"wrapper": "VecMonitor", **sums}
        case VecNormalize():
            of_returns = layer.ret_rms
            moments = {"mean": of_returns.mean, "var": of_returns.var, "count": of_returns.count}
            sums = {name: np.array(moment, dtype=np.float64) for name, moment in moments.items()}
            return {"wrapper": "VecNormalize", "returns": layer.returns.copy(), **sums}
    return {}


def _write_sums(layer: VecEnv, sums: EnvState) -> None:
    """Give a monitor or normalizer what :func:`_read_sums` returned."""
    match layer:
        case VecMonitor():
            layer.episode_returns = np.array(sums["episode_returns"], dtype=np.float32)
            layer.episode_lengths = np.array(sums["episode_lengths"], dtype=np.int32)
        case VecNormalize():
            layer.returns = np.array(sums["returns"], dtype=np.float64)
            layer.ret_rms.mean, layer.ret_rms.var = np.array(sums["mean"]), np.array(sums["var"])
            layer.ret_rms.count = float(sums["count"])


def _unsaved_wrappers(venv: VecEnv) -> list[str]:
    """Return the names of wrappers that may have a state of their own, outermost first."""
    known = (VecMonitor, MonitoredTexts, VecNormalize, VecCheckNan)  # the last one keeps no state
    *wrappers, base = _layers(venv)
    names = [type(layer).__name__ for layer in wrappers if type(layer) not in known]
    inner = base.env if isinstance(base, GymVecEnv) else None
    while isinstance(inner, VectorWrapper):
        names.append(type(inner).__name__)
        inner = inner.env
    return names


def _merge(options: Sequence[Mapping[str, object]]) -> dict[str, object] | None:
    """Return SB3's options per copy as the options of one vector environment."""
    if not any(options):
        return None
    if all(set(option) <= {"task_key"} for option in options):
        return {"task_keys": [option.get("task_key") for option in options]}
    if any(option != options[0] for option in options):
        raise ValueError(f"expected the same reset options for all copies (but for task_key), got {list(options)!r}")
    return dict(options[0])


def _row_info(infos: Info, row: int, skip: Sequence[str] = ()) -> Info:
    """Return one copy's part of a vector environment's infos, as plain Python values."""
    info: Info = {}
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        if mask is None or key in skip or not mask[row]:
            continue
        info[key] = _row_value(values, row)
    return info


def _row_value(values: Any, row: int) -> object:
    """Return one copy's part of what is reported under one name."""
    if isinstance(values, dict):
        return _row_info(values, row)
    value: object = values[row]
    return value.item() if isinstance(value, np.generic) else value
