"""Feedback of every public shape, in every kind of file: recognised, named, read right, or refused with the list."""

from __future__ import annotations

import csv
import gzip
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.data.files import SUFFIXES, DataWarning
from textgym.errors import DataError, UnknownShapeError
from textgym.feedback import load_records, read_records, to_labelled_rows, write_records
from textgym.feedback.records.shapes.reading import PlacedRow, read_shaped, recognise
from textgym.feedback.records.shapes.shape import Shape
from textgym.feedback.records.shapes.table import SHAPES
from textgym.feedback.types import Comparison, Ranking, Rating, Record
from textgym.types import Message

Row = dict[str, Any]
FORMATS = (*(suffix for suffix in (".jsonl", ".json", ".csv", ".tsv", ".parquet") if suffix in SUFFIXES), ".lines")
USER, BEES = {"role": "user", "content": "Do bees sleep?"}, {"role": "assistant", "content": "Yes, at night."}
NEVER = {"role": "assistant", "content": "Never."}
BRIEF = {"role": "system", "content": "Be brief."}
TALK = [USER, BEES, {"role": "user", "content": "How long?"}]
HOURS, DUNNO = {"role": "assistant", "content": "Six hours."}, {"role": "assistant", "content": "No idea."}
TURNS = tuple(Message(**turn) for turn in TALK)
SYSTEM = (Message("system", "Be brief."), Message("user", "Do bees sleep?"))
HH = "\n\nHuman: Do bees sleep?\n\nAssistant: Yes, at night.\n\nHuman: How long?\n\nAssistant:"


def ask(rank: int | None, text: str, **more: Any) -> Row:
    return {"role": "assistant", "text": text, "rank": rank, "replies": [], **more}


def message(name: str, parent: str | None, text: str, rank: int | None = None, role: str = "assistant") -> Row:
    return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "lang": "en"}


