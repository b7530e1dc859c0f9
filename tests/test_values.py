"""What values of unknown type are."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from textgym.values import (
    as_list,
    as_object,
    as_text,
    attribute_of,
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
