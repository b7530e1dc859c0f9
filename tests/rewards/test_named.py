"""Rewards that are found by name, with numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.errors import DataError, RewardError
from textgym.rewards import NAMED_REWARDS, Minimum, Product, Stages, resolve_reward, score
from textgym.tasks import TextTask
from textgym.types import Example

DATA = [Example(str(place), f"prompt {place}", ("the cat sat on the mat",)) for place in range(40)]


class Small(TextTask):
    name = "small"


def scores(name: Any, *texts: str, task: Any = None) -> list[float]:
    reward = resolve_reward(name, task)
    return [round(value, 6) for value in score(reward, [""] * len(texts), texts, DATA[: len(texts)]).total.tolist()]


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("length?target=4", ("a b c d", "a b", "", "a b c d e f g h i"), [1.0, 0.5, 0.0, 0.0]),
        ("length?target=4&width=8", ("a b c d", "a b", ""), [1.0, 0.75, 0.5]),
        ("repetition?n=2", ("a b a b a b", "a b c", "a", ""), [-0.6, 0.0, 0.0, 0.0]),
        ("diversity?n=1", ("a b", "a c", "a a"), [0.5, 0.5, 0.0]),
        ("regex?pattern=%5B0-9%5D%2B", ("123", "12a", ""), [1.0, 0.0, 0.0]),
        ("regex?pattern=%5B0-9%5D%2B&anywhere=true", ("12a", "a"), [1.0, 0.0]),
        ("json", ('{"a": 1}', "[1]", "a", ""), [1.0, 1.0, 0.0, 0.0]),
        ("json?keys=a,b", ('{"a": 1}', '{"a": 1, "b": 2}', "[1]"), [0.75, 1.0, 0.0]),
        ("safety", ("You are kind.", "You stupid idiot", ""), [0.0, -0.666667, 0.0]),
        ("rouge + -0.5*length?target=6", ("the cat sat on the mat",), [0.5]),
    ],
)
def test_numbers_worked_out_by_hand(name: str, texts: Sequence[str], expected: list[float]) -> None:
    assert scores(name, *texts) == expected


def test_novelty_is_measured_against_the_data() -> None:
    task = Small(DATA)
    texts = ("the cat sat on the mat", "the cat sat on the red mat", "prompt 3 new", "word")
    assert scores("novelty?n=3", *texts, task=task) == [0.0, 0.4, 1.0, 0.0]


def test_a_lexicon_of_ones_own(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("broccoli\nSpinach\n")
    assert scores(f"safety?lexicon={words}", "I like spinach", "You stupid idiot") == [-0.333333, 0.0]
    words.write_text("\n")
    with pytest.raises(DataError, match="expected a word per line"):
        resolve_reward(f"safety?lexicon={words}")
    with pytest.raises(DataError, match="expected a file with a word per line"):
        resolve_reward("safety?lexicon=nowhere.txt")


def test_an_expression_that_takes_for_ever_is_given_up() -> None:
    with pytest.raises(RewardError, match="avoid nested repetitions"):
        scores("regex?pattern=(a|aa)%2Bc", "a" * 60 + "dc")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("regex?pattern=(", "expected a regular expression"),
        ("regex", "expected pattern=..."),
        ("novelty", "expected a task"),
        ("classifier", "expected model=..."),
    ],
)
def test_wrong_settings(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_reward(name)


@pytest.mark.parametrize("name", ["length?target=0", "repetition?n=0", "diversity?n=0"])
def test_numbers_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        scores(name, "a b")


def test_products_minima_and_stages() -> None:
    rewards: dict[str, Any] = {"rouge": "rouge1", "length": "length?target=6"}
    texts = ("the cat sat on the mat", "the cat sat", "dog")
    assert scores(Product(rewards), *texts) == [1.0, 0.333333, 0.0]
    assert scores(Minimum(rewards), *texts) == [1.0, 0.5, 0.0]
    staged = score(
        resolve_reward(Stages({"form": ("regex?pattern=the.*", 1.0), "quality": ("rouge1", 0.0)})),
        [""] * 3,
        texts,
        DATA[:3],
    )
    assert staged.total.round(6).tolist() == [2.0, 1.666667, 0.0]
    assert staged.parts["stages"].tolist() == [2, 2, 1]
    for kind in (Product, Minimum):
        with pytest.raises(TypeError, match="expected a dict of rewards by name"):
            kind(["rouge"])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one reward"):
            kind({})
    with pytest.raises(TypeError, match="threshold"):
        Stages({"form": "rouge"})  # type: ignore[dict-item]


def test_the_page_has_every_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert [name for name in NAMED_REWARDS if f"`{name}`" not in page] == []


def test_the_docs_example_of_ones_own_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rewards_of_the_docs.py").write_text(
        "def short(prompts, responses, examples, *, limit: int = 100):\n"
        "    return [float(len(response) <= limit) for response in responses]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert scores("rewards_of_the_docs:short?limit=3", "abc", "abcd") == [1.0, 0.0]
    assert np.isfinite(scores("rewards_of_the_docs:short", "abc")).all()
