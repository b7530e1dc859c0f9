"""The promises of text environments, one check each; :mod:`textgym.testing` runs them."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.utils.env_checker import data_equivalence

from textgym.data import DataWarning
from textgym.envs.arguments import EPISODE_ARGUMENTS, TOKEN_ARGUMENTS
from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.limits import use_a_budget
from textgym.envs.token_text import TokenTextEnv
from textgym.envs.types import Action, AnyEnv, Info
from textgym.rewards import shaping_of
from textgym.spaces import TokenSpace

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
TOLERANCE = 1e-5
_STEPS = 60
Step = tuple[object, float, bool, Info]
"""Observation, reward, whether the episode ended, info."""


class ConformanceError(AssertionError):
    """Something breaks a promise that the rest of textgym relies on."""


def require(condition: bool, message: str) -> None:
    """Raise ``ConformanceError`` unless ``condition``."""
    if not condition:
        raise ConformanceError(message)


@contextmanager
def holds(promise: str) -> Iterator[None]:
    """Turn whatever goes wrong into ``ConformanceError``: environments and rewards under check may raise anything."""
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"expected {promise}, got {type(error).__name__}: {error}") from error


@contextmanager
def no_warnings(checker: str) -> Iterator[None]:
    """Turn warnings and failures of a public checker into ``ConformanceError``; what data lack is no concern of it."""
    with warnings.catch_warnings(), holds(f"{checker} to pass without a warning"):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        warnings.filterwarnings("ignore", r".* is out of date\.", DeprecationWarning)  # there is a later version of it
        yield


def draw_actions(env: AnyEnv, seed: int, count: int = _STEPS) -> list[Action]:
    """Return ``count`` random actions."""
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def _rollout(env: AnyEnv, seed: int, actions: Sequence[Action]) -> list[Step]:
    """Play ``actions`` from a seeded reset, resetting at ends; returns (obs, reward, ended, info) of each step."""
    observation, info = env.reset(seed=seed)
    seen: list[Step] = [(observation, 0.0, False, info)]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        require(not truncated, "expected a finished text to be terminated, got truncated=True")
        seen.append((observation, float(reward), terminated, info))
        if terminated:
            seen.append((*env.reset()[:1], 0.0, False, {}))
    return seen


def _check_gymnasium(env: AnyEnv) -> None:
    """Gymnasium agrees."""
    with no_warnings("Gymnasium's check_env"):
        gymnasium_check_env(env, skip_close_check=True, skip_render_check=env.render_mode is None)


def _check_determinism(env: AnyEnv) -> None:
    """The same seed and actions give the same episodes."""
    actions = draw_actions(env, 0)
    first, second = _rollout(env, 11, actions), _rollout(env, 11, actions)
    require(data_equivalence(tuple(first), tuple(second)), "expected the same episodes for the same seed and actions")


def _check_named_examples(env: AnyEnv) -> None:
    """A reset can name its example."""
    observation, info = env.reset(seed=5)
    require("task_key" in info, f"expected 'task_key' in the info of a reset, got {sorted(info)}")
    env.reset()
    same, named = env.reset(options={"task_key": info["task_key"]})
    require(named["task_key"] == info["task_key"], f"expected example {info['task_key']!r}, got {named['task_key']!r}")
    require(data_equivalence(observation, same), "expected the named example to look as when it was drawn")
    _expect(ValueError, lambda: env.reset(options={"task_key": "no such key"}), "an unknown task_key")


def check_wrappers(env: AnyEnv) -> None:
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
        require(not truncated, use_a_budget("one that was cut by a limit of steps"))


def _check_end_of_tokens(env: TokenTextEnv) -> None:
    """The end comes within the budget of tokens of every turn."""
    _check_episode_end(env, env.max_new_tokens)


def _check_end_of_texts(env: EpisodeTextEnv) -> None:
    """The end comes within one action a turn."""
    _check_episode_end(env, 1)


def _check_episode_end(env: AnyEnv, actions_per_turn: int) -> None:
    """Infos of steps are empty until the end, which has all keys, and the return; then a reset is needed."""
    env.reset(seed=3)
    turns, total = _most_turns(env), 0.0
    for action in draw_actions(env, 1, actions_per_turn * turns):
        _, reward, terminated, _, info = env.step(action)
        total += float(reward)
        if terminated:
            break
        require(
            set(info) <= {"action_mask"} and (turns > 1 or reward == 0.0 or _is_shaped(env)),
            f"expected no info and no reward before the end, got {info}, {reward}",
        )
    missing = END_KEYS - set(info)
    require(not missing, f"expected {sorted(END_KEYS)} in the last info, got none of {sorted(missing)}")
    require(type(info["is_success"]) is bool, f"expected is_success to be a bool, got {info['is_success']!r}")
    require(
        bool(np.isclose(info["rewards"]["total"], total)),
        f"expected rewards['total'] to be the sum of all rewards, {total}, got {info['rewards']}",
    )
    require(info["text"] == info["text"].strip(), f"expected a stripped text, got {info['text']!r}")
    _expect(ResetNeeded, lambda: env.step(action), "a step after the end")


def _is_shaped(env: AnyEnv) -> bool:
    """Return whether a reward is paid token by token."""
    return shaping_of(env.get_wrapper_attr("reward")) is not None


def _most_turns(env: AnyEnv) -> int:
    """Return how many turns of the agent an episode may have."""
    turns: int = env.get_wrapper_attr("task").max_turns
    return turns


def _repeat(env: AnyEnv, action: Action) -> tuple[float, bool, Info]:
    """Take one action as every turn of an episode; returns the last reward, whether it ended, and the last info."""
    for _ in range(_most_turns(env)):
        _, reward, terminated, _, info = env.step(action)
        if terminated:
            break
    return float(reward), terminated, info


def _expect(kind: type[Exception], call: Callable[[], object], what: str) -> None:
    """Check that ``call`` raises ``kind``."""
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"expected {kind.__name__} for {what}, got {type(error).__name__}: {error}") from error
    raise ConformanceError(f"expected {kind.__name__} for {what}, got no error")


def _check_token_level(env: TokenTextEnv) -> None:
    """Stable-Baselines3 agrees, special tokens are legal, and EOS first is an empty text."""
    if importlib.util.find_spec("stable_baselines3"):
        from stable_baselines3.common.env_checker import check_env as sb3_check_env

        with no_warnings("Stable-Baselines3's check_env"):
            sb3_check_env(env, warn=True, skip_render_check=True)
    tokenizer = env.tokenizer
    require(isinstance(env.action_space, TokenSpace), f"expected a TokenSpace, got {env.action_space}")
    if tokenizer.name == "tiny":
        require(tokenizer.pad_id not in tokenizer.eos_ids, "expected the shipped tokenizer's pad to be no EOS")
    silent = [id_ for id_, raw in enumerate(tokenizer.token_bytes) if not raw and id_ not in tokenizer.eos_ids]
    for id_ in dict.fromkeys([tokenizer.pad_id, *silent[:8]]):
        position = int(env.reset(seed=1)[0]["prompt_length"][0])
        observation, *_ = env.step(np.int64(id_))
        require(bool(observation["attention_mask"][position]), f"expected token {id_} to be attended to, got a 0 mask")
        require(int(observation["input_ids"][position]) == id_, f"expected token {id_} in the observation")
    for id_ in tokenizer.eos_ids:
        env.reset(seed=1)
        reward, terminated, info = _repeat(env, np.int64(id_))
        require(terminated and info["text"] == "", f"expected EOS {id_} to end an empty text, got {info.get('text')!r}")
        require(bool(np.isfinite(reward)), f"expected a finite reward for the empty text, got {reward}")


def _check_awkward_answers(env: EpisodeTextEnv) -> None:
    """Any text can be an answer."""
    for text in AWKWARD_TEXTS:
        env.reset(seed=1)
        reward, terminated, info = _repeat(env, text)
        require(terminated and bool(np.isfinite(reward)), f"expected a finite reward for {text[:40]!r}, got {reward}")
        require(
            info["text"] == text.strip() or bool(env.stop),
            f"expected {text[:40]!r} to be scored, got {info['text']!r:.80}",
        )


def _kwargs(env: AnyEnv, names: Sequence[str]) -> dict[str, Any]:
    """Return those make-arguments of an environment that another one takes too."""
    assert env.spec is not None
    return {name: value for name, value in env.spec.kwargs.items() if name in names and name != "render_mode"}


def _check_copies_of_tokens(env: TokenTextEnv) -> None:
    """Copies that take an array of token ids play as single environments do."""
    _check_copies(env, TOKEN_ARGUMENTS, np.array)


def _check_copies_of_texts(env: EpisodeTextEnv) -> None:
    """Copies that take a list of texts play as single environments do."""
    _check_copies(env, EPISODE_ARGUMENTS, list)


def _check_copies(
    env: AnyEnv, arguments: Sequence[str], together: Callable[[list[Action]], Action], n: int = 3
) -> None:
    """Copies in a vector environment live as single environments with their seeds do."""
    assert env.spec is not None
    many = gym.make_vec(env.spec.id, num_envs=n, **_kwargs(env, arguments))
    columns = [draw_actions(env, row) for row in range(n)]
    _, infos = many.reset(seed=[20 + row for row in range(n)])  # type: ignore[arg-type]
    keys = [list(infos["task_key"])]
    totals = [[0.0] * n]
    for step in range(_STEPS):
        _, rewards, terminations, _, infos = many.step(together([column[step] for column in columns]))
        totals.append(rewards.tolist())
        keys.append([infos["task_key"][row] if terminations[row] else None for row in range(n)])
    for row in range(n):
        single = _reward_and_keys(env, 20 + row, columns[row])
        in_vector = [(total[row], key[row]) for total, key in zip(totals, keys, strict=True)]
        agree = all(
            key == other and bool(np.isclose(total, value, rtol=TOLERANCE, atol=TOLERANCE))
            for (total, key), (value, other) in zip(in_vector, single, strict=True)
        )
        require(agree, f"expected copy {row} of the vector environment to equal a single one, got another course")


def _reward_and_keys(env: AnyEnv, seed: int, actions: Sequence[Action]) -> list[tuple[float, str | None]]:
    """Return each step's reward, and the key of the example that starts there."""
    _, info = env.reset(seed=seed)
    seen: list[tuple[float, str | None]] = [(0.0, info["task_key"])]
    for action in actions:
        _, reward, terminated, _, _ = env.step(action)
        seen.append((float(reward), env.reset()[1]["task_key"] if terminated else None))
    return seen


