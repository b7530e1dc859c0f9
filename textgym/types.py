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
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Message(NamedTuple):
    """One message of a conversation.

    Attributes:
        role: Who speaks: ``"system"``, ``"user"``, ``"assistant"``, or whatever a model's chat template knows.
        content: What is said.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task.

    Attributes:
        key: Stable name of the item, unique over all splits of its data set.
        prompt: The raw text the item is about (a document, a dialogue, a question).
        references: Texts that answer it well; may be empty.
        demonstrations: Texts that supervised training imitates; empty means "the references".
        messages: The conversation that ``prompt`` is the text of; empty where the prompt is one text of the user.
            Models with a chat template get it message by message.
    """

    key: str
    prompt: str
    references: tuple[str, ...] = ()
    demonstrations: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()


class Conversation(NamedTuple):
    """A prompt as messages, the last one of the user taken apart.

    Attributes:
        earlier: What was said before it.
        before, body, after: Its content, of which only the body is ever cut.
        later: What was said after it; usually nothing.
    """

    earlier: tuple[Message, ...]
    before: str
    body: str
    after: str
    later: tuple[Message, ...] = ()


class Prompt(NamedTuple):
    """A prompt as text, ``before + body + after``, of which only the body is ever cut.

    Attributes:
        before, body, after: The text.
        conversation: The same as messages, for models with a chat template; ``None``: one message of the user.
    """

    before: str
    body: str
    after: str
    conversation: Conversation | None = None


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
