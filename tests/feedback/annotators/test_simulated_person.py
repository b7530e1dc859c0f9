"""One simulated person: every habit has the effect it says."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.errors import RewardError
from textgym.feedback import (
    BradleyTerryAnnotator,
    FeedbackStore,
    Habits,
    SimulatedPerson,
    cohen_kappa,
    collect_answers,
    position_bias,
    simulated_people,
)
from textgym.feedback.types import (
    Annotator,
    Choice,
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Mode,
    Question,
    Ranking,
    Rating,
)
from textgym.types import FloatArray

SIGMOID_1 = 0.731059


def number_in(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
    """A text's score is its first word."""
    return np.array([float(text.split()[0]) for text in responses])


def person(seed: int = 0, **habits: Any) -> SimulatedPerson:
    return SimulatedPerson(number_in, np.random.default_rng(seed), Habits(**habits))


def ask(n: int, *responses: str, mode: Mode = "compare") -> list[Question]:
    return [Question(f"k{i}", "p", responses, mode, order_seed=i) for i in range(n)]


def choices(someone: Annotator, questions: Sequence[Question]) -> list[Choice]:
    return [record.choice for (record,) in someone.answer(questions) if isinstance(record, Comparison)]


def share_a(someone: Annotator, questions: Sequence[Question]) -> float:
    return float(np.mean([choice == "a" for choice in choices(someone, questions)]))


def test_noise_follows_bradley_and_terry() -> None:
    # difference 2, noise 2: sigmoid(1)
    assert share_a(person(noise=2.0), ask(6000, "3", "1")) == pytest.approx(SIGMOID_1, abs=0.025)
    assert share_a(person(noise=0.0), ask(50, "3", "1")) == 1.0
    assert share_a(person(noise=0.0), ask(2000, "1", "1")) == pytest.approx(0.5, abs=0.05)


def test_rankings_follow_plackett_and_luce() -> None:
    # weights 1, 2, 3 of 6: exp of the scores 0, log 2, log 3; then second places among those left
    texts = ("0", f"{math.log(2)} x", f"{math.log(3)} y")
    records = [record for (record,) in person(noise=1.0).answer(ask(6000, *texts, mode="rank"))]
    ranks = np.array([record.ranks for record in records if isinstance(record, Ranking)])
    assert (ranks == 1).mean(axis=0) == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.025)
    last_given_third_first = (ranks[ranks[:, 2] == 1] == 3).mean(axis=0)
    assert last_given_third_first == pytest.approx([2 / 3, 1 / 3, 0], abs=0.04)
    assert ranks.shape == (6000, 3)


def test_a_preference_for_length() -> None:
    # twice as many words count 1 at noise 1
    assert share_a(person(noise=1.0, length_bias=1.0), ask(6000, "0 b c d", "0 b")) == pytest.approx(
        SIGMOID_1, abs=0.025
    )
    assert share_a(person(noise=1.0), ask(6000, "0 b c d", "0 b")) == pytest.approx(0.5, abs=0.025)


def test_a_preference_for_politeness() -> None:
    asked = ask(6000, "0 Thank you, please come", "0 Go there now displease")
    assert share_a(person(noise=1.0, politeness_bias=1.0), asked) == pytest.approx(SIGMOID_1, abs=0.025)


def test_a_preference_for_what_is_shown_first() -> None:
    asked = ask(6000, "0 x", "0 y")
    biased = [record for (record,) in person(noise=1.0, position_bias=1.0).answer(asked)]
    assert position_bias(biased).mean == pytest.approx(SIGMOID_1, abs=0.025)
    assert share_a(person(noise=1.0, position_bias=1.0), asked) == pytest.approx(0.5, abs=0.03)
    assert position_bias([record for (record,) in person(noise=1.0).answer(asked)]).mean == pytest.approx(
        0.5, abs=0.025
    )


def test_groups_disagree_and_their_members_do_not() -> None:
    asked = [Question(f"k{i}", "p", (f"0 one {i}", f"0 two {i}")) for i in range(600)]
    records = []
    for name, group in (("ann", "x"), ("bob", "x"), ("cy", "y")):
        habits = Habits(noise=0.0, group=group, group_weight=1.0)
        someone = SimulatedPerson(number_in, np.random.default_rng(len(records)), habits, name=name)
        records += [record for (record,) in someone.answer(asked)]
    ann, bob, cy = collect_answers(records, Comparison).values
    assert cohen_kappa(ann, bob) == 1.0
    assert cohen_kappa(ann, cy) == pytest.approx(0.0, abs=0.15)


