"""The base class of tasks: the data, the prompt formatter, and a default for everything else."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import ClassVar, NamedTuple, Self, TypeVar

import numpy as np

from textgym.data.choice import columns_in_template
from textgym.data.dataset import describe_split
from textgym.data.generated import GeneratedDataset
from textgym.data.source import BuiltIn, load_examples
from textgym.metrics.texts import TEXT_METRICS
from textgym.naming import argument
from textgym.tasks.options import checked_choices
from textgym.text.messages import as_prompt
from textgym.text.templates import SLOT, PromptTemplate, missing_columns, parse_template
from textgym.types import (
    DEFAULT_MODEL,
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

_MARK = "918273645546372819"  # a text that no prompt has by chance
_FEW = 200


_AnyTask = TypeVar("_AnyTask", bound=Task)


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
        prompt_template: Template instead of the task's own, for models with a chat template too.
        chosen: Choices among :attr:`options`, by name; each is an attribute of the task afterwards.

    Attributes:
        dataset: The examples.
        options: Further choices: name -> its values, the first of which is the default. Loaders of
            built-in data get all of them by name: ``loader(split, difficulty="medium")``.
        model: The shipped model to start from, whose tokens an agent writes that has no model of its own.
        built_in: Data that the task brings along: name -> loader of one split.
        default_data: The data of a task that is given none.
        prompt_template: Text around every prompt: ``{prompt}`` stands for it, once, ``{name}`` for another column of
            the data, ``{{`` for a literal brace.
        chat_prompt_template: Template for models with a chat template, whose turns need no cue; ``None``: the same.
            Rewards and people are shown :attr:`prompt_template`, whichever model writes.
        max_prompt_tokens, max_new_tokens, max_reply_tokens: Default budgets of the prompt, of every turn of the agent,
            and of what is said to it in between.
        max_turns: Most turns of the agent.
        scored_by_turns: Whether :meth:`gold` and :meth:`is_success` read the example and the turns of an episode
            alone, not its state: then the rewards ``"gold"`` and ``"success"`` score conversations of several turns.
        reward: The reward of an environment that is given none: a name or a callable; by default 1 for success, else 0.
        reward_reason: Why it is that one, as a sentence for people.
        gold_meaning: Meaning of :meth:`gold`, where the built-in data know it, as a noun phrase for people.
        metrics: Name -> measure to report beside the reward, in the order in which they are shown.
        main_metric: The one that stands for quality where gold is not known.
    """

    name: str = "text"
    options: ClassVar[Mapping[str, Sequence[str]]] = {}
    model: str = DEFAULT_MODEL
    built_in: ClassVar[BuiltIn] = {}
    default_data: ClassVar[Data | None] = None
    prompt_template: str = SLOT
    chat_prompt_template: str | None = None
    prompt_column: str | None = None
    max_prompt_tokens: int = 512
    max_new_tokens: int = 48
    max_reply_tokens: int = 128
    max_turns: int = 1
    scored_by_turns: bool = False
    reward: RewardFn | NameOrPath = "success"
    reward_reason: str = ""
    gold_meaning: str = ""
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
        prompt_template: str | None = None,
        **chosen: str,
    ) -> None:
        for name, choice in checked_choices(self.options, chosen, type(self).__name__).items():
            setattr(self, name, choice)
        if prompt_template is not None:
            self.prompt_template, self.chat_prompt_template = prompt_template, None
        source = self.default_data if data is None else data
        if source is None:
            raise TypeError(
                f"expected data for the task {self.name!r}, got none; give {argument('data', ...)}, such as a file"
            )
        self.data: Data = plain_value(source)
        self.prompt_column = prompt_column
        self.reference_column = reference_column
        names = self._template_columns()  # before the data is read, which may take long
        with columns_in_template(names):
            self.dataset: Dataset = self.examples(split)
        self._require_columns()
        self.adapt_to_data()

    def examples(self, split: Split) -> Dataset:
        """Load one split of the data; a task that makes its examples itself overrides this."""
        built_in = {name: partial(load, **self.choices) for name, load in self.built_in.items()}
        return load_examples(self.data, split, self.prompt_column, self.reference_column, built_in=built_in)

    def adapt_to_data(self) -> None:
        """Set what depends on the data, such as metrics and reward; called once they are loaded. Nothing by default."""

    @property
    def has_references(self) -> bool:
        """Return whether there is something to compare texts with: whether the first example has a reference."""
        return len(self.dataset) > 0 and bool(self.dataset[0].references)

    def for_split(self, split: Split) -> Self:
        """Return the same task on another split of the same data."""
        with columns_in_template(self._template_columns()):
            made = type(self)(self.data, self.prompt_column, self.reference_column, split, **self.choices)
        return with_prompt_template(made, self.prompt_template) if "prompt_template" in vars(self) else made

    @property
    def choices(self) -> dict[str, str]:
        """The values of :attr:`options`, by name."""
        return {name: str(getattr(self, name)) for name in self.options}

    def prompt(self, example: Example) -> Prompt | Sequence[Message] | str:
        """Return what is asked: the template around the prompt; in a conversation, around the user's last message."""
        plain, chat = self._parsed_templates()
        prefix, suffix = plain.around(example.extra)  # braces in a user's text stay what they are
        in_chat = None if chat is None else chat.around(example.extra)
        return as_prompt(example.prompt)._replace(prefix=prefix, suffix=suffix, chat=in_chat)

    def _parsed_templates(self) -> tuple[PromptTemplate, PromptTemplate | None]:
        plain, chat, column = self.prompt_template, self.chat_prompt_template, self.prompt_column
        return parse_template(plain, column), None if chat is None else parse_template(chat, column)

    def _template_columns(self) -> set[str]:
        return {name for template in self._parsed_templates() if template for name in template.columns}

    def _require_columns(self) -> None:
        """Check that every column of the templates is one of the data: that some example has it."""
        lacking = self._template_columns()
        known, place = set[str](), 0
        while lacking and place < len(self.dataset):
            known |= self.dataset[place].extra.keys()
            lacking -= known
            place += 1
        if lacking:
            raise missing_columns(lacking, known)

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

    def demonstrated(self, example: Example) -> Sequence[Sequence[Message]]:
        """Return the conversations that supervised training imitates, without the prompt.

        By default they have one turn: each of the demonstrations, or else of the references.
        """
        return [[Message("assistant", text)] for text in example.demonstrations or example.references]

    def exemplary(self, example: Example) -> Sequence[Message]:
        """Return a conversation that is as good as can be, without the prompt; none where none is known.

        By default it is of one turn, the first reference. In a task of several turns, the agent's turns must follow
        from what was said before them.
        """
        return [Message("assistant", text) for text in example.references[:1]] if self.max_turns == 1 else []

    def __repr__(self) -> str:
        """Return name, data, reward and budgets, in one line."""
        turns = f", up to {self.max_turns} turns" if self.max_turns > 1 else ""
        budgets = f"{self.max_prompt_tokens:,} prompt + {self.max_new_tokens:,} new tokens"
        return f"<{type(self).__name__}: {describe_task(self)}, reward {_name_of(self.reward)}, {budgets}{turns}>"


