"""Prompts as ids: whole texts, tokenised whole; what does not fit a budget is cut as text before that."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

import tokenizers

from textgym.naming import argument
from textgym.text.chat import ChatTemplate
from textgym.text.encoding import TextEncoding
from textgym.types import Message, Prompt

_MOST_CHARACTERS = 7  # per id, on average, of a text that is cut before it is encoded
_MARGIN = 8  # ids by which the start of a text may seem longer than all of it
_LONGEST_WORD = 48  # characters; what is longer is no word, and is cut anywhere
_SPACE = re.compile(r"\s")
# Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese are written without spaces between words.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


class EncodedPrompt(NamedTuple):
    """The ids of one prompt, and whether some of it had to be cut to fit."""

    ids: list[int]
    truncated: bool


Span = tuple[int, int]


class Cut(NamedTuple):
    """The ids of a text that was cut, with what stands around it, and what is left of the text."""

    ids: list[int]
    kept: str


class _Whole(NamedTuple):
    """A whole prompt as ids, and how they stand in its text, where no template wrote it."""

    ids: list[int]
    encoding: tokenizers.Encoding | None


class PromptEncoder:
    """Encodes prompts for one tokenizer.

    Args:
        encoding: Encodes texts.
        template: The model's chat template, if it has one.
        bos: Ids that the tokenizer's own post-processor puts before a text; a template writes its own.
        fallback: Stands for a prompt without any id.
        end: Ids behind a prompt that no template writes.
    """

    def __init__(
        self,
        encoding: TextEncoding,
        template: ChatTemplate | None,
        bos: Sequence[int],
        fallback: int,
        end: Sequence[int] = (),
    ) -> None:
        self._encoding, self._template, self._bos, self._fallback = encoding, template, list(bos), fallback
        self._end = list(end)

    def __call__(self, prompts: Sequence[Prompt], budget: int) -> list[EncodedPrompt]:
        """Encode prompts of at most ``budget`` ids, as :meth:`~textgym.text.tokenizer.Tokenizer.encode_prompts` says.

        Raises:
            ValueError: The budget is too small for what may not be cut.
        """
        is_chat = self._template is not None
        asked = [prompt.for_chat if is_chat else prompt for prompt in prompts]
        most = budget * _MOST_CHARACTERS
        short = [row for row, each in enumerate(asked) if len(each.body) <= most]
        long = [row for row, each in enumerate(asked) if len(each.body) > most]
        encoded: dict[int, EncodedPrompt] = {}
        texts = [self._write(asked[row], asked[row].body) for row in short]
        for row, whole in zip(short, self._whole(texts), strict=True):
            encoded[row] = self._fit(asked[row], whole, budget)
        starts = [_start(asked[row].body, most) for row in long]
        for row, start, encoding in zip(long, starts, self._encoding.plain(starts), strict=True):
            encoded[row] = self._fit_long(asked[row], start, encoding, budget)
        return [encoded[row] for row in range(len(asked))]

    def _write(self, asked: Prompt, body: str) -> str:
        """Return the whole text of a prompt with that body."""
        if self._template is None:
            return asked._replace(body=body).text
        messages = [*asked.earlier, Message("user", asked.prefix + body + asked.suffix), *asked.later]
        quoted = [Message(role, self._encoding.quote(content)) for role, content in messages]
        return self._template.render(quoted)

    def _whole(self, texts: Sequence[str]) -> list[_Whole]:
        """Encode whole prompts."""
        if self._template is not None:
            return [_Whole(ids, None) for ids in self._encoding.written(texts)]
        return [_Whole([*self._bos, *each.ids, *self._end], each) for each in self._encoding.plain(texts)]

    def _ids(self, text: str) -> list[int]:
        return self._whole([text])[0].ids

    def _fit(self, asked: Prompt, whole: _Whole, budget: int) -> EncodedPrompt:
        """Return a prompt that is known as a whole."""
        if len(whole.ids) <= budget:
            return EncodedPrompt(whole.ids or [self._fallback], False)
        if whole.encoding is None or asked.earlier or asked.later:
            spans = self._encoding.plain([asked.body])[0].offsets
        else:
            first, last = len(asked.prefix), len(asked.prefix) + len(asked.body)
            spans = [(a - first, b - first) for a, b in whole.encoding.offsets if a >= first and b <= last]
        return EncodedPrompt(self._shorten(asked, asked.body, spans, budget), True)

    def _fit_long(self, asked: Prompt, start: str, encoding: tokenizers.Encoding, budget: int) -> EncodedPrompt:
        """Return a prompt of whose body only the start is known: as much of it as shows that it does not fit."""
        while len(encoding.ids) <= budget + _MARGIN:
            if len(start) == len(asked.body):
                return self._fit(asked, self._whole([self._write(asked, start)])[0], budget)
            start = _start(asked.body, 2 * len(start))
            encoding = self._encoding.plain([start])[0]
        return EncodedPrompt(self._shorten(asked, start, encoding.offsets, budget), True)

    def _shorten(self, asked: Prompt, start: str, spans: Sequence[Span], budget: int) -> list[int]:
        """Return at most ``budget`` ids of a prompt that has more, whose body begins with ``start``."""
        shorter = self._without_old_turns(asked, budget) if asked.earlier else None
        return shorter or self._with_cut_body(asked, start, spans, budget) or [self._fallback]

    def _without_old_turns(self, asked: Prompt, budget: int) -> list[int] | None:
        """Return the ids with as many of the last turns as fit before the user's; ``None`` if not even none does."""
        opening, turns = _opening(asked.earlier)
        begins = [place for place in range(1, len(turns)) if turns[place].role == "user"] + [len(turns)]

        def ids_from(place: int) -> list[int]:
            return self._ids(self._write(asked._replace(earlier=(*opening, *turns[place:])), asked.body))

        place = bisect_left(begins, True, key=lambda begin: len(ids_from(begin)) <= budget)
        return ids_from(begins[place]) if place < len(begins) else None

    def _with_cut_body(self, asked: Prompt, start: str, spans: Sequence[Span], budget: int) -> list[int]:
        """Return the ids without older turns and with so much of the body as fits; then the system's text is cut.

        Of a body that says something, its beginning stays whatever is cut: no prompt is only what is around it.
        """
        opening, _ = _opening(asked.earlier)
        left = asked._replace(earlier=opening)
        ids, kept = cut_to_fit(lambda body: self._ids(self._write(left, body)), start, spans, budget)
        least = "" if kept else self._least(asked.body)
        if least:
            ids = self._ids(self._write(left, least))
        if len(ids) > budget and opening:
            *others, last = opening

            def write(text: str) -> list[int]:
                return self._ids(self._write(left._replace(earlier=(*others, last._replace(content=text))), least))

            ids, _ = cut_to_fit(write, last.content, self._encoding.plain([last.content])[0].offsets, budget)
        if len(ids) > budget:
            raise ValueError(
                f"expected a budget of at least {len(ids)} tokens, for the text around the document and the beginning "
                f"of the document itself, got {budget}; raise {argument('max_prompt_tokens')}, or shorten the prompt "
                "template and the columns in it"
            )
        return ids

    def _least(self, body: str) -> str:
        """Return the beginning of a body that one id or a few stand for; empty where there are only spaces."""
        text = body.lstrip()[:_LONGEST_WORD]
        spans = self._encoding.plain([text])[0].offsets
        beginnings = (text[: _end(spans, count)] for count in range(1, len(spans) + 1))
        return next((beginning for beginning in beginnings if beginning.strip()), text)