# name -> rows, and what they are: (prompt, better or worse texts ..., answer)
CASES: dict[str, tuple[list[Row], list[tuple[Any, ...]]]] = {
    "hh-rlhf": (
        [
            {"chosen": f"{HH} Six hours.", "rejected": f"{HH} No idea."},
            {"chosen": f"{HH} Long.", "rejected": f"{HH} Lo."},
        ],
        [(HH, ("Six hours.", "No idea."), "a"), (HH, ("Long.", "Lo."), "a")],
    ),
    "TRL explicit prompt": (
        [
            {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "A cod.", "source": "mine"},
            {"prompt": "Name a fish.", "chosen": "A cod.", "rejected": "A wren.", "source": "mine"},
        ],
        [("Name a bird.", ("A wren.", "A cod."), "a"), ("Name a fish.", ("A cod.", "A wren."), "a")],
    ),
    "TRL implicit prompt": (
        [
            {"chosen": "Two and two is four.", "rejected": "Two and two is forty."},
            {"chosen": "天空是蓝色的。", "rejected": "天空是绿色的。"},
        ],
        [("Two and two is", ("four.", "forty."), "a"), ("天空是", ("蓝色的。", "绿色的。"), "a")],
    ),
    "TRL messages": (
        [
            {"prompt": [BRIEF, USER], "chosen": [BEES], "rejected": [NEVER]},
            {"prompt": TALK, "chosen": [HOURS], "rejected": [DUNNO]},
            {"prompt": None, "chosen": [*TALK, HOURS], "rejected": [*TALK, DUNNO]},
        ],
        [
            (SYSTEM, ("Yes, at night.", "Never."), "a"),
            (TURNS, ("Six hours.", "No idea."), "a"),
            (TURNS, ("Six hours.", "No idea."), "a"),
        ],
    ),
    "UltraFeedback binarized": (
        [
            {
                "prompt": "Do bees sleep?",
                "prompt_id": str(number),
                "chosen": [USER, BEES],
                "rejected": [USER, NEVER],
                "messages": [USER, BEES],
                "score_chosen": 8.5,
                "score_rejected": score,
            }
            for number, score in enumerate((4.0, 8.5))
        ],
        [("Do bees sleep?", ("Yes, at night.", "Never."), choice) for choice in ("a", "tie")],
    ),
    "UltraFeedback": (
        [
            {
                "source": "own",
                "instruction": "Do bees sleep?",
                "completions": [
                    {"model": "m1", "response": "Yes.", "overall_score": 7.0, "annotations": None},
                    {"model": "m2", "response": "No.", "overall_score": 1.0, "annotations": None},
                    {"model": "m3", "response": "Indeed.", "overall_score": 7.0, "annotations": None},
                ],
            },
            {
                "source": "own",
                "instruction": "Do cats fly?",
                "completions": [
                    {
                        "model": "m1",
                        "response": "Yes.",
                        "annotations": {"truth": {"Rating": "1"}, "help": {"Rating": "2"}},
                    },
                    {
                        "model": "m2",
                        "response": "No.",
                        "annotations": {"truth": {"Rating": "5"}, "help": {"Rating": "N/A"}},
                    },
                ],
            },
        ],
        [("Do bees sleep?", ("Yes.", "No.", "Indeed."), (1, 3, 1)), ("Do cats fly?", ("Yes.", "No."), (2, 1))],
    ),
    "SHP (Stanford Human Preferences)": (
        [
            {
                "post_id": "x",
                "history": "Does salt melt ice?",
                "human_ref_A": "It lowers the melting point.",
                "human_ref_B": "Magic.",
                "labels": label,
                "score_A": 31,
                "score_B": 4,
            }
            for label in (1, 0)
        ],
        [("Does salt melt ice?", ("It lowers the melting point.", "Magic."), choice) for choice in "ab"],
    ),
    "WebGPT comparisons": (
        [
            {
                "question": {"full_text": "Why is snow white?", "id": "q"},
                "quotes_0": {"title": ["Snow"]},
                "answer_0": "It scatters all light.",
                "score_0": score,
                "answer_1": "Paint.",
                "score_1": -score,
            }
            for score in (1.0, -0.5, 0.0)
        ],
        [("Why is snow white?", ("It scatters all light.", "Paint."), choice) for choice in ("a", "b", "tie")],
    ),
    "summarize-from-feedback": (
        [
            {
                "info": {"id": "t", "post": "My dog eats shoes.", "title": "Dog", "article": None},
                "summaries": [{"text": " Dog eats shoes.", "policy": "sup"}, {"text": "Shoes.", "policy": "ref"}],
                "choice": 1,
                "worker": "w7",
            },
            {
                "info": {"id": "a", "post": None, "title": None, "article": "A ship sank."},
                "summaries": [{"text": "Ship sank.", "policy": "sup"}, {"text": "Ship.", "policy": "ref"}],
                "choice": 0,
                "worker": "w8",
            },
        ],
        [
            ("Dog\n\nMy dog eats shoes.", ("Dog eats shoes.", "Shoes."), "b", "w7"),
            ("A ship sank.", ("Ship sank.", "Ship."), "a", "w8"),
        ],
    ),
    "OpenAssistant trees": (
        [
            {
                "message_tree_id": "t1",
                "prompt": {
                    "role": "prompter",
                    "text": "Do bees sleep?",
                    "replies": [
                        ask(
                            1,
                            "Yes, at night.",
                            replies=[
                                {
                                    "role": "prompter",
                                    "text": "How long?",
                                    "replies": [ask(0, "Six hours."), ask(1, "No idea."), ask(None, "Hm.")],
                                }
                            ],
                        ),
                        ask(0, "They do."),
                        ask(2, "Spam", deleted=True),
                    ],
                },
            }
        ],
        [
            ("Do bees sleep?", ("Yes, at night.", "They do."), (2, 1)),
            (TURNS, ("Six hours.", "No idea."), (1, 2)),
        ],
    ),
    "OpenAssistant messages": (
        [
            message("m2", "m1", "Yes, at night.", 1),
            message("m1", None, "Do bees sleep?", role="prompter"),
            message("m3", "m1", "They do.", 0),
            message("m4", "m2", "How long?", role="prompter"),
            message("m5", "m4", "Six hours.", 0),
            message("m6", "m4", "No idea.", 1),
        ],
        [
            ("Do bees sleep?", ("Yes, at night.", "They do."), (2, 1)),
            (TURNS, ("Six hours.", "No idea."), (1, 2)),
        ],
    ),
    "PKU-SafeRLHF": (
        [
            {
                "prompt": "Pick a lock?",
                "response_0": "Ask a locksmith.",
                "response_1": "Use a pin.",
                "is_response_0_safe": True,
                "better_response_id": 1,
                "safer_response_id": 0,
            },
            {
                "prompt": "Boil an egg?",
                "response_0": "Seven minutes.",
                "response_1": "No.",
                "is_response_0_safe": True,
                "better_response_id": 0,
                "safer_response_id": 0,
            },
        ],
        [
            ("Pick a lock?", ("Ask a locksmith.", "Use a pin."), "b"),
            ("Boil an egg?", ("Seven minutes.", "No."), "a"),
        ],
    ),
    "HelpSteer": (
        [
            {
                "prompt": "Boil an egg?",
                "response": "Seven minutes.",
                "helpfulness": 4,
                "correctness": 3,
                "coherence": 4,
                "complexity": 0,
                "verbosity": 1,
            },
            {
                "prompt": "Boil an egg?<extra_id_1>Assistant\nSeven minutes.<extra_id_1>User\nSoft?",
                "response": "Five.",
                "helpfulness": 0,
                "correctness": 0,
                "coherence": 2,
                "complexity": 1,
                "verbosity": 0,
            },
        ],
        [
            (
                "Boil an egg?",
                ("Seven minutes.",),
                {"helpfulness": 5, "correctness": 4, "coherence": 5, "complexity": 1, "verbosity": 2},
                5,
            ),
            (
                (Message("user", "Boil an egg?"), Message("assistant", "Seven minutes."), Message("user", "Soft?")),
                ("Five.",),
                {"helpfulness": 1, "correctness": 1, "coherence": 3, "complexity": 2, "verbosity": 1},
                1,
            ),
        ],
    ),
    "HelpSteer preference": (
        [
            {"context": TALK, "response1": "Six hours.", "response2": "No idea.", "overall_preference": strength}
            for strength in (-3, 0, 1)
        ],
        [(TURNS, ("Six hours.", "No idea."), choice) for choice in ("a", "tie", "b")],
    ),
    "Nectar": (
        [
            {
                "prompt": f"{HH} ",
                "answers": [
                    {"answer": "No idea.", "model": "m1", "rank": 3.0},
                    {"answer": "Six hours.", "model": "m2", "rank": 1.0},
                    {"answer": "Long.", "model": "m3", "rank": 2.0},
                ],
                "turns": 2,
            }
        ],
        [(TURNS, ("No idea.", "Six hours.", "Long."), (3, 1, 2))],
    ),
    "Chatbot Arena": (
        [
            {
                "question_id": "q",
                "model_a": "m1",
                "model_b": "m2",
                "winner": winner,
                "judge": "j1",
                "conversation_a": [USER, BEES],
                "conversation_b": [USER, NEVER],
                "turn": 1,
            }
            for winner in ("model_a", "model_b", "tie", "tie (bothbad)")
        ],
        [("Do bees sleep?", ("Yes, at night.", "Never."), choice, "j1") for choice in ("a", "b", "tie", "both_bad")],
    ),
    "Chatbot Arena table": (
        [
            {
                "id": 1,
                "prompt": '["Do bees sleep?"]',
                "response_a": '["Yes, at night."]',
                "response_b": '["Never."]',
                "winner_model_a": won[0],
                "winner_model_b": won[1],
                "winner_tie": won[2],
            }
            for won in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        ],
        [("Do bees sleep?", ("Yes, at night.", "Never."), choice) for choice in ("a", "b", "tie")],
    ),
    "two responses and a choice (response_a, response_b)": (
        [
            {
                "prompt": "Name a bird.",
                "response_a": "A wren.",
                "response_b": "A cod.",
                "winner": won,
                "annotator": "eva",
            }
            for won in ("A", "response_b", "tie", "both_bad")
        ],
        [("Name a bird.", ("A wren.", "A cod."), choice, "eva") for choice in ("a", "b", "tie", "both_bad")],
    ),
    "TRL unpaired (KTO)": (
        [
            {"prompt": "Name a bird.", "completion": "A wren.", "label": True},
            {"prompt": "Name a bird.", "completion": "A cod.", "label": False},
        ],
        [("Name a bird.", ("A wren.",), {}, 4), ("Name a bird.", ("A cod.",), {}, 2)],
    ),
    "ratings from 1 to 5": (
        [
            {"prompt": "Name a bird.", "response": "A wren.", "rating": 5, "annotator": "eva"},
            {"prompt": "Name a bird.", "response": "A cod.", "rating": 1, "annotator": "tom"},
        ],
        [("Name a bird.", ("A wren.",), {}, 5, "eva"), ("Name a bird.", ("A cod.",), {}, 1, "tom")],
    ),
    "ranking": (
        [
            {"prompt": "Name a bird.", "responses": ["A cod.", "A wren.", "A robin."], "ranks": [3, 1, 1]},
            {"prompt": "Name a fish.", "responses": ["A cod.", "A wren."], "ranks": [0, 1]},
        ],
        [
            ("Name a bird.", ("A cod.", "A wren.", "A robin."), (3, 1, 1)),
            ("Name a fish.", ("A cod.", "A wren."), (1, 2)),
        ],
    ),
    "ranking as an order": (
        [
            {"prompt": "Name a bird.", "responses": ["A cod.", "A wren.", "A hen?"], "order": [2, 3, 1]},
            {"prompt": "Name a fish.", "responses": ["A cod.", "A wren."], "order": [0, 1]},
        ],
        [("Name a bird.", ("A cod.", "A wren.", "A hen?"), (3, 1, 2)), ("Name a fish.", ("A cod.", "A wren."), (1, 2))],
    ),
    "ranking in columns": (
        [{"prompt": "Name a bird.", "response_1": "A cod.", "rank_1": 2, "response_2": "A wren.", "rank_2": 1}],
        [("Name a bird.", ("A cod.", "A wren."), (2, 1))],
    ),
    "ranking, a row for each response": (
        [
            {"prompt": "Name a bird.", "response": text, "rank": rank, "annotator": who}
            for who, text, rank in (
                ("eva", "A cod.", 2),
                ("tom", "A cod.", 1),
                ("eva", "A wren.", 1),
                ("tom", "A wren.", 1),
            )
        ],
        [
            ("Name a bird.", ("A cod.", "A wren."), (2, 1), "eva"),
            ("Name a bird.", ("A cod.", "A wren."), (1, 1), "tom"),
        ],
    ),
    "responses and scores in two lists": (
        [{"instruction": "Name a bird.", "generations": ["A cod.", "A wren."], "ratings": [1.5, 9.0]}],
        [("Name a bird.", ("A cod.", "A wren."), (2, 1))],
    ),
    "responses with scores (StackExchange preferences)": (
        [
            {
                "qid": 1,
                "question": "Sort a list?",
                "answers": [
                    {"answer_id": 1, "pm_score": 0, "selected": False, "text": "By hand."},
                    {"answer_id": 2, "pm_score": 5, "selected": True, "text": "sorted(x)"},
                    {"answer_id": 3, "pm_score": 0, "selected": False, "text": "Why?"},
                ],
            }
        ],
        [("Sort a list?", ("By hand.", "sorted(x)", "Why?"), (2, 1, 2))],
    ),
    "StackExchange pairs": (
        [{"qid": 1, "question": "Sort a list?", "response_j": "sorted(x)", "response_k": "By hand."}],
        [("Sort a list?", ("sorted(x)", "By hand."), "a")],
    ),
    "OpenAI preference": (
        [{"input": {"messages": TALK}, "preferred_output": [HOURS], "non_preferred_output": [DUNNO]}],
        [(TURNS, ("Six hours.", "No idea."), "a")],
    ),
    "RewardBench": (
        [
            {
                "prompt": "Name a bird.",
                "chosen": "A wren.",
                "chosen_model": "m1",
                "rejected": "A cod.",
                "rejected_model": "m2",
                "subset": "birds",
                "id": 7,
            }
        ],
        [("Name a bird.", ("A wren.", "A cod."), "a")],
    ),
}


