"""Data sets as they are published: each is read right, or refused with the columns and what to do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import textgym  # noqa: F401
from textgym.data import DataWarning, InMemoryDataset, load_examples
from textgym.errors import DataError
from textgym.types import SPLITS, Example, Message

Rows = Sequence[Mapping[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    """Write rows in the format that the name of a file says."""
    name = path.name.removesuffix(".gz")
    raw = b""
    if name.endswith(".parquet"):
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        buffer = io.BytesIO()
        parquet.write_table(arrow.Table.from_pylist(list(rows)), buffer)
        raw = buffer.getvalue()
    elif name.endswith((".csv", ".tsv")):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
        writer.writeheader()
        writer.writerows(rows)
        raw = text.getvalue().encode()
    elif name.endswith(".json"):
        raw = json.dumps(rows).encode()
    else:
        raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)
    return path


def load_all(data: Path, **columns: str) -> list[Example]:
    """The examples of all splits, in the order of their prompts."""
    examples: list[Example] = []
    for split in SPLITS:
        try:
            examples += list(load_examples(data, split, **columns))  # type: ignore[call-overload]
        except DataError as error:
            if "fall into other splits" not in str(error):
                raise
    return sorted(examples, key=lambda example: example.text)


def pairs_of(examples: Sequence[Example]) -> list[tuple[object, tuple[str, ...]]]:
    return [(example.prompt, example.references) for example in examples]


def remark(data: Path, **columns: str) -> str:
    for split in SPLITS:
        try:
            dataset = load_examples(data, split, **columns)
        except DataError:
            continue
        assert isinstance(dataset, InMemoryDataset)
        (said,) = dataset.report.remarks
        return said
    raise AssertionError("no split has examples")


ASK, SAY = "Add up two and three.", "That makes five."
CHAT = [("system", "Be brief."), ("user", "Who is there?"), ("assistant", "Nobody."), ("user", "Sure?")]
ANSWERED = [*CHAT, ("assistant", "Quite sure.")]
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}

READ: dict[str, tuple[Rows, list[tuple[object, tuple[str, ...]]], str]] = {
    "alpaca": (
        [
            {"instruction": "Name a colour.", "input": "", "output": "Blue.", "text": "Below is ... Name a colour."},
            {"instruction": "Translate.", "input": "good day", "output": "guten Tag", "text": "Below is ... good day"},
        ],
        [("Name a colour.", ("Blue.",)), ("Translate.\n\ngood day", ("guten Tag",))],
        "prompts from instruction + input, references from output; text columns not used: text",
    ),
    "dolly": (
        [
            {"instruction": "Who won?", "context": "Ann beat Ben.", "response": "Ann won.", "category": "closed_qa"},
            {"instruction": "Why do cats purr?", "context": "", "response": "They like it.", "category": "open_qa"},
        ],
        [("Who won?\n\nAnn beat Ben.", ("Ann won.",)), ("Why do cats purr?", ("They like it.",))],
        "prompts from instruction + context, references from response",
    ),
    "sharegpt": (
        [{"id": "a_0", "conversations": [{"from": SHAREGPT[role], "value": text} for role, text in ANSWERED]}],
        [(tuple(Message(*turn) for turn in CHAT), ("Quite sure.",))],
        "prompts from conversations, references from the assistant's last messages in it",
    ),
    "messages": (
        [{"messages": [{"role": role, "content": text} for role, text in ANSWERED]}],
        [(tuple(Message(*turn) for turn in CHAT), ("Quite sure.",))],
        "prompts from messages, references from the assistant's last messages in it",
    ),
    "messages beside their first prompt": (
        [
            {
                "prompt": ASK,
                "prompt_id": "f00",
                "messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": SAY}],
            }
        ],
        [(ASK, (SAY,))],
        "prompts from messages, references from the assistant's last messages in it; text columns not used: prompt",
    ),
    "cnn_dailymail": (
        [{"id": "00a", "article": "The council met. It voted.", "highlights": "Council votes.\nAll agreed."}],
        [("The council met. It voted.", ("Council votes.\nAll agreed.",))],
        "prompts from article, references from highlights",
    ),
    "xsum": (
        [{"document": "Rain fell all day in town.", "summary": "A wet day.", "id": "123"}],
        [("Rain fell all day in town.", ("A wet day.",))],
        "prompts from document, references from summary",
    ),
    "samsum": (
        [{"id": "1", "dialogue": "Ann: Lunch?\r\nBen: Sure!", "summary": "Ann and Ben have lunch."}],
        [("Ann: Lunch?\r\nBen: Sure!", ("Ann and Ben have lunch.",))],
        "prompts from dialogue, references from summary",
    ),
    "dialogsum test": (
        [
            {"id": "t0", "dialogue": "#A#: Hi!\n#B#: Hi!", "summary1": "They meet.", "topic1": "a greeting"}
            | {"summary2": "Two greet.", "topic2": "hello there", "summary10": "They say hi."}
        ],
        [("#A#: Hi!\n#B#: Hi!", ("They meet.", "Two greet.", "They say hi."))],
        "prompts from dialogue, references from summary1, summary2, summary10; text columns not used: topic1, topic2",
    ),
    "squad": (
        [
            {"id": "5a", "title": "A town", "context": "The tower is old.", "question": "What is old?"}
            | {"answers": {"text": ["The tower", "tower", "The tower"], "answer_start": [0, 4, 0]}}
        ],
        [("The tower is old.\n\nWhat is old?", ("The tower", "tower"))],
        "prompts from context + question, references from answers; text columns not used: title",
    ),
    "passage, question, answers as objects": (
        [{"passage": "It rained.", "query": "What fell?", "answers": [{"text": "Rain"}, {"text": "Water"}]}],
        [("It rained.\n\nWhat fell?", ("Rain", "Water"))],
        "prompts from passage + query, references from answers",
    ),
    "gsm8k": (
        [{"question": "Two and three?", "answer": "2 + 3 = 5\n#### 5"}],
        [("Two and three?", ("2 + 3 = 5\n#### 5",))],
        "prompts from question, references from answer",
    ),
    "names in capitals": (
        [{"ID": "1", "Question": "Two and three?", "Answer": "Five."}],
        [("Two and three?", ("Five.",))],
        "prompts from Question, references from Answer",
    ),
    "four answers to choose from": (
        [{"context": "It rains.", "question": "Who stays?", "answerA": "Ann does", "answerB": "Ben", "answerC": "Cy"}],
        [("It rains.\n\nWho stays?", ())],
        "prompts from context + question, no references; text columns not used: answerA",
    ),
    "prompts only": ([{"prompt": ASK}], [(ASK, ())], "prompts from prompt, no references"),
    "one column of text": (
        [{"nr": "7", "ticket": "My printer is on fire.", "prio": "high"}],
        [("My printer is on fire.", ())],
        "prompts from ticket, no references",
    ),
    "one column of text beside a reference": (
        [{"ticket": "My printer is on fire.", "response": "Please leave."}],
        [("My printer is on fire.", ("Please leave.",))],
        "prompts from ticket, references from response",
    ),
    "one column of text in a script without spaces": (
        [{"id": "a-1", "工单": "我的打印机着火了"}],
        [("我的打印机着火了", ())],
        "prompts from 工单, no references",
    ),
    "one column of single words": ([{"word": "apple", "n": "1"}], [("apple", ())], "prompts from word, no references"),
    "multiple choice": (
        [{"question": "Which one flies?", "choices": {"text": ["a big dog", "a bird"], "label": ["A", "B"]}}],
        [("Which one flies?", ())],
        "prompts from question, no references; text columns not used: choices",
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("suffix", [".jsonl", ".json.gz", ".parquet", ".csv", ".tsv.gz"])
def test_shapes_that_are_read(name: str, suffix: str, tmp_path: Path) -> None:
    rows, expected, said = READ[name]
    if suffix.startswith((".csv", ".tsv")) and any(not isinstance(cell, str) for row in rows for cell in row.values()):
        suffix = ".jsonl.gz"
    path = write(tmp_path / f"set{suffix}", rows)
    examples = load_all(path)
    assert pairs_of(examples) == sorted(expected, key=lambda pair: Example("", pair[0]).text)  # type: ignore[arg-type]
    assert remark(path) == said


@pytest.mark.parametrize("name", READ)
def test_all_other_columns_are_kept(name: str) -> None:
    """Those that a prompt is made of too, for templates."""
    rows, _, said = READ[name]
    chosen, answers = said.split(";")[0].removeprefix("prompts from ").split(", ", 1)
    prompt = chosen.split(" + ")
    used = set(answers.removeprefix("references from ").split(", ")) | (set(prompt) if len(prompt) == 1 else set())
    for example in load_list(rows):
        (row,) = (row for row in rows if all(str(row[name]) in example.text or name in used for name in prompt))
        assert example.extra == {name: value for name, value in row.items() if name not in used}


def load_list(rows: Rows) -> list[Example]:
    found: list[Example] = []
    for split in SPLITS:
        try:
            found += list(load_examples(list(rows), split))  # type: ignore[call-overload]
        except DataError:
            continue
    assert found
    return found


def test_squad_as_it_is_published(tmp_path: Path) -> None:
    """Articles with paragraphs with questions; what cannot be answered is counted."""
    asked = [
        {"id": "q1", "question": "What is old?", "answers": [{"text": "The tower", "answer_start": 0}]},
        {"id": "q2", "question": "Who built it?", "answers": [], "is_impossible": True},
        {"id": "q3", "question": "What is new?", "answers": [{"text": "A door", "answer_start": 30}] * 2},
    ]
    articles = [{"title": "Town", "paragraphs": [{"context": "The tower is old. Its door is new.", "qas": asked}]}]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"version": "2", "data": articles}), encoding="utf-8")
    with pytest.warns(DataWarning, match="3 rows read, 2 kept, 0 duplicates, 1 skipped"):
        examples = load_all(path)
    assert pairs_of(examples) == [
        ("The tower is old. Its door is new.\n\nWhat is new?", ("A door",)),
        ("The tower is old. Its door is new.\n\nWhat is old?", ("The tower",)),
    ]
    assert examples[1].extra == {
        "title": "Town",
        "id": "q1",
        "context": "The tower is old. Its door is new.",
        "question": "What is old?",
    }


@pytest.mark.parametrize("name", ["sharegpt", "messages", "passage, question, answers as objects", "squad"])
def test_lists_and_messages_in_tables_are_json(name: str, tmp_path: Path) -> None:
    rows, expected, said = READ[name]
    cells = [{key: cell if isinstance(cell, str) else json.dumps(cell) for key, cell in row.items()} for row in rows]
    path = write(tmp_path / "set.csv", cells)
    assert pairs_of(load_all(path)) == expected
    assert remark(path) == said


def test_json_that_is_a_text_stays_one(tmp_path: Path) -> None:
    rows = [{"prompt": f'["a", "b{i}"]', "answer": '["c", "d"]'} for i in range(5)]
    assert pairs_of(load_all(write(tmp_path / "set.csv", rows))) == [(row["prompt"], (row["answer"],)) for row in rows]


def test_broken_json_in_a_column_of_messages_is_a_problem(tmp_path: Path) -> None:
    rows = [{"messages": json.dumps(READ["messages"][0][0]["messages"])}] * 100 + [{"messages": "[broken"}]
    with pytest.warns(DataWarning, match="1 wrong JSON"):
        assert len(load_all(write(tmp_path / "set.csv", rows))) == 1


# --- labels


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["joy", "anger", "fear", "love"], "joy, anger, fear, ..."),
        (["0", "1"], "0, 1"),
        ([0, 1], "0, 1"),
        (["yes", "no"], "yes, no"),
        ([True, False], "True, False"),
    ],
)
@pytest.mark.parametrize("column", ["target", "output", "answer"])
def test_labels_are_no_references(labels: list[object], shown: str, column: str, tmp_path: Path) -> None:
    rows = [{"text": f"I feel it {i}.", column: labels[i % len(labels)]} for i in range(24)]
    path = write(tmp_path / "set.parquet", rows)
    examples = load_all(path)
    assert {example.references for example in examples} == {()}
    assert {example.extra[column] for example in examples} == set(labels)
    holds = f"{column} holds labels ({shown}), so it is no reference"
    assert remark(path) == f"prompts from text, no references; {holds}"
    if isinstance(labels[0], str):
        named = load_all(path, reference_column=column)
        assert {example.references for example in named} == {(label,) for label in labels}
        said = remark(path, prompt_column="text", reference_column=column)
        assert said == f"{column} holds labels ({shown}), and a model learns to write these alone, no texts"


def test_labels_beside_references_leave_one_candidate(tmp_path: Path) -> None:
    rows = [{"text": f"It rained {i}.", "target": "ab"[i % 2], "summary": f"Rain {i}."} for i in range(24)]
    path = write(tmp_path / "set.csv", rows)
    assert {len(example.references) for example in load_all(path)} == {1}
    assert remark(path).startswith("prompts from text, references from summary; target holds labels (a, b)")


def test_a_column_of_numbers_with_the_name_of_references_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", [{"question": f"What is {i}?", "answer": i} for i in range(30)])
    assert {example.references for example in load_all(path)} == {()}
    assert remark(path) == "prompts from question, no references; answer holds no text (0), so it is no reference"


@pytest.mark.parametrize("answers", [[str(i) for i in range(12)], [f"number {i % 5} is what it is" for i in range(12)]])
def test_short_answers_of_many_kinds_and_repeated_sentences_are_references(answers: list[str], tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}?", "answer": answers[i % 12]} for i in range(96)]
    assert all(example.references for example in load_all(write(tmp_path / "set.csv", rows)))


# --- what is no data set of prompts

PAIR = {"chosen": f"\n\nHuman: {ASK}\n\nAssistant: {SAY}", "rejected": f"\n\nHuman: {ASK}\n\nAssistant: No."}
LOG = {"state": "You are at a door.", "action": "open it", "reward": 1.0}
RATINGS = {"userId": "1", "movieId": "31", "rating": "2.5", "timestamp": "1260759144"}
ENDINGS = {"ind": 4, "activity_label": "Ice", "ctx_a": "A man sits.", "ctx": "A man sits. he", "label": "1"}
REFUSED: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "hh-rlhf": (PAIR, "pairs of chosen and rejected answers", "reward fit"),
    "trl": ({"prompt": ASK, "chosen": SAY, "rejected": "No."}, "pairs of chosen and rejected answers", "reward fit"),
    "pku": (
        {"prompt": ASK, "response_0": SAY, "response_1": "No.", "better_response_id": 0},
        "comparisons of answers",
        "reward fit",
    ),
    "arena": (
        {"prompt": ASK, "response_a": SAY, "response_b": "No.", "winner_model_a": 1},
        "comparisons of answers",
        "reward fit",
    ),
    "shp": ({"history": ASK, "human_ref_A": SAY, "human_ref_B": "No.", "labels": 1}, "comparisons", "reward fit"),
    "webgpt": (
        {"question": {"full_text": ASK}, "answer_0": SAY, "answer_1": "No.", "score_0": 1.0, "score_1": -1.0},
        "comparisons of answers",
        "reward fit",
    ),
    "summaries with a choice": (
        {"info": {"post": ASK}, "summaries": [{"text": SAY}, {"text": "No."}], "choice": 1},
        "comparisons of answers",
        "reward fit",
    ),
    "kto": ({"prompt": ASK, "completion": SAY, "label": True}, "answers marked as good or bad", "reward fit"),
    "candidates": ({"question": ASK, "answer": SAY, "label": 0}, "answers marked as good or bad", "reward fit"),
    "helpsteer": ({"prompt": ASK, "response": SAY, "helpfulness": 4, "correctness": 3}, "rated answers", "reward fit"),
    "oasst": (
        {"message_tree_id": "t", "prompt": {"text": ASK, "replies": [{"text": SAY}]}},
        "trees of ranked answers",
        "reward fit",
    ),
    "helpsteer preference": (
        {"context": ASK, "response1": SAY, "response2": "No.", "overall_preference": -2},
        "comparisons of answers",
        "reward fit",
    ),
    "pairs without a verdict": (
        {"question": ASK, "response_j": SAY, "response_k": "No."},
        "comparisons of answers",
        "reward fit",
    ),
    "openai preference": (
        {"input": {"messages": [{"role": "user", "content": ASK}]}}
        | {"preferred_output": [{"role": "assistant", "content": SAY}], "non_preferred_output": []},
        "pairs of answers",
        "reward fit",
    ),
    "rankings": ({"prompt": ASK, "responses": [SAY, "No."], "ranking": [1, 2]}, "lists of rated answers", "reward fit"),
    "rankings in a table": (
        {"prompt": ASK, "responses": json.dumps([SAY, "No."]), "ranking": "1>0"},
        "lists of rated answers",
        "reward fit",
    ),
    "scores in a list": ({"prompt": ASK, "answers": [SAY, "No."], "scores": [3, 1.5]}, "lists of rated", "reward fit"),
    "scored answers": (
        {"question": ASK, "answers": [{"text": SAY, "pm_score": 5}, {"text": "No.", "pm_score": 0}]},
        "lists of rated answers",
        "reward fit",
    ),
    "nectar": (
        {"prompt": ASK, "answers": [{"answer": SAY, "rank": 1}, {"answer": "No.", "rank": 2}]},
        "lists of rated answers",
        "reward fit",
    ),
    "ultrafeedback": (
        {"instruction": ASK, "completions": [{"response": SAY, "overall_score": 8}, {"response": "No."}]},
        "lists of rated answers",
        "reward fit",
    ),
    "ratings": ({"prompt": ASK, "response": SAY, "rating": 5}, "rated answers", "reward fit"),
    "ranked rows": ({"prompt": ASK, "completion": SAY, "rank": 1}, "rated answers", "reward fit"),
    "oasst messages": (
        {"message_id": "a", "parent_id": None, "text": ASK, "role": "prompter", "rank": None},
        "messages of trees",
        "reward fit",
    ),
    "two answers by number": (
        {"question": ASK, "answer1": SAY, "answer2": "No.", "preference": 1},
        "comparisons of answers",
        "reward fit",
    ),
    "log in capitals": ({"State": "A door.", "Action": "open it", "Reward": 1.0}, "a log of actions", "--agent awr"),
    "log": (LOG, "a log of actions and rewards", "--agent awr --log FILE"),
    "rewarded answers": ({"prompt": ASK, "response": SAY, "reward": 0.5}, "a log of actions", "--agent awr"),
    "movielens": (RATINGS, "a table of ratings", "It has no column of prompts"),
    "rated films": ({"user": 1, "title": "The Big Film", "rating": 4.5}, "a table of ratings", "no column of prompts"),
    "ratings without a header": ({"column1": "196", "column2": "242", "column3": "3"}, "no column of text", "Name the"),
    "hellaswag": (ENDINGS | {"endings": ["is up.", "goes out."]}, "several columns of text", "endings (['is up.', "),
    "wmt nested": (
        {"translation": {"en": "Good day.", "de": "Guten Tag."}},
        "a translation, of which the direction is not known",
        'prompt_column="translation.en", reference_column="translation.de"',
    ),
    "parallel columns": ({"en": "Good day.", "de": "Guten Tag."}, "several columns of text", "Name the one"),
    "two prompts": ({"text": "Good day.", "document": "Guten Tag."}, "got document, text in", "Name one with"),
    "two references": ({"text": "Day.", "answer": "a b", "output": "b c"}, "got answer, output in", "Name one with"),
    "two passages": (
        {"context": "A a.", "passage": "B b.", "question": "C c?"},
        "got context + question, passage + question in",
        "Name one with",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_shapes_that_are_refused(name: str, tmp_path: Path) -> None:
    row, got, advice = REFUSED[name]
    with pytest.raises(DataError) as caught:
        load_examples(write(tmp_path / "set.jsonl", [row] * 3))
    message = str(caught.value)
    assert got in message
    assert advice in message
    assert "prompt_column" in message or "reference_column" in message
    assert str(tmp_path / "set.jsonl") in message
    listed = message.split("The columns are: ")[1]
    assert all(column in listed for column in row)
    assert not any(f"'{column}'" in listed or f"{column} (" in listed for column in ("article", "dialogue"))


@pytest.mark.parametrize("name", ["trl", "pku", "arena", "kto", "helpsteer", "rewarded answers"])
def test_prompts_of_feedback_can_be_named(name: str, tmp_path: Path) -> None:
    row = REFUSED[name][0]
    path = write(tmp_path / "set.jsonl", [row] * 3)
    (example,) = load_all(path, prompt_column="prompt")
    assert (example.prompt, example.references) == (ASK, ())
    assert example.extra == {column: value for column, value in row.items() if column != "prompt"}
    assert "no references" in remark(path, prompt_column="prompt")


def test_states_of_a_log_can_be_prompts_but_its_actions_no_references(tmp_path: Path) -> None:
    rows = [LOG, {**LOG, "action": "kick it", "reward": -1.0}]
    path = write(tmp_path / "log.csv", rows)
    with pytest.warns(DataWarning, match=r"differ in other columns \(action, reward\)"):
        (example,) = load_all(path, prompt_column="state")
    assert (example.prompt, example.references, example.extra["action"]) == (LOG["state"], (), "open it")
    with pytest.raises(DataError, match="Its actions are no references, since bad ones are logged too"):
        load_examples(path, prompt_column="state", reference_column="action")
    good = write(tmp_path / "good.csv", [{"state": LOG["state"], "action": LOG["action"]}])
    (example,) = load_all(good, prompt_column="state", reference_column="action")
    assert example.references == ("open it",)


def test_the_chosen_answers_can_be_imitated(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", [REFUSED["trl"][0]])
    assert pairs_of(load_all(path, prompt_column="prompt", reference_column="chosen")) == [(ASK, (SAY,))]


# --- paths


def test_fields_of_objects_are_columns_by_their_path(tmp_path: Path) -> None:
    rows = [
        {"translation": {"en": "Good day.", "de": "Guten Tag."}, "info": {"who": [{"name": "Ann"}, {"name": "Ben"}]}}
    ]
    path = write(tmp_path / "set.jsonl", rows)
    (example,) = load_all(path, prompt_column="translation.en", reference_column="translation.de")
    assert (example.prompt, example.references) == ("Good day.", ("Guten Tag.",))
    assert example.extra == rows[0]
    (example,) = load_all(path, prompt_column="translation.de", reference_column="info.who.name")
    assert (example.prompt, example.references) == ("Guten Tag.", ("Ann", "Ben"))
    with pytest.raises(DataError, match=r"prompt_column to name a column of the data, got 'translation\.fr'"):
        load_examples(path, prompt_column="translation.fr")


def test_a_column_with_a_dot_in_its_name_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", [{"a.b": "outer", "a": {"b": "inner"}}])
    assert pairs_of(load_all(path, prompt_column="a.b")) == [("outer", ())]


# --- tables and texts


def test_translations_in_a_table_without_a_header(tmp_path: Path) -> None:
    lines = [f'"Sentence {i}, he said.\tSatz {i}.' if i % 3 else f"Sentence {i} comes.\tSatz {i}." for i in range(60)]
    path = tmp_path / "news.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"columns are: column1 \('Sentence 0 comes\.'\), column2 \('Satz 0\.'\)\.$"):
        load_examples(path)
    examples = load_all(path, prompt_column="column1", reference_column="column2")
    assert pairs_of(examples) == sorted((line.split("\t")[0], (line.split("\t")[1],)) for line in lines)
    assert "the first line is no header, so columns are numbered" in remark(path, prompt_column="column1")


def test_an_error_about_the_columns_of_a_table_says_that_it_may_lack_a_header(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("Hello,Hallo\nThank you,Danke sehr\nGood bye,Auf Wiedersehen\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"Hello \('Thank you'\).*If its first line is no header, add one\.$"):
        load_examples(path)


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.txt.gz"])
def test_a_text_on_every_line(name: str, tmp_path: Path) -> None:
    raw = "\ufeffWrite about rain.\r\n\n  Write about \u2028 wind, and snow. \n \t\nWrite."
    (tmp_path / name).write_bytes(gzip.compress(raw.encode()) if name.endswith(".gz") else raw.encode())
    examples = load_all(tmp_path / name)
    assert pairs_of(examples) == [
        ("  Write about \u2028 wind, and snow. ", ()),
        ("Write about rain.", ()),
        ("Write.", ()),
    ]
    assert remark(tmp_path / name) == "prompts from text, no references; every line is one text"


# --- saying it


def test_environments_of_one_data_set_say_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "set.jsonl", [{"question": f"Who is {i}?", "notes": f"See {i}."} for i in range(60)])
    with caplog.at_level(logging.WARNING, "textgym"):
        for split in ("train", "train", "test"):
            gym.make("TextSummEpisode-v0", data=str(path), reward="success", split=split)
    said = [text for text in caplog.messages if "prompts from" in text]
    assert said == ["set: prompts from question, no references; text columns not used: notes"]


def test_nothing_is_said_where_the_user_named_both_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", [{"a": f"A {i}.", "b": f"B {i}.", "c": "C c."} for i in range(30)])
    dataset = load_examples(path, prompt_column="a", reference_column="b")
    assert isinstance(dataset, InMemoryDataset)
    assert dataset.report.remarks == ()
