"""Records of every kind as observations, preferences, and splits."""

import warnings

import pytest

from textgym.errors import DataError
from textgym.feedback import split_records
from textgym.feedback.types import Choice, Comparison, Demonstration, ImplicitFeedback, Ranking, Rating, Record
from textgym.reward_models.evidence import (
    BOTH_BAD,
    TIE,
    A,
    B,
    Candidate,
    compared_records,
    graded_by,
    observe,
    preferences,
    read_split,
)


def comparison(choice: Choice, prompt: str = "p", annotator: str = "ann") -> Comparison:
    return Comparison("k", prompt, "x", "y", choice, annotator=annotator)


def rating(grade: int, text: str = "x", prompt: str = "p", annotator: str = "ann") -> Rating:
    return Rating("k", prompt, text, grade, annotator=annotator)


def behaviour(text: str, clicked: bool, prompt: str = "p") -> ImplicitFeedback:
    return ImplicitFeedback("k", prompt, text, 0, clicked, 1.0)


def test_comparisons() -> None:
    choices: tuple[Choice, ...] = ("a", "b", "tie", "both_bad")
    found = observe([comparison(choice) for choice in choices]).observations
    assert [each.answer for each in found] == [(A,), (B,), (TIE,), (BOTH_BAD,)]
    assert {each.form for each in found} == {"choice"}
    assert [each.label for each in preferences(found)] == [1.0, 0.0, 0.5, 0.5]


def test_rankings_lose_gaps_and_repeated_texts() -> None:
    [found] = observe([Ranking("k", "p", ("x", "y", "z", "x"), (1, 3, 3, 4))]).observations
    assert (found.responses, found.answer) == (("x", "y", "z"), (1, 2, 2))
    pairs = {(each.first.response, each.second.response): each.label for each in preferences([found])}
    assert pairs == {("x", "y"): 1.0, ("x", "z"): 1.0, ("y", "z"): 0.5}


def test_an_edit_is_preferred_to_what_it_was_made_from() -> None:
    [found] = observe(
        [
            Demonstration("k", "p", "new", edited_from="old"),
        ]
    ).observations
    assert (found.responses, found.answer, found.weight) == (("new", "old"), (A,), 1.0)


def test_a_written_text_is_preferred_to_the_responses_to_its_prompt() -> None:
    records: list[Record] = [
        Demonstration("k", "p", "mine"),
        comparison("a"),
        rating(3, "z"),
        rating(3, "elsewhere", prompt="q"),
        Demonstration("k", "p", "better x", edited_from="x"),
        rating(5, "mine"),
    ]
    found = [each for each in observe(records).observations if each.kind == "demonstration"]
    assert [each.responses for each in found] == [("mine", "x"), ("mine", "y"), ("mine", "z"), ("better x", "x")]
    assert [each.weight for each in found] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_ratings_are_compared_within_prompt_and_annotator() -> None:
    records = [rating(5, "x"), rating(2, "y"), rating(2, "z"), rating(1, "x", annotator="harsh"), rating(1, "w", "q")]
    found = preferences(observe(records).observations)
    texts = [(each.first.response, each.second.response, each.label) for each in found]
    assert texts == [("x", "y", 1.0), ("x", "z", 1.0)]


def test_ratings_of_one_response_per_prompt_are_compared_across_prompts() -> None:
    found = preferences(
        observe([rating(g, prompt=p) for p, g in (("p", 5), ("q", 2), ("r", 2), ("s", 4))]).observations
    )
    assert [(each.first, each.second, each.label) for each in found] == [
        (Candidate("p", "x"), Candidate("q", "x"), 1.0),
        (Candidate("r", "x"), Candidate("s", "x"), 0.0),
    ]


def test_all_records_of_a_prompt_are_on_one_side() -> None:
    """Also where the kinds differ."""
    prompts = [f"prompt {i}" for i in range(60)]
    records: list[Record] = [comparison("a", prompt) for prompt in prompts]
    records += [rating(4, prompt=prompt) for prompt in prompts]
    records += [Demonstration("k", prompt, "text") for prompt in prompts]
    records += [behaviour("x", True, prompt) for prompt in prompts]
    train, held_out = split_records(records, 0.3, seed=1)
    assert not {record.prompt for record in train} & {record.prompt for record in held_out}
    assert len(train) + len(held_out) == len(records)
    assert len(held_out) == 4 * len({record.prompt for record in held_out}) > 0