def _check_equal_returns(env: TokenTextEnv) -> None:
    """A text is rewarded the same token by token and as a whole."""
    assert env.spec is not None
    sibling_id = f"{env.spec.name}Episode-v{env.spec.version}"
    require(
        sibling_id in gym.registry, f"expected the other grain as {sibling_id!r}; register tasks with register_task"
    )
    sibling = gym.make(sibling_id, **_kwargs(env, EPISODE_ARGUMENTS))
    seed: int | None = 30  # the other side of a conversation draws its numbers by seed and number of the episode
    for *_, info in _rollout(env, 30, draw_actions(env, 4, 4 * _STEPS)):
        if "text" not in info:
            continue
        sibling.reset(seed=seed, options={"task_key": info["task_key"]})
        seed, total = None, 0.0
        for text in _written(info):
            _, reward, _, _, whole = sibling.step(text)
            total += float(reward)
        scored = info["rewards"]["total"] - info["rewards"].get("shaping", 0.0)  # of discounted shaping
        close = bool(np.isclose(total, scored, rtol=TOLERANCE, atol=TOLERANCE))
        require(
            close and whole.get("text") == info["text"] and whole.get("turns") == info.get("turns"),
            f"expected both grains to reward {info['text']!r:.80} with {scored}, got {total}",
        )


