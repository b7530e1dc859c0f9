"""Tables with commas, semicolons and tabs: every line is a row or a problem, whatever its quotes."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgym.data.delimited import read_table
from textgym.errors import DataError

Read = list[tuple[int, list[object] | str]]


def read(text: str, named: Collection[str] = (), *, tabs: bool = False) -> Read:
    """The number of the first line of each row, and its cells or what is wrong."""
    items = read_table(io.StringIO(text, newline=""), "file", tabs=tabs, named=named)
    return [
        (int(where.removeprefix("file:")), row if isinstance(row, str) else list(row.values())) for where, row in items
    ]


def rows(text: str) -> list[tuple[int, list[object]]]:
    return [(number, row) for number, row in read(text) if not isinstance(row, str)]


def problems(text: str) -> list[int]:
    return [number for number, row in read(text) if isinstance(row, str)]


def columns(text: str, named: Collection[str] = ()) -> list[str]:
    (_, first), *_ = read_table(io.StringIO(text, newline=""), "file", named=named)
    assert isinstance(first, dict)
    return list(first)


# --- quotes between tabs


def test_sentences_that_begin_with_a_quote_are_rows_of_their_own() -> None:
    """As translations are published: quotes are part of the text, and stand in one of the two languages only."""
    lines = [f'"Sentence {i}, he said.\tSatz {i}.' if i % 3 else f"Sentence {i}\tSatz {i}." for i in range(60)]
    found = read("source\ttarget\n" + "\n".join(lines) + "\n")
    assert found == [(i + 2, line.split("\t")) for i, line in enumerate(lines)]


def test_quotes_around_a_field_between_tabs_are_no_part_of_it() -> None:
    text = 'a\tb\n"one"\t"two ""2"""\n"A" or "B"\tsay "x"\n"\t""\n'
    assert rows(text) == [(2, ["one", 'two "2"']), (3, ['"A" or "B"', 'say "x"']), (4, ['"', ""])]


def test_a_quoted_field_between_tabs_may_hold_lines_and_tabs() -> None:
    text = 'a\tb\n1\t"one\ntwo"\n"three\n\nfour"\t2\n"tab\there"\t3\nlast\t4\n'
    assert rows(text) == [
        (2, ["1", "one\ntwo"]),
        (4, ["three\n\nfour", "2"]),
        (7, ["tab\there", "3"]),
        (8, ["last", "4"]),
    ]


def test_quotes_of_two_rows_do_not_join_them() -> None:
    text = 'a\tb\n"open\tzu\nclose"\tauf\n'
    assert rows(text) == [(2, ['"open', "zu"]), (3, ['close"', "auf"])]


# --- quotes between commas


@pytest.mark.parametrize("end", ["", 'x,"y"z\n', 'x,"y"\n'])
def test_a_quote_left_open_costs_one_row(end: str) -> None:
    lines = [f"{i},text {i}" for i in range(40)]
    lines[10] = '10,"text'
    text = "id,text\n" + "\n".join(lines) + "\n" + end
    whole = [number for number, row in read(text) if not isinstance(row, str) and number < 42]
    assert whole == [number for number in range(2, 42) if number != 12]
    assert problems(text) == [12] + [42] * end.endswith("z\n")
    assert dict(read(text))[12] == "a quote is opened and not closed in this line"


def test_two_stray_quotes_do_not_make_one_text_of_the_rows_between() -> None:
    lines = [f"{i},text {i}" for i in range(20)]
    lines[3], lines[15] = '3,"text', '15 text"'
    text = "id,text\n" + "\n".join(lines) + "\n"
    assert len(rows(text)) == 18
    assert problems(text) == [5, 17]


def test_quoted_texts_of_many_lines_stay_one_row() -> None:
    letter = "Dear all,\nwe met, and ate.\n\nThen, at last,\nwe left.\nYours,\nAnn, and Ben"
    text = f'id,text\n1,"{letter}"\n2,"a, ""b""\nc"\n'
    assert rows(text) == [(2, ["1", letter]), (9, ["2", 'a, "b"\nc'])]


def test_a_quoted_text_in_a_row_of_another_length_is_one_problem() -> None:
    assert problems('id,text\n1,"one\nand two\nthree",x\n2,b\n') == [2]
    assert rows('id,text\n1,"one\nand two\nthree",x\n2,b\n') == [(5, ["2", "b"])]


