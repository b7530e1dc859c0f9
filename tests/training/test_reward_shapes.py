"""``textgym reward fit`` on files of other shapes: from the file to a model that prefers what people prefer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.reward_models import load_reward

WORDS = ("council", "bridge", "road", "voted", "closed", "opened", "mayor")
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _model(lm: str) -> None:
    Path("lm").symlink_to(lm)


def fit(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["reward", "fit", *arguments])


def texts(n: int) -> list[tuple[str, str, str]]:
    """Prompts, each with a better and a worse text; they differ by one word, and are as long."""
    rng = np.random.default_rng(0)
    rests = [" ".join(rng.choice(WORDS, size=rng.integers(3, 7))) for _ in range(n)]
    return [(f"Document {number}", f"good {rest}", f"bad {rest}") for number, rest in enumerate(rests)]


def said(role: str, text: str) -> Row:
    return {"role": role, "content": text}


def message_pairs(path: str) -> None:
    rows = [
        {"chosen": [said("user", p), said("assistant", a)], "rejected": [said("user", p), said("assistant", b)]}
        for p, a, b in texts(60)
    ]
    Path(path).write_text("\n".join(map(json.dumps, rows)))


def table(path: str, rows: Sequence[Row]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def kto(path: str) -> None:
    both = [(p, text, text == good) for p, good, bad in texts(60) for text in (good, bad)]
    table(path, [{"prompt": p, "completion": text, "label": label} for p, text, label in both])


def ratings(path: str) -> None:
    table(
        path,
        [
            {"prompt": p, "response": text, "rating": grade + (who == "kind"), "annotator": who}
            for p, good, bad in texts(40)
            for who in ("kind", "harsh")
            for text, grade in ((good, 4), (bad, 1))
        ],
    )


def rankings(path: str) -> None:
    rows = [{"prompt": p, "responses": [b, a, f"{b} bad"], "ranks": [2, 1, 3]} for p, a, b in texts(60)]
    Path(path).write_text(json.dumps(rows))


def binarized(path: str) -> None:
    rows = [
        {
            "prompt": p,
            "chosen": [said("user", p), said("assistant", a)],
            "rejected": [said("user", p), said("assistant", b)],
            "score_chosen": 9.0,
            "score_rejected": 9.0 if number == 0 else 3.0,
        }
        for number, (p, a, b) in enumerate(texts(60))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("f.jsonl", message_pairs, "Read as: TRL messages, 60 comparisons"),
        ("f.csv", kto, "Read as: TRL unpaired (KTO), 120 ratings"),
        ("f.csv", ratings, "Read as: ratings from 1 to 5, 160 ratings"),
        ("f.json", rankings, "Read as: ranking, 60 rankings"),
        ("f.parquet", binarized, "Read as: UltraFeedback binarized, 60 comparisons"),
    ],
)
def test_files_of_other_shapes_are_learned_from(name: str, write: Callable[[str], None], read: str) -> None:
    write(name)
    shown = fit("--feedback", name, "--embeddings", "lm", "--out", "r")
    assert shown.exit_code == 0, shown.stderr
    assert read in shown.stdout
    good, bad = load_reward("r")(["Document 99"] * 2, ["good road opened", "bad road opened"], [])  # type: ignore[arg-type]
    assert good > bad
    accuracy = json.loads(Path("r/summary.json").read_text())["accuracy"]
    assert accuracy["mean"] > 0.8


def test_a_language_model_is_fitted_to_labels() -> None:
    kto("f.csv")
    shown = fit("--feedback", "f.csv", "--model", "lm", "--epochs", "1", "--batch-size", "16", "--out", "r")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(Path("r/summary.json").read_text())["pairs"] > 90


def test_copies_and_constant_annotators_are_said() -> None:
    both = [(p, text) for p, good, bad in texts(20) for text in (good, bad)]
    rows = [{"prompt": p, "response": text, "rating": 4, "annotator": "con"} for p, text in both]
    rows += [{"prompt": p, "response": text, "rating": 1 + len(text) % 5, "annotator": "ann"} for p, text in both]
    table("f.csv", rows * 10)
    shown = fit("--feedback", "f.csv", "--embeddings", "lm", "--out", "r")
    assert shown.exit_code == 0, shown.stderr
    assert "720 of 800 records say what another one says" in shown.stderr
    assert "con gave the same answer 400 times (the grade 4)" in shown.stderr


def test_other_files_are_refused_with_the_list() -> None:
    table("f.csv", [{"text": "a", "mood": "b"}])
    shown = fit("--feedback", "f.csv", "--embeddings", "lm", "--out", "r")
    assert shown.exit_code == cli.BAD_INPUT
    first, *rest = shown.stderr.splitlines()
    assert "f.csv:2: expected feedback in one of the shapes below, got the columns text, mood." in first
    assert any(line.strip().startswith("hh-rlhf: {") for line in rest)
    assert not Path("r").exists()