def _written(info: Info) -> list[str]:
    """Return what the agent wrote in an episode, turn by turn."""
    turns = info.get("turns", [{"role": "assistant", "content": info["text"]}])
    return [turn["content"] for turn in turns if turn["role"] == "assistant"]


def _check_masks(env: TokenTextEnv) -> None:
    """Infos and ``action_masks`` say the same, wherever a task says what may be written."""
    _, info = env.reset(seed=8)
    for action in draw_actions(env, 5):
        masks = env.action_masks()
        reported = info.get("action_mask", np.ones(env.tokenizer.vocab_size))
        require(bool((masks == reported).all()), "expected info['action_mask'] to be action_masks(), got another one")
        require(bool(masks.any()), "expected a token that may be written, got none")
        _, _, terminated, _, info = env.step(action)
        if terminated:
            return


_OF_BOTH: tuple[tuple[str, Callable[[AnyEnv], None]], ...] = (
    ("Gymnasium's rules to hold", _check_gymnasium),
    ("the same episodes for the same seed and actions", _check_determinism),
    ("reset() to start on an example that is named", _check_named_examples),
)
_ENDS, _COPIES = "an episode to end with all that info promises", "many copies to play as single ones do"
_OF_TOKENS: tuple[tuple[str, Callable[[TokenTextEnv], None]], ...] = (
    (_ENDS, _check_end_of_tokens),
    ("every token to be a legal action", _check_token_level),
    (_COPIES, _check_copies_of_tokens),
    ("both grains to give the same reward", _check_equal_returns),
    ("action masks to be reported", _check_masks),
)
_OF_TEXTS: tuple[tuple[str, Callable[[EpisodeTextEnv], None]], ...] = (
    (_ENDS, _check_end_of_texts),
    ("every text to be a legal action", _check_awkward_answers),
    (_COPIES, _check_copies_of_texts),
)


def checks_of(env: AnyEnv) -> list[tuple[str, Callable[[], None]]]:
    """Return the promises of an environment, without wrappers, each with its check: of both grains, then of its own.

    Raises:
        ConformanceError: It is no text environment.
    """
    own: list[tuple[str, Callable[[], None]]]
    match env:
        case TokenTextEnv():
            own = [(promise, partial(check, env)) for promise, check in _OF_TOKENS]
        case EpisodeTextEnv():
            own = [(promise, partial(check, env)) for promise, check in _OF_TEXTS]
        case _:
            raise ConformanceError(
                f"expected TokenTextEnv or EpisodeTextEnv, got {type(env).__name__}; register tasks with register_task"
            )
    return [*((promise, partial(check, env)) for promise, check in _OF_BOTH), *own]
