"""The grammar in which rewards are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.terms import Term, join_terms, names_in, parse_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("learned", [Term("learned")]),
        ("0.2*length?target=20", [Term("length", 0.2, {"target": "20"})]),
        ("-1e-2*length", [Term("length", -0.01)]),
        (
            "rewards:polite?words=please&strict=true",
            [Term("rewards:polite", 1.0, {"words": "please", "strict": "true"})],
        ),
        ("format?regex=%5Ea%26b%3D%2Bc%3F%24", [Term("format", 1.0, {"regex": "^a&b=+c?$"})]),
        ("classifier?model=runs/a b&label=a=b", [Term("classifier", 1.0, {"model": "runs/a b", "label": "a=b"})]),
        ("learned + 2*gold", [Term("learned"), Term("gold", 2.0)]),
        ("runs/a+b/reward", [Term("runs/a+b/reward")]),
    ],
)
def test_what_is_read(text: str, terms: list[Term]) -> None:
    assert parse_terms(text) == terms
    assert parse_terms(join_terms(terms)) == terms
    assert names_in(text) == [term.name for term in terms]


@pytest.mark.parametrize(
    "text", ["", " + gold", "x*gold", "inf*gold", "nan*gold", "length?target", "length?", "0.2*", "a?=1"]
)
def test_what_is_no_reward_is_told_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"\[WEIGHT\*\]NAME\[\?key=value&...\], such as 'learned'"):
        parse_terms(text)


def test_a_key_twice() -> None:
    with pytest.raises(ValueError, match="got 'target' twice"):
        parse_terms("length?target=1&target=2")


@given(st.dictionaries(st.from_regex(r"[a-z_]\w*", fullmatch=True), st.text(), max_size=3), st.floats(-1e9, 1e9))
def test_every_value_comes_back(options: dict[str, str], weight: float) -> None:
    terms = [Term("similarity", weight, options), Term("length", 1.0, options)]
    assert parse_terms(join_terms(terms)) == terms
