"""``textgym reward fit`` reads each record once: from the file, as evidence, and when the run's copy is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.feedback import FeedbackStore, read_records, write_records
from textgym.feedback.records import files
from textgym.feedback.store import joining
from textgym.feedback.types import Comparison, ImplicitFeedback, Ranking, Rating, Record
from textgym.reward_models import evidence
from textgym.training.reward import run_reward_resume
from textgym.training.run_folder import RunFolder

RECORDS: list[Record] = [
    record
    for i in range(16)
    for record in (
        Comparison(f"k{i}", f"document {i}", f"good good {i}", f"bad {i}", "a", annotator="ann"),
        Ranking(f"k{i}", f"document {i}", (f"good {i}", "bad", "road"), (1, 3, 2), annotator="bob"),
        Rating(f"k{i}", f"document {i}", f"good {i}", 5, annotator="ann", criteria={"clear": 4}),
        Rating(f"k{i}", f"document {i}", "bad", 1, annotator="ann", criteria={"clear": 2}),
    )
]
EVENTS: list[Record] = [
    ImplicitFeedback(f"k{i}", f"document {i}", text, place, place == 0, 9.0 - 8 * place, annotator="eve")
    for i in range(16)
    for place, text in enumerate((f"good {i}", f"bad {i}"))
]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch, lm: str) -> dict[str, Counter[str]]:
    """How often each record was parsed, read and encoded, by its text."""
    Path("lm").symlink_to(lm)
    found: dict[str, Counter[str]] = {"parsed": Counter(), "read": Counter(), "encoded": Counter()}

    def counting(what: str, work: Callable[..., Any], of: Callable[..., object]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            result = work(*arguments)
            found[what][repr(of(arguments, result))] += 1
            return result

        return count

    def engagement(events: list[ImplicitFeedback], of: Callable[..., Any] = evidence.engagement) -> Any:
        found["read"].update(map(repr, events))
        return of(events)

    parse = counting("parsed", files.record_from_json, lambda _, got: got)
    for place in (files, joining):
        monkeypatch.setattr(place, "record_from_json", parse)
    monkeypatch.setattr(files, "record_to_json", counting("encoded", files.record_to_json, lambda given, _: given[0]))
    readers = {kind: counting("read", read, lambda given, _: given[0]) for kind, read in evidence._READERS.items()}
    monkeypatch.setattr(evidence, "_READERS", readers)
    monkeypatch.setattr(evidence, "engagement", engagement)
    return found


def fit(*arguments: str) -> None:
    shown = CliRunner().invoke(cli.app, ["reward", "fit", "--embeddings", "lm", "--out", "r", *arguments])
    assert shown.exit_code == 0, shown.stderr


def test_a_file(counts: dict[str, Counter[str]]) -> None:
    write_records("f.jsonl", RECORDS + EVENTS)
    counts["encoded"].clear()
    fit("--feedback", "f.jsonl")
    once = Counter(map(repr, RECORDS + EVENTS))
    assert counts == {"parsed": once, "read": once, "encoded": once}


def test_a_project(counts: dict[str, Counter[str]]) -> None:
    with FeedbackStore("p.db") as store:
        store.add_votes([(f"vote {n}", [record]) for n, record in enumerate(RECORDS)])
    counts["parsed"].clear()
    fit("--feedback", "p.db")
    once = Counter(map(repr, RECORDS))
    assert counts == {"parsed": once, "read": once, "encoded": once}


def test_a_learning_curve_reads_nothing_again(counts: dict[str, Counter[str]]) -> None:
    write_records("f.jsonl", RECORDS)
    fit("--feedback", "f.jsonl", "--learning-curve")
    assert counts["read"] == Counter(map(repr, RECORDS))


def test_a_criterion_reads_nothing_again(counts: dict[str, Counter[str]]) -> None:
    write_records("f.jsonl", RECORDS)
    fit("--feedback", "f.jsonl", "--learning-curve", "--criterion", "clear")
    assert set(counts["read"].values()) == {1}
    assert counts["read"].total() == len(RECORDS)


def test_a_resumed_fit_keeps_the_file_it_has(counts: dict[str, Counter[str]]) -> None:
    write_records("f.jsonl", RECORDS)
    fit("--feedback", "f.jsonl")
    Path("f.jsonl").unlink()
    run = RunFolder("r")
    (run.path / "summary.json").unlink()
    for each in counts.values():
        each.clear()
    run_reward_resume("r")
    once = Counter(map(repr, RECORDS))
    assert counts == {"parsed": once, "read": once, "encoded": Counter()}
    assert read_records("r/feedback.jsonl") == RECORDS