class Templates(NamedTuple):
    """The templates of a task: for models that read plain text, and for those with a chat template."""

    plain: str
    chat: str


def templates_of(task: Task) -> Templates | None:
    """Return the templates that a task's prompts are made by; ``None`` if it writes them in another way.

    In them, ``{prompt}`` stands for the prompt, whatever its column is called.
    """
    if not isinstance(task, TextTask):
        return None
    example = task.dataset[0]
    if prompt_of(task, example) != TextTask.prompt(task, example):
        return None
    plain, chat = task._parsed_templates()
    return Templates(plain.canonical, (chat or plain).canonical)


def with_prompt_template(task: _AnyTask, template: str) -> _AnyTask:
    """Return a copy of a task that asks by another template, whichever model reads it.

    Raises:
        TypeError: The task does not follow its template, or has none.
        ValueError: It is no template, or has a column that the data lack.
    """
    changed, marked = copy.copy(task), copy.copy(task)
    if isinstance(changed, TextTask) and isinstance(marked, TextTask):
        changed.prompt_template, changed.chat_prompt_template = template, None
        changed._parsed_templates()
        changed._require_columns()
        marked.prompt_template, marked.chat_prompt_template = _MARK + template, None
        if _MARK in prompt_text(marked, task.dataset[0]):
            return changed
    raise TypeError(
        f"expected a task that asks by its prompt_template, got {task.name!r}, which writes its prompts in another "
        "way; leave the prompt template out, or change the task's prompt()"
    )


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


def demonstrated(task: Task, example: Example) -> Sequence[Sequence[Message]]:
    """Return the conversations that supervised training imitates; see :meth:`TextTask.demonstrated`."""
    if isinstance(task, TextTask):
        return task.demonstrated(example)
    return [[Message("assistant", text)] for text in example.demonstrations or example.references]


def exemplary(task: Task, example: Example) -> Sequence[Message]:
    """Return a conversation that is as good as can be; see :meth:`TextTask.exemplary`."""
    if isinstance(task, TextTask):
        return task.exemplary(example)
    return [Message("assistant", text) for text in example.references[:1]] if task.max_turns == 1 else []


def widest_example(task: Task) -> Example:
    """Return an example with the longest text around its prompt: the first one, where it is the same for all.

    Of a corpus that is made up, the first few examples are looked at: their columns have few values, and making all of
    them takes minutes.
    """
    first = task.dataset[0]
    if not isinstance(task, TextTask) or not any(each and each.columns for each in task._parsed_templates()):
        return first

    def width(example: Example) -> int:
        prompt = prompt_of(task, example)
        return len(prompt.prefix + prompt.suffix) + len("".join(prompt.chat or ()))

    count = min(len(task.dataset), _FEW) if isinstance(task.dataset, GeneratedDataset) else len(task.dataset)
    return max((task.dataset[place] for place in range(count)), key=width)


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
    return f"task {task.name} on {data.name} ({describe_split(data)})"


def _name_of(reward: object) -> str:
    """Return the name of a reward, which may be a name: rewards themselves are above tasks."""
    return str(attribute_of(reward, "name", "__name__") or plain_value(reward))