def criteria(overall: int, **grades: int) -> Rating:
    return Rating("k", "p", "x", overall, criteria=grades)


def test_a_criterion_takes_the_place_of_the_overall_grade() -> None:
    records: list[Record] = [criteria(5, helpful=1, polite=3), comparison("a"), criteria(2, polite=4)]
    assert graded_by(records, None) == records
    with pytest.warns(UserWarning, match="left out 1 of 2 ratings, which have no 'helpful'"):
        found = graded_by(records, "helpful")
    assert found == [criteria(1, helpful=1, polite=3), comparison("a")]
    assert [getattr(record, "rating", None) for record in graded_by(records, "polite")] == [3, None, 4]


@pytest.mark.parametrize("records", [[comparison("a")], [criteria(5, polite=3)]])
def test_an_unknown_criterion_is_refused(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"ratings by the criterion 'polit', got (none|those by polite\. Did you)"):
        graded_by(records, "polit")


NOTHING: list[tuple[list[Record], str]] = [
    ([], "got none"),
    ([comparison("tie")] * 3, "got 3 ties; ties alone teach nothing"),
    ([comparison("both_bad")] * 3, "got 3 answers 'both bad'"),
    ([rating(4, "x"), rating(4, "y"), rating(2, "x", annotator="harsh")], "got 3 grades that never differ"),
    ([Ranking("k", "p", ("x", "y"), (1, 1))], "got 1 rankings of equals"),
    ([Demonstration("k", "p", "text")], "got 1 demonstrations with no other text"),
    ([behaviour("x", True), behaviour("y", True)], "got 2 observations of behaviour"),
    ([comparison("tie"), rating(4)], "got 1 ties, 1 grades"),
]


@pytest.mark.parametrize(("records", "complaint"), NOTHING)
@pytest.mark.parametrize("held_out", [0.0, 0.1])
def test_records_that_teach_nothing_are_refused(records: list[Record], complaint: str, held_out: float) -> None:
    with pytest.raises(DataError, match=complaint):
        read_split(records, held_out=held_out)


def test_records_that_teach_something() -> None:
    assert observe([comparison("tie"), comparison("a")]).teaches
    assert observe([comparison("tie"), comparison("both_bad")]).teaches
    assert observe([rating(4), rating(5)]).teaches
    assert not observe([]).teaches


def test_texts_compared_with_themselves_are_left_out_with_a_warning() -> None:
    same = Ranking("k", "p", ("x", " x"), (1, 2))
    with pytest.warns(UserWarning, match="left out 1"):
        assert compared_records([comparison("a"), same]) == [comparison("a")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compared_records([comparison("a")])


def test_splits_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(DataError, match="at least two prompts"):
        read_split([comparison("a")], held_out=0.1)
    seeds = range(20)  # of which some hold out the only preference
    complaints = [str(error) for seed in seeds if (error := refusal([comparison("tie"), comparison("a", "q")], seed))]
    assert 0 < len(complaints) < len(seeds)
    assert all("left for training, got 1 ties" in complaint for complaint in complaints)
    assert read_split([comparison("a")], held_out=0.0).held_out.observations == []


def refusal(records: list[Record], seed: int) -> DataError | None:
    try:
        read_split(records, held_out=0.5, seed=seed)
    except DataError as error:
        return error
    return None


def test_a_split_is_that_of_its_records() -> None:
    records: list[Record] = [comparison("a" if i % 3 else "b", f"prompt {i}") for i in range(40)]
    records += [rating(1 + i % 5, prompt=f"prompt {i}") for i in range(40)]
    split = read_split(records, held_out=0.3, seed=4)
    train, held_out = split_records(records, 0.3, seed=4)
    assert (split.train, split.held_out) == (observe(train), observe(held_out))
    assert len(train) + len(held_out) == len(records)
