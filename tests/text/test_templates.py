"""Prompt templates: known answers, and str.format as the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.text.templates import missing_columns, parse_template

ROW = {"tone": "kind", "stars": 4, "tags": ["a", "ü"], "none": None}


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        ("{prompt}", "", ""),
        ("{prompt}\n\nSummary:", "", "\n\nSummary:"),
        ("{tone}: {prompt} ({stars})", "kind: ", " (4)"),
        ("{tags}{prompt}{none}{absent}.", '["a", "ü"]', "."),
        ('{{"q": "{prompt}"}}', '{"q": "', '"}'),
        ("{{{prompt}}}", "{", "}"),
        ("{{prompt}} {prompt}", "{prompt} ", ""),
    ],
)
def test_known_templates(source: str, before: str, after: str) -> None:
    assert parse_template(source).around(ROW) == (before, after)


def test_the_column_of_the_prompt_is_the_prompt() -> None:
    template = parse_template("{tone} {{ {ticket} {stars}", "ticket")
    assert template.around(ROW) == ("kind { ", " 4")
    assert template.canonical == "{tone} {{ {prompt} {stars}"
    assert template.columns == ("tone", "stars")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Summary:", "{prompt} once, got 'Summary:'"),
        ("", "{prompt} once"),
        ("{prompt} {prompt}", "{prompt} once"),
        ("{{prompt}}", "{prompt} once, got '{{prompt}}'; write {{ and }} for literal braces"),
        ("{prompt} {", "a name in every pair of braces"),
        ("} {prompt}", "a name in every pair of braces"),
        ('{prompt} {"a": 1}', 'got {"a": 1}; write {{ and }} for literal braces'),
        ("{prompt} {}", "got {}; write {{"),
        ("{prompt:>9}", "got {prompt:>9}"),
        ("{prompt!r}", "got {prompt!r}"),
        ("{row[0]} {prompt}", "got {row[0]}"),
        ("{prompt.__class__}", "got {prompt.__class__}"),
    ],
)
def test_mistakes_are_named(source: str, message: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_template(source)
    assert message in str(caught.value)


def test_a_column_that_is_missing_is_told_with_those_that_there_are() -> None:
    said = str(missing_columns({"customer"}, {"chosen", "rejected"}))
    assert "got {customer}. Known: chosen, prompt, rejected." in said
    assert said.endswith('prompt_template="{prompt}" takes the prompts alone.')


PIECES = st.lists(st.sampled_from(["{{", "}}", "{tone}", "{stars}", "\n", "Reply: ", "{", "}", "ü"]), max_size=6)


@given(before=PIECES, after=PIECES, prompt=st.text())
def test_a_template_means_what_str_format_makes_of_it(before: list[str], after: list[str], prompt: str) -> None:
    source = "".join([*before, "{prompt}", *after])
    try:
        wanted = source.format(prompt=prompt, **ROW)
    except (ValueError, KeyError, IndexError, AttributeError):
        with pytest.raises(ValueError, match="expected"):
            parse_template(source)
        return
    template = parse_template(source)
    prefix, suffix = template.around(ROW)
    assert prefix + prompt + suffix == wanted
    assert parse_template(template.canonical).around(ROW) == (prefix, suffix)
