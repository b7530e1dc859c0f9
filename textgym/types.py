"""The records and protocols that cross the floors of the package. No heavy imports here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

NameOrPath = str | os.PathLike[str]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Choice = Literal["a", "b", "tie", "both_bad"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task.

    Attributes:
        key: Stable name of the item, unique over all splits of its data set.
        prompt: The raw text the item is about (a document, a dialogue, a question).
        references: Texts that answer it well; may be empty.
        demonstrations: Texts that supervised training imitates; empty means "the references".
    """

    key: str
    prompt: str
    references: tuple[str, ...] = ()
    demonstrations: tuple[str, ...] = ()


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@runtime_checkable
class RewardFn(Protocol):
    """Any batched callable: ``reward(prompts, responses, examples) -> n finite numbers``.

    ``prompts`` are formatted, uncut prompt texts; ``responses`` what a user would see (cut at EOS or stop string,
    special tokens removed); ``examples`` the items they answer. No gradients flow through it.
    """

    def __call__(
        self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /
    ) -> Sequence[float] | npt.NDArray[Any]:
        """Score ``n`` texts; return an array-like of shape ``(n,)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What every record of feedback says: about which example, by whom, when, shown in which order.

    Attributes:
        task_key: Key of the example.
        prompt: Formatted prompt text, as the annotator saw it.
        annotator: Who answered.
        generators: Where each response came from, in the order of the responses; empty if nobody knows.
        time: When, in seconds since 1970 (UTC); ``None`` if nobody knows.
        seconds: How long the answer took; ``None`` if nobody knows.
        order_seed: :func:`textgym.feedback.shown_order` says with it in which order the responses were shown; ``None``:
            as they are listed here.
    """

    task_key: str = field(kw_only=False)
    prompt: str = field(kw_only=False)
    annotator: str = "anonymous"
    generators: tuple[str, ...] = ()
    time: float | None = None
    seconds: float | None = None
    order_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison(Feedback):
    """One answered question "which response is better?".

    Attributes:
        response_a, response_b: The two texts.
        choice: ``"a"``, ``"b"``, ``"tie"`` (equally good) or ``"both_bad"``.
    """

    response_a: str
    response_b: str
    choice: Choice

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
        ranks: Place of each, 1 the best; equal numbers are ties.
    """

    responses: tuple[str, ...]
    ranks: tuple[int, ...]


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


@dataclass(frozen=True, slots=True)
class Demonstration(Feedback):
    """A text that somebody wrote, or made better.

    Attributes:
        response: The text.
        edited_from: What it was made from; ``None`` if it was written from scratch.
    """

    response: str
    edited_from: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class ImplicitFeedback(Feedback):
    """What somebody did with a response in natural use, without being asked.

    Attributes:
        response: The text.
        position: Place among the responses shown, 0 the first.
        clicked: Was it opened?
        dwell_seconds: How long it was looked at; hidden and idle time do not count.
        scrolled: Share of it that was scrolled through, 0 to 1.
        copied: Was any of it copied?
    """

    response: str
    position: int
    clicked: bool
    dwell_seconds: float
    scrolled: float = field(default=0.0, kw_only=True)
    copied: bool = field(default=False, kw_only=True)


class Question(NamedTuple):
    """A comparison that has not been answered yet."""

    task_key: str
    prompt: str
    response_a: str
    response_b: str


class Annotator(Protocol):
    """Whoever answers questions: a person behind a page, or a simulation. One signature for both."""

    name: str

    def compare(self, questions: Sequence[Question]) -> list[Comparison]:
        """Answer every question, in order; returns one record per question."""
        ...


class Dataset(Protocol):
    """A finite, ordered collection of examples of one split."""

    name: str
    split: Split

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def find(self, key: str) -> Example:
        """Return the example called ``key``; ``KeyError`` with a suggestion if there is none."""
        ...


class Task(Protocol):
    """What is asked, about which texts, judged how. One file per task in ``textgym/tasks/``."""

    name: str
    dataset: Dataset
    prompt_template: str
    max_prompt_tokens: int
    max_new_tokens: int
    default_reward: str
    metrics: Mapping[str, RewardFn]

    def format_prompt(self, example: Example) -> str:
        """The one prompt formatter: supervised training, RL, evaluation and reward models all use it."""
        ...

    def gold(self, responses: Sequence[str], examples: Sequence[Example]) -> FloatArray | None:
        """True quality of ``n`` responses, shape ``(n,)``, where the data knows it; else ``None``."""
        ...

    def is_success(self, response: str, example: Example) -> bool:
        """The task's own yes/no judgement of one response, independent of any reward."""
        ...
