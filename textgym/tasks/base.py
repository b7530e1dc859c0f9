"""The base class of tasks: the data, the prompt formatter, and a default for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import ClassVar, Self

import numpy as np

from textgym.data.source import BuiltIn, load_examples
from textgym.metrics.texts import TEXT_METRICS
from textgym.text.messages import as_prompt
from textgym.types import (
    Data,
    Dataset,
    Episode,
    Example,
    FloatArray,
    IntArray,
    Message,
    Metric,
    NameOrPath,
    Prompt,
    RewardFn,
    Shown,
    Split,
    Task,
    are_messages,
    as_shown,
)
from textgym.values import attribute_of, plain_value

_SLOT = "{prompt}"


class TextTask:
    """Base of tasks: everything has a default, so that a subclass says only what is its own.

    Example:
        >>> class Shout(TextTask):
        ...     name = "shout"
        ...     prompt_template = "Say it in capitals: {prompt}"
        ...     max_new_tokens = 16
        ...
        ...     def is_success(self, episode):
        ...         return episode.text == episode.example.text.upper()
        >>> task = Shout([Example("a", "hello"), Example("b", "you")])
        >>> task.prompt(task.dataset[0]).text
        'Say it in capitals: hello'

    Args:
        data: A list of examples or of rows, a file, folder or Hub id, or a name of :attr:`built_in`; ``None`` is
            :attr:`default_data`.
        prompt_column: Column of the prompts; ``None`` guesses.
        reference_column: Column of the references; ``None`` guesses.
        split: Split whose examples the task has.

    Attributes:
        dataset: The examples.
        built_in: Data that the task brings along: name -> loader of one split.
        default_data: The data of a task that is given none.
        prompt_template: Text around every prompt; ``{prompt}`` stands for it, once.
        max_prompt_tokens, max_new_tokens, max_reply_tokens: Default budgets of the prompt, of every turn of the agent,
            and of what is said to it in between.
        max_turns: Most turns of the agent.
        reward: The reward of an environment that is given none: a name or a callable; by default 1 for success, else 0.
        reward_reason: Why it is that one, as a sentence for people.
        metrics: Name -> measure to report beside the reward, in the order in which they are shown.
        main_metric: The one that stands for quality where gold is not known.
    """

    name: str = "text"
    built_in: ClassVar[BuiltIn] = {}
    default_data: ClassVar[Data | None] = None
    prompt_template: str = _SLOT
    max_prompt_tokens: int = 512
    max_new_tokens: int = 48
    max_reply_tokens: int = 128
    max_turns: int = 1
    reward: RewardFn | NameOrPath = "success"
    reward_reason: str = ""
    metrics: Mapping[str, Metric] = TEXT_METRICS
    main_metric: str | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Keep a function that is assigned as ``reward`` from becoming a method."""
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("reward")
        if isinstance(own, FunctionType) and own.__qualname__ != f"{cls.__qualname__}.reward":
            cls.reward = staticmethod(own)

    def __init__(
        self,
        data: Data | None = None,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
    ) -> None:
        if self.prompt_template.count(_SLOT) != 1:
            raise ValueError(f"expected a prompt_template with {_SLOT} once, got {self.prompt_template!r}; correct it")
        chosen = self.default_data if data is None else data
        if chosen is None:
            raise TypeError(f"expected data for the task {self.name!r}, got none; give it data=, a file for instance")
        self.data: Data = plain_value(chosen)
        self.prompt_column = prompt_column
        self.reference_column = reference_column
        self.dataset: Dataset = self.examples(split)

    def examples(self, split: Split) -> Dataset:
        """Load one split of the data; a task that makes its examples itself overrides this."""
        return load_examples(self.data, split, self.prompt_column, self.reference_column, built_in=self.built_in)

    def for_split(self, split: Split) -> Self:
        """Return the same task on another split of the same data."""
        return type(self)(self.data, self.prompt_column, self.reference_column, split)

    def prompt(self, example: Example) -> Prompt | Sequence[Message] | str:
        """Return what is asked: the template around the prompt; in a conversation, around the user's last message."""
        prefix, _, suffix = self.prompt_template.partition(_SLOT)  # braces in a user's text stay what they are
        return as_prompt(example.prompt)._replace(prefix=prefix, suffix=suffix)

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        """Return what the other side says to the agent's last turn; ``None``, which ends the episode, by default."""
        return None

    def turn_reward(self, episode: Episode) -> float:
        """Return the reward of the agent's last turn by itself; 0 by default."""
        return 0.0

    def allowed(self, episode: Episode, ids: Sequence[int], tokenizer: object) -> IntArray | None:
        """Return the ids that may be written next; any by default."""
        return None

    def is_success(self, episode: Episode) -> bool:
        """Return whether the agent's last turn, spaces around it aside, is one of the references."""
        return episode.text.strip() in {reference.strip() for reference in episode.example.references}

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality of ``n`` episodes, shape ``(n,)``; ``None`` where the data does not know it."""
        return None

    def __repr__(self) -> str:
        """Return name, data, reward and budgets, in one line."""
        turns = f", up to {self.max_turns} turns" if self.max_turns > 1 else ""
        budgets = f"{self.max_prompt_tokens:,} prompt + {self.max_new_tokens:,} new tokens"
        return f"<{type(self).__name__}: {describe_task(self)}, reward {_name_of(self.reward)}, {budgets}{turns}>"


def prompt_of(task: Task, example: Example) -> Prompt:
    """Return how a task asks an example; its ``text`` is what rewards and people read.

    Raises:
        TypeError: The task returns something else than a ``Prompt``, messages or a text.
    """
    asked = task.prompt(example)
    if isinstance(asked, Prompt | str) or are_messages(asked):
        return as_prompt(asked)
    raise TypeError(
        f"expected a Prompt, messages or a text from prompt() of the task {task.name!r}, got {asked!r:.80}; return "
        "Prompt(prefix, body, suffix), of which only the body is ever cut"
    )


def prompt_text(task: Task, example: Example) -> str:
    """Return the whole text of what a task asks, uncut."""
    return prompt_of(task, example).text


def shown_of(task: Task, example: Example, turns: Sequence[Message] = ()) -> Shown:
    """Return what somebody is shown before a response, uncut: what a task asks, and what was said after it.

    That is a text, or the messages of a conversation; rewards and feedback take either.
    """
    return as_shown((*prompt_of(task, example).messages, *turns))


def describe_task(task: Task) -> str:
    """Return name and data of a task, for one line about an environment."""
    data = task.dataset
    return f"task {task.name} on {data.name} ({data.split}: {len(data):,} examples)"


def _name_of(reward: object) -> str:
    """Return the name of a reward, which may be a name: rewards themselves are above tasks."""
    return str(attribute_of(reward, "name", "__name__") or plain_value(reward))
