"""Prompt templates: the text around the prompt of every example, in which other columns of the example may stand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from textgym.errors import did_you_mean
from textgym.naming import argument

SLOT = "{prompt}"
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_BRACES = "write {{ and }} for literal braces"
_NO_NAME = frozenset(".[]!:")  # str.format gives these a meaning; without them, it fills a template as textgym does


class _Column(NamedTuple):
    """The place of a column."""

    name: str


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A parsed template; :func:`parse_template` makes one.

    Attributes:
        source: Template as it was written.
        before, after: Pieces of text and columns before and after the prompt.
        fixed: Texts before and after the prompt, where they are the same for all examples.
    """

    source: str
    before: tuple[str | _Column, ...]
    after: tuple[str | _Column, ...]
    fixed: tuple[str, str] | None

    @property
    def canonical(self) -> str:
        """The template with ``{prompt}`` in place of the name of the prompt's column."""
        before, after = ("".join(map(_written, side)) for side in (self.before, self.after))
        return before + SLOT + after

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the other columns, in order of appearance."""
        pieces = (*self.before, *self.after)
        return tuple(dict.fromkeys(piece.name for piece in pieces if isinstance(piece, _Column)))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the template with values in place of the columns that they are for; the other columns stay.

        >>> parse_template("{who} of {place} writes: {prompt}").filled({"who": "Ann {A}"})
        'Ann {{A}} of {place} writes: {prompt}'
        """
        pieces = ([_value_or_place(piece, values) for piece in side] for side in (self.before, self.after))
        before, after = ("".join(map(_written, side)) for side in pieces)
        return before + SLOT + after

    def around(self, row: Mapping[str, object]) -> tuple[str, str]:
        """Return the texts before and after the prompt of an example.

        Args:
            row: Other columns of the example; a cell that is missing or ``None`` is an empty text.
        """
        return self.fixed or (_fill(self.before, row), _fill(self.after, row))


@lru_cache(maxsize=64)
def parse_template(source: str, prompt_column: str | None = None) -> PromptTemplate:
    r"""Read a template: ``{prompt}`` once, ``{name}`` for another column, ``{{`` and ``}}`` for literal braces.

    A template without literal braces is filled as ``str.format`` fills it.

    Args:
        source: Template.
        prompt_column: Name of the prompt's column, which stands for ``{prompt}`` too.

    Raises:
        ValueError: ``{prompt}`` is not there once, a brace is neither part of a name nor doubled, or a name is none.

    >>> parse_template("Reply to {prompt} in {tone}.\nReply:").around({"tone": "French"})
    ('Reply to ', ' in French.\nReply:')
    >>> parse_template('As JSON, {{"mood": ...}}: {prompt}').around({})
    ('As JSON, {"mood": ...}: ', '')
    """
    sides: list[list[str | _Column]] = [[]]
    end = 0
    for found in _PIECE.finditer(source):
        sides[-1].append(source[end : found.start()])
        end, name = found.end(), found[1]
        if found[0] in ("{{", "}}"):
            sides[-1].append(found[0][0])
        elif name is None:
            raise ValueError(f"expected a name in every pair of braces of the prompt template {source!r}; {_BRACES}")
        elif name == "prompt" or name == prompt_column:
            sides.append([])
        elif not name.strip() or not _NO_NAME.isdisjoint(name):
            raise ValueError(f"expected {SLOT} or a column in the prompt template, got {found[0]}; {_BRACES}")
        else:
            sides[-1].append(_Column(name))
    sides[-1].append(source[end:])
    if len(sides) != 2:
        raise ValueError(f"expected {argument('prompt_template')} with {SLOT} once, got {source!r}; {_BRACES}")
    before, after = (tuple(piece for piece in side if piece) for side in sides)
    has_columns = any(isinstance(piece, _Column) for piece in (*before, *after))
    return PromptTemplate(source, before, after, None if has_columns else (_fill(before, {}), _fill(after, {})))


def missing_columns(names: set[str], known: set[str]) -> ValueError:
    """Return the error for columns of a template that no example has.

    Args:
        names: The columns.
        known: Columns that there are besides prompt and references.
    """
    name = min(names)
    there = (
        did_you_mean(name, {*known, "prompt"}) if known else " The data have no columns beside prompt and references."
    )
    return ValueError(
        f"expected a prompt template with columns of the data, got {{{name}}}.{there} Else {_BRACES}; "
        f"{argument('prompt_template', SLOT)} takes the prompts alone."
    )


def _written(piece: str | _Column) -> str:
    """Return a piece as a template has it."""
    return f"{{{piece.name}}}" if isinstance(piece, _Column) else piece.replace("{", "{{").replace("}", "}}")


def _value_or_place(piece: str | _Column, values: Mapping[str, str]) -> str | _Column:
    return values.get(piece.name, piece) if isinstance(piece, _Column) else piece


def _fill(pieces: tuple[str | _Column, ...], row: Mapping[str, object]) -> str:
    return "".join(_cell(row.get(piece.name)) if isinstance(piece, _Column) else piece for piece in pieces)


def _cell(value: object) -> str:
    """Return a cell as text: lists and objects as JSON."""
    match value:
        case None:
            return ""
        case list() | tuple() | dict():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
