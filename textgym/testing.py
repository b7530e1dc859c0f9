"""Checks that users run on their own tasks, rewards and agents; textgym's own tests run the same."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from textgym.data import DataWarning
from textgym.envs import EpisodeTextEnv, TokenTextEnv
from textgym.envs.acting import actions_of, grain_of
from textgym.envs.checks import (
    AWKWARD_TEXTS,
    TOLERANCE,
    ConformanceError,
    check_wrappers,
    checks_of,
    holds,
    require,
)
from textgym.envs.limits import use_a_budget
from textgym.envs.types import batched
from textgym.errors import AgentError
from textgym.rewards import resolve_reward, reward_name, score
from textgym.security.consent import load_attribute
from textgym.types import Agent, Example, Grain, NameOrPath, RewardFn, State, Trainable

__all__ = ["AWKWARD_TEXTS", "ConformanceError", "check_agent", "check_reward", "check_text_env"]
_COPIES = 4  # which agents that compare several texts for a prompt can divide into groups
_ACTIONS = 20


def check_text_env(env: str | gym.Env[Any, Any], **env_kwargs: Any) -> None:
    """Check a text environment of either grain.

    Both public checkers (Gymnasium's, and on token level Stable-Baselines3's where it is installed) must pass without a
    warning. Then: same seed, same episode; named examples; what ``info`` holds and when; awkward texts and special
    tokens; many copies equal single ones; both grains give the same reward; no wrapper cuts a text before its end.

    Args:
        env: An id, or an environment of ``gymnasium.make``.
        env_kwargs: Arguments for ``gymnasium.make`` if ``env`` is an id.

    Raises:
        ConformanceError: A promise is broken, or the environment or its reward fails; the message says which.
    """
    (made,) = _environments(env, 1, env_kwargs)
    base = made.unwrapped
    require(made.spec is not None, "expected an environment made by gymnasium.make, got one without a spec")
    checks = checks_of(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said when ``env`` was made; some checks make it again
        warnings.filterwarnings("ignore", r".* is out of date\.", DeprecationWarning)  # there is a later version
        for promise, check in checks:
            with holds(promise):
                check()
        with holds("the wrappers to let texts end"):
            check_wrappers(made)


def check_reward(reward: RewardFn | NameOrPath, examples: Sequence[Example] = ()) -> None:
    """Check a reward: one finite number per text, the same for a text whatever else is in the batch.

    Args:
        reward: A reward or its name.
        examples: Examples to answer; a made-up example by default.

    Raises:
        ConformanceError: A promise is broken; the message says which.
    """
    fn = resolve_reward(reward)
    name = reward_name(fn)
    pool = list(examples) or [Example("check/0", "The council met on Tuesday.", ("The council met.",))]
    items = [pool[row % len(pool)] for row in range(len(AWKWARD_TEXTS))]
    prompts, texts = [item.text for item in items], list(AWKWARD_TEXTS)
    with holds(f"{name!r} to score every text"):
        whole = score(fn, prompts, texts, items).total
        again = score(fn, prompts, texts, items).total
        single = [
            score(fn, [prompt], [text], [item]).total[0]
            for prompt, text, item in zip(prompts, texts, items, strict=True)
        ]
    require(bool((whole == again).all()), f"expected the same scores twice from {name!r}, got {whole} and {again}")
    require(
        bool(np.allclose(whole, single, rtol=TOLERANCE, atol=TOLERANCE)),
        f"expected {name!r} to score a text alone as in a batch, got {single} and {whole}",
    )


def check_agent(
    agent: Agent | str,
    env: str | gym.Env[Any, Any],
    *,
    model: str | None = None,
    iterations: int = 2,
    **env_kwargs: Any,
) -> None:
    """Check that an agent keeps the promises of :class:`~textgym.types.Agent`, and of ``Trainable`` if it learns.

    It acts legally, one action for each of several observations, and leaves these alone; the same generator gives the
    same actions; what is saved acts the same once loaded. One that learns learns the same from the same seed, keeps a
    record per iteration, and goes on bit for bit from a state.

    Args:
        agent: An agent, of which only the acting is checked; or a name or ``"module:Class"``, which is made here.
        env: An id, of the agent's grain, or an environment of ``gymnasium.make``; to make an agent it takes an id.
        model: Start model of agents made here and of their token-level environment; ``None`` is its default.
        iterations: How long agents that are made here learn before they are compared.
        env_kwargs: Arguments of the environment if ``env`` is an id.

    Raises:
        ConformanceError: A promise is broken; the message says which.
    """
    with _contract():
        kind = load_attribute("textgym.agents:resolve_agent")(agent) if isinstance(agent, str) else type(agent)
        grain = grain_of(kind if isinstance(agent, str) else agent)
    if model is not None and grain == "token":  # environments of whole texts know no tokens
        env_kwargs["model"] = model
    envs = _environments(env, _COPIES, env_kwargs)
    if not isinstance(agent, str):
        _check_acting(agent, envs)
        return
    if not isinstance(env, str):
        raise TypeError(f"expected the id of an environment to make {agent!r} for, got a {type(env).__name__}")
    vector = load_attribute("textgym.agents:make_vec_env") if grain == "token" else gym.make_vec

    def make_env() -> Any:
        return vector(env, _COPIES, **env_kwargs)

    def make() -> Any:
        return kind.create(make_env(), model, seed=3, device="cpu")

    with holds(f"{agent!r} to keep the promises of an agent"):
        made = make()
        _check_acting(made, envs)
        if isinstance(made, Trainable):
            _check_learning(make, make_env, iterations)


@contextmanager
def _contract() -> Iterator[None]:
    """Turn what is wrong with the grain or the actions of an agent into ``ConformanceError``."""
    try:
        yield
    except AgentError as error:
        raise ConformanceError(str(error)) from error


def _environments(env: str | gym.Env[Any, Any], copies: int, env_kwargs: Mapping[str, Any]) -> list[gym.Env[Any, Any]]:
    """Return environments made of an id, or the one that was given."""
    return [gym.make(env, **env_kwargs) for _ in range(copies)] if isinstance(env, str) else [env]


@_contract()
def _check_acting(agent: Agent, envs: Sequence[gym.Env[Any, Any]]) -> None:
    """Actions are legal and repeatable, and the same once the agent is saved and loaded."""
    kind = EpisodeTextEnv if agent.grain == "episode" else TokenTextEnv
    fits = all(isinstance(env.unwrapped, kind) for env in envs)
    require(fits, f"expected an environment whose actions are those of the agent, grain {agent.grain!r}, got another")
    again = _saved_and_loaded(agent)
    rows = [env.reset(seed=seed)[0] for seed, env in enumerate(envs)]
    for _ in range(_ACTIONS):
        observations = batched(rows, agent.grain)
        before = copy.deepcopy(observations)
        actions = actions_of(agent, observations, len(rows), greedy=True)
        require(data_equivalence(before, observations), "expected act() to leave the observation alone, got a change")
        for env, action in zip(envs, actions, strict=True):
            require(action in env.action_space, f"expected an action in {env.action_space}, got {action!r:.80}")
        drawn = [actions_of(each, observations, len(rows), generator=_generator()) for each in (agent, agent, again)]
        require(drawn[0] == drawn[1], "expected the same actions from generators of the same seed, got others")
        require(drawn[0] == drawn[2], "expected the agent to act the same once it is saved and loaded, got others")
        rows = [_play(env, action, agent.grain) for env, action in zip(envs, actions, strict=True)]


def _saved_and_loaded(agent: Agent) -> Agent:
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "agent")
        return type(agent).load(Path(folder) / "agent")


def _play(env: gym.Env[Any, Any], action: Any, grain: Grain) -> Any:
    """Step, and reset at the end of a text; the next observation."""
    observation, _, terminated, truncated, _ = env.step(action)
    cut = truncated and not terminated and grain == "token"
    require(not cut, use_a_budget("one that was cut by a limit of steps"))
    return env.reset()[0] if terminated or truncated else observation


def _generator() -> Any:
    return load_attribute("torch:Generator")().manual_seed(5)


def _check_learning(make: Callable[[], Any], make_env: Callable[[], Any], iterations: int) -> None:
    """The same seed learns the same; a state goes on bit for bit, and so does a checkpoint, which is what runs resume.

    One agent after the other, because those of Stable-Baselines3 draw from the process's generators.
    """
    agent = make()
    _learn(agent, iterations)
    last = agent.history[-1] if agent.history else {}
    require(
        last.get("timesteps") == agent.num_timesteps,
        f"expected a record per iteration in history, the last with 'timesteps' {agent.num_timesteps}, got {last}",
    )
    require(bool(agent.seconds), "expected the seconds of the last iteration by part, got none")
    state = agent.get_state()
    json.dumps(state.record)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        agent.save(checkpoint)
        _learn(agent, 1)
        _check_resuming(agent, type(agent).load(checkpoint, env=make_env(), device="cpu"), state)
    twin = make()
    _learn(twin, iterations)
    same = _equal_tensors(state, twin.get_state())
    require(same, "expected the same weights from the same seed, got others")
    again = make()
    again.set_state(state)
    require(again.num_timesteps == twin.num_timesteps, "expected set_state() to bring num_timesteps back")
    _learn(again, 1)
    same = _equal_tensors(agent.get_state(), again.get_state())
    require(same, "expected an agent that goes on from a state to learn what the other one did, got other weights")


def _check_resuming(agent: Any, loaded: Any, state: State) -> None:
    """Check that a loaded agent stands where its checkpoint was written, and learns what the saved one learned."""
    same = _equal_tensors(state, loaded.get_state())
    require(same, "expected load(folder, env=..., device=...) to bring the state back that was saved, got another")
    _learn(loaded, 1)
    same = loaded.num_timesteps == agent.num_timesteps and _equal_tensors(agent.get_state(), loaded.get_state())
    require(same, "expected an agent loaded with load(folder, env=..., device=...) to learn on as before, got another")


def _learn(agent: Trainable, iterations: int) -> None:
    for _ in range(iterations):
        agent.learn(1, reset_num_timesteps=False)


def _equal_tensors(left: State, right: State) -> bool:
    same = left.tensors.keys() == right.tensors.keys()
    return same and all(bool((left.tensors[name] == right.tensors[name]).all()) for name in left.tensors)
