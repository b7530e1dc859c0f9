"""The study of tasks on real files: each is loaded, scored and trained for a few iterations by one command."""

from __future__ import annotations

from typing import NamedTuple

from real.bench import Bench, Figures
from textgym.registration import registered_ids


class Row(NamedTuple):
    """A task with a file.

    Attributes:
        env_id: Environment.
        file: Name of the file.
        options: Further options of ``textgym train``.
    """

    env_id: str
    file: str
    options: tuple[str, ...] = ()


_CUT = ("--max-prompt-tokens", "192")  # a trial; the tasks' own budgets of passages and documents take longer
ROWS = (
    Row("TextSumm-v1", "xsum.jsonl", ("--reward", "rouge", *_CUT)),
    Row("TextSumm-v1", "wikilingua_en.jsonl", ("--reward", "rouge", *_CUT)),
    Row("TextSumm-v1", "dialogsum.dev.jsonl", ("--reward", "rouge", *_CUT)),
    Row("TextChat-v0", "topical_chat.jsonl"),
    Row("TextTranslate-v0", "reviews.en-de.jsonl", ("--prompt-column", "en", "--reference-column", "de")),
    Row("TextQA-v0", "squad.dev.jsonl", _CUT),
    Row("TextStory-v0", "common_gen.jsonl"),
    Row("TextCode-v0", "humaneval.jsonl", ("--max-prompt-tokens", "160", "--max-new-tokens", "96")),
    Row("TextRec-v0", "movielens.csv.gz"),
    Row("TextContinue-v0", "reviews.en-de.jsonl", ("--prompt-column", "en")),
    Row("TextReport-v0", "e2e_nlg.jsonl"),
)


def run(bench: Bench) -> Figures:
    """Train the start model of each task; without files, on its built-in data."""
    known = [row for row in ROWS if row.env_id in registered_ids()]
    if bench.data is None:
        known = list({row.env_id: row for row in known}.values())
    return {"rows": [_train(bench, row) for row in known if _has_data(bench, row)]}


def _has_data(bench: Bench, row: Row) -> bool:
    if bench.data is None or bench.file(row.file) is not None:
        return True
    print(f"    {row.env_id}: no {row.file} in {bench.data}; skipped", flush=True)
    return False


def arguments(bench: Bench, row: Row) -> list[str]:
    """Return the arguments of ``textgym`` for a row, without ``--out``."""
    file = bench.file(row.file)
    data = [] if file is None else ["--data", file, *row.options]
    size = bench.size
    short = ["--steps", str(size.table_tokens), "--n-envs", "8", "--epochs", "1"]
    return ["train", row.env_id, *data, *short, "--eval-prompts", str(min(size.prompts, 20))]


def _train(bench: Bench, row: Row) -> Figures:
    name = f"table-{row.env_id.lower()}-{row.file.partition('.')[0]}"
    summary = bench.textgym(*arguments(bench, row), out=name)
    log = (bench.home / "runs" / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "env_id": row.env_id,
        "file": row.file if bench.data is not None else "built in",
        "command": summary["command"],
        "iterations": len(log),
        "before": summary["before"]["reward"],
        "after": summary["after"]["reward"],
        "seconds": summary["wall_seconds"],
    }
