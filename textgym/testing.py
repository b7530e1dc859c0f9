"""Checks that users run on their own tasks, rewards and agents; textgym's own tests run the same."""

from __future__ import annotations

import copy
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.utils.env_checker import data_equivalence

from textgym.data import DataWarning
from textgym.envs import EpisodeTextEnv, TokenTextEnv
from textgym.envs.arguments import EPISODE_ARGUMENTS, TOKEN_ARGUMENTS
from textgym.envs.limits import use_a_budget
from textgym.rewards import resolve_reward, reward_name, score
from textgym.security.consent import load_attribute
from textgym.spaces import TokenSpace
from textgym.types import Agent, Example, NameOrPath, RewardFn, State, Trainable

AWKWARD_TEXTS = (
    "",
    "a",
    "7",
    ",",
    " ;: ",
    "...!?",
    "\ud800 lone",
    "The council met.",
    "Ünïcode 東京 🎉 \u202e\x00",
    "<eos> <pad> </s>",
    "\n\n \t",
    "word " * 4000,
)
END_KEYS = {"text", "finish_reason", "is_success", "rewards", "task_key"}
_TOLERANCE = 1e-5
_STEPS = 60
_COPIES = 3
_ACTIONS = 20


class ConformanceError(AssertionError):
    """Something breaks a promise that the rest of textgym relies on."""