def test_fatigue_makes_noise_grow() -> None:
    # noise 1 + n / 100 at the nth answer, difference 1
    expected = np.array([1 / (1 + math.exp(-1 / (1 + n / 100))) for n in range(400)])
    right = np.zeros(400)
    for seed in range(60):
        right += [choice == "a" for choice in choices(person(seed, noise=1.0, fatigue=1.0), ask(400, "1", "0"))]
    for part in (slice(0, 50), slice(350, 400)):
        assert right[part].mean() / 60 == pytest.approx(expected[part].mean(), abs=0.035)
    assert expected[:50].mean() - expected[350:].mean() > 0.12


@pytest.mark.parametrize(("attention", "passed"), [(1.0, 1.0), (0.5, 0.75), (0.0, 0.5)])
def test_attention_checks_tell_who_reads(tmp_path: Path, attention: float, passed: float) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        store.add(ask(10, "1", "0"))
        checks = [replace(question, task_key=f"c{i}") for i, question in enumerate(ask(400, "9", "0"))]
        store.add_checks(checks, ["a"] * 400)
        someone = person(attention=attention)
        for item, question in store.questions().items():
            (records,) = someone.answer([question])
            store.vote(f"v{item}", someone.name, item, records)
        right, asked = store.attention()["simulated"]
    assert asked == 400
    assert right / asked == pytest.approx(passed, abs=0.08)


def test_who_does_not_read_is_quick() -> None:
    asked = ask(300, "0 " + "word " * 40, "1")
    fast, slow = (
        np.mean([record.seconds for (record,) in person(attention=attention).answer(asked) if record.seconds])
        for attention in (0.0, 1.0)
    )
    assert fast == pytest.approx(slow / 5, rel=0.1)


def test_ties_and_both_bad() -> None:
    picky = person(noise=0.0, tie_margin=0.5, bad_below=1.0)
    assert choices(picky, ask(1, "0.5", "0.9") + ask(1, "2.0", "2.4") + ask(1, "0.0", "1.5")) == [
        "both_bad",
        "tie",
        "b",
    ]


def grades(someone: Annotator, *texts: str) -> list[int]:
    (records,) = someone.answer(ask(1, *texts, mode="rate"))
    return [record.rating for record in records if isinstance(record, Rating)]


def test_ratings_and_severity() -> None:
    texts = ("-3", "0", "0.25", "0.5", "0.75", "1", "7")
    assert grades(person(noise=0.0), *texts) == [1, 1, 2, 3, 4, 5, 5]
    assert grades(person(noise=0.0, severity=1.0), *texts) == [1, 1, 1, 2, 3, 4, 5]
    assert grades(person(noise=0.0, severity=-1.0), *texts) == [1, 2, 3, 4, 5, 5, 5]
    assert grades(person(noise=0.0, scale=(0.0, 2.0)), "1") == [3]
    noisy = grades(person(noise=0.25), *["0.5"] * 20)
    assert len(set(noisy)) > 2


def test_criteria_are_graded() -> None:
    question = Question("k", "p", ("0.5", "1"), "rate", criteria=("clear", "true"))
    ((first, second),) = person(noise=0.0).answer([question])
    assert isinstance(first, Rating)
    assert isinstance(second, Rating)
    assert (first.criteria, second.criteria) == ({"clear": 3, "true": 3}, {"clear": 5, "true": 5})


def edited(effort: float, seed: int = 0) -> str:
    references = {"k0": "1 the council met on friday and agreed to build a new bridge"}
    someone = SimulatedPerson(
        number_in, np.random.default_rng(seed), Habits(noise=0.0, edit_effort=effort), references=references
    )
    ((comparison, text),) = someone.answer(
        ask(1, "0 worse", "1 the cat met on monday and denied a old bridge", mode="edit")
    )
    assert isinstance(comparison, Comparison)
    assert isinstance(text, Demonstration)
    assert (comparison.choice, text.edited_from) == ("b", "1 the cat met on monday and denied a old bridge")
    return text.response


def test_edits_go_as_far_towards_the_reference_as_the_effort() -> None:
    assert edited(0.0) == "1 the cat met on monday and denied a old bridge"
    assert edited(1.0) == "1 the council met on friday and agreed to build a new bridge"
    half = [edited(0.5, seed) for seed in range(200)]
    assert np.mean(["council" in text for text in half]) == pytest.approx(0.5, abs=0.15)
    assert len(set(half)) > 8


def test_a_text_without_reference_is_left_as_it_is() -> None:
    ((text,),) = person().answer(ask(1, "0  two  spaces", mode="edit"))
    assert isinstance(text, Demonstration)
    assert text.response == "0  two  spaces"


def seen(someone: SimulatedPerson, n: int, *responses: str) -> list[ImplicitFeedback]:
    answers = someone.answer(ask(n, *responses, mode="natural"))
    return [record for records in answers for record in records if isinstance(record, ImplicitFeedback)]


