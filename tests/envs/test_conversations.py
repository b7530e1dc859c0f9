"""Episodes of several turns, at both grains, one copy and many: a guessing game with a number that nobody sees."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import textgym
from tests.envs.guessing import Guessing, MaskedGuessing, write_tokenizer
from textgym.errors import RewardError
from textgym.testing import check_text_env
from textgym.text.tokenizer import Tokenizer
from textgym.types import Episode, Message

IDS = [*textgym.register_task("TestGuessing", Guessing), *textgym.register_task("TestMaskedGuessing", MaskedGuessing)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tokenizer(tmp_path_factory.mktemp("words")))


@pytest.fixture(scope="module")
def tokenizer(folder: str) -> Tokenizer:
    return Tokenizer.load(folder)


def kwargs(env_id: str, folder: str) -> dict[str, Any]:
    return {} if "Episode" in env_id else {"model": folder}


@pytest.mark.parametrize("env_id", IDS)
def test_conforms(env_id: str, folder: str) -> None:
    check_text_env(env_id, **kwargs(env_id, folder))


def test_chat_models_conform(chat_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"at least \d+ tokens for a reply .*, got 8; raise max_reply_tokens"):
        gym.make(IDS[0], model=str(chat_folder), max_prompt_tokens=60)
    roomy = type("Roomy", (Guessing,), {"max_reply_tokens": 60})
    check_text_env(textgym.register_task("TestRoomy", roomy)[0], model=str(chat_folder), max_prompt_tokens=60)


def number_of(env: Any, seed: int, key: str) -> int:
    """The number that the other side thinks of in the first episode behind a seed."""
    env.reset(seed=seed, options={"task_key": key})
    env.step("0")
    return int(env.unwrapped._core.conversations.episode(0).state["number"])


def test_the_whole_transition_by_hand(folder: str, tokenizer: Tokenizer) -> None:
    number = number_of(gym.make(IDS[1]), 5, "train/7")
    guesses = [str(number - 1) if number > 1 else str(number + 1), str(number)]
    hint = "higher" if number > 1 else "lower"
    env: Any = gym.make(IDS[0], model=folder)
    observation, info = env.reset(seed=5, options={"task_key": "train/7"})
    assert info == {"task_key": "train/7", "prompt_truncated": False}
    width = 16 + 3 * 2 + 2 * 8
    prompt = tokenizer.encode("guess from 1 to 7\nAssistant:")
    first, reply = [*tokenizer.encode(guesses[0]), 1], tokenizer.encode(f"\nUser: {hint}\nAssistant:")

    def check(ids: list[int], start: int) -> None:
        assert observation["input_ids"].tolist() == ids + [0] * (width - len(ids))
        assert observation["attention_mask"].sum() == len(ids)
        assert observation["prompt_length"].tolist() == [start]

    check(prompt, len(prompt))
    observation, reward, terminated, _, info = env.step(np.int64(first[0]))
    check([*prompt, first[0]], len(prompt))
    assert (reward, terminated, info) == (0.0, False, {})
    observation, reward, terminated, _, info = env.step(np.int64(first[1]))
    given = [*prompt, *first, *reply]
    check(given, len(given))  # the turn ended: what was said to it is given text, and the next turn begins
    assert (reward, terminated, info) == (0.1, False, {})
    observation, *_ = env.step(np.int64(tokenizer.encode(guesses[1])[0]))
    observation, reward, terminated, _, info = env.step(np.int64(1))
    assert terminated
    assert reward == pytest.approx(1.1)
    said = [("assistant", guesses[0]), ("user", hint), ("assistant", guesses[1])]
    assert info["turns"] == [{"role": role, "content": content} for role, content in said]
    assert (info["text"], info["finish_reason"], info["is_success"]) == (guesses[1], "eos", True)
    assert info["rewards"] == {"no_reward": 0.0, "turns": pytest.approx(1.2), "total": pytest.approx(1.2)}
    with pytest.raises(ResetNeeded):
        env.step(np.int64(1))


def test_whole_texts_see_the_conversation_so_far() -> None:
    env: Any = gym.make(IDS[1])
    shown, _ = env.reset(seed=5, options={"task_key": "train/6"})
    assert shown == "guess from 1 to 6\nAssistant:"
    shown, reward, terminated, _, info = env.step("x")
    assert (shown, reward, terminated, info) == (
        "guess from 1 to 6\nAssistant: x\nUser: higher\nAssistant:",
        0.0,
        False,
        {},
    )
    shown, *_ = env.step("")
    assert shown.endswith("\nUser: higher\nAssistant:\nUser: higher\nAssistant:")
    last, _, terminated, _, info = env.step("y")
    assert (terminated, last, len(info["turns"])) == (True, shown, 5)


def test_every_course_of_turns_pays_the_same_at_both_grains(folder: str, tokenizer: Tokenizer) -> None:
    """Enumerated: every guess of a number or a word in each of three turns."""
    tokens: Any = gym.make(IDS[0], model=folder)
    texts: Any = gym.make(IDS[1])
    returns = set()
    for guesses in itertools.product(("1", "3", "5", "x"), repeat=3):
        options = {"task_key": "train/5"}
        tokens.reset(seed=1, options=options)
        texts.reset(seed=1, options=options)
        total, ended = 0.0, False
        for guess in guesses:
            if not ended:
                tokens.step(np.int64(tokenizer.encode(guess)[0]))
                observation, token_reward, ended, _, info = tokens.step(np.int64(1))
                shown, reward, terminated, _, whole = texts.step(guess)
                assert (reward, terminated) == (token_reward, ended)
                if not ended:
                    ids = observation["input_ids"][: observation["attention_mask"].sum()]
                    assert tokenizer.decode(ids).split() == tokenizer.decode(tokenizer.encode(shown)).split()
                total += token_reward
        assert {key: info[key] for key in whole} == whole
        assert info["rewards"]["total"] == pytest.approx(total)
        returns.add(round(total, 6))
    assert len(returns) >= 4


@pytest.mark.parametrize("env_id", IDS[:2])
def test_state_goes_on_in_the_middle_of_a_conversation(env_id: str, folder: str, tokenizer: Tokenizer) -> None:
    def make() -> Any:
        return gym.make_vec(env_id, num_envs=3, **kwargs(env_id, folder)).unwrapped

    rng = np.random.default_rng(0)
    courses: list[Any] = rng.integers(1, 9, size=(40, 3)).tolist()
    if "Episode" in env_id:
        courses = [[tokenizer.decode([id_]) for id_ in row] for row in courses]

    def act(env: Any, row: Any) -> Any:
        return env.step(np.array(row) if "Episode" not in env_id else row)

    env = make()
    env.reset(seed=4)
    for row in courses[:7]:
        act(env, row)
    saved = env.get_state()
    plain = {name: value for name, value in saved.items() if not isinstance(value, np.ndarray)}
    assert json.loads(json.dumps(plain)).keys() == plain.keys()
    arrays = {name: value for name, value in saved.items() if isinstance(value, np.ndarray)}
    expected = [act(env, row) for row in courses[7:]]
    again = make()
    again.reset(seed=99)
    again.set_state({**arrays, **json.loads(json.dumps(plain))})
    for step, row in zip(expected, courses[7:], strict=True):
        observation, rewards, terminations, _, infos = act(again, row)
        assert repr(observation) == repr(step[0])
        assert rewards.tolist() == step[1].tolist()
        assert terminations.tolist() == step[2].tolist()
        assert repr(infos) == repr(step[4])


def test_groups_of_one_seed_meet_the_same_number() -> None:
    env: Any = gym.make_vec(IDS[1], num_envs=3)
    env.reset(seed=[7, 7, 8])
    env.step(("x", "x", "x"))
    first, second, _ = (env.unwrapped._core.conversations.episode(row) for row in range(3))
    assert (first.example, first.state) == (second.example, second.state)
    seen = set()
    for seed in range(20):
        env.reset(seed=seed, options={"task_key": "train/7"})
        env.step(("x", "x", "x"))
        seen |= {env.unwrapped._core.conversations.episode(row).state["number"] for row in range(3)}
    assert seen == set(range(1, 8))


def test_masks_are_told_at_every_step(folder: str, tokenizer: Tokenizer) -> None:
    env: Any = gym.make(IDS[2], model=folder)
    _, info = env.reset(seed=0, options={"task_key": "train/5"})
    assert [tokenizer.decode([id_]) for id_ in np.flatnonzero(info["action_mask"])] == ["1", "2", "3", "4", "5"]
    *_, info = env.step(np.int64(tokenizer.encode("3")[0]))
    assert np.flatnonzero(env.unwrapped.action_masks()).tolist() == [1] == np.flatnonzero(info["action_mask"]).tolist()
    many: Any = gym.make_vec(IDS[2], num_envs=2, model=folder)
    _, infos = many.reset(seed=0)
    assert many.unwrapped.action_masks().shape == (2, len(env.unwrapped.tokenizer.token_bytes))
    np.testing.assert_array_equal(infos["action_mask"], many.unwrapped.action_masks())
    *_, infos = many.step(np.array([2, 2]))
    np.testing.assert_array_equal(infos["action_mask"], many.unwrapped.action_masks())


class Wrong(Guessing):
    """Replies or rewards as it should not."""

    said: Any = None
    given = 0.0
    kept: Any = 1

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        episode.state["kept"] = self.kept
        return self.said  # type: ignore[no-any-return]

    def turn_reward(self, episode: Episode) -> float:
        return self.given


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"said": "higher"}, "expected messages or None from reply of 'guessing', got 'higher'"),
        ({"said": []}, "expected messages or None"),
        ({"said": [Message("assistant", "x")]}, "expected messages of others"),
        ({"given": float("nan")}, "expected a finite number from turn_reward of 'guessing', got nan"),
    ],
)
def test_wrong_replies_and_payments_are_refused(attributes: dict[str, Any], message: str) -> None:
    ids = textgym.register_task("TestWrong", type("Odd", (Wrong,), attributes))
    env = gym.make(ids[1], disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises((TypeError, ValueError, RewardError), match=message):
        env.step("x")
    gym.registry.pop(ids[0])
    gym.registry.pop(ids[1])


def test_state_that_is_not_json_is_refused() -> None:
    ids = textgym.register_task("TestKept", type("Kept", (Wrong,), {"kept": object(), "said": [Message("user", "x")]}))
    env: Any = gym.make_vec(ids[1], num_envs=1)
    env.reset(seed=0)
    env.step(("x",))
    with pytest.raises(TypeError, match="expected JSON values in the state of an episode of 'guessing'"):
        env.unwrapped.get_state()


def test_replies_that_are_too_long_are_cut_and_reported(folder: str) -> None:
    said = [Message("user", "higher " * 20)]
    ids = textgym.register_task("TestLong", type("Long", (Wrong,), {"said": said}))
    env: Any = gym.make(ids[0], model=folder)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        observation, _, terminated, _, info = env.step(np.int64(1))
        assert observation["attention_mask"].sum() <= 38
    assert info["prompt_truncated"]
    assert info["turns"][1]["content"] == said[0].content
