"""Every row of a file is read or reported with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.data.files import Problem, Row, read_file, suffix_of
from textgym.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    raw = content.encode("utf-8") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def rows(path: Path) -> list[tuple[int, dict[str, object]]]:
    return [(place(item), item.values) for item in read_file(path) if isinstance(item, Row)]


def problems(path: Path) -> list[tuple[int, str]]:
    return [(place(item), item.kind) for item in read_file(path) if isinstance(item, Problem)]


def place(item: Row | Problem) -> int:
    return int(item.where.rpartition(":")[2])


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jsonl", ".jsonl"), ("a.b.CSV", ".csv"), ("a.jsonl.gz", ".jsonl.gz"), ("a.tar.gz", ".tar.gz"), ("a", "")],
)
def test_suffix_names_the_format(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
def test_json_lines_with_bom_crlf_and_blank_lines(tmp_path: Path, name: str) -> None:
    content = b'\xef\xbb\xbf{"p": "one"}\r\n\r\n{"p": "tw\xc3\xb6\\u2028"}\r\n\n \n'
    assert rows(write(tmp_path, name, content)) == [(1, {"p": "one"}), (3, {"p": "twö\u2028"})]


def test_line_separators_inside_json_do_not_count_as_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"p": "a\u2028b\x85c"}\n{"p": "d"}\n')
    assert rows(path) == [(1, {"p": "a\u2028b\x85c"}), (2, {"p": "d"})]


def test_bad_json_lines_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    content = b'{"p": 1}\n{"p": \nnull\n{"p": "\xff"}\n[1]\n' + deep + b'\n{"n": ' + b"9" * 5000 + b'}\n{"p": 2}'
    path = write(tmp_path, "a.jsonl", content)
    assert rows(path) == [(1, {"p": 1}), (8, {"p": 2})]
    assert problems(path) == [
        (2, "wrong JSON"),
        (3, "not an object"),
        (4, "broken encoding"),
        (5, "not an object"),
        (6, "wrong JSON"),
        (7, "wrong JSON"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        '[{"p": "a"},\n\n {"p":\n "b"}\n, 3]',
        '{"version": {"data": [1]}, "data":\n[{"p": "a"},\n{"p": "b"}, 3\n], "more": 1}',
        '{"data": [{"p": "a"}, {"p": "b"}, 3]}',
    ],
)
def test_json_documents(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.json", content)
    assert [values for _, values in rows(path)] == [{"p": "a"}, {"p": "b"}]
    assert [kind for _, kind in problems(path)] == ["not an object"]


def test_lines_of_a_json_list(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '\n[\n{"p": "a"}, {"p": "b"},\n\n{"p":\n"c"}]\n')
    assert [line for line, _ in rows(path)] == [3, 3, 5]


@pytest.mark.parametrize("content", ['[{"p": "a"}', '[{"p": "a"} {"p": "b"}]', '[{"p": "a"}] x', "[" * 100_000, "[,"])
def test_broken_json_document_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.json: wrong JSON"):
        rows(write(tmp_path, "a.json", content))


def test_csv_lines_count_quoted_newlines(tmp_path: Path) -> None:
    content = '\ufeffp,s\r\n"one\r\ntwo",x\r\n\r\n"a ""quoted"" word",y\r\nonly one\r\nz,z,z\r\nlast,w\r\n\r\n'
    path = write(tmp_path, "a.csv", content)
    assert rows(path) == [
        (2, {"p": "one\r\ntwo", "s": "x"}),
        (5, {"p": 'a "quoted" word', "s": "y"}),
        (8, {"p": "last", "s": "w"}),
    ]
    assert problems(path) == [(6, "wrong CSV"), (7, "wrong CSV")]


def test_csv_quote_left_open_does_not_swallow_the_file_silently(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'p,s\na,b\nc,"d\ne,f\n')
    assert rows(path) == [(2, {"p": "a", "s": "b"}), (4, {"p": "e", "s": "f"})]
    assert problems(path) == [(3, "wrong CSV")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_separator_is_found_in_the_header(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path, "a.csv.gz", f"p{separator}s\n1{separator}2\n")
    assert rows(path) == [(2, {"p": "1", "s": "2"})]


def test_huge_csv_fields_and_the_global_limit_is_restored(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path, "a.csv", "p,s\n" + "x" * 300_000 + ",y\n")
    assert [len(str(values["p"])) for _, values in rows(path)] == [300_000]
    assert csv.field_size_limit() == before


def test_csv_header_must_name_each_column_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="p twice"):
        rows(write(tmp_path, "a.csv", "p,p\n1,2\n"))


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet(tmp_path: Path, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [{"p": "a", "s": ["x", "y"]}, {"p": None, "s": []}]
    content = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(values), content)
    assert rows(write(tmp_path, name, content.getvalue())) == [(1, values[0]), (2, values[1])]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.xml", b"", "expected a file ending in"),
        ("a.parquet", b"PAR1 no", "readable Parquet"),
        ("a.parquet.gz", b"PAR1 no", "readable Parquet"),
        ("a.csv", "p,s\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        rows(write(tmp_path, name, content))


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_gzip_is_an_error(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress("".join(f'{{"p": "{i * 7919}"}}\n' for i in range(2000)).encode())
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 50]) + whole[middle + 50 :]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes({"cut": whole[:middle], "flipped": flipped, "not gzip": b'{"p": 1}\n'}[damage])
    with pytest.raises(DataError, match="archive is damaged"):
        list(read_file(path))


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"readable \.jsonl file"):
        list(read_file(tmp_path / "none.jsonl"))


@settings(max_examples=60)
@given(content=st.one_of(st.binary(max_size=200), st.text('[]{}":,pd1\n\r;"at \\', max_size=60).map(str.encode)))
@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet", "a.csv.gz", "a.parquet.gz"]
)
def test_any_bytes_are_read_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    try:
        items = list(read_file(path))
    except DataError:
        return
    assert all(isinstance(item, Row | Problem) for item in items)


@given(values=st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text()))))
@settings(max_examples=50)
def test_json_lines_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, object]]) -> None:
    content = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path = write(tmp_path_factory.mktemp("trip"), "a.jsonl.gz", content)
    assert rows(path) == list(enumerate(values, start=1))
