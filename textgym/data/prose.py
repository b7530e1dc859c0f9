"""The prose of a docstring: its summary line and explaining paragraphs, without markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SUMMARY_WORDS = range(4, 26)
_BODY_WORDS = range(20, 201)
_PARAGRAPH_WORDS = 6
_POINTER_WORDS = 25

_SECTIONS = (
    "parameters arguments args returns return yields raises examples example notes note see also references attributes "
    "methods warnings warning usage params keyword warns receives shape inputs outputs input output todo copyright "
    "description routine listings functions classes kwargs keywords history version license author options"
)
_HEADING = re.compile(
    rf"\W*({'|'.join(_SECTIONS.split())})\b[\w ()]*(::?\s*|\W*\n\s*[-=~^*]{{3,}}.*|\W*)$", re.I | re.S
)
_STOP_LINE = re.compile(
    r"^\s*(>>>|\.\. |:\w[\w ]*:( |$)|@\w|[-=~^+*#]{3,}|```|\$ |[A-Z][A-Za-z ]+\n[-=~^]{3,}|Args?:|Arguments:|Returns?:"
    r"|Raises:|Yields:|Params?:|Parameters\b\s*:?$|Examples?\b\s*:|Usage\s*:|Notes?\s*:|Attributes?\s*:|See [Aa]lso)",
    re.M,
)
_ITEM_LINE = re.compile(r"^([ \t]+\S|[-*+•] |\d+[.)] |\(?[a-z]\) |\w+ ?: |\w+ +-- |\|)", re.M)
_VERSION_NOTE = re.compile(r"\.\. (versionadded|versionchanged|deprecated|index|currentmodule|module)")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_SENTENCE_MARKS = (".", "!", "?")
_ROLE = re.compile(r":(?:\w+:)?[\w-]+:`([^`]*)`")
_LINK = re.compile(r"`([^`<]*?)\s*<[^`>]*>`_{0,2}|\[([^\]]+)\]\((?:https?:)?[^)]*\)")
_QUOTED = re.compile(r"`{1,2}([^`]*)`{1,2}_{0,2}")
_STRONG = re.compile(r"\*{1,2}(?=\w)([^*\n]+?)(?<=\w)\*{1,2}")
_CITATION = re.compile(r"\s*\[\w+\]_+")
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!vs)\.\s+(?=[A-Z])")
_DANGLING = re.compile(r"\b(in|see|from|of|by|to|on|and|as|at|than|with)\s*\[\w+\]_", re.I)
_POINTER = re.compile(
    r"(Read more|See (the|also)|Refer to|For (more|further|detailed|full|an?) |Please (see|refer)|Check )", re.I
)
_MARKUP_LEFT = re.compile(r"[\\{}#$|`]")
_STRANGE = re.compile(r"[^A-Za-z0-9\s.,;:!?'\"()\-/_]")
_PLAIN_WORD = re.compile(r"[(\"']?[A-Za-z]+(?:['-][A-Za-z]+)*[.,;:!?)\"']*")


class Passage(NamedTuple):
    """An explaining text and the line that sums it up."""

    body: str
    summary: str


def read_docstring(docstring: str) -> Passage | None:
    """Return the prose of a cleaned docstring, or ``None`` if it has no body or reads like code or a table.

    The summary is the first sentence; what follows it in the first paragraph belongs to the body.
    """
    first, _, rest = docstring.strip().partition("\n\n")
    if _flush_part(first) != first:
        return None
    summary, _, remainder = _SENTENCE_END.sub(".\0", strip_markup(" ".join(first.split())), 1).partition("\0")
    if summary[-1:].isalnum():
        summary += "."
    if not _is_summary(summary):
        return None
    body = "\n\n".join(_paragraphs(f"{remainder}\n\n{rest}"))
    if len(body.split()) not in _BODY_WORDS or not body.isascii() or summary.rstrip(".") in body:
        return None
    return Passage(body, summary)


def strip_markup(text: str) -> str:
    """Return ``text`` without reStructuredText and Markdown marks.

    >>> strip_markup("See :class:`~pkg.Thing` and ``x`` [1]_.")
    'See Thing and x.'
    """
    text = _CITATION.sub("", text)
    text = _ROLE.sub(lambda match: _role_text(match[1]), text)
    text = _LINK.sub(lambda match: match[1] or match[2] or "", text)
    text = _QUOTED.sub(lambda match: _role_text(match[1]), text)
    return _STRONG.sub(r"\1", text)


def _role_text(target: str) -> str:
    """Return what a cross-reference shows: its label, or the last name of ``~package.module.name``."""
    label, bracket, _ = target.partition(" <")
    if bracket or not target.startswith("~"):
        return label.lstrip("!").removeprefix(".")
    return target.rpartition(".")[2].lstrip("~")


def _is_summary(text: str) -> bool:
    words = text.split()
    return (
        len(words) in _SUMMARY_WORDS
        and text.isascii()
        and text.endswith(".")
        and not text.endswith("..")
        and text[0].isupper()
        and ". " not in text
        and _is_prose(text)
    )


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs up to the first one that is not prose."""
    for block in _BLANK_LINES.split(text):
        if not block.strip() or _is_aside(block):
            continue
        flush = _flush_part(block)
        paragraph = strip_markup(" ".join(flush.split()))
        if flush != block:
            paragraph = _whole_sentences(paragraph)
        if not _is_paragraph(paragraph) or _DANGLING.search(flush):
            return
        yield paragraph
        if flush != block:
            return


def _is_aside(block: str) -> bool:
    """Return whether ``block`` is a note on versions or a mere pointer to other pages."""
    return _VERSION_NOTE.match(block) is not None or (
        _POINTER.match(block) is not None and len(block.split()) <= _POINTER_WORDS
    )


def _flush_part(block: str) -> str:
    """Return what stands before the first heading, item or indented line, which begin code, lists or tables."""
    if _HEADING.match(block.strip()):
        return ""
    ends = [match.start() for match in (_STOP_LINE.search(block), _ITEM_LINE.search(block)) if match]
    return block[: min(ends, default=len(block))]


def _whole_sentences(text: str) -> str:
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text if text.endswith(_SENTENCE_MARKS) else text[: end + 1]


def _is_paragraph(text: str) -> bool:
    return (
        len(text.split()) >= _PARAGRAPH_WORDS
        and text[0].isupper()
        and text.endswith(_SENTENCE_MARKS)
        and _is_prose(text)
    )


def _is_prose(text: str) -> bool:
    """Return whether nearly all characters are letters and ordinary marks and nearly all words are plain words."""
    if _MARKUP_LEFT.search(text):
        return False
    words = text.split()
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    return plain >= 0.8 * len(words) and len(_STRANGE.findall(text)) <= 0.02 * len(text)