def test_clicks_fall_with_the_place() -> None:
    # appeal 0.5 each, seen with probability 1, 1/2, 1/3
    records = seen(person(), 4000, "0.5 a", "0.5 b", "0.5 c")
    rates = [np.mean([record.clicked for record in records if record.position == place]) for place in range(3)]
    assert rates == pytest.approx([1 / 2, 1 / 4, 1 / 6], abs=0.03)
    flat = seen(person(examination_decay=0.0), 2000, "0.5 a", "0.5 b", "0.5 c")
    assert np.mean([record.clicked for record in flat if record.position == 2]) == pytest.approx(0.5, abs=0.04)


def test_better_texts_are_opened_more() -> None:
    # 0.1 above the middle at noise 0.1: sigmoid(1)
    records = seen(person(), 4000, "0.6")
    assert np.mean([record.clicked for record in records]) == pytest.approx(SIGMOID_1, abs=0.03)


def test_dwell_time_grows_with_length_and_belongs_to_clicks() -> None:
    long, short = "0.5 " + "word " * 199, "0.5 " + "word " * 49
    records = seen(person(examination_decay=0.0), 3000, long, short)
    dwell = {
        text: np.mean([record.dwell_seconds for record in records if record.clicked and record.response == text])
        for text in (long, short)
    }
    assert dwell[long] / dwell[short] == pytest.approx(4.0, rel=0.1)
    # half of 200 words at 4 words a second, times the mean of the log-normal, exp(0.3 ** 2 / 2)
    assert dwell[long] == pytest.approx(25 * math.exp(0.045), rel=0.1)
    idle = [record for record in records if not record.clicked]
    assert idle
    assert {(record.dwell_seconds, record.scrolled, record.copied) for record in idle} == {(0.0, 0.0, False)}
    assert any(record.copied for record in records)


def test_skips() -> None:
    answers = person(skip_rate=0.3).answer(ask(2000, "0", "1"))
    assert np.mean([not records for records in answers]) == pytest.approx(0.3, abs=0.05)


def test_time_passes() -> None:
    someone = SimulatedPerson(number_in, np.random.default_rng(0), start=1000.0)
    times = [record.time for (record,) in someone.answer(ask(5, "0", "1")) if record.time is not None]
    assert times == sorted(times)
    assert times[0] > 1000.0
    assert [record.time for (record,) in person().answer(ask(1, "0", "1"))] == [None]


def test_seeds_reproduce() -> None:
    asked = [*ask(20, "0", "0.1"), *ask(5, "0", "0.1", mode="natural"), *ask(5, "0", "0.1", mode="rate")]
    assert person(3).answer(asked) == person(3).answer(asked)
    assert person(3).answer(asked) != person(4).answer(asked)


@pytest.mark.parametrize("mode", ["compare", "rank", "rate", "edit", "natural"])
def test_a_store_takes_the_answers(tmp_path: Path, mode: Mode) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        store.add([Question("k", "p", ("0 x", "1 y"), mode, ("g", "h"), criteria=("clear",))], overlap=3)
        for someone in simulated_people(number_in, 3, np.random.default_rng(0), groups=2):
            assignment = store.assign(someone.name)
            assert assignment is not None
            (records,) = someone.answer([assignment.question])
            assert store.vote(someone.name, someone.name, assignment.item, records)
        assert store.progress().complete == 1


def test_a_crowd_differs() -> None:
    people = simulated_people(number_in, 10, np.random.default_rng(0), groups=2, spammers=0.2)
    assert [someone.habits.attention for someone in people] == [1.0] * 8 + [0.0] * 2
    assert [someone.habits.group for someone in people] == ["0", "1"] * 5
    assert len({someone.habits.severity for someone in people}) == len({someone.name for someone in people}) == 10
    asked = ask(60, "0", "0.1")
    assert len({tuple(choices(someone, asked)) for someone in people}) == 10


def test_one_signature() -> None:
    """Whoever answers, the records of each question come back in order."""
    anyone: list[Annotator] = [person(), BradleyTerryAnnotator(number_in, 0.0, np.random.default_rng(0))]
    for someone in anyone:
        assert choices(someone, ask(2, "0", "9") + ask(1, "9", "0")) == ["b", "b", "a"]
        assert someone.answer([]) == []
    with pytest.raises(ValueError, match="expected questions to compare, got rate"):
        anyone[1].answer(ask(1, "0", mode="rate"))


@pytest.mark.parametrize(
    "habits",
    [{"noise": -1.0}, {"attention": 1.1}, {"skip_rate": -0.1}, {"words_per_second": 0.0}, {"scale": (1.0, 1.0)}],
)
def test_habits_that_nobody_has(habits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected .* got"):
        Habits(**habits)


def test_bad_scores_are_refused() -> None:
    someone = SimulatedPerson(lambda texts, keys: [math.nan] * len(texts), np.random.default_rng(0), name="nan-ny")
    with pytest.raises(RewardError, match="2 finite scores for the annotator 'nan-ny'"):
        someone.answer(ask(1, "0", "1"))
