"""The records and protocols that cross the floors of the package. No heavy imports here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

NameOrPath = str | os.PathLike[str]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Choice = Literal["a", "b", "tie"]
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """One answered question "which response is better?".

    Attributes:
        task_key: Key of the example.
        prompt: Formatted prompt text, as the annotator saw it.
        response_a, response_b: The two texts.
        choice: ``"a"``, ``"b"`` or ``"tie"``.
        annotator: Who answered.
    """

    task_key: str
    prompt: str
    response_a: str
    response_b: str
    choice: Choice
    annotator: str = "anonymous"

    @property
    def chosen(self) -> str:
        """The preferred response (the first one of a tie)."""
        return self.response_b if self.choice == "b" else self.response_a

    @property
    def rejected(self) -> str:
        """The other response."""
        return self.response_a if self.choice == "b" else self.response_b


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
