"""Rows of published preference data, to and from records.

The rows are those of TRL's data sets (https://huggingface.co/docs/trl/dataset_formats): ``prompt``, ``chosen``,
``rejected`` ("preference") and ``prompt``, ``completion``, ``label`` ("unpaired preference").
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypedDict

from textgym.errors import DataError
from textgym.feedback.records.dialogues import ASSISTANT_TURN, DIALOGUE_START
from textgym.feedback.types import Comparison, Demonstration, Ranking, Rating, Record, of_kind
from textgym.metrics.words import is_unspaced
from textgym.text.messages import MessageError, is_chat, last_answer, parse_messages
from textgym.types import Message, Shown, as_shown, shown_messages, shown_text

Published = str | list[dict[str, str]]
"""A text, or where the prompt is a conversation, a list of ``{"role", "content"}`` objects."""
_GOOD, _BAD = 4, 2


class PreferenceRow(TypedDict):
    """A comparison the way preference data sets are published: the better text is named, ties do not exist."""

    prompt: Published
    chosen: Published
    rejected: Published


class LabelledRow(TypedDict):
    """A text that somebody found good, or bad."""

    prompt: Published
    completion: Published
    label: bool


class Preferred(NamedTuple):
    """Two responses to one prompt, of which somebody preferred the first.

    Attributes:
        task_key: Key of the example.
        prompt: Prompt as the annotator saw it.
        better, worse: The responses.
    """

    task_key: str
    prompt: Shown
    better: str
    worse: str


class Labelled(NamedTuple):
    """A response that somebody found good, or bad.

    Attributes:
        task_key: Key of the example.
        prompt: Prompt as the annotator saw it.
        response: The response.
        is_good: Whether it was found good.
    """

    task_key: str
    prompt: Shown
    response: str
    is_good: bool


def preferred_texts(records: Sequence[Record]) -> list[Preferred]:
    """Return the preferences between two texts that records express.

    Those of :func:`to_preference_rows`, and pairs of ratings of different grade that one annotator gave to responses to
    one prompt. A text is not preferred to itself, spaces around it aside.

    Args:
        records: Records of any kind.
    """
    found = [
        Preferred(record.task_key, record.prompt, better, worse)
        for record in records
        for better, worse in _pairs(record)
    ]
    return [each for each in (*found, *_rated_pairs(records)) if each.better.strip() != each.worse.strip()]


def labelled_texts(records: Iterable[Record]) -> list[Labelled]:
    """Return the texts that were found good or bad, as :func:`to_labelled_rows` says."""
    return [
        Labelled(record.task_key, record.prompt, text, is_good)
        for record in records
        for text, is_good in _labels(record)
    ]


def from_preference_rows(rows: Iterable[Mapping[str, object]], annotator: str = "anonymous") -> list[Comparison]:
    r"""Turn (prompt, chosen, rejected) rows, for instance of a published data set, into records.

    Args:
        rows: Mappings with the texts ``prompt``, ``chosen`` and ``rejected``; other entries are ignored. Without
            ``prompt`` the other two are whole dialogues, each beginning with the prompt:
            "\\n\\nHuman: ...\\n\\nAssistant: ...". Each of the three may be a list of chat messages: the last
            message of the assistant is the response, the messages before it are the prompt, if there is no other.
        annotator: Annotator of all preferences.

    Returns:
        Records in which response a is the chosen one; the key is a hash of the prompt.

    Raises:
        DataError: Naming the row, if one of the three is missing or not a text.
    """
    return [from_preference_row({**row, "annotator": annotator}, f"row {number}") for number, row in enumerate(rows)]


def from_preference_row(row: Mapping[str, object], place: str) -> Comparison:
    """Turn one row into a record, as :func:`from_preference_rows`; ``place`` is where it stands, for error messages."""
    row, conversation = _without_chats(row, place)
    given = {name: row[name] for name in ("prompt", "chosen", "rejected", "annotator") if row.get(name) is not None}
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    for name in ("chosen", "rejected", *given):
        if name not in texts:
            found = type(row[name]).__name__ if name in row else f"only {', '.join(map(str, row)) or 'nothing'}"
            raise DataError(
                f"{place}: expected a text as {name!r}, got {found}; give a string (a row has prompt, chosen, rejected)"
            )
    prompt: Shown | None = texts.get("prompt") if conversation is None else conversation
    chosen, rejected = texts["chosen"], texts["rejected"]
    if prompt is None:
        prompt, chosen, rejected = _split_dialogues(chosen, rejected, place)
    key = hashlib.sha256(shown_text(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Comparison(key, prompt, chosen, rejected, "a", annotator=texts.get("annotator", "anonymous"))


def _without_chats(row: Mapping[str, object], place: str) -> tuple[Mapping[str, object], Shown | None]:
    """Return a row with texts in place of lists of messages, and the prompt among these; ``None`` if there is none."""
    chats = {name: row[name] for name in ("prompt", "chosen", "rejected") if is_chat(row.get(name))}
    texts, before = dict(row), set[tuple[Message, ...]]()
    for name, chat in chats.items():
        try:
            messages = tuple(parse_messages(chat))
            if name == "prompt":
                before.add(messages)
                del texts[name]
                continue
            texts[name] = last_answer(messages)
        except MessageError as error:
            raise DataError(f"{place}: {name!r}: {error}; correct the row") from error
        if row.get("prompt") is None:
            spoken = [turn for turn, message in enumerate(messages) if message.role == "assistant"]
            before.add(messages[: spoken[-1]])
    if len(before) > 1 or before == {()}:
        raise DataError(
            f"{place}: expected 'prompt', or two chats that share what comes before the last answer, got "
            f"{sorted(map(shown_text, before))!r:.80}; add the prompt"
        )
    return texts, as_shown(before.pop()) if before else None


def _split_dialogues(chosen: str, rejected: str, place: str) -> tuple[str, str, str]:
    r"""Split two whole dialogues, ``"\n\nHuman: ...\n\nAssistant: ..."``, into prompt and responses.

    The prompt is what they share up to the start of the last shared turn of the assistant; the responses, without
    spaces around them, are the rest. Of two texts that are no dialogues, the prompt is all that they share, up to the
    end of a word.
    """
    shared = _shared_beginning(chosen, rejected)
    start = shared.rfind(ASSISTANT_TURN)
    if (
        start < 0
        and not chosen.startswith(DIALOGUE_START)
        and (prompt := _whole_words(shared, chosen, rejected).rstrip())
    ):
        return prompt, chosen[len(prompt) :].strip(), rejected[len(prompt) :].strip()
    if start < 0:
        raise DataError(
            f"{place}: expected a text as 'prompt', or two dialogues that share their beginning up to "
            f"{ASSISTANT_TURN!r}, got {chosen[:40]!r} and {rejected[:40]!r}; add the prompt"
        )
    end = start + len(ASSISTANT_TURN)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


def _shared_beginning(first: str, second: str) -> str:
    """Return the characters that both begin with, by halving: dialogues are long, and share most."""
    equal, unequal = 0, min(len(first), len(second)) + 1
    while unequal - equal > 1:
        middle = (equal + unequal) // 2
        if first[equal:middle] == second[equal:middle]:
            equal = middle
        else:
            unequal = middle
    return first[:equal]


def _whole_words(shared: str, *texts: str) -> str:
    """Return what texts share without the beginning of a word that they go on with; a prompt does not end within one.

    A text may be all that is shared; then the last word of it is whole, unless another text goes on with that.
    """
    end = len(shared)
    following = {text[end : end + 1] for text in texts}
    if not any(map(_joins_word, following)):
        return shared
    while end and _joins_word(shared[end - 1]):
        end -= 1
    return shared[:end]


def _joins_word(character: str) -> bool:
    return character.isalnum() and not is_unspaced(character)


def to_preference_rows(records: Iterable[Record]) -> list[PreferenceRow]:
    """Turn records into (prompt, chosen, rejected) rows.

    A comparison is one row, unless neither text is better. A ranking is a row for every pair of different rank. An
    edited text is better than what it was made from. Ratings and implicit feedback compare nothing by themselves.

    Args:
        records: Records of any kind.

    Returns:
        The rows, in the order of the records. Half surrogate pairs, which UTF-8 cannot say, became ``?``. Where the
        prompt is a conversation, all three are lists of messages.
    """
    return [
        PreferenceRow(
            prompt=_published(record.prompt),
            chosen=_answer(record.prompt, chosen),
            rejected=_answer(record.prompt, rejected),
        )
        for record in records
        for chosen, rejected in _pairs(record)
    ]


def to_labelled_rows(records: Iterable[Record]) -> list[LabelledRow]:
    """Turn records into (prompt, completion, label) rows.

    Good are the chosen text of a comparison, the first of a ranking, ratings of 4 and 5, and demonstrations; bad are
    the rejected one, both if both are, the last, and ratings of 1 and 2. What is in between makes no row.

    Args:
        records: Records of any kind.

    Returns:
        The rows, in the order of the records; texts as in :func:`to_preference_rows`.
    """
    return [
        LabelledRow(prompt=_published(each.prompt), completion=_answer(each.prompt, each.response), label=each.is_good)
        for each in labelled_texts(records)
    ]


def _pairs(record: Record) -> list[tuple[str, str]]:
    """Return (better, worse) texts."""
    match record:
        case Comparison(choice="a" | "b"):
            return [(record.chosen, record.rejected)]
        case Ranking():
            placed = list(zip(record.ranks, record.responses, strict=True))
            return [(better, worse) for rank, better in placed for other, worse in placed if rank < other]
        case Demonstration(response=better, edited_from=str(worse)) if worse != better:
            return [(better, worse)]
    return []


def _rated_pairs(records: Sequence[Record]) -> Iterator[Preferred]:
    """Yield the pairs of ratings of different grade that one annotator gave to responses to one prompt."""
    groups: dict[tuple[str, Shown], list[Rating]] = defaultdict(list)
    for record in of_kind(records, Rating):
        groups[record.annotator, record.prompt].append(record)
    for (_, prompt), ratings in groups.items():
        for first, second in combinations(ratings, 2):
            if first.rating != second.rating:
                better, worse = (first, second) if first.rating > second.rating else (second, first)
                yield Preferred(first.task_key, prompt, better.response, worse.response)


def _labels(record: Record) -> list[tuple[str, bool]]:
    match record:
        case Comparison(choice="a" | "b"):
            return [(record.chosen, True), (record.rejected, False)]
        case Comparison(choice="both_bad"):
            return [(text, False) for text in record.responses]
        case Ranking():
            placed, worst = zip(record.responses, record.ranks, strict=True), max(record.ranks)
            return [(text, rank == 1) for text, rank in placed if rank in (1, worst)] if worst > 1 else []
        case Rating(response=text, rating=grade) if not _BAD < grade < _GOOD:
            return [(text, grade >= _GOOD)]
        case Demonstration(response=text):
            return [(text, True)]
    return []


def _published(shown: Shown) -> Published:
    messages = [{"role": _utf8(role), "content": _utf8(content)} for role, content in shown_messages(shown)]
    return messages or _utf8(shown_text(shown))


def _answer(prompt: Shown, response: str) -> Published:
    """Return a response in the form of its prompt: a text, or a message of the assistant."""
    return _published((Message("assistant", response),) if shown_messages(prompt) else response)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
