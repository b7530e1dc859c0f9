"""Attention checks read like text, and have one right answer."""

from __future__ import annotations

import re

import pytest

from textgym.feedback.store.entries import Planned
from textgym.feedback.types import Mode, Question
from textgym.naming import options_named
from textgym.rewards import GoldReward
from textgym.rlhf.attention_checks import Source, draw_checks, make_checks, warn_of_few_checks
from textgym.tasks.generation import Generation
from textgym.tasks.summarization import Summarization
from textgym.types import Message

PROMPT = "The race on Monday was won by Angela Dalton, 48 seconds before the next. In 1999 Bob lost it."
GOOD = "Angela Dalton won the race by 48 seconds."
OTHER = Source("k2", "The bridge is closed.", "The bridge was shut on Friday by Carla.")


def about(good: str, prompt: str = PROMPT) -> Source:
    return Source("k", prompt, good)


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
    assert check.responses == (good, OTHER.good)


def test_comparisons_change_facts_and_swap_answers_in_turn() -> None:
    sources = [about(f"{GOOD} ({number})", f"{PROMPT} It rained {number} times.") for number in range(4)]
    checks, _ = make_checks(sources, 4)
    texts = [each.good for each in sources]
    assert [check.responses[1] in texts for check in checks] == [False, True, False, True]


def test_ratings_are_of_the_answer_to_another_prompt_of_like_length() -> None:
    short, like = Source("k3", "Third.", "No."), Source("k4", "Fourth.", "The old mill was sold to a baker there.")
    (check,), expected = make_checks([about(GOOD)], 1, mode="rate", others=[short, like])
    assert check.responses == (like.good,)
    assert check.prompt == PROMPT
    assert expected == [[1, 2]]


def test_dialogues_are_checked_as_well() -> None:
    turns = (Message("user", "How many?"), Message("assistant", "Guess."), Message("user", "48 or 49?"))
    (check,), _ = make_checks([Source("k", turns, "There are 48.")], 1)
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
    checks, expected = make_checks([Source(each.key, str(each.prompt), each.references[0]) for each in examples], 60)
    assert expected == ["a"] * 60
    known = {word for each in examples for text in (*each.references, str(each.prompt)) for word in words(text)}
    for check in checks:
        good, bad = check.responses
        assert {word for word in words(bad) if not word.isdigit()} <= known
        assert bad[-1] == "."
        assert 0.5 < len(words(bad)) / len(words(good)) < 2
    reward = GoldReward(task)
    prompts = [example.prompt for example in examples]
    right, wrong = (reward(prompts, [check.responses[place] for check in checks], examples) for place in (0, 1))
    assert (right - wrong >= 0.25).all()


@pytest.mark.parametrize("mode", ["compare", "rate"])
def test_checks_repeat_no_prompt_and_no_text_of_a_question_where_there_are_others(
    mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Summarization("reports")
    questions = [task.dataset[number] for number in range(100)]
    checks, _ = draw_checks(task, 100, 10, mode)
    assert {check.prompt for check in checks}.isdisjoint(each.prompt for each in questions)
    texts = [text for check in checks for text in check.responses]
    assert set(texts).isdisjoint(text for each in questions for text in each.references)
    assert len(set(texts)) == len(texts) == (20 if mode == "compare" else 10)
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("spare", "repeats"), [(0, 4), (2, 3)])  # the second of the two swaps an answer in
def test_checks_that_repeat_a_question_say_so(spare: int, repeats: int, capsys: pytest.CaptureFixture[str]) -> None:
    reports = Summarization("reports").dataset
    task = Summarization([reports[row] for row in range(24)])
    checks, _ = draw_checks(task, len(task.dataset) - spare, 4, "compare")
    assert len(checks) == 4
    assert f"Warning: {repeats} of 4 attention checks repeat a prompt" in capsys.readouterr().err


def test_few_checks_tell_little(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten checks are no help where a person answers 20 questions: one question in ten is one."""
    for questions, checks, said in ((20, 2, "--"), (20, 10, "--"), (30, 2, "--"), (27, 3, ""), (30, 10, "")):
        with options_named({"checks": "--checks", "prompts": "--prompts"}):
            warn_of_few_checks(questions, checks)
        told = capsys.readouterr().err
        assert (f"answers all {questions} questions of the project meets 2 attention check(s)" in told) == bool(said)
        assert ("--checks to 3 or more" in told) == (checks < 3)
        assert ("--prompts to 27 or more" in told) == (questions < 27)


def test_checks_of_a_project_are_not_repeated() -> None:
    task = Summarization("reports")
    first, answers = draw_checks(task, 20, 5, "compare")
    asked = [Question(task.dataset[row].key, str(task.dataset[row].prompt), ("x", "y")) for row in range(20)]
    plan = [*map(Planned, asked), *(Planned(check, expected=said) for check, said in zip(first, answers, strict=True))]
    assert draw_checks(task, 20, 5, "compare", plan=plan) == (first, answers)  # the same again are the same
    for prompts, seed in ((20, 1), (10, 0), (40, 2)):
        more, _ = draw_checks(task, prompts, 5, "compare", seed=seed, plan=plan)
        assert len({check.prompt for check in more}) == 5
        assert {check.prompt for check in more}.isdisjoint(row.question.prompt for row in plan)
        texts = {text for check in more for text in check.responses}
        assert texts.isdisjoint(text for check in first for text in check.responses)


def test_a_project_without_prompts_to_spare_repeats_no_check() -> None:
    """Five prompts, of which two are checked: three are left to check."""
    reports = Summarization("reports").dataset
    task = Summarization([reports[row] for row in range(6)])
    first, answers = draw_checks(task, 4, 2, "compare")
    plan = [Planned(check, expected=said) for check, said in zip(first, answers, strict=True)]
    more, _ = draw_checks(task, 4, 3, "compare", seed=1, plan=plan)
    assert {check.prompt for check in more}.isdisjoint(check.prompt for check in first)
    with pytest.raises(ValueError, match="expected at most one check per prompt"):
        draw_checks(task, 4, 4, "compare", seed=1, plan=plan)


def test_without_references_there_are_no_checks() -> None:
    """What a model wrote is not known to be good."""
    with pytest.raises(
        ValueError, match=r"expected references for attention checks, .* got none in .* leave out checks"
    ):
        draw_checks(Generation(), 20, 4, "compare")
