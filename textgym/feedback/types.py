"""The records of feedback: what was asked, what was answered, by whom. No heavy imports here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, get_args

from textgym.types import Shown, are_messages
from textgym.values import is_whole

Choice = Literal["a", "b", "tie", "both_bad"]
Mode = Literal["compare", "rank", "rate", "edit", "natural"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The fields of every record of feedback: example, annotator, time, and order in which responses were shown.

    A record that cannot be right is a ``ValueError`` when it is made.

    Attributes:
        task_key: Key of the example.
        prompt: Text that the responses answer, as the annotator saw it: formatted, or the messages of a conversation.
        annotator: Name of the annotator.
        generators: Where each response came from, in the order of the responses; empty if unknown.
        time: When, in seconds since 1970 (UTC); ``None`` if unknown.
        seconds: How long the answer took; ``None`` if unknown.
        order_seed: :func:`shown_order` says with it in which order the responses were shown; ``None``:
            as they are listed here.
    """

    task_key: str = field(kw_only=False)
    prompt: Shown = field(kw_only=False)
    annotator: str = "anonymous"
    generators: tuple[str, ...] = ()
    time: float | None = None
    seconds: float | None = None
    order_seed: int | None = None

    def _check(self, responses: int) -> None:
        """Check what all kinds share, for a record about so many responses."""
        _check_prompt(self.prompt)
        _check_generators(self.generators, responses)
        if self.time is not None and not math.isfinite(self.time):
            raise ValueError(f"expected a finite time, got {self.time}; give seconds since 1970, or None")
        if self.seconds is not None:
            _check_seconds("seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class Comparison(Feedback):
    """An answer to the question which of two responses is better.

    Attributes:
        response_a, response_b: The two texts.
        choice: ``"a"``, ``"b"``, ``"tie"`` (equally good) or ``"both_bad"``.
    """

    response_a: str
    response_b: str
    choice: Choice

    def __post_init__(self) -> None:
        self._check(2)
        if self.choice not in get_args(Choice):
            raise ValueError(f"expected choice 'a', 'b', 'tie' or 'both_bad', got {self.choice!r}; correct it")

    @property
    def responses(self) -> tuple[str, ...]:
        """Both texts."""
        return self.response_a, self.response_b

    @property
    def chosen(self) -> str:
        """The preferred response (the first one where neither is)."""
        return self.response_b if self.choice == "b" else self.response_a

    @property
    def rejected(self) -> str:
        """The other response."""
        return self.response_a if self.choice == "b" else self.response_b


@dataclass(frozen=True, slots=True)
class Ranking(Feedback):
    """``k`` responses put in order.

    Attributes:
        responses: The texts, two or more.
        ranks: Place of each, 1 the best, none above ``k``; equal numbers are ties.
    """

    responses: tuple[str, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        self._check(len(self.responses))
        count = len(self.responses)
        if count < 2 or len(self.ranks) != count:
            raise ValueError(
                f"expected two responses or more and one rank for each, got {count} responses and "
                f"{len(self.ranks)} ranks; give each response its place"
            )
        if not all(map(is_whole, self.ranks)) or min(self.ranks) != 1 or max(self.ranks) > count:
            raise ValueError(f"expected ranks from 1 (the best) to {count}, got {self.ranks}; correct them")


@dataclass(frozen=True, slots=True)
class Rating(Feedback):
    """A grade from 1 (worst) to 5 (best).

    Attributes:
        response: The text.
        rating: Overall grade, 1 to 5.
        criteria: Grades by criterion, such as ``{"faithful": 4}``; may be empty.
    """

    response: str
    rating: int
    criteria: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        self._check(1)
        for name, grade in {"rating": self.rating, **self.criteria}.items():
            if not is_whole(grade) or grade not in range(1, 6):
                raise ValueError(f"expected a whole number from 1 to 5 as {name}, got {grade!r}; correct it")

    @property
    def responses(self) -> tuple[str, ...]:
        """The one text."""
        return (self.response,)


@dataclass(frozen=True, slots=True)
class Demonstration(Feedback):
    """A text that somebody wrote, or made better.

    Attributes:
        response: The text.
        edited_from: Text that was edited; ``None`` if it was written from scratch.
    """

    response: str
    edited_from: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self._check(1)

    @property
    def responses(self) -> tuple[str, ...]:
        """The one text; ``generators`` says where what it was made from came from."""
        return (self.response,)


@dataclass(frozen=True, slots=True)
class ImplicitFeedback(Feedback):
    """A user's behaviour towards a response in natural use, without being asked.

    Attributes:
        response: The text.
        position: Place among the responses shown, 0 the first.
        clicked: Whether it was opened.
        dwell_seconds: How long it was looked at; hidden and idle time do not count.
        scrolled: Share of it that was scrolled through, 0 to 1.
        copied: Whether any of it was copied.
    """

    response: str
    position: int
    clicked: bool
    dwell_seconds: float
    scrolled: float = field(default=0.0, kw_only=True)
    copied: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self._check(1)
        _check_seconds("dwell_seconds", self.dwell_seconds)
        if self.position < 0:
            raise ValueError(f"expected a position of 0 or more, got {self.position}; 0 is the first place")
        if not 0 <= self.scrolled <= 1:
            raise ValueError(f"expected the scrolled share in [0, 1], got {self.scrolled}; correct it")

    @property
    def responses(self) -> tuple[str, ...]:
        """The one text."""
        return (self.response,)


Record = Comparison | Ranking | Rating | Demonstration | ImplicitFeedback
_Kind = TypeVar("_Kind", bound=Record)


def of_kind(records: Iterable[Record], kind: type[_Kind]) -> list[_Kind]:
    """Return the records of one kind, in their order."""
    return [record for record in records if isinstance(record, kind)]


def seen_texts(record: Record) -> tuple[str, ...]:
    """Return the texts that the annotator saw: of a demonstration, what it was made from, if it was."""
    match record:
        case Demonstration(edited_from=source):
            return () if source is None else (source,)
        case _:
            return record.responses


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask about responses to one prompt.

    Attributes:
        task_key: Key of the example.
        prompt: Formatted prompt text, or the messages of a conversation.
        responses: The texts.
        mode: Kind of question, and the records that answer it: ``"compare"``: one :class:`Comparison` of two texts;
            ``"rank"``: one :class:`Ranking`; ``"rate"``: one :class:`Rating` per text; ``"edit"``: the better text (of
            one or two) made better still, a :class:`Demonstration`, after a :class:`Comparison` where there were two;
            ``"natural"``: one :class:`ImplicitFeedback` per text.
        generators: Where each response came from; empty if unknown.
        order_seed: Seed of the order as in :class:`Feedback`.
        criteria: Further criteria that a rating grades.
    """

    task_key: str
    prompt: Shown
    responses: tuple[str, ...]
    mode: Mode = "compare"
    generators: tuple[str, ...] = ()
    order_seed: int | None = None
    criteria: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in _RESPONSES:
            raise ValueError(f"expected a mode out of {', '.join(_RESPONSES)}, got {self.mode!r}; correct it")
        _check_prompt(self.prompt)
        _check_generators(self.generators, len(self.responses))
        least, most = _RESPONSES[self.mode]
        if not least <= len(self.responses) <= most:
            raise ValueError(
                f"expected {least} to {most} responses to {self.mode}, got {len(self.responses)}; change their number "
                "or the mode"
            )


_RESPONSES: Mapping[Mode, tuple[int, int]] = {
    "compare": (2, 2),
    "rank": (2, 20),
    "rate": (1, 20),
    "edit": (1, 2),
    "natural": (1, 20),
}


class Annotator(Protocol):
    """An annotator answers questions: a person behind a page, or a simulation. One signature for both."""

    @property
    def name(self) -> str:
        """Goes into the records."""
        ...

    def answer(self, questions: Sequence[Question]) -> Sequence[tuple[Record, ...]]:
        """Answer every question, in order.

        Returns:
            The records of each (:attr:`Question.mode` says which); none where the question was skipped.
        """
        ...


def shown_order(n: int, seed: int | None) -> tuple[int, ...]:
    """Return the order in which ``n`` responses were shown: ``order[place]`` is the index of the one at ``place``.

    A function of its arguments alone, today and in later versions, on every machine; all orders are equally likely.

    Args:
        n: Number of responses.
        seed: The record's ``order_seed``; ``None`` is the order in which they are listed.

    >>> shown_order(3, None), shown_order(3, 4)
    ((0, 1, 2), (0, 2, 1))
    """
    if seed is None:
        return tuple(range(n))
    return tuple(sorted(range(n), key=lambda index: hashlib.sha256(f"{seed}:{index}".encode()).digest()))


def _check_prompt(prompt: Shown) -> None:
    if not isinstance(prompt, str) and not are_messages(prompt):
        raise ValueError(
            f"expected a text or a tuple of messages as the prompt, got {prompt!r:.80}; give "
            "textgym.types.Message(role, content) for every turn"
        )


def _check_generators(generators: tuple[str, ...], responses: int) -> None:
    if generators and len(generators) != responses:
        raise ValueError(
            f"expected one generator for each of {responses} responses or none at all, got {len(generators)}; name "
            "where every response came from"
        )


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected {name} of 0 or more, got {seconds}; correct it")
