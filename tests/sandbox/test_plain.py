"""Plain values as JSON: exact on the way, compared without any code of a program."""

from __future__ import annotations

import collections
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.sandbox.guest import as_json
from textgym.sandbox.plain import MAX_DEPTH, MAX_ITEMS, NotPlainError, checked, decode, encode, equal

scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    st.complex_numbers(allow_nan=False),
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hashable, inner, max_size=3),
    max_leaves=8,
)
close_to_zero = st.sampled_from(
    [0, False, 0.0, 1, True, 1.0, 2, "", "a", (), [], (1,), [1], {1}, frozenset({1}), {1: 2}, 2**60, 2.0**60]
)
similar = st.recursive(close_to_zero, lambda inner: st.lists(inner, max_size=2) | st.tuples(inner), max_leaves=4)


@settings(max_examples=30)
@given(values)
def test_a_value_comes_back_the_same(value: object) -> None:
    encoded = json.loads(json.dumps(encode(value)))
    back = decode(checked(encoded))
    assert back == value
    assert repr(type(back)) == repr(type(value))


@settings(max_examples=30)
@given(values)
def test_guests_write_json(value: object) -> None:
    assert json.loads(as_json(encode(value))) == encode(value)


@settings(max_examples=30)
@given(values)
def test_a_value_equals_itself(value: object) -> None:
    assert equal(encode(value), encode(value), exact=True)
    assert equal(encode(value), encode(value), exact=False)


@given(similar, similar)
def test_exact_equality_is_that_of_python(first: object, second: object) -> None:
    assert equal(encode(first), encode(second), exact=True) == (first == second)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((1, 2), [1, 2], True),
        ([(1,)], ([1],), True),
        (1, True, False),
        (1.0, 1, True),
        (0.1 + 0.2, 0.3, True),
        (0.3, 0.3001, False),
        (10**30, 10**30 + 1, False),
        (10**400, 1e300, False),
        (math.inf, math.inf, True),
        (math.nan, math.nan, False),
        ("a", b"a", False),
        ({"a": 0.3}, {"a": 0.1 + 0.2}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({1, 2}, {2, 1}, True),
        ([1, 2], [2, 1], False),
        ("", None, False),
        ([], {}, False),
    ],
)
def test_equality_of_json_values(first: object, second: object, same: bool) -> None:
    assert equal(encode(first), encode(second), exact=False) is same
    assert equal(encode(second), encode(first), exact=False) is same


class Liar(int):
    """An integer that claims to be every other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Colour(enum.IntEnum):
    RED = 7


def test_of_subclasses_only_the_data_count() -> None:
    assert encode([Liar(3), Colour.RED, collections.Counter("aab"), collections.namedtuple("P", "x")(4)]) == [
        *(3, 7),
        {"dict": [["a", 2], ["b", 1]]},
        {"tuple": [4]},
    ]
    assert not equal(encode(Liar(3)), encode(4), exact=True)


def test_what_is_not_plain_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    circular: list[Any] = []
    circular.append(circular)
    for value in (object(), len, range(3), deep, circular, [0] * MAX_ITEMS):
        with pytest.raises(NotPlainError):
            encode(value)


@pytest.mark.parametrize(
    "forged",
    [
        *({}, {"tuple": 3}, {"dict": [[1]]}, {"dict": 3}, {"int": 5}, {"int": "five"}, {"float": []}, {"bytes": "zz"}),
        *({"value": 1}, {"tuple": [], "set": []}, {"complex": ["1"]}, {"set": {"tuple": 1}}, math.inf, math.nan),
    ],
)
def test_forged_values_are_refused(forged: object) -> None:
    with pytest.raises(NotPlainError):
        checked([forged])


def test_forged_values_that_are_too_large_are_refused() -> None:
    with pytest.raises(NotPlainError):
        checked([0] * MAX_ITEMS)
    with pytest.raises(NotPlainError):
        checked(json.loads("[" * 500 + "]" * 500))
