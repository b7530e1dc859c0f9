"""Optimal values by dynamic programming, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.tasks import TextTask
from textgym.types import Episode, Message

AB = [{"prompt": "ab", "reference": "ab"}]
NEVER = -np.inf


def spell(**arguments: Any) -> Any:
    return gym.make("TextSpell-v0", data=AB, **arguments).unwrapped


@pytest.mark.parametrize(
    ("density", "gamma", "empty", "behind_a", "behind_b"),
    [
        ("sparse", 0.9, [0.9, 0.0], [0.0, 1.0], [0.0, 0.0]),
        ("sparse", 1.0, [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]),
        ("dense", 0.9, [0.5 + 0.9 * 0.5, 0.9 * 0.5], [0.0, 0.5], [0.0, 0.5]),
        ("deceptive", 0.9, [0.9, 0.25 + 0.9 * 0.25], [0.25, 1.0], [0.25, 0.0]),
        ("deceptive", 0.0, [0.0, 0.25], [0.25, 1.0], [0.25, 0.0]),
    ],
)
def test_two_letters(
    density: str, gamma: float, empty: list[float], behind_a: list[float], behind_b: list[float]
) -> None:
    env = spell(density=density)
    values = env.optimal_values(gamma=gamma)
    key = env.task.dataset[0].key
    a, b = env.tokenizer.encode("ab")
    for written, expected in (("", empty), ("a", behind_a), ("b", behind_b)):
        assert values.of_actions(key, written)[[a, b]] == pytest.approx(expected)
        assert np.isneginf(np.delete(values.of_actions(key, written), [a, b])).all()
        assert values[key, written] == pytest.approx(max(expected))
    assert {*values} == {(key, ()), (key, (a,)), (key, (b,))}
    assert values[key, (a,)] == values[key, "a"]
    assert "3 states, gamma" in repr(values)
    with pytest.raises(KeyError):
        values[key, "ab"]


def test_what_the_best_tokens_earn_is_the_optimal_value() -> None:
    """Greedy episodes in the environment itself, from every prompt, at every density."""
    for density in ("dense", "sparse", "deceptive"):
        env: Any = gym.make("TextSpell-v0", density=density, split="test").unwrapped
        values = env.optimal_values(gamma=0.8)
        for place in range(len(env.task.dataset)):
            key = env.task.dataset[place].key
            env.reset(options={"task_key": key})
            written, earned, ended = list[int](), 0.0, False
            while not ended:
                written.append(int(values.of_actions(key, written).argmax()))
                _, reward, ended, _, info = env.step(np.int64(written[-1]))
                earned += 0.8 ** (len(written) - 1) * reward
            assert earned == pytest.approx(values[key, ""])
            assert info["gold"] == 1


def test_q_learning_finds_them() -> None:
    """The table of an agent that tries every word twice, with a learning rate of 1, as nothing here is random."""
    env: Any = gym.make("TextSpell-v0", difficulty="easy", density="deceptive").unwrapped
    values = env.optimal_values(gamma=0.9)
    table: dict[Any, Any] = {state: np.where(np.isneginf(values.of_actions(*state)), NEVER, 0.0) for state in values}
    for key in sorted({key for key, _ in values}):
        for word in [*product(env.tokenizer.encode("abc"), repeat=2)] * 2:
            env.reset(options={"task_key": key})
            for place, action in enumerate(word):
                _, reward, ended, _, _ = env.step(np.int64(action))
                following = 0.0 if ended else table[key, word[: place + 1]].max()
                table[key, word[:place]][action] = reward + 0.9 * following
    assert {state: row.max() for state, row in table.items()} == pytest.approx({**values})


def test_stop_strings_and_ends_are_transitions_of_the_environment() -> None:
    """Without a mask all nine tokens may be written, padding and ends too; "b" stops a text before its last letter."""

    def shortest(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
        return [1.0 - len(text) / 10 for text in responses]

    env: Any = gym.make(
        "TextGen-v0",
        data=AB,
        model="letters",
        max_new_tokens=2,
        reward=shortest,
        stop=("b",),
        prompt_template="{prompt}=",
    ).unwrapped
    values = env.optimal_values()
    (key,) = {key for key, _ in values}
    pad, eos, a, b = 0, 1, *env.tokenizer.encode("ab")
    first, second = values.of_actions(key), values.of_actions(key, "a")
    assert first[[pad, eos, a, b]] == pytest.approx([1.0, 1.0, 0.9, 1.0])
    assert second[[pad, eos, a, b]] == pytest.approx([0.9, 0.9, 0.8, 0.9])
    assert len(values) == 1 + 9 - 2  # behind an end and behind a stop string nothing is written


class Talk(TextTask):
    name = "talk"
    max_turns = 2
    reward = "none"

    def reply(self, episode: Episode, rng: np.random.Generator) -> list[Message]:
        return [Message("user", "go on")]


def test_what_cannot_be_computed() -> None:
    with pytest.raises(ValueError, match=r"gamma.* in \[0, 1\], got 1.1"):
        spell().optimal_values(gamma=1.1)
    with pytest.raises(ValueError, match=r"expected the key of an example .*, got 'no such key'"):
        spell().optimal_values(keys=["no such key"])
    (env_id, _) = textgym.register_task("TestTalk", Talk)
    talk: Any = gym.make(env_id, data=AB, model="letters").unwrapped
    with pytest.raises(ValueError, match="task of one turn, got 'talk' of 2"):
        talk.optimal_values()
    long: Any = gym.make("TextGen-v0", data=AB, model="tiny").unwrapped  # two of its thousands of tokens are too much
    with pytest.raises(ValueError, match="at most 2,000,000 texts, got more; lower max_new_tokens"):
        long.optimal_values()


def test_some_examples_alone() -> None:
    env: Any = gym.make_vec("TextSpell-v0", num_envs=2, difficulty="hard").unwrapped
    keys = [env.task.dataset[place].key for place in (3, 5)]
    assert {key for key, _ in env.optimal_values(keys=keys)} == {*keys}
