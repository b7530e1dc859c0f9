"""The commands of feedback, from texts of a model to exported answers."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.feedback import By, FeedbackStore, answer_compare, answer_rank, export_records, read_records
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Question, Ranking, Rating
from textgym.rlhf.attention_checks import REFERENCE
from textgym.rlhf.questions import plan_writers
from textgym.types import Example

COMMANDS = ("serve", "sample", "simulate", "export", "import", "status")


def run(*arguments: str) -> Result:
    shown = CliRunner().invoke(cli.app, ["feedback", *arguments])
    assert shown.exit_code == 0, shown.stderr
    return shown


def refused(*arguments: str) -> str:
    shown = CliRunner().invoke(cli.app, ["feedback", *arguments])
    assert shown.exit_code == cli.BAD_INPUT, shown.stderr
    return shown.stderr


def sample(lm: str, data: str, *arguments: str) -> list[object]:
    columns = ("--data", data, "--prompt-column", "doc", "--reference-column", "sum")
    run("sample", "p.db", "TextSumm-v0", *columns, "--model", lm, "--references", "--max-new-tokens", "6", *arguments)
    with FeedbackStore("p.db") as store:
        return list(store.questions().values())


@pytest.mark.parametrize(
    ("mode", "texts", "kind"),
    [
        ("compare", 2, Comparison),
        ("rank", 4, Ranking),
        ("rate", 1, Rating),
        ("edit", 1, Demonstration),
        ("natural", 4, ImplicitFeedback),
    ],
)
def test_every_mode_from_texts_to_records(lm: str, data: str, mode: str, texts: int, kind: type) -> None:
    questions = sample(lm, data, "--mode", mode, "--prompts", "4", "--criterion", "short", "--overlap", "2")
    assert len(questions) == 4
    assert {question.mode for question in questions} == {mode}  # type: ignore[attr-defined]
    assert max(len(question.responses) for question in questions) <= texts  # type: ignore[attr-defined]
    run("simulate", "p.db", "--annotators", "2", "--by", "rouge", "--noise", "0.001")
    shown = run("status", "p.db").stdout
    assert "8 of 8 votes; 4 of 4 questions complete" in shown
    run("export", "p.db", "votes.jsonl")
    records = read_records("votes.jsonl")
    assert {type(record) for record in records} == {kind}
    assert "8 new votes" in run("import", "q.db", "votes.jsonl").stdout
    with FeedbackStore("q.db") as store:
        assert store.records() == records


def test_people_who_like_references_prefer_them(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "12")
    run("simulate", "p.db", "--annotators", "1", "--by", "rouge", "--noise", "0.001")
    with FeedbackStore("p.db") as store:
        records = store.records()
    winners = [record.generators["ab".index(record.choice)] for record in records if isinstance(record, Comparison)]
    assert winners == ["reference"] * 12
    said = run("export", "p.db", "new/rows.jsonl", "--form", "labels")
    assert "24 labelled responses -> new/rows.jsonl (labels)" in said.stdout
    assert len(Path("new/rows.jsonl").read_text().splitlines()) == 24
    assert "The folder new did not exist, so it was made." in said.stderr
    run("export", "p.db", "rows.jsonl", "--form", "preferences")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("prompt", "chosen", "rejected")}


def test_attention_checks_find_spammers(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "40", "--checks", "4", "--overlap", "4")
    run("simulate", "p.db", "--annotators", "4", "--spammers", "0.75", "--by", "rouge", "--noise", "0.001")
    with FeedbackStore("p.db") as store:
        attention = store.attention()
    assert attention["simulated-1"] == (4, 4)
    spammers = [attention[f"simulated-{number}"] for number in (2, 3, 4)]
    # Three who guess are right about four checks each once in 4,096 times.
    assert sum(right for right, _ in spammers) < sum(asked for _, asked in spammers) == 12


def test_checks_are_about_prompts_that_nothing_else_is_asked_about(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "8", "--checks", "3")
    with FeedbackStore("p.db") as store:
        plan = store.plan()
    checks, others = (
        {row.question.prompt for row in plan if (row.expected is not None) == kind} for kind in (True, False)
    )
    assert (len(checks), len(others)) == (3, 8)
    assert not checks & others


def test_sampling_again_asks_no_check_and_no_prompt_of_a_check_twice(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "8", "--checks", "3")
    sample(lm, data, "--prompts", "12", "--checks", "4", "--seed", "1")
    with FeedbackStore("p.db") as store:
        plan = store.plan()
    checks = [row.question.prompt for row in plan if row.expected is not None]
    assert len(set(checks)) == len(checks) == 7
    assert set(checks).isdisjoint(row.question.prompt for row in plan if row.expected is None)


def test_sampling_twice_adds_nothing_twice(lm: str, data: str) -> None:
    first = sample(lm, data, "--prompts", "5")
    assert sample(lm, data, "--prompts", "5") == first


def test_a_larger_overlap_asks_more_people(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "5")
    columns = ("--data", data, "--prompt-column", "doc", "--reference-column", "sum")
    again = ("--model", lm, "--references", "--max-new-tokens", "6", "--prompts", "5", "--overlap", "3")
    assert "0 new questions, 10 more votes wanted" in run("sample", "p.db", "TextSumm-v0", *columns, *again).stdout
    run("export", "p.db", "questions.jsonl", "--form", "questions")
    run("import", "q.db", "questions.jsonl")
    assert "0 new questions, 0 more votes wanted" in run("import", "q.db", "questions.jsonl").stdout
    with FeedbackStore("q.db") as store:
        assert store.progress() == (5, 0, 0, 15)


def test_some_votes_now_and_the_others_later(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "6")
    run("simulate", "p.db", "--annotators", "1", "--by", "length", "--votes", "2")
    run("simulate", "p.db", "--annotators", "1", "--by", "length")
    with FeedbackStore("p.db") as store:
        assert store.progress().votes == 6


def test_simulated_people_share_the_work(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "12", "--overlap", "2")
    run("simulate", "p.db", "--annotators", "3", "--by", "length")
    with FeedbackStore("p.db") as store:
        assert {name: len(store.votes(name)) for name in ("simulated-1", "simulated-2", "simulated-3")} == {
            "simulated-1": 8,
            "simulated-2": 8,
            "simulated-3": 8,
        }


def plan(count: int, *models: str, references: bool = False) -> list[list[str]]:
    names = [*models, *([REFERENCE] if references else [])]
    return plan_writers(names, [Example(f"k{number}", "p", ("r",)) for number in range(30)], count)


def test_all_writers_meet_at_random_places() -> None:
    pairs = plan(2, "a", "b", references=True)
    assert {tuple(sorted(pair)) for pair in pairs} == {("a", "b"), ("a", "reference"), ("b", "reference")}
    assert {pair[0] for pair in pairs} == {"a", "b", "reference"}
    assert plan(2, "a")[0] == ["a", "a"]
    assert sorted(plan(4, "a", "b")[0]) == ["a", "a", "b", "b"]


def test_questions_of_ones_own() -> None:
    rows = [{"prompt": "p", "responses": ["x", "y"], "generators": ["one", "two"]}, {"prompt": "q", "responses": ["z"]}]
    rows[1]["mode"] = "rate"
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "2 new questions" in run("import", "p.db", "own.jsonl", "--overlap", "2").stdout
    assert "0 new questions" in run("import", "p.db", "own.jsonl").stdout
    run("simulate", "p.db", "--by", "length", "--annotators", "2")
    with FeedbackStore("p.db") as store:
        assert [type(record) for record in store.records()] == [Comparison, Comparison, Rating, Rating]


def test_questions_from_project_to_project(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "4", "--checks", "2", "--overlap", "3")
    assert "6 questions" in run("export", "p.db", "questions.jsonl", "--form", "questions").stdout
    assert "6 new questions" in run("import", "q.db", "questions.jsonl").stdout
    assert "0 new questions" in run("import", "q.db", "questions.jsonl").stdout
    with FeedbackStore("p.db") as first, FeedbackStore("q.db") as second:
        assert first.plan() == second.plan()
        assert (second.progress().items, second.progress().wanted) == (4, 12)


def test_votes_before_their_questions_leave_checks_out_and_say_so(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "18", "--checks", "2")  # the checks are asked among 20 questions, wherever that is
    run("simulate", "p.db", "--annotators", "1")
    run("export", "p.db", "votes.jsonl")
    checks = Path("votes.jsonl").read_text().count('"check": true')
    assert checks == 2
    run("export", "p.db", "questions.jsonl", "--form", "questions")
    assert "import the questions, then this file again" in run("import", "q.db", "votes.jsonl").output
    run("import", "q.db", "questions.jsonl")
    again = run("import", "q.db", "votes.jsonl")
    assert f"{checks} new votes" in again.stdout
    assert "this file again" not in again.output


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        ("--blind", {"reveal": False}),
        ("--no-blind", {"reveal": True}),
        ("--word-counts", {"word_counts": True}),
        ("--no-word-counts", {"word_counts": False}),
    ],
)
def test_what_is_shown_beside_a_text_can_be_changed(
    option: str, kept: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="needs the extra textgym[feedback]")
    monkeypatch.setattr("textgym.feedback.server.serve.serve", lambda *_: None)
    run("serve", "p.db", option)
    run("serve", "p.db")  # leaves what is kept
    with FeedbackStore("p.db") as store:
        assert store.setting("project") == kept


def test_writers_are_not_shown_beside_attention_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="needs the extra textgym[feedback]")
    monkeypatch.setattr("textgym.feedback.server.serve.serve", lambda *_: None)
    with FeedbackStore("p.db") as store:
        store.add([Question("k", "p", ("x", "y"))])
        assert "Who wrote a text is not shown" not in run("serve", "p.db", "--no-blind").stderr
        store.add_checks([Question("c", "p", ("x", "y"))], ["a"])
    assert "Who wrote a text is not shown: there are attention checks" in run("serve", "p.db", "--no-blind").stderr


def test_status_names_who_is_reversed_and_position_bias_of_ranks() -> None:
    """Of two who rank 20 questions, one has them upside down, which four attention checks tell."""
    questions = [Question(f"k{n}", f"p{n}", ("x", "y", "z"), "rank") for n in range(20)]
    checks = [Question(f"c{n}", "p", ("good", "bad")) for n in range(4)]
    with FeedbackStore("p.db") as store:
        items, check_items = store.add(questions, overlap=2), store.add_checks(checks, ["a"] * 4)
        orders = list(itertools.permutations((1, 2, 3)))
        for name, choice in (("ann", "a"), ("rev", "b")):
            for item, question in zip(items, questions, strict=True):
                ranks = [rank if name == "ann" else 4 - rank for rank in orders[item % 6]]
                shown = replace(question, order_seed=item)
                store.vote(f"{name}{item}", name, item, answer_rank(shown, ranks, By(name)))
            for item, question in zip(check_items, checks, strict=True):
                store.vote(f"{name}{item}", name, item, answer_compare(question, choice, By(name)))  # type: ignore[arg-type]
    said = run("status", "p.db")
    assert "rankings: Krippendorff's alpha -" in said.stdout
    assert "the text shown first is ranked before another 0.500 [" in said.stdout
    assert said.stderr.splitlines() == [
        "Warning: rev is reversed, answering systematically opposite to ann: are labels swapped? (4 of 4 attention "
        "checks passed by ann, 0 of 4 by rev)"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "missing.db"), "expected a project"),
        (("export", "missing.db", "x"), "expected a project"),
        (("simulate", "missing.db"), "expected a project"),
        (("simulate", "empty.db"), "run textgym feedback sample first"),
        (("import", "missing.db", "missing.jsonl"), "missing.jsonl"),
        (("import", "missing.db", "empty.jsonl"), "got none in 'empty.jsonl'"),
        (("import", "missing.db", "table.csv"), "table.csv:1: expected JSON lines, got a table for spreadsheets"),
        (("sample", "p.db", "--mode", "guess"), "expected --mode out of"),
        (("sample", "p.db", "--prompts", "0"), "prompts of at least 1"),
        (("sample", "missing.db", "--model", "none", "--responses", "3"), "expected 2 to 2 responses to compare"),
        (("sample", "missing.db", "--model", "none", "--checks", "9", "--prompts", "8"), "got 9 for 8 to compare"),
        (("sample", "missing.db", "--model", "none", "--checks", "1", "--mode", "rank"), "got 1 for 100 to rank"),
        (
            ("sample", "missing.db", "TextGen-v0", "--model", "none", "--checks", "4"),
            "or leave out --checks",
        ),
        (("serve", "p.db", "--host", "no.such.host.invalid"), "expected a free address of this machine"),
        (("serve", "p.db", "--guidelines", "missing.txt"), "missing.txt"),
        (("serve", "p.db", "--guidelines", "latin-1.txt"), "expected UTF-8 text, got other bytes in 'latin-1.txt'"),
        (("import", "p.db", "bad.jsonl"), "bad.jsonl:1: expected a question with prompt and responses"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str) -> None:
    Path("bad.jsonl").write_text('{"prompt": "p", "responses": ["only one"]}\n')
    Path("empty.jsonl").touch()
    Path("latin-1.txt").write_bytes("höflich".encode("latin-1"))
    FeedbackStore("empty.db").close()
    export_records([], "table.csv", "csv")
    assert message in refused(*arguments)
    assert not Path("missing.db").exists()


def test_help_says_which_commands_make_a_project() -> None:
    made = {name: "made if there is none" in run(name, "--help").stdout for name in COMMANDS}
    assert made == {name: name in ("serve", "sample", "import") for name in COMMANDS}


def test_questions_of_no_task_need_length() -> None:
    Path("own.jsonl").write_text('{"prompt": "p", "responses": ["x", "y"]}\n')
    run("import", "p.db", "own.jsonl")
    assert "use --by length" in refused("simulate", "p.db")
    assert "Did you mean 'csv'" in refused("export", "p.db", "x", "--form", "cvs")


def test_questions_of_ones_own_beside_those_of_a_task(lm: str, data: str) -> None:
    sample(lm, data, "--prompts", "2")
    Path("own.jsonl").write_text('{"prompt": "p", "responses": ["x", "y"]}\n')
    run("import", "p.db", "own.jsonl")
    assert "got 'p' as well; use --by length" in refused("simulate", "p.db")
    run("simulate", "p.db", "--by", "length", "--annotators", "1")
    assert "3 of 3 votes" in run("status", "p.db").stdout


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGYM_FEEDBACK_TOKEN", "short")
    assert "16 characters or more" in refused("serve", "p.db", "--port", "0")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fastapi" else object())
    assert "pip install 'textgym[feedback]'" in refused("serve", "p.db")


def test_a_table_of_ratings_is_imported_and_who_rates_all_alike_is_named() -> None:
    grades = [("ann", 1 + number % 5) for number in range(12)] + [("con", 4)] * 12
    lines = [f"prompt {number % 12},text,{grade},{who}" for number, (who, grade) in enumerate(grades)]
    Path("f.csv").write_text("\n".join(["prompt,response,rating,annotator", *lines]))
    shown = run("import", "p.db", "f.csv")
    assert "24 new votes" in shown.stdout
    assert "Read as: ratings from 1 to 5, 24 ratings" in shown.stderr
    assert "con gave the same answer 12 times (the grade 4)" in run("status", "p.db").stderr
    assert "0 new votes" in run("import", "p.db", "f.csv").stdout
    Path("g.csv").write_text("text,mood\na,b\n")
    assert "expected feedback in one of the shapes below" in refused("import", "q.db", "g.csv")
    assert not Path("q.db").exists()