# --- one column


def test_commas_and_quotes_in_the_only_column_are_text() -> None:
    text = 'prompt\nWell, now, what?\n"quoted, and so on"\n"no" he said, "yes\n"two\nlines"\nlast\n'
    assert rows(text) == [
        (2, ["Well, now, what?"]),
        (3, ["quoted, and so on"]),
        (4, ['"no" he said, "yes']),
        (5, ["two\nlines"]),
        (7, ["last"]),
    ]


# --- the header


@pytest.mark.parametrize(
    "line",
    [
        "Resumption of the session\tWiederaufnahme der Sitzungsperiode",
        "It rains.\tEs regnet.",
        "196\t242\t3\t881250949",
        "1,0.5,-3",
        "What happened next?,And who was there?",
        "How are you?",
    ],
)
def test_sentences_and_numbers_are_no_header(line: str) -> None:
    separator = "\t" if "\t" in line else ","
    cells = line.split(separator)
    assert columns(line + "\n" + line + "\n") == [f"column{i + 1}" for i in range(len(cells))]
    assert rows(line + "\n" + line + "\n") == [(1, cells), (2, cells)]


@pytest.mark.parametrize(
    "line",
    [
        "Ticket text,Agent reply",
        "Timestamp,How satisfied are you with us?",
        "source\ttarget",
        "Source text\tTarget text",
        ",prompt",
        "name,2019,2020",
        "prompt",
    ],
)
def test_names_are_a_header(line: str) -> None:
    cells = line.split("\t" if "\t" in line else ",")
    assert columns(line + "\n" + line.replace("a", "o") + "\n") == cells


def test_a_line_with_a_column_that_the_user_named_is_a_header() -> None:
    text = "What happened next?,And who was there?\na,b\n"
    assert columns(text, ["And who was there?"]) == ["What happened next?", "And who was there?"]


def test_tabs_separate_where_there_are_any() -> None:
    assert rows("a, b, c\td\n1, 2\t3\n") == [(2, ["1, 2", "3"])]
    assert read("a,b\n1,2\n", tabs=True) == [(2, ["1,2"])]


def test_blank_lines_before_the_header_are_counted() -> None:
    assert rows("\n\r\na;b\n\n1;2\n") == [(5, ["1", "2"])]


@pytest.mark.parametrize(("text", "what"), [('a,"b\n1,2\n', "header line"), ("a,a\n1,2\n", "a twice")])
def test_headers_that_cannot_be_read(text: str, what: str) -> None:
    with pytest.raises(DataError, match=rf"^file:1: expected .*{what}"):
        read(text)


# --- properties

_CELLS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)


@given(table=st.lists(st.lists(_CELLS, min_size=2, max_size=2), max_size=6), delimiter=st.sampled_from(",;\t"))
@settings(max_examples=150)
def test_whatever_the_csv_writer_quotes_is_read_back(table: list[list[str]], delimiter: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    assert [row for _, row in read(file.getvalue())] == table


@given(lines=st.lists(st.text('ab", ', min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=12))
@example(lines=['"', '"', "a,b"])
@settings(max_examples=200)
def test_every_line_is_a_row_or_a_problem(lines: list[str]) -> None:
    """Each starts one, or is within the quotes of a row that holds all of it."""
    found = read("a,b\n" + "\n".join(lines) + "\n")
    within = sum(str(cell).count("\n") for _, row in found if not isinstance(row, str) for cell in row)
    accounted = len(found) + within
    joined = [row for _, row in found if isinstance(row, str) and "fields" in row]
    assert accounted == len(lines) or (accounted < len(lines) and joined)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 2


@given(lines=st.lists(st.text('ab" \t', min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=12))
@settings(max_examples=200)
def test_every_line_with_as_many_tabs_as_the_header_is_in_a_row(lines: list[str]) -> None:
    found = read("a\tb\n" + "\n".join(lines) + "\n")
    cells = [str(cell) for _, row in found if not isinstance(row, str) for cell in row]
    for line in lines:
        if line.count("\t") == 1 and '"' not in line:
            assert any(line.split("\t")[1] in cell for cell in cells)