def cut_to_fit(write: Callable[[str], list[int]], text: str, spans: Sequence[Span], budget: int) -> Cut:
    """Return the ids that ``write`` makes of as much of ``text`` as fits: at most ``budget``, or those of none of it.

    Args:
        write: Encodes a text, with what stands around it.
        text: Text to cut at its end.
        spans: Where the ids of ``text`` begin and end in it.
        budget: Most ids.
    """
    ids = write("")
    keep = min(len(spans), budget - len(ids))
    while keep > 0:
        kept = cut_text(text, _end(spans, keep))
        tried = write(kept)
        if len(tried) <= budget:
            return Cut(tried, kept)
        while keep > 0 and _end(spans, keep) > len(kept):
            keep -= 1
        keep -= len(tried) - budget
    return Cut(ids, "")


def cut_text(text: str, end: int) -> str:
    """Return at most the first ``end`` characters of a text, cut at a word boundary near there.

    The beginning of a word whose end is cut goes, and so does white space before it. There is no word to spare where
    the text is written without spaces, where all of it is one word, or where the word has more than 48 characters: then
    the cut is where it is asked for, but not between a letter and its accents.
    """
    kept = text[:end]
    if end >= len(text) or text[end].isspace():
        return kept.rstrip()
    before, after = (
        _word_length(reversed(kept[-_LONGEST_WORD - 1 :])),
        _word_length(text[end : end + _LONGEST_WORD + 1]),
    )
    if before < len(kept) and after > 0 and before + after <= _LONGEST_WORD:
        return kept[: len(kept) - before].rstrip()
    while kept and unicodedata.category(text[len(kept)]).startswith("M") and end - len(kept) < _LONGEST_WORD:
        kept = kept[:-1]
    return kept.rstrip()


def _word_length(characters: Iterable[str]) -> int:
    """Return how many characters come before white space or a character that is a word by itself."""
    return sum(1 for _ in takewhile(lambda each: not (each.isspace() or _WITHOUT_SPACES.match(each)), characters))


def _opening(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Split a conversation into what stands before the first turn (a system prompt), and the turns."""
    spoken = [place for place, message in enumerate(messages) if message.role in ("user", "assistant")]
    first = spoken[0] if spoken else len(messages)
    return tuple(messages[:first]), tuple(messages[first:])


def _start(text: str, length: int) -> str:
    """Return the words of ``text`` that begin within its first ``length`` characters, or a little more."""
    if len(text) <= length:
        return text
    space = _SPACE.search(text, length, length + _LONGEST_WORD)
    return text[: space.start() if space else length]


def _end(spans: Sequence[Span], count: int) -> int:
    """Return where the whole characters of the first ``count`` ids end in their text."""
    if count == 0:
        return 0
    end = spans[count - 1][1]
    return min(end, spans[count][0]) if count < len(spans) else end
