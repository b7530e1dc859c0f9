"""What somebody at the feedback page decides and presses, and that an answer recorded otherwise is noticed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from benchmarks import feedback_modes as modes
from benchmarks import feedback_page
from benchmarks.feedback_page import Answer, Shown, rank_keys
from textgym.errors import MissingExtraError
from textgym.feedback import Habits, SimulatedPerson, shown_order
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Mode, Question, Ranking, Rating, Record
from textgym.tasks.summarization import Summarization
from textgym.types import FloatArray

ITEM = modes.Item(
    "k", "Name a number.\n\nSummary:", {"w": "2 two", "x": "9 nine", "y": "4 four", "z": "7 seven"}, np.zeros(4)
)


def first_word(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
    return np.array([float(text.split()[0]) for text in responses]) / 10


def person(noise: float = 0.0, seed: int = 0) -> SimulatedPerson:
    habits = Habits(noise=noise, edit_effort=1.0)
    return SimulatedPerson(first_word, np.random.default_rng(seed), habits, references={"k": "10 ten"})


def decide(mode: Mode, *texts: str) -> tuple[Record, ...]:
    shown = Shown("Name a  number. Summary:", texts)  # as a browser may space it
    return modes.decision(person(), {"Name a number. Summary:": "k"}, mode, shown)


# ------------------------------------------------------------------------ decisions
@pytest.mark.parametrize(("texts", "choice"), [(("2 two", "9 nine"), "b"), (("9 nine", "2 two"), "a")])
def test_the_better_text_is_chosen_wherever_it_is_shown(texts: tuple[str, str], choice: str) -> None:
    (comparison,) = decide("compare", *texts)
    assert isinstance(comparison, Comparison)
    assert (comparison.choice, comparison.chosen) == (choice, "9 nine")


def test_decisions_of_the_other_modes() -> None:
    (ranking,) = decide("rank", "4 four", "9 nine", "2 two")
    assert isinstance(ranking, Ranking)
    assert ranking.ranks == (2, 1, 3)
    grades = [record.rating for record in decide("rate", "0 none", "10 ten", "5 five") if isinstance(record, Rating)]
    assert grades == [1, 5, 3]
    _, demonstration = decide("edit", "2 two", "9 nine")
    assert isinstance(demonstration, Demonstration)
    assert (demonstration.edited_from, demonstration.response) == ("9 nine", "10 ten")
    uses = [record for record in decide("natural", "9 nine", "2 two") if isinstance(record, ImplicitFeedback)]
    assert [(use.position, use.clicked) for use in uses] == [(0, True), (1, False)]  # the first is always seen


# ----------------------------------------------------------------------------- keys
def test_the_keys_of_a_ranking() -> None:
    assert rank_keys([1, 2]) == ["ArrowDown"]
    assert rank_keys([2, 1]) == ["ArrowDown", "Shift+ArrowUp", "ArrowDown"]
    assert rank_keys([1, 1, 3]) == ["ArrowDown", "=", "ArrowDown"]


@pytest.mark.parametrize("ranks", [*itertools.permutations((1, 2, 3, 4)), (1, 1, 3, 4), (3, 1, 1, 3), (1, 1, 1, 1)])
def test_the_keys_of_a_ranking_lead_to_it(ranks: tuple[int, ...]) -> None:
    cards, tied, focus = list(range(len(ranks))), set[int](), 0
    for key in rank_keys(ranks):  # what the page does with them
        if key == "ArrowDown":
            focus += 1
        elif key == "Shift+ArrowUp":
            tied -= set(cards[focus - 1 : focus + 1])
            cards[focus - 1 : focus + 1] = reversed(cards[focus - 1 : focus + 1])
            focus -= 1
        else:
            assert key == "="
            tied ^= {cards[focus]}
    found = {card: place for place, card in enumerate(cards, start=1)}
    for above, card in itertools.pairwise(cards):
        found[card] = found[above] if card in tied else found[card]
    assert tuple(found[card] for card in range(len(ranks))) == ranks


# ---------------------------------------------------------------------- what is kept
def recorded(mode: Mode, seed: int) -> tuple[Answer, list[Record]]:
    """What somebody decided about the texts as they were shown, and the same about the texts as they are listed."""
    question = replace(ITEM.question(mode), order_seed=seed)
    order = shown_order(len(question.responses), seed)
    shown = Shown(ITEM.prompt, tuple(question.responses[index] for index in order))
    asked = Question("k", ITEM.prompt, shown.texts, mode)
    # The same random numbers, in the other order: without noise, only natural use depends on them.
    (decided,) = person().answer([asked])
    (kept,) = person().answer([question])
    if mode == "natural":
        listed = {record.response: record for record in decided if isinstance(record, ImplicitFeedback)}
        kept = tuple(replace(listed[text], order_seed=seed) for text in question.responses)
        kept = tuple(
            replace(record, generators=(name,)) for record, name in zip(kept, question.generators, strict=True)
        )
    return Answer(shown, decided), list(kept)


def a_seed_that_turns(count: int) -> int:
    return next(seed for seed in itertools.count() if shown_order(count, seed) == tuple(reversed(range(count))))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_an_answer_kept_as_decided(mode: Mode) -> None:
    for seed in (0, a_seed_that_turns(modes.RESPONSES[mode])):
        answer, records = recorded(mode, seed)
        assert modes.was_kept(answer, records, ITEM)
        assert modes.count_kept(records, [answer], [ITEM]) == 1


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_mixed_up_order_is_noticed(mode: Mode) -> None:
    answer, records = recorded(mode, a_seed_that_turns(modes.RESPONSES[mode]))
    unturned = [replace(record, order_seed=None) for record in records]
    assert not modes.was_kept(answer, unturned, ITEM)
    elsewhere = answer._replace(shown=Shown(ITEM.prompt, answer.shown.texts[::-1]))
    assert not modes.was_kept(elsewhere, records, ITEM)


def other_answers() -> list[tuple[Mode, dict[str, Any]]]:
    """A field of the first record of each kind, changed."""
    return [
        ("compare", {"choice": "a"}),
        ("compare", {"choice": "tie"}),
        ("compare", {"generators": ("x", "w")}),
        ("rank", {"ranks": (1, 2, 3, 4)}),
        ("rank", {"generators": ("x", "w", "y", "z")}),
        ("rate", {"rating": 5}),
        ("rate", {"generators": ("x",)}),
        ("edit", {"choice": "a"}),
        ("natural", {"clicked": False}),
        ("natural", {"copied": True}),
        ("natural", {"position": 3}),
        ("natural", {"dwell_seconds": 9.0}),
        ("natural", {"scrolled": 0.0}),
        ("natural", {"generators": ("x",)}),
    ]


@pytest.mark.parametrize(("mode", "change"), other_answers())
def test_another_answer_is_noticed(mode: Mode, change: dict[str, Any]) -> None:
    answer, records = recorded(mode, 0)
    place = 0
    if mode == "natural":  # something that was opened, and not copied
        place = next(i for i, each in enumerate(records) if isinstance(each, ImplicitFeedback) and each.clicked)
        records[place] = replace(records[place], copied=False)
        decided = [replace(each, copied=False) for each in answer.decided]  # type: ignore[call-arg]
        answer = answer._replace(decided=tuple(decided))
        assert modes.was_kept(answer, records, ITEM)
    records[place] = replace(records[place], **change)
    assert not modes.was_kept(answer, records, ITEM)


def test_answers_that_are_lost_or_there_twice_are_noticed() -> None:
    answer, records = recorded("rate", 0)
    assert modes.count_kept([*records, records[0]], [answer], [ITEM]) == 0
    assert modes.count_kept(records[:-1], [answer], [ITEM]) == 0
    assert modes.count_kept([], [answer], [ITEM]) == 0


# -------------------------------------------------------------------------- measuring
def test_the_share_of_pairs_by_hand() -> None:
    quality, words = np.array([0.5, -0.2, 0.0, 0.1]), np.array([3.0, 1.0, 9.0, 0.0])
    pairs = modes.Pairs(quality, -quality, words, ["p", "q", "q", "r"])
    assert pairs.share_right(quality).mean == 1
    assert pairs.share_right(pairs.score).mean == 0
    assert pairs.share_right(words).mean == pytest.approx(1.5 / 3)  # right, wrong, not decided by quality, undecided


def test_the_texts_differ_in_quality_and_not_by_length() -> None:
    items = modes.make_items(Summarization("reports"), 100, np.random.default_rng(0))
    assert len({item.prompt for item in items}) == 100
    quality = {
        name: np.mean([dict(zip(item.texts, item.quality, strict=True))[name] for item in items])
        for name in items[0].texts
    }
    assert quality["summary"] > 0.95 > 0.7 > quality["draft"] > 0.45 > quality["half of a summary"] > 0.25
    assert max(quality["summary in disorder"], quality["draft in disorder"]) < 0.25
    lengths = [[len(text.split()) for text in item.texts.values()] for item in items]
    correlation = np.corrcoef(np.ravel(lengths), np.concatenate([item.quality for item in items]))[0, 1]
    assert abs(correlation) < 0.3


def test_without_a_browser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(feedback_page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'playwright' 'textgym\[feedback\]'"):
        feedback_page.find_chromium()
    monkeypatch.undo()
    monkeypatch.setattr(feedback_page, "_MODULES", {})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="apt-get install chromium"):
        feedback_page.find_chromium()
