"""Comparisons as questions and as rows of published preference data; records of all kinds split by prompt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from textgym.errors import DataError
from textgym.feedback.types import Comparison, Feedback, Question
from textgym.text.messages import MessageError, is_chat, last_answer, parse_messages
from textgym.types import flatten

_Record = TypeVar("_Record", bound=Feedback)
ASSISTANT_TURN = "\n\nAssistant:"
"""What the last turn of a dialogue begins with; the prompt of a dialogue ends with it."""


class PreferenceRow(TypedDict):
    """A comparison the way preference data sets are published: the better text is named, ties do not exist."""

    prompt: str
    chosen: str
    rejected: str


def make_questions(
    prompts: Sequence[str], keys: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
) -> list[Question]:
    """Put ``n`` pairs of responses before an annotator.

    Args:
        prompts: ``n`` formatted prompt texts.
        keys: The ``n`` keys of their examples.
        responses_a: ``n`` texts.
        responses_b: ``n`` texts to compare them with.

    Returns:
        ``n`` questions in the given order.

    Raises:
        ValueError: If the lengths differ.
    """
    lengths = (len(prompts), len(keys), len(responses_a), len(responses_b))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"expected as many prompts as keys and responses, got {lengths[0]} prompts, {lengths[1]} keys, "
            f"{lengths[2]} and {lengths[3]} responses; give one of each per question"
        )
    return [
        Question(key, prompt, (a, b)) for key, prompt, a, b in zip(keys, prompts, responses_a, responses_b, strict=True)
    ]


def from_preference_rows(rows: Iterable[Mapping[str, Any]], annotator: str = "anonymous") -> list[Comparison]:
    r"""Turn (prompt, chosen, rejected) rows, for instance of a published data set, into records.

    Args:
        rows: Mappings with the texts ``prompt``, ``chosen`` and ``rejected``; other entries are ignored. Without
            ``prompt`` the other two are whole dialogues, each beginning with the prompt:
            "\\n\\nHuman: ...\\n\\nAssistant: ...". Each of the three may be a list of chat messages: the last
            message of the assistant is the response, what comes before it the prompt, if there is no other.
        annotator: Who gave them.

    Returns:
        Records in which response a is the chosen one; the key is a hash of the prompt.

    Raises:
        DataError: Naming the row, if one of the three is missing or not a text.
    """
    return [from_preference_row({**row, "annotator": annotator}, f"row {number}") for number, row in enumerate(rows)]


def from_preference_row(row: Mapping[str, Any], place: str) -> Comparison:
    """Turn one row into a record, as `from_preference_rows`; ``place`` is where it stands, for error messages."""
    row = _as_texts(row, place)
    texts = {name: row[name] for name in ("prompt", "chosen", "rejected", "annotator") if row.get(name) is not None}
    for name in ("chosen", "rejected", *texts):
        if not isinstance(texts.get(name), str):
            found = type(row[name]).__name__ if name in row else f"only {', '.join(map(str, row)) or 'nothing'}"
            raise DataError(
                f"{place}: expected a text as {name!r}, got {found}; give a string (a row has prompt, chosen, rejected)"
            )
    prompt, chosen, rejected = (
        (texts["prompt"], texts["chosen"], texts["rejected"])
        if "prompt" in texts
        else _split_dialogues(texts["chosen"], texts["rejected"], place)
    )
    key = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Comparison(key, prompt, chosen, rejected, "a", annotator=texts.get("annotator", "anonymous"))


def _as_texts(row: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return a row with texts in place of lists of chat messages."""
    names = [name for name in ("prompt", "chosen", "rejected") if is_chat(row.get(name))]
    texts, before = dict(row), set[str]()
    for name in names:
        try:
            messages = parse_messages(row[name])
            texts[name] = flatten(messages) if name == "prompt" else last_answer(messages)
        except MessageError as error:
            raise DataError(f"{place}: {name!r}: {error}; correct the row") from error
        if name != "prompt" and row.get("prompt") is None:
            spoken = [turn for turn, message in enumerate(messages) if message.role == "assistant"]
            before.add(flatten(messages[: spoken[-1]]))
    if len(before) > 1 or before == {""}:
        raise DataError(
            f"{place}: expected 'prompt', or two chats that share what comes before the last answer, got "
            f"{sorted(before)!r:.80}; add the prompt"
        )
    return texts | ({"prompt": before.pop()} if before else {})


def split_records(
    records: Sequence[_Record], held_out: float = 0.1, seed: int = 0
) -> tuple[list[_Record], list[_Record]]:
    """Split records of any kinds by prompt, so that no prompt is on both sides, white space and case apart.

    The side of a prompt is a function of its text and the seed alone: adding records about other prompts, or shuffling
    them, moves none. With at least two prompts and ``0 < held_out < 1`` neither side is empty.

    Args:
        records: The records.
        held_out: Expected share of prompts on the second side, in ``[0, 1)``.
        seed: Another seed, another split.

    Returns:
        ``(train, held_out)``, each in the order of ``records``.

    Raises:
        ValueError: If ``held_out`` is not in ``[0, 1)``.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"expected a held-out share in [0, 1), got {held_out}; 0.1 holds out a tenth of the prompts")
    texts: dict[str, str] = {}  # prompts that are the same -> the least of them, which decides for all
    for prompt in sorted({record.prompt for record in records}):
        texts.setdefault(_normal(prompt), prompt)
    places = {normal: _place(prompt, seed) for normal, prompt in texts.items()}
    outside = {prompt for prompt, place in places.items() if place < held_out}
    if held_out > 0 and len(places) > 1:
        ranked = sorted(places, key=lambda prompt: (places[prompt], prompt))
        outside = (outside | {ranked[0]}) - {ranked[-1]}
    sides = [_normal(record.prompt) in outside for record in records]
    train = [record for record, is_outside in zip(records, sides, strict=True) if not is_outside]
    return train, [record for record, is_outside in zip(records, sides, strict=True) if is_outside]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(prompt: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the text and the seed."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _split_dialogues(chosen: str, rejected: str, place: str) -> tuple[str, str, str]:
    r"""Split two whole dialogues, ``"\n\nHuman: ...\n\nAssistant: ..."``, into prompt and responses.

    The prompt is what they share up to the start of the last shared turn of the assistant; the responses, without
    spaces around them, are the rest.
    """
    shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071  texts, not paths
    start = shared.rfind(ASSISTANT_TURN)
    if start < 0:
        raise DataError(
            f"{place}: expected a text as 'prompt', or two dialogues that share their beginning up to "
            f"{ASSISTANT_TURN!r}, got {chosen[:40]!r} and {rejected[:40]!r}; add the prompt"
        )
    end = start + len(ASSISTANT_TURN)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()
