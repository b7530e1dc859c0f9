"""Data files that would never end: refused in seconds, with a message."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textgym.data import files
from textgym.data.files import Problem, read_file
from textgym.data.source import load_examples
from textgym.errors import DataError
from textgym.feedback import FeedbackStore, make_questions, read_records
from textgym.security import foreign


@pytest.fixture(autouse=True)
def _in_seconds() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 10


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, earlier: what is tried is that they hold, not that memory is large."""
    monkeypatch.setattr(foreign, "UNPACKED_FREELY", 2**18)
    monkeypatch.setattr(files, "UNPACKED_FREELY", 2**18)
    monkeypatch.setattr(files, "LONGEST_LINE", 2**16)


def bomb(file: Path, piece: bytes, times: int) -> Path:
    with gzip.open(file, "wb", compresslevel=9) as packed:
        for _ in range(times):
            packed.write(piece)
    return file


def test_a_bomb_of_the_real_size(tmp_path: Path) -> None:
    """256 MiB of nothing in a quarter of a megabyte: what a bomb looks like, up to the limit it is stopped at."""
    file = tmp_path / "a.jsonl.gz"
    member = gzip.compress((b" " * (2**16 - 1) + b"\n") * 2**6, 9)
    file.write_bytes(member * 64)
    with pytest.raises(DataError, match="more than 300 times its size"):
        load_examples(str(file))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.parquet.gz"])
@pytest.mark.usefixtures("small_limits")
def test_bombs_of_every_format(name: str, tmp_path: Path) -> None:
    file = bomb(tmp_path / name, b'{"p": 1}\n' * 1000, 300)
    assert file.stat().st_size < 2**18
    with pytest.raises(DataError, match="more than 300 times its size"):
        list(read_file(file))


@pytest.mark.usefixtures("small_limits")
def test_ordinary_archives_are_read(tmp_path: Path) -> None:
    lines = "".join(f'{{"p": "text {number} of many"}}\n' for number in range(100_000)).encode()
    assert len(lines) > 2 * 2**20
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    assert sum(1 for _ in read_file(tmp_path / "a.jsonl.gz")) == 100_000


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_pipes_and_devices_are_not_read(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(DataError, match="expected a regular file"):
            load_examples(str(tmp_path / f"{name}{suffix}"))
        with pytest.raises(DataError, match="expected a regular file"):
            read_records(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
@pytest.mark.usefixtures("small_limits")
def test_a_line_without_an_end(name: str, tmp_path: Path) -> None:
    content = b'{"p": "' + os.urandom(2**17).hex().encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DataError, match="rows of at most"):
        list(read_file(tmp_path / name))
    with pytest.raises(DataError, match="rows of at most"):
        read_records(tmp_path / name)


@pytest.mark.parametrize("line", ['x,"y', '"', '"",""', 'x,"y""', '"x\t"y'])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_quotes_that_are_never_closed(line: str, suffix: str, tmp_path: Path) -> None:
    """Looking for the end of each costs no more than the next quote."""
    (tmp_path / f"a{suffix}").write_text('a,b\nx,"y\n' + f"{line}\n" * 100_000)
    assert sum(1 for _ in read_file(tmp_path / f"a{suffix}")) > 30_000


def test_deep_json(tmp_path: Path) -> None:
    deep = '{"p":' * 100_000
    (tmp_path / "a.jsonl").write_text(deep + "\n")
    (problem,) = read_file(tmp_path / "a.jsonl")
    assert isinstance(problem, Problem)
    for text in ("[" * 100_000, '[{"p":' * 100_000, '{"data":' * 100_000, deep):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError):
            load_examples(str(tmp_path / "a.json"))
    with pytest.raises(DataError, match="one JSON object per line"):
        read_records(tmp_path / "a.jsonl")


def test_parquet_that_says_it_is_huge(tmp_path: Path) -> None:
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**20, np.int32)), ["the same text"])
    pq.write_table(pa.table({"p": same}), tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 2**20
    with pytest.raises(DataError, match="1,048,576 rows"):
        load_examples(str(tmp_path / "rows.parquet"))
    zeros = pa.array(["0" * 2**25])
    pq.write_table(pa.table({"p": zeros}), tmp_path / "text.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="bytes unpacked"):
        load_examples(str(tmp_path / "text.parquet"))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON votes BEGIN DELETE FROM items; END",
        "CREATE VIEW v AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
    ],
)
def test_projects_that_act_by_themselves(statement: str, tmp_path: Path) -> None:
    import sqlite3

    FeedbackStore(tmp_path / "p.db").close()
    with sqlite3.connect(tmp_path / "p.db") as db:
        db.execute(statement)
    with pytest.raises(DataError, match="act by itself"):
        FeedbackStore(tmp_path / "p.db")


def test_projects_with_deep_texts(tmp_path: Path) -> None:
    import sqlite3

    with FeedbackStore(tmp_path / "p.db") as store:
        store.add(make_questions(["prompt"], ["key"], ["a"], ["b"]))
    with sqlite3.connect(tmp_path / "p.db") as db:
        db.execute("UPDATE items SET question = ?", ("[" * 100_000,))
    with FeedbackStore(tmp_path / "p.db") as store, pytest.raises(ValueError, match="at most 100 levels"):
        store.questions()
