"""Comparisons as questions and as rows of published preference data; records of all kinds split by prompt."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from textgym.errors import DataError
from textgym.feedback import (
    from_preference_rows,
    make_questions,
    read_comparisons,
    split_records,
    to_preference_rows,
)
from textgym.feedback.types import Comparison, Question, Rating
from textgym.types import Message, shown_text

RECORD = Comparison("k", "p", "one", "two", "b", annotator="ann")
TALK = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"


def many(prompts: int, per_prompt: int = 3) -> list[Comparison]:
    return [Comparison(f"k{i}", f"prompt {i}", "x", "y", "a") for i in range(prompts) for _ in range(per_prompt)]


def test_rows_name_the_better_text_and_leave_out_what_has_none() -> None:
    records = [RECORD, replace(RECORD, choice="tie"), replace(RECORD, choice="both_bad"), replace(RECORD, choice="a")]
    assert to_preference_rows(records) == [
        {"prompt": "p", "chosen": "two", "rejected": "one"},
        {"prompt": "p", "chosen": "one", "rejected": "two"},
    ]


def test_rows_come_back_as_records(tmp_path: Path) -> None:
    rows = to_preference_rows([RECORD])
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (record,) = read_comparisons(tmp_path / "r.jsonl")
    assert (record.prompt, record.chosen, record.rejected) == ("p", "two", "one")
    assert from_preference_rows(rows) == [record]


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (f"{TALK} Because.", f"{TALK} No idea", (TALK, "Because.", "No idea")),
        (f"{TALK} Same", f"{TALK} Same", (TALK, "Same", "Same")),
        (f"{TALK} Be", f"{TALK} Because", (TALK, "Be", "Because")),
        (f"{TALK} A\n\nHuman: x\n\nAssistant: y", f"{TALK} B", (TALK, "A\n\nHuman: x\n\nAssistant: y", "B")),
        (f"{TALK} same\n\nAssi", f"{TALK} same\n\nAssistant: y", (TALK, "same\n\nAssi", "same\n\nAssistant: y")),
        (f"{TALK}", f"{TALK} x", (TALK, "", "x")),
    ],
)
def test_whole_dialogues_share_their_prompt(chosen: str, rejected: str, expected: tuple[str, str, str]) -> None:
    (record,) = from_preference_rows([{"chosen": chosen, "rejected": rejected}])
    assert (record.prompt, record.chosen, record.rejected) == expected


def test_a_packed_file_of_dialogues_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    lines = [json.dumps({"chosen": f"{TALK} yes {i}", "rejected": f"{TALK} no"}) + "\n" for i in range(3)]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    records = read_comparisons(path)
    assert [(record.prompt, record.chosen, record.rejected) for record in records] == [
        (TALK, f"yes {i}", "no") for i in range(3)
    ]
    assert len({record.task_key for record in records}) == 1


@pytest.mark.parametrize("rejected", ["no dialogue", "\n\nHuman: Another\n\nAssistant: x"])
def test_dialogues_that_share_nothing_are_refused(rejected: str) -> None:
    with pytest.raises(DataError, match="row 0: expected a text as 'prompt', or two dialogues that share"):
        from_preference_rows([{"chosen": f"{TALK} x", "rejected": rejected}])


def test_questions_keep_the_order() -> None:
    questions = make_questions(["p", "q"], ["k", "l"], ["a1", "a2"], ["b1", "b2"])
    assert questions == [Question("k", "p", ("a1", "b1")), Question("l", "q", ("a2", "b2"))]
    with pytest.raises(ValueError, match="got 1 prompts, 2 keys"):
        make_questions(["p"], ["k", "l"], ["a1"], ["b1"])


def test_no_prompt_is_on_both_sides() -> None:
    train, held_out = split_records(many(500), 0.2)
    assert not {record.prompt for record in train} & {record.prompt for record in held_out}
    assert len(train) + len(held_out) == 1500
    assert len({record.prompt for record in held_out}) == pytest.approx(100, abs=30)


def test_prompts_that_differ_in_white_space_or_case_are_one() -> None:
    """In a file of 400 records, each prompt is there in two spellings."""
    records = [*many(200, 1), *(replace(record, prompt=f"  Prompt\n{record.prompt[7:]}") for record in many(200, 1))]
    train, held_out = split_records(records, 0.3)
    numbers = [{shown_text(record.prompt).split()[1] for record in side} for side in (train, held_out)]
    assert not numbers[0] & numbers[1]
    assert [len(side) for side in (train, held_out)] == [2 * len(each) for each in numbers]
    assert len(numbers[1]) == pytest.approx(60, abs=25)


def test_records_of_all_kinds_are_split_alike() -> None:
    ratings = [Rating(f"k{i}", f"prompt {i}", "x", 3) for i in range(50)]
    sides = split_records([*many(50), *ratings], 0.3)
    assert [{record.prompt for record in side} for side in sides] == [
        {record.prompt for record in side} for side in split_records(many(50), 0.3)
    ]


def test_conversations_are_on_the_side_of_their_text() -> None:
    """So that records keep their side when what older files hold as lines becomes messages."""
    turns = [
        (Message("user", f"prompt {i}"), Message("assistant", "Yes?"), Message("user", "Go on")) for i in range(50)
    ]
    sides = [
        split_records([Comparison("k", prompt, "x", "y", "a") for prompt in prompts], 0.3)
        for prompts in (turns, [shown_text(each) for each in turns])
    ]
    for said, written in zip(*sides, strict=True):
        assert [shown_text(record.prompt) for record in said] == [record.prompt for record in written]
    assert all(sides[0])


def test_split_ignores_order_and_survives_growth() -> None:
    _, some = split_records(many(100))
    _, more = split_records(many(200)[::-1])
    assert {record.prompt for record in some} <= {record.prompt for record in more}
    assert split_records(many(100), seed=1)[1] != some


@pytest.mark.parametrize("share", [1e-6, 0.5, 1 - 1e-6])
def test_two_prompts_give_two_sides(share: float) -> None:
    train, held_out = split_records(many(2), share)
    assert (len(train), len(held_out)) == (3, 3)


def test_nothing_is_held_out_of_one_prompt_or_on_request() -> None:
    assert split_records(many(9), 0.0)[1] == []
    assert split_records([], 0.1) == ([], [])
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1"):
        split_records(many(9), 1.0)


def test_rows_of_chat_messages() -> None:
    """As conversations are published: with the prompt apart, or at the beginning of both."""
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    good, bad = ({"role": "assistant", "content": text} for text in ("Hello.", "What?"))
    apart = {"prompt": asked, "chosen": [good], "rejected": [bad]}
    whole = {"chosen": [*asked, good], "rejected": [*asked, bad]}
    for record in from_preference_rows([apart, whole]):
        assert record.prompt == (Message("system", "Be brief."), Message("user", "Hi"))
        assert shown_text(record.prompt) == "System: Be brief.\nUser: Hi"
        assert (record.chosen, record.rejected) == ("Hello.", "What?")
        assert to_preference_rows([record]) == [apart]
        assert from_preference_rows(to_preference_rows([record])) == [record]
    with pytest.raises(DataError, match="row 0: expected 'prompt', or two chats that share"):
        from_preference_rows([{"chosen": [*asked, good], "rejected": [asked[1], bad]}])
    with pytest.raises(DataError, match="row 0: 'chosen': expected an assistant message, got none; correct the row"):
        from_preference_rows([{"chosen": asked, "rejected": [*asked, bad]}])
    with pytest.raises(DataError, match="row 0: expected 'prompt'"):
        from_preference_rows([{"chosen": [good], "rejected": [bad]}])