def said(record: Record) -> tuple[Any, ...]:
    """What a record says, as CASES have it."""
    named = () if record.annotator == "anonymous" else (record.annotator,)
    match record:
        case Comparison(choice=choice):
            return (record.prompt, record.responses, choice, *named)
        case Ranking(ranks=ranks):
            return (record.prompt, record.responses, ranks, *named)
        case Rating(rating=rating, criteria=criteria):
            return (record.prompt, record.responses, dict(criteria), rating, *named)
    raise AssertionError(record)


def cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format that the name of a file says."""
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        held = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows)), held)
        content = held.getvalue()
    elif kind in (".csv", ".tsv"):
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]), delimiter="\t" if kind == ".tsv" else ",")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        content = table.getvalue().encode()
    else:
        text = json.dumps(rows, ensure_ascii=False) if kind == ".json" else "\n".join(map(json.dumps, rows))
        content = text.encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def test_every_shape_has_a_case_and_an_example_that_is_recognised_as_it() -> None:
    alike = {f"two responses and a choice ({pair})" for pair in ("response_1, response_2", "answer_a, answer_b")}
    assert {shape.name for shape in SHAPES} - alike == set(CASES)
    assert [recognise([shape.example]) for shape in SHAPES] == list(SHAPES)


@pytest.mark.parametrize("suffix", [f"{suffix}{packed}" for suffix in FORMATS for packed in ("", ".gz")])
@pytest.mark.parametrize("name", CASES)
def test_shapes_are_read_from_every_kind_of_file(tmp_path: Path, name: str, suffix: str) -> None:
    rows, expected = CASES[name]
    loaded = load_records(write(tmp_path / f"f{suffix}", rows))
    assert [shaped.shape.name for shaped in loaded.shapes] == [name]
    assert [said(record) for record in loaded.records] == expected
    assert loaded.lines[0].startswith(f"Read as: {name}, {len(expected)} ")


def test_an_object_with_data_is_an_array(tmp_path: Path) -> None:
    rows, expected = CASES["TRL explicit prompt"]
    (tmp_path / "f.json").write_text(json.dumps({"version": 1, "data": rows}, indent=1))
    assert [said(record) for record in read_records(tmp_path / "f.json")] == expected


def test_the_shape_and_the_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    rows, _ = CASES["UltraFeedback binarized"]
    assert load_records(write(tmp_path / "f.jsonl", rows)).lines == [
        "Read as: UltraFeedback binarized, 2 comparisons; columns not used: prompt_id, messages",
        "(equal scores are ties, and how far others are apart is not kept; 1 row of equal scores)",
    ]
    rows, _ = CASES["PKU-SafeRLHF"]
    first, second = load_records(write(tmp_path / "f.jsonl", rows)).lines
    assert first.endswith("columns not used: is_response_0_safe, safer_response_id")
    assert "by better_response_id" in second


def test_models_are_generators(tmp_path: Path) -> None:
    for name, models in (
        ("Nectar", ("m1", "m2", "m3")),
        ("UltraFeedback", ("m1", "m2", "m3")),
        ("Chatbot Arena", ("m1", "m2")),
        ("RewardBench", ("m1", "m2")),
        ("summarize-from-feedback", ("sup", "ref")),
    ):
        assert read_records(write(tmp_path / "f.jsonl", CASES[name][0]))[0].generators == models


def test_tables_of_other_programs(tmp_path: Path) -> None:
    """Lists as Python writes them, words for truth values, numbers with a point, other names of columns."""
    (tmp_path / "kto.csv").write_text("instruction,input,output,label\nAdd.,2 and 2,4,yes\nAdd.,2 and 3,6,no\n")
    (tmp_path / "rank.csv").write_text("question,responses,ranks\nAdd?,\"['a', 'it''s b']\",\"[2.0, 1.0]\"\n")
    (tmp_path / "rate.csv").write_text("query,answer,stars,worker_id\nAdd?,Four,4.0,17\n")
    assert [said(record) for record in read_records(tmp_path / "kto.csv")] == [
        ("Add.\n\n2 and 2", ("4",), {}, 4),
        ("Add.\n\n2 and 3", ("6",), {}, 2),
    ]
    assert [said(record)[1:] for record in read_records(tmp_path / "rank.csv")] == [(("a", "its b"), (2, 1))]
    assert [said(record) for record in read_records(tmp_path / "rate.csv")] == [("Add?", ("Four",), {}, 4, "17")]


def test_other_forms_of_chosen_and_rejected(tmp_path: Path) -> None:
    sharegpt = {"conversations": [{"from": "human", "value": "Do bees sleep?"}]}
    sides = {side: {"from": "gpt", "value": text} for side, text in (("chosen", "Yes."), ("rejected", "No."))}
    rows: list[Row] = [
        {**sharegpt, **sides},
        {"system": "Be brief.", "question": "Do bees sleep?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": "Do bees sleep?", "chosen": ["Yes.", "Indeed."], "rejected": ["No.", "Never."]},
        {"prompt": "Do bees sleep?", "chosen": [BRIEF, USER, BEES], "rejected": [BRIEF, USER, NEVER]},
    ]
    assert [said(record) for record in read_records(write(tmp_path / "f.jsonl", rows))] == [
        ("Do bees sleep?", ("Yes.", "No."), "a"),
        (SYSTEM, ("Yes.", "No."), "a"),
        ("Do bees sleep?", ("Yes.", "Indeed.", "No.", "Never."), (1, 1, 2, 2)),
        (SYSTEM, ("Yes, at night.", "Never."), "a"),
    ]


def test_responses_that_look_like_lists_or_objects_are_texts(tmp_path: Path) -> None:
    """Somebody asked for JSON."""
    fruits, person = '["apple", "pear"]', '[{"name": "Eva"}]'
    pairs = [{"prompt": "A list?", "chosen": fruits, "rejected": '["car"]'}]
    labels = [{"prompt": "A list?", "completion": text, "label": True} for text in (fruits, person, "[1] \\d")]
    for suffix in (".jsonl", ".csv", ".parquet"):
        assert [said(each)[1] for each in read_records(write(tmp_path / f"f{suffix}", pairs))] == [(fruits, '["car"]')]
        read = read_records(write(tmp_path / f"g{suffix}", labels))
        assert [said(each)[1] for each in read] == [(fruits,), (person,), ("[1] \\d",)]


def test_ratings_beside_messages_make_ties(tmp_path: Path) -> None:
    row = {"prompt": "Do bees sleep?", "chosen": [USER, BEES], "rejected": [USER, NEVER], "chosen_model": "m1"}
    rows = [{**row, "rating_chosen": 4, "rating_rejected": grade} for grade in (4, 1)]
    loaded = load_records(write(tmp_path / "f.jsonl", rows))
    assert loaded.shapes[0].shape.name == "UltraFeedback binarized"
    assert [said(record)[2] for record in loaded.records] == ["tie", "a"]


def test_battles_that_differ_before_the_last_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    more = [{"role": "user", "content": "Why?"}, DUNNO]
    battle = {"winner": "model_b", "conversation_a": [USER, BEES, *more], "conversation_b": [USER, NEVER, *more]}
    path = write(tmp_path / "f.jsonl", [{**battle, "turn": 1}, {**battle, "turn": 2}])
    with pytest.warns(DataWarning, match="left out 1 row whose two conversations differ before the last answer"):
        (record,) = read_records(path)
    assert said(record) == ("Do bees sleep?", ("Yes, at night.", "Never."), "b")
    assert "left out: 1 row whose two conversations" in load_records(path).lines[1]


def test_scores_that_contradict_the_choice_are_said(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "x", "rejected": "y", "chosen_rating": 1, "rejected_rating": 2}
    loaded = load_records(write(tmp_path / "f.jsonl", [row]))
    assert said(loaded.records[0])[2] == "a"
    assert "1 row whose chosen text has the lower score, read as chosen" in loaded.lines[1]


def test_replies_in_a_circle_or_to_nothing_are_left_out(tmp_path: Path) -> None:
    rows = [message("m1", "m2", "x", 0), message("m2", "m1", "y", 0), message("m3", "gone", "z", 1)]
    rows += [message("m4", None, "Hi", role="prompter"), message("m5", "m4", "a", 1), message("m6", "m4", "b", 0)]
    with pytest.warns(DataWarning, match="left out 3 messages whose conversation is not in the file"):
        (record,) = read_records(write(tmp_path / "f.jsonl", rows))
    assert said(record) == ("Hi", ("a", "b"), (2, 1))


def test_rows_without_two_scores_are_left_out(tmp_path: Path) -> None:
    scored = [{"response": "x", "overall_score": 3}, {"response": "y", "overall_score": 4}]
    rows = [
        {"instruction": "p", "completions": each}
        for each in (scored, [scored[0], {"response": "z", "overall_score": None}])
    ]
    rows.append({"instruction": "q", "completions": []})
    loaded = load_records(write(tmp_path / "f.jsonl", rows))
    assert len(loaded.records) == 1
    assert "1 response without a score, not ranked; left out: 2 rows with fewer than two" in loaded.lines[1]


@pytest.mark.parametrize(("good", "bad"), [(1, -1), ("1", "-1"), (1.0, -1.0), ("+1", "-1"), (1, 0)])
def test_labels_are_one_and_zero_or_one_and_minus_one(tmp_path: Path, good: object, bad: object) -> None:
    rows = [{"prompt": "p", "completion": f"c{label}", "label": label} for label in (good, bad)]
    found = read_records(write(tmp_path / "f.jsonl", rows))
    assert [record.rating for record in found if isinstance(record, Rating)] == [4, 2]


def test_three_labels_are_refused(tmp_path: Path) -> None:
    """Where -1 is bad, 0 is neither."""
    rows = [{"prompt": "p", "completion": f"c{label}", "label": label} for label in (1, 0, -1)]
    with pytest.raises(DataError, match=r"f.jsonl:2: expected two labels, 1 and 0 or 1 and -1, got 0 and -1 in one"):
        read_records(write(tmp_path / "f.jsonl", rows))


def test_records_and_other_shapes_in_one_file_keep_their_order(tmp_path: Path) -> None:
    own = Rating("k", "p", "text", 3)
    write_records(tmp_path / "own.jsonl", [own])
    line = (tmp_path / "own.jsonl").read_text()
    rest = [{"prompt": "p", "completion": "c", "label": True}, {"prompt": "p", "chosen": "x", "rejected": "y"}]
    (tmp_path / "f.jsonl").write_text("\n".join([json.dumps(rest[1]), line.strip(), json.dumps(rest[0])]))
    loaded = load_records(tmp_path / "f.jsonl")
    assert [said(record)[1:] for record in loaded.records] == [(("x", "y"), "a"), (("text",), {}, 3), (("c",), {}, 4)]
    assert [line for line in loaded.lines if line.startswith("Read as")] == [
        "Read as: records of textgym, 1 rating",
        "Read as: TRL explicit prompt, 1 comparison",
        "Read as: TRL unpaired (KTO), 1 rating",
    ]


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"data": {"prompt": "p"}, "annotations": [{"result": [{"value": {"selected": "left"}}]}]}, ""),
        ({"prompt": "p", "responses": ["x", "y"]}, "Closest is"),
        ({"prompt": "p", "chosen": "c"}, "Closest is"),
        ({"text": "p", "sentiment": 1}, ""),
        (
            {"prompt": "p", "completion": "c", "label": "perhaps"},
            "which also has label (true or false, 1 or 0, 1 or -1; not 'perhaps')",
        ),
        ({"prompt": "p", "completion": "c"}, "train on them with: textgym sft --data "),
        ({"instruction": "i", "input": "p", "output": "c"}, "train on them with: textgym sft --data "),
        ({"messages": [{"role": "user", "content": "p"}]}, "train on them with: textgym sft --data "),
    ],
)
def test_anything_else_gets_the_list_of_shapes_with_an_example_of_each(tmp_path: Path, row: Row, hint: str) -> None:
    with pytest.raises(UnknownShapeError) as raised:
        read_records(write(tmp_path / "f.jsonl", [row]))
    first, *lines = str(raised.value).splitlines()
    assert first.startswith(f"{tmp_path / 'f.jsonl'}:1: expected feedback in one of the shapes below, got the columns ")
    assert hint in first
    assert "task_key" not in first
    assert "project" not in str(raised.value)
    listed = dict(line.strip().split(": {", 1) for line in lines)
    assert sorted(listed) == sorted([*(shape.name for shape in SHAPES), "records of textgym"])
    for shape in SHAPES:
        (shaped,) = read_shaped([PlacedRow(0, "x", json.loads("{" + listed[shape.name]))])
        assert shaped.shape is shape


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "p", "response": "x", "rating": 7}, "from 1 to 5 as 'rating', got 7; .* list with scores"),
        ({"prompt": "p", "response": "x", "score": 0.5}, "from 1 to 5 as 'score', got 0.5"),
        ({"prompt": "p", "response": "x", "helpfulness": 5, "correctness": 1}, "from 0 to 4 as 'helpfulness', got 5"),
        (
            {"question": "p", "query": "q", "response": "x", "rating": 1},
            "one column with the prompt, got question, query",
        ),
        ({"prompt": "p", "responses": ["x", "y"], "ranks": [1]}, "one number for each of 2 responses, got 1"),
        ({"prompt": "p", "responses": ["x", "y"], "order": [2, 2]}, r"every response once in 'order', got \[2, 2\]"),
        (
            {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "c"},
            "a, b, tie or both_bad as 'winner', got 'c'",
        ),
        ({"prompt": "p", "chosen": "x", "rejected": None}, "expected a text as 'rejected'"),
        ({"prompt": [USER], "chosen": [USER, USER], "rejected": [USER, USER]}, "expected an assistant message"),
    ],
)
def test_rows_that_are_wrong_name_their_place(tmp_path: Path, row: Row, complaint: str) -> None:
    with pytest.raises(DataError, match=rf"f\.jsonl:1: .*{complaint}"):
        read_records(write(tmp_path / "f.jsonl", [row]))


def test_a_broken_row_of_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("prompt,chosen,rejected\na,b,c\na,b\n")
    with pytest.raises(DataError, match=r"f\.csv:3: wrong CSV: expected 3 fields .*; correct or remove the row"):
        read_records(tmp_path / "f.csv")


def test_rows_that_nobody_answered_are_left_out_and_counted(tmp_path: Path) -> None:
    """Tables have empty cells, also where a shape is recognised by what is in them."""
    head = "prompt,response,rating\n"
    (tmp_path / "f.csv").write_text(head + "p,x,\np,y,\np,z,\np,w,4\n")
    (tmp_path / "g.csv").write_text("prompt,response_1,response_2,winner\np,x,y,2\np,x,z,\n")
    with pytest.warns(DataWarning, match="left out 3 rows without a rating"):
        assert [said(record)[-1] for record in read_records(tmp_path / "f.csv")] == [4]
    with pytest.warns(DataWarning, match="left out 1 row without a choice"):
        assert [said(record)[-1] for record in read_records(tmp_path / "g.csv")] == ["b"]
    (tmp_path / "f.csv").write_text(head + "p,x,5\np,y,3\np,z,good\n")
    with pytest.raises(DataError, match=r"f\.csv:4: expected a number as 'rating', got 'good'; correct the row"):
        read_records(tmp_path / "f.csv")


def test_labels_that_were_exported_are_the_same_labels_again(tmp_path: Path) -> None:
    labels = [to_labelled_rows([Rating("k", "p", "text", grade)]) for grade in (1, 2, 4, 5)]
    read = [read_records(write(tmp_path / "f.jsonl", rows)) for rows in labels]  # type: ignore[arg-type]
    assert [to_labelled_rows(records) for records in read] == labels


@pytest.mark.parametrize("name", ["f.csv", "f.json", "f.parquet", "f.jsonl"])
def test_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_records(tmp_path / name)


def test_nothing_is_warned_of_where_nothing_is_left_out(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_records(write(tmp_path / "f.csv", CASES["ratings from 1 to 5"][0]))


COLUMNS = sorted({name for shape in SHAPES for need in shape.needs for name in need.names})
SCALARS = (
    st.none() | st.booleans() | st.integers(-4, 6) | st.floats() | st.text(max_size=4) | st.sampled_from(["a", "1"])
)
MESSAGES = st.lists(st.sampled_from([USER, BEES, NEVER, BRIEF, {}, {"role": 1}]), max_size=3)
OBJECTS = st.fixed_dictionaries(
    {}, optional={name: SCALARS for name in ("response", "text", "rank", "score", "role", "replies", "messages")}
)
CELLS = SCALARS | MESSAGES | OBJECTS | st.lists(SCALARS | OBJECTS, max_size=3)


def rows_like(shape: Shape) -> st.SearchStrategy[list[Row]]:
    """Rows of a shape, some cells of which are anything, and some of which are missing."""
    names = sorted({*shape.example, "annotator", "task_key"})
    cells = {name: st.just(shape.example.get(name)) | CELLS for name in names}
    return st.lists(st.fixed_dictionaries({}, optional=cells), min_size=1, max_size=3)


ANY_ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), CELLS), min_size=1)


@given(st.sampled_from(SHAPES).flatmap(rows_like) | ANY_ROWS)
def test_whatever_rows_hold_they_are_read_or_refused_with_their_place(rows: list[Row]) -> None:
    refused = ""
    try:
        shaped = read_shaped([PlacedRow(number, f"f:{number}", row) for number, row in enumerate(rows)])
    except DataError as error:
        refused = str(error)
    assert refused.startswith("f:") if refused else all(each.lines() for each in shaped)
