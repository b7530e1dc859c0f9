"""Attention checks read like text, and have one right answer."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from textgym.feedback.types import Question
from textgym.rewards import GoldReward
from textgym.rlhf.attention_checks import REFERENCE, make_checks
from textgym.tasks.summarization import Summarization
from textgym.types import Message

PROMPT = "The race on Monday was won by Angela Dalton, 48 seconds before the next. In 1999 Bob lost it."
GOOD = "Angela Dalton won the race by 48 seconds."
OTHER = Question(
    "k2", "The bridge is closed.", ("The bridge was shut on Friday by Carla.", "Bridge"), generators=(REFERENCE, "m")
)


def about(good: str, prompt: str = PROMPT, mode: str = "compare") -> Question:
    texts = (good, "race race") if mode == "compare" else (good,)
    return Question("k", prompt, texts, mode, (REFERENCE, "m")[: len(texts)], criteria=())  # type: ignore[arg-type]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("seed", range(5))
def test_a_number_that_the_prompt_states_is_changed(seed: int) -> None:
    (check,), expected = make_checks([about(GOOD)], 1, seed)
    assert expected == ["a"]
    good, bad = check.responses
    assert good == GOOD
    changed = [(one, other) for one, other in zip(words(good), words(bad), strict=True) if one != other]
    ((before, after),) = changed
    assert before == "48"
    assert len(after) == 2
    assert after[0] != "4"
    assert after not in PROMPT


def test_without_a_number_a_name_is_changed() -> None:
    (check,), _ = make_checks([about("The race was won by Dalton, said Dalton.")], 1, others=[OTHER])
    assert check.responses[1] in {f"The race was won by {name}, said {name}." for name in ("Friday", "Carla")}


@pytest.mark.parametrize("good", ["It was a fine race.", "The race took 77 hours.", "Dalton won."])
def test_what_the_prompt_does_not_state_is_no_fact_and_the_answer_to_another_is_swapped_in(good: str) -> None:
    """77 is not in the prompt, so nobody could tell which number is wrong; a first word has its capital anyway."""
    (check,), _ = make_checks([about(good)], 1, others=[OTHER])
    assert check.responses == (good, OTHER.responses[0])


def test_comparisons_change_facts_and_swap_answers_in_turn() -> None:
    questions = [about(GOOD, f"{PROMPT} It rained {number} times.") for number in range(4)]
    questions = [replace(each, responses=(f"{each.responses[0]} ({n})", "x")) for n, each in enumerate(questions)]
    checks, _ = make_checks(questions, 4)
    texts = [each.responses[0] for each in questions]
    assert [check.responses[1] in texts for check in checks] == [False, True, False, True]


def test_ratings_are_of_the_answer_to_another_prompt_of_like_length() -> None:
    short = Question("k3", "Third.", ("No.",), "rate", (REFERENCE,))
    like = Question("k4", "Fourth.", ("The old mill was sold to a baker there.",), "rate", (REFERENCE,))
    (check,), expected = make_checks([about(GOOD, mode="rate")], 1, others=[short, like])
    assert check.responses == like.responses
    assert check.prompt == PROMPT
    assert expected == [[1, 2]]


def test_dialogues_are_checked_as_well() -> None:
    turns = (Message("user", "How many?"), Message("assistant", "Guess."), Message("user", "48 or 49?"))
    (check,), _ = make_checks([replace(about("There are 48."), prompt=turns)], 1)
    assert check.prompt == turns
    assert re.fullmatch(r"There are [1-35-9]\d\.", check.responses[1])


def test_nothing_to_change_makes_no_check() -> None:
    with pytest.raises(
        ValueError, match="got 1 for 1, of which 0 have a fact to change or the answer to another prompt"
    ):
        make_checks([about("It was a fine race.")], 1)


def test_checks_of_the_built_in_reports_read_like_their_texts() -> None:
    """Every word of a bad text is a word of the data, or a number: nothing is muddled."""
    task = Summarization("reports")
    examples = [task.dataset[number] for number in range(60)]
    questions = [
        Question(each.key, each.prompt, (each.references[0], "no"), generators=(REFERENCE, "m")) for each in examples
    ]
    checks, expected = make_checks(questions, 60)
    assert expected == ["a"] * 60
    known = {word for each in examples for text in (*each.references, each.prompt) for word in words(text)}
    for check in checks:
        good, bad = check.responses
        assert {word for word in words(bad) if not word.isdigit()} <= known
        assert bad[-1] == "."
        assert 0.5 < len(words(bad)) / len(words(good)) < 2
    reward = GoldReward(task)
    right, wrong = (reward([], [check.responses[place] for check in checks], examples) for place in (0, 1))
    assert (right - wrong >= 0.25).all()
