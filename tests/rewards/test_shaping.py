"""Rewards that are paid token by token: what they add up to, and that they change no optimum."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.evaluation.reward_guard import GuardedReward
from textgym.rewards import Gate, Shaped, WeightedSum, resolve_reward, score, shaping_of
from textgym.tasks import Spelling
from textgym.testing import check_text_env
from textgym.types import Example

AB = [{"prompt": "ab", "reference": "ab"}]


class Spelled(Spelling):
    """A task that is registered here, and not one of the package."""


def length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [float(len(text)) for text in responses]


def odd(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """Any potential will do: one without order, which is not 0 for the empty text."""
    return [1.5 + sum(ord(letter) * 7**place for place, letter in enumerate(text)) % 11 for text in responses]


def spell(env_id: str = "TextSpell-v0", **arguments: Any) -> Any:
    return gym.make(env_id, data=AB, **arguments)


def play(env: Any, text: str) -> tuple[list[float], dict[str, Any]]:
    env.reset(seed=0)
    steps = [env.step(np.int64(id_)) for id_ in env.unwrapped.tokenizer.encode(text)]
    assert [step[2] for step in steps] == [False] * (len(steps) - 1) + [True]
    return [step[1] for step in steps], steps[-1][4]


@pytest.mark.parametrize(
    ("density", "text", "paid"),
    [
        ("dense", "ab", [0.5, 0.5]),
        ("dense", "bb", [0.0, 0.5]),
        ("dense", "ac", [0.5, 0.0]),
        ("sparse", "ab", [0.0, 1.0]),
        ("sparse", "bb", [0.0, 0.0]),
        ("deceptive", "ab", [0.0, 1.0]),
        ("deceptive", "bb", [0.25, 0.0]),
        ("deceptive", "ba", [0.25, 0.25]),
    ],
)
def test_letters_are_paid_as_they_are_written(density: str, text: str, paid: list[float]) -> None:
    rewards, info = play(spell(density=density), text)
    assert rewards == pytest.approx(paid)
    assert info["rewards"]["total"] == pytest.approx(sum(paid))
    whole = spell("TextSpellEpisode-v0", density=density)
    whole.reset(seed=0)
    assert whole.step(text)[1] == pytest.approx(sum(paid))


def test_discounted_differences_of_a_potential() -> None:
    """The potential of 1 and 2 letters is 1 and, at the end, 0: 0.9 * 1 - 0 and then 0.9 * 0 - 1 are paid."""
    rewards, info = play(spell(reward=Shaped("success", length, gamma=0.9)), "ab")
    assert rewards == pytest.approx([0.9, 1.0 - 1.0])
    assert info["rewards"] == pytest.approx({"success": 1.0, "shaping": 0.9 - 1.0, "total": 0.9})
    assert rewards[0] + 0.9 * rewards[1] == pytest.approx(0.9)  # the discounted return is that without shaping


def test_a_shaped_reward_by_name() -> None:
    rewards, info = play(spell(reward="2*shaped?reward=success&potential=letters&gamma=0.9"), "ab")
    assert rewards == pytest.approx([2 * 0.9 * 0.5, 2 * (1.0 - 0.5)])
    assert info["rewards"]["total"] == pytest.approx(sum(rewards))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("density", ["dense", "sparse", "deceptive"])
def test_shaping_keeps_the_optimum(gamma: float, density: str) -> None:
    """Every action is worth less by the potential of its state, so that the order of actions stays."""
    plain: Any = gym.make("TextSpell-v0", difficulty="easy", density=density)
    base = plain.unwrapped.reward
    bare = base._reward if isinstance(base, Shaped) else base
    shaped: Any = gym.make("TextSpell-v0", difficulty="easy", reward=Shaped(bare, odd, gamma=gamma))
    before = gym.make("TextSpell-v0", difficulty="easy", reward=bare).unwrapped.optimal_values(gamma)  # type: ignore[attr-defined]
    after = shaped.unwrapped.optimal_values(gamma)
    assert len(before) == len(after) == 20
    for key, ids in before:
        text = plain.unwrapped.tokenizer.decode(ids)
        potential = odd([""], [text], [])[0] - odd([""], [""], [])[0]
        old, new = before.of_actions(key, ids), after.of_actions(key, ids)
        assert new == pytest.approx(old - potential)
        assert {*np.flatnonzero(np.isclose(new, new.max()))} == {*np.flatnonzero(np.isclose(old, old.max()))}


def test_another_discount_than_the_agents_may_change_the_optimum() -> None:
    """What the test above would not see if it compared nothing."""
    env: Any = spell(reward=Shaped("success", lambda p, r, e: [9.0 * (text[:1] == "b") for text in r], gamma=0.5))
    values = env.unwrapped.optimal_values(0.1)
    (key,) = {key for key, _ in values}
    best = int(values.of_actions(key).argmax())
    assert env.unwrapped.tokenizer.decode([best]) == "b"


@pytest.mark.parametrize("env_id", textgym.register_task("TestShaped", f"{__name__}:Spelled"))
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_environments_with_shaping_conform(env_id: str, gamma: float) -> None:
    check_text_env(gym.make(env_id, reward=Shaped("rouge", odd, gamma=gamma)))


def test_a_shaped_run_resumes_in_the_middle_of_a_text() -> None:
    def make() -> Any:
        return gym.make_vec("TextSpell-v0", num_envs=3, difficulty="hard", reward=Shaped("letters", odd, gamma=0.9))

    actions = np.random.default_rng(0).integers(2, 8, (30, 3))
    env, twin = make(), make()
    env.reset(seed=4)
    for action in actions[:13]:
        env.step(action)
    state = env.get_state()
    twin.set_state(json.loads(json.dumps(state, default=np.ndarray.tolist)))
    for action in actions[13:]:
        (_, left, *_, said), (_, right, *_, told) = env.step(action), twin.step(action)
        assert left.tolist() == right.tolist()
        assert "final_info" not in said or said["final_info"]["rewards"]["total"].tolist() == (
            told["final_info"]["rewards"]["total"].tolist()
        )


def test_shaping_of_rewards_made_of_rewards() -> None:
    dense = resolve_reward("letters")
    example = Example("k", "ab", ("ab",))
    both = resolve_reward(WeightedSum({"dense": (2.0, dense), "long": (0.5, Shaped(length)), "end": (1.0, length)}))
    found = shaping_of(both)
    assert found is not None
    assert found.potentials(["ab"], ["a"], [example]).tolist() == [2.0 * 0.5 + 0.5 * 1]
    assert score(both, ["ab"], ["ab"], [example]).total.tolist() == [2.0 * 1 + 0.5 * 2 + 2]
    guarded = shaping_of(GuardedReward(dense))
    assert guarded is not None
    assert guarded.potentials(["ab"], ["a"], [example]).tolist() == [0.5]
    assert shaping_of(GuardedReward(length)) is shaping_of(length) is None
    assert shaping_of(resolve_reward("rouge")) is None
    with pytest.raises(ValueError, match="Shaped outside of 'gate', got it inside"):
        shaping_of(Gate(dense, lambda text, item: True))
    other = Shaped(length, gamma=0.5)
    with pytest.raises(ValueError, match=r"one gamma in all shaped rewards of a sum, got \[0.5, 1.0\]"):
        shaping_of(WeightedSum({"a": (1.0, dense), "b": (1.0, other)}))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((5,), TypeError, "expected a reward name"),
        ((length, 5), TypeError, "expected a reward name"),
        ((length, None, 0.0), ValueError, r"gamma in \(0, 1\], got 0.0"),
        ((length, None, 1.5), ValueError, r"gamma in \(0, 1\]"),
        ((length, None, "half"), TypeError, "expected a number as gamma"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Shaped(*arguments)