def check_text_env(env: str | gym.Env[Any, Any], **env_kwargs: Any) -> None:
    """Check a text environment of either grain.

    Both public checkers (Gymnasium's, and on token level Stable-Baselines3's where it is installed) must pass without a
    warning. Then: same seed, same episode; named examples; what ``info`` holds and when; awkward texts and special
    tokens; many copies equal single ones; both grains pay the same; no wrapper cuts a text before its end.

    Args:
        env: An id, or an environment of ``gymnasium.make``.
        env_kwargs: Arguments for ``gymnasium.make`` if ``env`` is an id.

    Raises:
        ConformanceError: A promise is broken, or the environment or its reward fails; the message says which.
    """
    made = gym.make(env, **env_kwargs) if isinstance(env, str) else env
    base = made.unwrapped
    _require(made.spec is not None, "expected an environment made by gymnasium.make, got one without a spec")
    _require(
        isinstance(base, TokenTextEnv | EpisodeTextEnv),
        f"expected TokenTextEnv or EpisodeTextEnv, got {type(base).__name__}; register tasks with register_task",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said when ``env`` was made; some checks make it again
        for promise, check in _CHECKS:
            with _holds(promise):
                check(base)
        with _holds("the wrappers to let texts end"):
            _check_wrappers(made)


def check_reward(reward: RewardFn | NameOrPath, examples: Sequence[Example] = ()) -> None:
    """Check a reward: one finite number per text, the same for a text whatever else is in the batch.

    Args:
        reward: A reward or its name.
        examples: What to answer; a made-up example by default.

    Raises:
        ConformanceError: A promise is broken; the message says which.
    """
    fn = resolve_reward(reward)
    name = reward_name(fn)
    pool = list(examples) or [Example("check/0", "The council met on Tuesday.", ("The council met.",))]
    items = [pool[row % len(pool)] for row in range(len(AWKWARD_TEXTS))]
    prompts, texts = [item.text for item in items], list(AWKWARD_TEXTS)
    with _holds(f"{name!r} to score every text"):
        whole = score(fn, prompts, texts, items).total
        again = score(fn, prompts, texts, items).total
        single = [
            score(fn, [prompt], [text], [item]).total[0]
            for prompt, text, item in zip(prompts, texts, items, strict=True)
        ]
    _require(bool((whole == again).all()), f"expected the same scores twice from {name!r}, got {whole} and {again}")
    _require(
        bool(np.allclose(whole, single, rtol=_TOLERANCE, atol=_TOLERANCE)),
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
    """Check that an agent keeps the promises of :class:`textgym.types.Agent`, and of ``Trainable`` if it learns.

    It acts legally, one action for each of several observations, and leaves these alone; the same generator gives the
    same actions; what is saved acts the same once loaded. One that learns learns the same from the same seed, keeps a
    record per iteration, and goes on bit for bit from a state.

    Args:
        agent: An agent, of which only the acting is checked; or a name or ``"module:Class"``, which is made here.
        env: An id, of the agent's grain, or an environment of ``gymnasium.make``; to make an agent it takes an id.
        model: Of agents that are made here, and of their token-level environment; ``None`` is its default.
        iterations: How long agents that are made here learn before they are compared.
        env_kwargs: Arguments of the environment if ``env`` is an id.

    Raises:
        ConformanceError: A promise is broken; the message says which.
    """
    if model is not None:
        env_kwargs["model"] = model
    envs = [gym.make(env, **env_kwargs) for _ in range(_COPIES)] if isinstance(env, str) else [env]
    if not isinstance(agent, str):
        _check_acting(agent, envs)
        return
    if not isinstance(env, str):
        raise TypeError(f"expected the id of an environment to make {agent!r} for, got a {type(env).__name__}")
    kind = load_attribute("textgym.agents:resolve_agent")(agent)
    vector = load_attribute("textgym.agents:make_vec_env") if kind.grain == "token" else gym.make_vec

    def make() -> Any:
        return kind.create(vector(env, _COPIES, **env_kwargs), model, seed=3, device="cpu")

    with _holds(f"{agent!r} to keep the promises of an agent"):
        made = make()
        _check_acting(made, envs)
        if isinstance(made, Trainable):
            _check_learning(make, iterations)


def _check_acting(agent: Agent, envs: Sequence[gym.Env[Any, Any]]) -> None:
    """Actions are legal and repeatable, and the same once the agent is saved and loaded."""
    kind = EpisodeTextEnv if agent.grain == "episode" else TokenTextEnv
    fits = all(isinstance(env.unwrapped, kind) for env in envs)
    _require(fits, f"expected an environment whose actions are those of the agent, grain {agent.grain!r}, got another")
    again = _saved_and_loaded(agent)
    rows = [env.reset(seed=seed)[0] for seed, env in enumerate(envs)]
    for _ in range(_ACTIONS):
        observations = _batch(rows)
        before = copy.deepcopy(observations)
        actions = list(agent.act(observations, greedy=True))
        _require(data_equivalence(before, observations), "expected act() to leave the observation alone, got a change")
        _require(len(actions) == len(rows), f"expected {len(rows)} actions, got {len(actions)}")
        for env, action in zip(envs, actions, strict=True):
            legal = isinstance(action, str) if agent.grain == "episode" else action in env.action_space
            _require(legal, f"expected an action in {env.action_space}, got {action!r:.80}")
        drawn = [list(each.act(observations, generator=_generator())) for each in (agent, agent, again)]
        _require(drawn[0] == drawn[1], "expected the same actions from generators of the same seed, got others")
        _require(drawn[0] == drawn[2], "expected the agent to act the same once it is saved and loaded, got others")
        rows = [_play(env, action) for env, action in zip(envs, actions, strict=True)]


def _saved_and_loaded(agent: Agent) -> Agent:
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "agent")
        return type(agent).load(Path(folder) / "agent")


def _batch(rows: Sequence[Any]) -> Any:
    """Observations of several environments as agents get them: arrays (n, ...) by name, or a list of texts."""
    if isinstance(rows[0], str):
        return list(rows)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _play(env: gym.Env[Any, Any], action: Any) -> Any:
    """Step, and reset at the end of a text; the next observation."""
    observation, _, terminated, truncated, _ = env.step(action)
    cut = truncated and not terminated and isinstance(env.unwrapped, TokenTextEnv)
    _require(not cut, use_a_budget("one that was cut by a limit of steps"))
    return env.reset()[0] if terminated or truncated else observation


def _generator() -> Any:
    return load_attribute("torch:Generator")().manual_seed(5)


def _check_learning(make: Callable[[], Any], iterations: int) -> None:
    """The same seed learns the same; a state goes on bit for bit.

    One agent after the other, because those of Stable-Baselines3 draw from the process's generators.
    """
    agent = make()
    _learn(agent, iterations)
    last = agent.history[-1] if agent.history else {}
    _require(
        last.get("timesteps") == agent.num_timesteps,
        f"expected a record per iteration in history, the last with 'timesteps' {agent.num_timesteps}, got {last}",
    )
    _require(bool(agent.seconds), "expected the seconds of the last iteration by part, got none")
    state = agent.get_state()
    json.dumps(state.record)
    _learn(agent, 1)
    twin = make()
    _learn(twin, iterations)
    same = _equal_tensors(state, twin.get_state())
    _require(same, "expected the same weights from the same seed, got others")
    again = make()
    again.set_state(state)
    _require(again.num_timesteps == twin.num_timesteps, "expected set_state() to bring num_timesteps back")
    _learn(again, 1)
    same = _equal_tensors(agent.get_state(), again.get_state())
    _require(same, "expected an agent that goes on from a state to learn what the other one did, got other weights")


def _learn(agent: Trainable, iterations: int) -> None:
    for _ in range(iterations):
        agent.learn(1, reset_num_timesteps=False)


def _equal_tensors(left: State, right: State) -> bool:
    same = left.tensors.keys() == right.tensors.keys()
    return same and all(bool((left.tensors[name] == right.tensors[name]).all()) for name in left.tensors)


def _require(condition: bool, message: str) -> None:
    """Raise ``ConformanceError`` unless ``condition``."""
    if not condition:
        raise ConformanceError(message)


@contextmanager
def _holds(promise: str) -> Iterator[None]:
    """Turn whatever goes wrong into ``ConformanceError``: environments and rewards under check may raise anything."""
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"expected {promise}, got {type(error).__name__}: {error}") from error


