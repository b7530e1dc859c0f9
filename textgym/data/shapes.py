"""Names of columns in published data sets, and what cells hold: texts, conversations, labels, numbers."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from textgym.text.messages import MessageError, parse_messages
from textgym.values import as_object, as_text

PROMPT_COLUMNS = (
    *("prompt", "document", "dialogue", "article", "text", "question", "input", "body"),
    *("messages", "conversations", "instruction", "query", "problem"),
)
REFERENCE_COLUMNS = (
    *("reference", "summary", "response", "completion", "answer", "target", "output", "highlights"),
    *("references", "answers", "summaries", "responses", "solution", "canonical_solution"),
)
PLURALS = ("references", "answers", "summaries", "responses", "completions")
"""Columns whose cells are lists, which tables write as JSON."""
PASSAGES = ("context", "passage", "paragraph", "article", "document", "story")
QUESTIONS = ("question", "query")
INSTRUCTION = "instruction"
INPUTS = ("input", "context")
"""What an instruction is about, where it is about something."""
FORMATTED = ("text", "prompt")
"""Columns in which instruction files repeat all of a row as one text."""

_NUMBERED = re.compile(rf"({'|'.join(REFERENCE_COLUMNS)})[_-]?(\d{{1,3}})", re.IGNORECASE)

_SCRIPTS_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?")
_LONGEST_LABEL = 30  # characters
_LABEL_WORDS = 3
_MOST_LABELS = 20
_MOST_NUMBERS = 10
_SHOWN = 40  # characters of a sample
_DEEPEST = 3  # levels of objects whose fields count as columns
_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxlevel, _BRIEFLY.maxstring, _BRIEFLY.maxlist, _BRIEFLY.maxdict = 2, 20, 2, 3
Table = Mapping[str, Sequence[object]]
"""Column -> what the first rows hold in it."""


def numbered_columns(table: Table, stem: str | None = None) -> list[str]:
    """Return ``summary1``, ``summary2``, ... by number: several references of one row.

    Args:
        table: The columns.
        stem: Only columns of this name; by default, of any known name that alone has numbered columns.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for name in table:
        match = re.fullmatch(rf"({re.escape(stem)})[_-]?(\d{{1,3}})", name) if stem else _NUMBERED.fullmatch(name)
        if match:
            found.setdefault(match[1].lower(), []).append((int(match[2]), name))
    groups = list(found.values())
    return [name for _, name in sorted(groups[0])] if len(groups) == 1 else []


def spelled(table: Table, names: Iterable[str]) -> list[str]:
    """Return the columns of these names, in their order; capitals do not matter where no column has the name itself.

    >>> spelled({"Question": [], "answer": [], "Answer": []}, ["answer", "question", "text"])
    ['answer', 'Question']
    """
    actual = {name.lower(): name for name in table} | {name: name for name in table}
    return [actual[name] for name in names if name in actual]


def texts_of(value: object) -> list[object] | None:
    """Return the texts of a cell: of a string, of a list of them, or of ``{"text": ...}`` or a list of such objects.

    Anything else that is in a list is returned too, to be found wrong; ``None`` is returned for another object, and
    for a conversation.
    """
    match value:
        case {"text": list(texts)}:
            return texts
        case {"text": str(text)}:
            return [text]
        case [{"text": str()}, *_] if not is_chat_of_turns(value):
            return [as_object(item).get("text") for item in value]
        case dict() | [dict(), *_]:
            return None
        case list():
            return value
    return [value]


def is_chat_of_turns(value: object) -> bool:
    """Return whether a value is a list of messages, by the names of the fields of its first."""
    match value:
        case [{"role": _, "content": _} | {"from": _, "value": _}, *_]:
            return True
    return False


def ends_with_answer(value: object) -> bool:
    """Return whether a value is a conversation whose last message is the assistant's."""
    try:
        messages = parse_messages(value) if is_chat_of_turns(value) else []
    except MessageError:
        return False
    return bool(messages) and messages[-1].role == "assistant"


def is_prompt(value: object) -> bool:
    """Return whether a cell can be a prompt by itself: a text that is not blank, or a conversation."""
    return is_chat_of_turns(value) or bool(as_text(value).strip())


def holds_text(value: object) -> bool:
    """Return whether a cell can be references, or part of a prompt: texts that are not blank, or a conversation."""
    return is_chat_of_turns(value) or any(as_text(text).strip() for text in texts_of(value) or ())


def is_blank(value: object) -> bool:
    """Return whether a cell holds nothing, where a text could be."""
    match value:
        case None | []:
            return True
        case str():
            return not value.strip()
    return False


def is_prose(values: Sequence[object]) -> bool:
    """Return whether most cells that are not blank are texts of several words, or in a script without spaces."""
    cells = [value for value in values if not is_blank(value)]
    return 2 * sum(map(_is_worded, cells)) > len(cells)


def _is_worded(value: object) -> bool:
    texts = [as_text(text).strip() for text in texts_of(value) or ()]
    return is_chat_of_turns(value) or any(
        any(map(str.isalpha, text)) and (len(text.split()) > 1 or bool(_SCRIPTS_WITHOUT_SPACES.search(text)))
        for text in texts
    )


def labels_in(values: Sequence[object]) -> list[str]:
    """Return the different values of a column of labels: few, short, and each repeated; of any other column, none.

    Which ones are few depends on what they are: arithmetic has numbers as answers, so more than ten different numbers
    are no labels.
    """
    cells = [value for value in values if not is_blank(value)]
    texts = [str(value).strip() for value in cells if isinstance(value, str | int)]
    if len(texts) < len(cells) or any(len(text) > _LONGEST_LABEL or len(text.split()) > _LABEL_WORDS for text in texts):
        return []
    distinct = list(dict.fromkeys(texts))
    most = _MOST_NUMBERS if all(map(_NUMBER.fullmatch, distinct)) else _MOST_LABELS
    return distinct if 2 <= len(distinct) <= min(most, len(texts) // 3) else []


def text_columns(table: Table) -> list[str]:
    """Return the columns that hold texts of several words, nested ones by their path: what could be of use."""
    return [path for name, values in table.items() for path, cells in _leaves(name, values) if _is_useful(cells)]


def leaves(table: Table) -> dict[str, Sequence[object]]:
    """Return a table with the fields of nested objects as columns, called by their path: ``translation.en``."""
    return {path: cells for name, values in table.items() for path, cells in _leaves(name, values)}


def _is_useful(cells: Sequence[object]) -> bool:
    return is_prose(cells) and not labels_in(cells)


def _leaves(name: str, values: Sequence[object]) -> Iterator[tuple[str, Sequence[object]]]:
    objects = [as_object(item) for value in values if _is_nested(value) for item in as_items(value)]
    if not objects or name.count(".") == _DEEPEST:
        yield name, values
        return
    for key in dict.fromkeys(key for item in objects for key in item):
        yield from _leaves(f"{name}.{key}", [item[key] for item in objects if key in item])


def _is_nested(value: object) -> bool:
    return texts_of(value) is None and not is_chat_of_turns(value)


def as_items(value: object) -> list[object]:
    """Return the items of a list, and of anything else that alone."""
    return value if isinstance(value, list) else [value]


def sample_of(values: Sequence[object]) -> str:
    """Return the first cell that is not blank, short enough to be shown."""
    value = next((value for value in values if not is_blank(value)), None)
    if isinstance(value, str):
        text = " ".join(value[: 2 * _SHOWN].split())
        return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
    return _BRIEFLY.repr(value)
