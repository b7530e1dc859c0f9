"""The choice of the columns that hold prompts and references, from what the first rows hold.

Well-known names are chosen, and a single column of text where no name is known. Between two equally good columns
nothing is guessed: the error lists what there is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from textgym.data.columns import Columns, column_names, has_column
from textgym.data.delimited import NUMBERED_COLUMN
from textgym.data.files import Row
from textgym.data.refusals import Foreign, foreign_kind
from textgym.data.shapes import (
    FORMATTED,
    INPUTS,
    INSTRUCTION,
    PASSAGES,
    PROMPT_COLUMNS,
    QUESTIONS,
    REFERENCE_COLUMNS,
    Table,
    ends_with_answer,
    holds_text,
    is_blank,
    is_chat_of_turns,
    is_prompt,
    is_prose,
    labels_in,
    leaves,
    numbered_columns,
    sample_of,
    spelled,
    text_columns,
)
from textgym.errors import DataError, suggested
from textgym.naming import argument, arguments
from textgym.text.messages import MessageError, parse_messages

_COLUMNS_SHOWN = 20
_LABELS_SHOWN = 3
_PLAIN_NAME = re.compile(r"[a-z_][\w.\-]*")
_in_template: ContextVar[frozenset[str]] = ContextVar("in_template", default=frozenset())
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


class Choice(NamedTuple):
    """The columns to read, and a sentence for people that says what was chosen and what was not; empty if nothing was.

    >>> rows = [Row("1", {"question": "Who came?", "context": "Ann came.", "answer": "Ann", "title": "A day out"})]
    >>> print(choose_columns(rows).remark)
    prompts from context + question, references from answer; text columns not used: title
    """

    columns: Columns
    remark: str


def choose_columns(
    rows: Sequence[Row], prompt: str | None = None, reference: str | None = None, place: str = "the data"
) -> Choice:
    """Complete the names that the user gave by the only sensible guess over the first rows.

    A column that holds text counts, one of numbers does not, and one of labels is no reference. Where no column holds
    text, a single empty one counts: its text may come in later rows.

    Args:
        rows: The first rows.
        prompt: Column of the prompts that the user named.
        reference: Column of the references that the user named.
        place: Where the rows are from, for messages.

    Raises:
        DataError: If no column or several columns could be the prompt, or several could be the reference; if the rows
            are no prompts with references but feedback, a log, or ratings.
    """
    table = {name: [row.values[name] for row in rows if name in row.values] for name in column_names(rows)}
    kind = foreign_kind(table)
    if kind is not None:
        _check_foreign(kind, table, prompt, reference, place)
    prompts = (prompt,) if prompt is not None else _guess_prompt(table, reference, place)
    unasked = {name: values for name, values in table.items() if name not in {*prompts, *map(_root, prompts)}}
    refused: dict[str, str] = {}
    if reference is not None:
        numbered = [] if any(has_column(row, reference) for row in rows) else numbered_columns(table, reference)
        references = tuple(numbered) or (reference,)
    elif kind is not None:
        references = ()
    else:
        refused = {name: why for name in spelled(unasked, REFERENCE_COLUMNS) if (why := _no_references(table[name]))}
        rest = {name: values for name, values in unasked.items() if name not in refused}
        references = _guess_reference(rest, table, place)
    columns = Columns(prompts, references)
    is_guessed = prompt is None or reference is None
    remarks = [_remark(table, columns, refused) if is_guessed else "", _labels_taken(table, reference)]
    return Choice(columns, "; ".join(filter(None, remarks)))


@contextmanager
def columns_in_template(names: Iterable[str]) -> Iterator[None]:
    """Do not call these columns unused within the block, where data is loaded: a prompt template has them."""
    token = _in_template.set(_in_template.get().union(names))
    try:
        yield
    finally:
        _in_template.reset(token)


def missing_column(option: str, name: str, found: Iterable[str], place: str) -> DataError:
    """Return the error for a column that the user named and no row of a place has."""
    columns = sorted(found)
    return DataError(
        f"expected {argument(option)} to name a column of {place}, got {name!r}.{suggested(name, columns)} "
        f"{_columns_are(columns)}"
    )


def _check_foreign(kind: Foreign, table: Table, prompt: str | None, reference: str | None, place: str) -> None:
    """Refuse a file of another kind, unless the user names the prompts in it, and no answers as references."""
    if prompt is not None and (reference is None or reference.lower() not in kind.answers):
        return
    raise DataError(
        f"expected prompts, or prompts with references, in {place}, got {kind.name}. {kind.advice} with "
        f"{argument('prompt_column', ...)}. {_listed(table)}"
    )


def _guess_prompt(table: Table, reference: str | None, place: str) -> tuple[str, ...]:
    others = {name: values for name, values in table.items() if name != reference}
    known = [name for name in spelled(others, PROMPT_COLUMNS) if any(map(is_prompt, others[name]))]
    known = [name for name in known if not any(_repeats(others, chat, name) for chat in known)]
    composed = _composed(others)
    rest = [name for name in known if not any(name in names for names in composed)]
    if any(names[0].lower() == INSTRUCTION for names in composed):
        rest = [name for name in rest if name.lower() not in FORMATTED]
    if len(composed) == 1 and not rest:
        return composed[0]
    if composed:
        raise _several("prompt_column", [*map(" + ".join, composed), *rest], table, place)
    if len(known) > 1:
        worded = [name for name in known if is_prose(others[name])]
        known = worded if len(worded) == 1 else known
    if len(known) > 1:
        raise _several("prompt_column", known, table, place)
    return (known[0] if known else _only_text(others, place),)


def _repeats(table: Table, chat: str, name: str) -> bool:
    """Say whether every text of a column is the first message of the user in a column of conversations."""
    chats, texts = table[chat], table[name]
    if not all(map(is_chat_of_turns, chats)) or len(chats) != len(texts):
        return False
    return all(_first_asked(turns) == text for turns, text in zip(chats, texts, strict=True))


def _first_asked(turns: object) -> str | None:
    try:
        return next((message.content for message in parse_messages(turns) if message.role == "user"), None)
    except MessageError:
        return None


def _composed(table: Table) -> list[tuple[str, ...]]:
    """Return the prompts made of several columns: an instruction with its input, a passage with a question."""
    filled = {name: values for name, values in table.items() if any(map(holds_text, values))}
    inputs = [name for name in spelled(table, INPUTS) if _may_hold_text(table[name])]
    instructions = itertools.product(spelled(filled, [INSTRUCTION]), inputs)
    return [*instructions, *itertools.product(spelled(filled, PASSAGES), spelled(filled, QUESTIONS))]


def _may_hold_text(values: Sequence[object]) -> bool:
    return all(is_blank(value) or holds_text(value) for value in values)


def _only_text(table: Table, place: str) -> str:
    """Return the only column that can be the prompt where no name is known."""
    answers = {*spelled(table, REFERENCE_COLUMNS), *numbered_columns(table)}
    others = {name: values for name, values in table.items() if name not in answers}
    found = text_columns(others) or [
        name for name, values in others.items() if any(map(_has_letters, values)) and not labels_in(values)
    ]
    found = found or [name for name in spelled(others, PROMPT_COLUMNS) if all(map(is_blank, others[name]))]
    if len(found) == 1:
        return found[0]
    raise DataError(_no_prompt_column(table, found, place))


def _has_letters(value: object) -> bool:
    return isinstance(value, str) and any(map(str.isalpha, value))


def _no_prompt_column(table: Table, found: Sequence[str], place: str) -> str:
    languages = [path for path in found if path.startswith("translation.")]
    if len(languages) > 1:
        what, first, second = "a translation, of which the direction is not known", *languages[:2]
        how = f"Name it, as in {arguments({'prompt_column': first, 'reference_column': second})}"
    else:
        what = "several columns of text, none with a known name" if found else "no column of text"
        prompts, answers = argument("prompt_column", ...), argument("reference_column", ...)
        how = f"Name the one to use with {prompts}, and one of answers, if there is one, with {answers}"
    hint = " If its first line is no header, add one." if _may_lack_header(table, place) else ""
    return f"expected a column of prompts in {place}, got {what}. {how}. {_listed(table)}{hint}"


def _may_lack_header(table: Table, place: str) -> bool:
    is_odd = not any(map(_PLAIN_NAME.fullmatch, table))
    return is_odd and place.lower().endswith(_TABLES)


def _several(name: str, found: Sequence[str], table: Table, place: str) -> DataError:
    return DataError(
        f"expected one candidate for {argument(name)}, got {', '.join(found)} in {place}. "
        f"Name one with {argument(name, ...)}. "
        f"{_listed(table)}"
    )


def _listed(table: Table) -> str:
    """Return the columns there are, each with a sample."""
    return _columns_are([f"{path} ({sample_of(cells)})" for path, cells in leaves(table).items()])


def _columns_are(columns: Sequence[str]) -> str:
    more = len(columns) - _COLUMNS_SHOWN
    end = f" and {more:,} more" if more > 0 else ""
    return f"The columns are: {', '.join(columns[:_COLUMNS_SHOWN])}{end}."


def _guess_reference(others: Table, table: Table, place: str) -> tuple[str, ...]:
    """Return the columns of the references out of those of ``table`` that may be some."""
    candidates = spelled(others, REFERENCE_COLUMNS)
    found: list[tuple[str, ...]] = [(name,) for name in candidates if any(map(holds_text, table[name]))]
    numbered = [name for name in numbered_columns(others) if any(map(holds_text, table[name]))]
    if numbered:
        found.append(tuple(numbered))
    if len(found) > 1:
        names = [" + ".join(names) for names in found]
        raise _several("reference_column", names, table, place)
    empty = [(name,) for name in candidates if all(map(is_blank, table[name]))]
    return found[0] if found else empty[0] if len(empty) == 1 else ()


def _root(path: str) -> str:
    """Return the column that a path begins in."""
    return path.partition(".")[0]


def _no_references(values: Sequence[object]) -> str:
    """Return what a column with the name of references holds instead; nothing if it may be what it is called."""
    if labels := labels_in(values):
        return f"labels ({', '.join(labels[:_LABELS_SHOWN])}{', ...' * (len(labels) > _LABELS_SHOWN)})"
    if any(map(holds_text, values)) or all(map(is_blank, values)):
        return ""
    return f"no text ({sample_of(values)})"


def _labels_taken(table: Table, reference: str | None) -> str:
    """Say that a column which the user named for references holds labels; nothing if it does not."""
    if reference is None or not labels_in(table.get(reference, ())):
        return ""
    return f"{reference} holds {_no_references(table[reference])}, and a model learns to write these alone, no texts"


def _remark(table: Table, columns: Columns, refused: dict[str, str]) -> str:
    """Return what was chosen, and what was not."""
    named = " + ".join(columns.prompt)
    if columns.references:
        cells = [value for name in columns.references for value in table.get(name, ())]
        blank = " (blank so far)" if cells and all(map(is_blank, cells)) else ""
        answers = f"references from {', '.join(columns.references)}{blank}"
    elif any(map(ends_with_answer, table.get(columns.prompt[0], ()))):
        answers = "references from the assistant's last messages in it"
    else:
        answers = "no references"
    parts = [f"prompts from {named}, {answers}"]
    parts += [f"{name} holds {why}, so it is no reference" for name, why in refused.items()]
    in_template = _in_template.get()
    used = {*columns.prompt, *columns.references, *in_template}
    unused = [path for path in text_columns(table) if path not in used and _root(path) not in in_template]
    if unused:
        parts.append(f"text columns not used: {', '.join(unused[:_COLUMNS_SHOWN])}")
    if _is_numbered(table):
        parts.append("the first line is no header, so columns are numbered")
    return "; ".join(parts)


def _is_numbered(table: Table) -> bool:
    """Say whether a file had no header."""
    return bool(table) and all(map(NUMBERED_COLUMN.fullmatch, table))
