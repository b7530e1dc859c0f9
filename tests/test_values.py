"""What values of unknown type are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from textgym.values import (
    as_list,
    as_object,
    as_text,
    attribute_of,
    expect_boolean,
    expect_integer,
    expect_list,
    expect_number,
    expect_object,
    expect_text,
    field_values,
    finite,
    finite_ones,
    is_number,
    is_whole,
    plain_value,
    walk,
)


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (0, True, True),
        (-3, True, True),
        (True, False, False),
        (0.5, False, True),
        (math.nan, False, True),
        ("1", False, False),
        (None, False, False),
        ([1], False, False),
        (np.int64(1), False, False),
    ],
)
def test_truth_values_are_no_numbers(value: object, whole: bool, number: bool) -> None:
    assert (is_whole(value), is_number(value)) == (whole, number)


def test_what_is_of_another_type_is_empty() -> None:
    assert [as_object(value) for value in ({"a": 1}, [("a", 1)], None, "a")] == [{"a": 1}, {}, {}, {}]
    assert [as_list(value) for value in ([1], (1,), None, "a")] == [[1], [], [], []]
    assert [as_text(value) for value in ("a", b"a", None, ["a"])] == ["a", "", "", ""]


def test_walk_names_everything_within_once() -> None:
    nested = {"a": [1, {"b": "x"}], "c": {"d": None}}
    assert list(walk(nested, "top")) == [
        ("top", nested),
        ("a", [1, {"b": "x"}]),
        ("a", 1),
        ("a", {"b": "x"}),
        ("b", "x"),
        ("c", {"d": None}),
        ("d", None),
    ]


def test_walk_does_not_spell_texts() -> None:
    assert list(walk("abc")) == [("", "abc")]


def test_plain_values_are_pythons_own() -> None:
    found = [plain_value(value) for value in (np.float32(0.5), np.int64(3), np.bool_(True), Path("a") / "b", "x", None)]
    assert found == [0.5, 3, True, str(Path("a/b")), "x", None]
    assert [type(value) for value in found[:4]] == [float, int, bool, str]


def test_the_first_attribute_that_says_something_counts() -> None:
    config = SimpleNamespace(n_positions=None, n_ctx=0, max_seq_len=8)
    assert attribute_of(config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len") == 0
    assert attribute_of(config, "n_positions", "seq_length") is None


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (expect_integer, 0),
        (expect_integer, -3),
        (expect_integer, 10**400),
        (expect_number, 2),
        (expect_number, -0.5),
        (expect_number, math.inf),
        (expect_boolean, True),
        (expect_boolean, False),
        (expect_text, ""),
        (expect_text, "a"),
        (expect_list, []),
        (expect_list, [1, "a"]),
        (expect_object, {}),
        (expect_object, {"a": 1}),
    ],
)
def test_strict_readers_take_values_of_their_kind_as_they_are(read: Callable[[object], Any], value: object) -> None:
    assert read(value) == value
    assert type(read(value)) is (float if read is expect_number else type(value))


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (expect_integer, True, "expected a whole number, got True"),
        (expect_integer, 2.0, "expected a whole number, got 2.0"),
        (expect_integer, "2", "expected a whole number, got str"),
        (expect_integer, None, "expected a whole number, got NoneType"),
        (expect_number, False, "expected a number, got False"),
        (expect_number, "0.5", "expected a number, got str"),
        (expect_number, [0.5], "expected a number, got list"),
        (expect_number, 10**400, "expected a number, got 1000"),
        (expect_boolean, 1, "expected true or false, got 1"),
        (expect_boolean, 0.0, "expected true or false, got 0.0"),
        (expect_boolean, "true", "expected true or false, got str"),
        (expect_boolean, None, "expected true or false, got NoneType"),
        (expect_text, b"a", "expected a text, got bytes"),
        (expect_text, True, "expected a text, got True"),
        (expect_text, ["a"], "expected a text, got list"),
        (expect_list, (1,), "expected a list, got tuple"),
        (expect_list, "a", "expected a list, got str"),
        (expect_list, {"a": 1}, "expected a list, got dict"),
        (expect_object, [("a", 1)], "expected a JSON object, got list"),
        (expect_object, "{}", "expected a JSON object, got str"),
        (expect_object, None, "expected a JSON object, got NoneType"),
    ],
)
def test_strict_readers_refuse_every_other_kind(read: Callable[[object], Any], value: object, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        read(value)
    assert str(caught.value).startswith(message)


def test_the_values_of_a_record_stay_what_they_are() -> None:
    @dataclass(frozen=True, slots=True)
    class Inner:
        size: int

    @dataclass(frozen=True, slots=True)
    class Outer:
        name: str
        inner: Inner

    inner = Inner(3)
    found = field_values(Outer("a", inner))
    assert found == {"name": "a", "inner": inner}
    assert found["inner"] is inner


@pytest.mark.parametrize("value", [True, "2", None, float("nan"), float("inf"), 10**400])
def test_what_is_no_finite_number(value: object) -> None:
    assert finite(value) is None
    assert finite_ones({"a": value, "b": 2}) == {"b": 2.0}