@contextmanager
def _no_warnings(checker: str) -> Iterator[None]:
    """Turn warnings and failures of a public checker into ``ConformanceError``; what data lack is no concern of it."""
    with warnings.catch_warnings(), _holds(f"{checker} to pass without a warning"):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        yield


def _actions(env: gym.Env[Any, Any], seed: int, count: int = _STEPS) -> list[Any]:
    """Return ``count`` random actions."""
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def _rollout(env: gym.Env[Any, Any], seed: int, actions: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Play ``actions`` from a seeded reset, resetting at ends; returns (obs, reward, ended, info) of each step."""
    observation, info = env.reset(seed=seed)
    seen: list[tuple[Any, ...]] = [(observation, 0.0, False, info)]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        _require(not truncated, "expected a finished text to be terminated, got truncated=True")
        seen.append((observation, reward, terminated, info))
        if terminated:
            seen.append((*env.reset()[:1], 0.0, False, {}))
    return seen


def _check_gymnasium(env: gym.Env[Any, Any]) -> None:
    """Gymnasium agrees."""
    with _no_warnings("Gymnasium's check_env"):
        gymnasium_check_env(env, skip_close_check=True, skip_render_check=env.render_mode is None)


def _check_determinism(env: gym.Env[Any, Any]) -> None:
    """The same seed and actions give the same episodes."""
    actions = _actions(env, 0)
    first, second = _rollout(env, 11, actions), _rollout(env, 11, actions)
    _require(data_equivalence(tuple(first), tuple(second)), "expected the same episodes for the same seed and actions")


def _check_named_examples(env: gym.Env[Any, Any]) -> None:
    """A reset can name its example."""
    observation, info = env.reset(seed=5)
    _require("task_key" in info, f"expected 'task_key' in the info of a reset, got {sorted(info)}")
    env.reset()
    same, named = env.reset(options={"task_key": info["task_key"]})
    _require(named["task_key"] == info["task_key"], f"expected example {info['task_key']!r}, got {named['task_key']!r}")
    _require(data_equivalence(observation, same), "expected the named example to look as when it was drawn")
    _expect(ValueError, lambda: env.reset(options={"task_key": "no such key"}), "an unknown task_key")


def _check_wrappers(env: gym.Env[Any, Any]) -> None:
    """Nothing around the environment cuts a text that has room left."""
    base = env.unwrapped
    if not isinstance(base, TokenTextEnv):
        return  # there is no limit of steps
    env.reset(seed=3)
    pieces, ends = base.tokenizer.token_bytes, base.tokenizer.eos_ids
    goes_on = min((id_ for id_ in range(len(pieces)) if id_ not in ends), key=lambda id_: len(pieces[id_]))
    for _ in range(base.max_new_tokens * base.task.max_turns):
        _, _, terminated, truncated, _ = env.step(np.int64(goes_on))
        if terminated:
            return
        _require(not truncated, use_a_budget("one that was cut by a limit of steps"))


def _check_episode_end(env: gym.Env[Any, Any]) -> None:
    """Infos of steps are empty until the end, which has all keys, and the return; then a reset is needed."""
    env.reset(seed=3)
    turns, paid = _most_turns(env), 0.0
    for action in _actions(env, 1, getattr(env, "max_new_tokens", 1) * turns):
        _, reward, terminated, _, info = env.step(action)
        paid += float(reward)
        if terminated:
            break
        _require(
            set(info) <= {"action_mask"} and (turns > 1 or reward == 0.0),
            f"expected no info and no reward before the end, got {info}, {reward}",
        )
    missing = END_KEYS - set(info)
    _require(not missing, f"expected {sorted(END_KEYS)} in the last info, got none of {sorted(missing)}")
    _require(type(info["is_success"]) is bool, f"expected is_success to be a bool, got {info['is_success']!r}")
    _require(
        bool(np.isclose(info["rewards"]["total"], paid)),
        f"expected rewards['total'] to be all that was paid, {paid}, got {info['rewards']}",
    )
    _require(info["text"] == info["text"].strip(), f"expected a stripped text, got {info['text']!r}")
    _expect(ResetNeeded, lambda: env.step(action), "a step after the end")


def _most_turns(env: gym.Env[Any, Any]) -> int:
    """Return how many turns of the agent an episode may have."""
    turns: int = env.get_wrapper_attr("task").max_turns
    return turns


def _repeat(env: gym.Env[Any, Any], action: Any) -> tuple[float, bool, dict[str, Any]]:
    """Take one action as every turn of an episode; returns the last reward, whether it ended, and the last info."""
    for _ in range(_most_turns(env)):
        _, reward, terminated, _, info = env.step(action)
        if terminated:
            break
    return float(reward), terminated, info


def _expect(kind: type[Exception], call: Callable[[], Any], what: str) -> None:
    """Check that ``call`` raises ``kind``."""
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"expected {kind.__name__} for {what}, got {type(error).__name__}: {error}") from error
    raise ConformanceError(f"expected {kind.__name__} for {what}, got no error")


def _check_token_level(env: gym.Env[Any, Any]) -> None:
    """Stable-Baselines3 agrees, special tokens are legal, and EOS first is an empty text."""
    if not isinstance(env, TokenTextEnv):
        return
    if importlib.util.find_spec("stable_baselines3"):
        from stable_baselines3.common.env_checker import check_env as sb3_check_env

        with _no_warnings("Stable-Baselines3's check_env"):
            sb3_check_env(env, warn=True, skip_render_check=True)
    tokenizer = env.tokenizer
    _require(isinstance(env.action_space, TokenSpace), f"expected a TokenSpace, got {env.action_space}")
    if tokenizer.name == "tiny":
        _require(tokenizer.pad_id not in tokenizer.eos_ids, "expected the shipped tokenizer's pad to be no EOS")
    silent = [id_ for id_, raw in enumerate(tokenizer.token_bytes) if not raw and id_ not in tokenizer.eos_ids]
    for id_ in dict.fromkeys([tokenizer.pad_id, *silent[:8]]):
        position = int(env.reset(seed=1)[0]["prompt_length"][0])
        observation, *_ = env.step(np.int64(id_))
        _require(bool(observation["attention_mask"][position]), f"expected token {id_} to be attended to, got a 0 mask")
        _require(int(observation["input_ids"][position]) == id_, f"expected token {id_} in the observation")
    for id_ in tokenizer.eos_ids:
        env.reset(seed=1)
        reward, terminated, info = _repeat(env, np.int64(id_))
        _require(
            terminated and info["text"] == "", f"expected EOS {id_} to end an empty text, got {info.get('text')!r}"
        )
        _require(bool(np.isfinite(reward)), f"expected a finite reward for the empty text, got {reward}")


def _check_awkward_answers(env: gym.Env[Any, Any]) -> None:
    """Any text can be an answer."""
    if not isinstance(env, EpisodeTextEnv):
        return
    for text in AWKWARD_TEXTS:
        env.reset(seed=1)
        reward, terminated, info = _repeat(env, text)
        _require(terminated and bool(np.isfinite(reward)), f"expected a finite reward for {text[:40]!r}, got {reward}")
        _require(
            info["text"] == text.strip() or bool(env.stop),
            f"expected {text[:40]!r} to be judged, got {info['text']!r:.80}",
        )


def _kwargs(env: gym.Env[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return those make-arguments of an environment that another one takes too."""
    assert env.spec is not None
    return {name: value for name, value in env.spec.kwargs.items() if name in names and name != "render_mode"}


def _check_copies(env: gym.Env[Any, Any], n: int = 3) -> None:
    """Copies in a vector environment live as single environments with their seeds do."""
    assert env.spec is not None
    tokens = isinstance(env, TokenTextEnv)
    many = gym.make_vec(env.spec.id, num_envs=n, **_kwargs(env, TOKEN_ARGUMENTS if tokens else EPISODE_ARGUMENTS))
    columns = [_actions(env, row) for row in range(n)]
    _, infos = many.reset(seed=[20 + row for row in range(n)])  # type: ignore[arg-type]
    keys = [list(infos["task_key"])]
    totals = [[0.0] * n]
    for step in range(_STEPS):
        actions: Any = [column[step] for column in columns]
        _, rewards, terminations, _, infos = many.step(np.array(actions) if tokens else actions)
        totals.append(rewards.tolist())
        keys.append([infos["task_key"][row] if terminations[row] else None for row in range(n)])
    for row in range(n):
        single = _reward_and_keys(env, 20 + row, columns[row])
        together = [(total[row], key[row]) for total, key in zip(totals, keys, strict=True)]
        agree = all(
            key == other and bool(np.isclose(total, value, rtol=_TOLERANCE, atol=_TOLERANCE))
            for (total, key), (value, other) in zip(together, single, strict=True)
        )
        _require(agree, f"expected copy {row} of the vector environment to equal a single one, got another course")


def _reward_and_keys(env: gym.Env[Any, Any], seed: int, actions: Sequence[Any]) -> list[tuple[float, str | None]]:
    """Return each step's reward, and the key of the example that starts there."""
    _, info = env.reset(seed=seed)
    seen: list[tuple[float, str | None]] = [(0.0, info["task_key"])]
    for action in actions:
        _, reward, terminated, _, _ = env.step(action)
        seen.append((float(reward), env.reset()[1]["task_key"] if terminated else None))
    return seen


def _check_equal_returns(env: gym.Env[Any, Any]) -> None:
    """A text pays the same token by token and as a whole."""
    assert env.spec is not None
    if not isinstance(env, TokenTextEnv):
        return
    sibling_id = f"{env.spec.name}Episode-v{env.spec.version}"
    _require(
        sibling_id in gym.registry, f"expected the other grain as {sibling_id!r}; register tasks with register_task"
    )
    sibling = gym.make(sibling_id, **_kwargs(env, EPISODE_ARGUMENTS))
    seed: int | None = 30  # the other side of a conversation draws its numbers by seed and number of the episode
    for *_, info in _rollout(env, 30, _actions(env, 4, 4 * _STEPS)):
        if "text" not in info:
            continue
        sibling.reset(seed=seed, options={"task_key": info["task_key"]})
        seed, paid = None, 0.0
        for text in _written(info):
            _, reward, _, _, whole = sibling.step(text)
            paid += float(reward)
        close = bool(np.isclose(paid, info["rewards"]["total"], rtol=_TOLERANCE, atol=_TOLERANCE))
        _require(
            close and whole.get("text") == info["text"] and whole.get("turns") == info.get("turns"),
            f"expected both grains to pay {info['rewards']['total']} for {info['text']!r:.80}, got {paid}",
        )


def _written(info: dict[str, Any]) -> list[str]:
    """Return what the agent wrote in an episode, turn by turn."""
    turns = info.get("turns", [{"role": "assistant", "content": info["text"]}])
    return [turn["content"] for turn in turns if turn["role"] == "assistant"]


def _check_masks(env: gym.Env[Any, Any]) -> None:
    """Infos and ``action_masks`` say the same, wherever a task says what may be written."""
    if not isinstance(env, TokenTextEnv):
        return
    _, info = env.reset(seed=8)
    for action in _actions(env, 5):
        masks = env.action_masks()
        told = info.get("action_mask", np.ones(env.tokenizer.vocab_size))
        _require(bool((masks == told).all()), "expected info['action_mask'] to be action_masks(), got another one")
        _require(bool(masks.any()), "expected a token that may be written, got none")
        _, _, terminated, _, info = env.step(action)
        if terminated:
            return


_CHECKS: tuple[tuple[str, Callable[[gym.Env[Any, Any]], None]], ...] = (
    ("Gymnasium's rules to hold", _check_gymnasium),
    ("the same episodes for the same seed and actions", _check_determinism),
    ("reset() to start on an example that is named", _check_named_examples),
    ("an episode to end with all that info promises", _check_episode_end),
    ("every token to be a legal action", _check_token_level),
    ("every text to be a legal action", _check_awkward_answers),
    ("many copies to play as single ones do", _check_copies),
    ("both grains to pay the same", _check_equal_returns),
    ("action masks to be told", _check_masks),
)
