"""The records and protocols that cross the floors of the package. No heavy imports here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from stable_baselines3.common.callbacks import BaseCallback
    from torch import Generator, Tensor

NameOrPath = str | os.PathLike[str]
JsonObject = Mapping[str, Any]
"""An object of a JSON file, whose values are checked where they are used."""
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Grain = Literal["token", "episode"]
GRAINS: tuple[Grain, ...] = ("token", "episode")
"""What an action is: the next token, or a whole text."""
DEFAULT_MODEL = "tiny"
"""The shipped model that is started from where nothing else is said."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Message(NamedTuple):
    """One message of a conversation.

    Attributes:
        role: Speaker: ``"system"``, ``"user"``, ``"assistant"``, or any other role of the model's chat template.
        content: Text of the message.
    """

    role: str
    content: str


def flatten(messages: Sequence[Message]) -> str:
    r"""Return a conversation as one text.

    A single message of the user is its content, unchanged. Several turns become lines ``"User: ..."``,
    ``"Assistant: ..."``; system messages come first.

    >>> flatten([Message("user", "Hello")])
    'Hello'
    >>> flatten([Message("user", "Hello"), Message("system", "Be kind.")])
    'System: Be kind.\nUser: Hello'
    """
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    ordered = sorted(messages, key=lambda message: message.role != "system")
    return "\n".join(f"{message.role.capitalize()}: {message.content.strip()}" for message in ordered)


Shown = str | tuple[Message, ...]
"""What somebody was shown before a response was written: a text, or a conversation."""


def as_shown(messages: Sequence[Message]) -> Shown:
    """Return a conversation; the content alone where all of it is one message of the user."""
    return messages[0].content if len(messages) == 1 and messages[0].role == "user" else tuple(messages)


def shown_text(shown: Shown) -> str:
    """Return what was shown as one text: of a conversation, what :func:`flatten` makes of it."""
    return shown if isinstance(shown, str) else flatten(shown)


def shown_messages(shown: Shown) -> tuple[Message, ...]:
    """Return the messages of a conversation; of a text, none."""
    return () if isinstance(shown, str) else shown


def are_messages(value: object) -> TypeGuard[Sequence[Message]]:
    """Return whether a value is a sequence of messages, at least one."""
    match value:
        case [_, *_]:
            return all(isinstance(message, Message) for message in value)
    return False


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task.

    Attributes:
        key: Stable name of the item, unique over all splits of its data set.
        prompt: Subject of the item: a text of the user (a document, a question), or a conversation.
        references: Texts that answer it well; may be empty.
        demonstrations: Texts that supervised training imitates; empty means "the references".
        extra: Further data about it (labels, tests, ratings, ...): every other column of a file.
    """

    key: str
    prompt: Shown
    references: tuple[str, ...] = ()
    demonstrations: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """The prompt as one text: of a conversation, what :func:`flatten` makes of it."""
        return shown_text(self.prompt)


class Prompt(NamedTuple):
    """The prompt of an episode: one message of the user, only whose body is ever cut, within a conversation.

    Attributes:
        prefix, body, suffix: The message.
        earlier: Messages before it.
        later: Messages after it; usually none.
        chat: Texts that models with a chat template read instead of prefix and suffix; ``None``: the same.
    """

    prefix: str
    body: str
    suffix: str
    earlier: tuple[Message, ...] = ()
    later: tuple[Message, ...] = ()
    chat: tuple[str, str] | None = None

    @property
    def for_chat(self) -> Prompt:
        """The prompt that models with a chat template read."""
        return self if self.chat is None else self._replace(prefix=self.chat[0], suffix=self.chat[1], chat=None)

    @property
    def text(self) -> str:
        """All of it as one text: prefix and suffix stand around everything that was said."""
        return self.prefix + self.document + self.suffix

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it as the messages of a conversation."""
        return (*self.earlier, Message("user", self.prefix + self.body + self.suffix), *self.later)

    @property
    def document(self) -> str:
        """The text between prefix and suffix in :attr:`text`: the body, with the conversation around it."""
        if not (self.earlier or self.later):
            return self.body
        return flatten((*self.earlier, Message("user", self.body), *self.later))


Data = NameOrPath | Sequence[Example] | Sequence[Mapping[str, Any]] | Sequence[str]
"""Name, file, folder, Hub id, or a list of prompts, of examples or of rows."""

FinishReason = Literal["eos", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Episode:
    """The agent's texts and the replies to them: the input of tasks, metrics and rewards.

    Attributes:
        example: Example that the texts are about.
        turns: Messages after the prompt, in order. Where the agent is to write next, the last one is not its own.
        finish_reason: Why the agent's last turn ended: ``"eos"``, ``"stop"`` (a stop string) or ``"length"``.
        state: State that the task keeps from turn to turn. Its :meth:`Task.reply` may change it; it is saved with the
            environment, so it holds JSON values only.
        turn_return: Sum of what :meth:`Task.turn_reward` gave for the agent's turns so far.
    """

    example: Example
    turns: tuple[Message, ...] = ()
    finish_reason: FinishReason = "eos"
    state: dict[str, Any] = field(default_factory=dict, hash=False)
    turn_return: float = 0.0

    @property
    def text(self) -> str:
        """The agent's last turn, as a user sees it; empty before it has written one."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "assistant"), "")

    @classmethod
    def of(cls, example: Example, text: str, finish_reason: FinishReason = "eos") -> Self:
        """Return the episode of one turn."""
        return cls(example, (Message("assistant", text),), finish_reason)


def episodes_of(examples: Sequence[Example], texts: Sequence[str]) -> list[Episode]:
    """Return the episodes of one turn in which ``texts`` answer ``examples``.

    Raises:
        ValueError: There are not as many of both.
    """
    if len(examples) != len(texts):
        raise ValueError(f"expected one example per text, got {len(examples)} and {len(texts)}; pair them up")
    return [Episode.of(example, text) for example, text in zip(examples, texts, strict=True)]


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


Metric = Callable[[Sequence[Episode]], FloatArray]
"""``metric(episodes)`` -> one number each, shape ``(n,)``; NaN where it does not apply, such as without references."""


class Task(Protocol):
    """A source of examples, prompts and an evaluation. One file or folder per task in ``textgym/tasks/``.

    :class:`~textgym.tasks.base.TextTask` has defaults for everything.

    Attributes:
        name: Name of the task in messages.
        dataset: The examples of one split.
        max_prompt_tokens: Default budget of a prompt.
        max_new_tokens: Default budget of each turn of the agent.
        max_reply_tokens: Budget of what the other side says between two turns.
        max_turns: Most turns of the agent.
        reward: The reward of an environment that is given none: a name or a callable.
        model: The shipped model to start from, whose tokens an agent writes that has no model of its own.
        metrics: Name -> what is measured beside the reward, in the order in which it is shown.
        main_metric: The one that stands for quality where gold is not known; ``None``: none does.
    """

    name: str
    dataset: Dataset
    max_prompt_tokens: int
    max_new_tokens: int
    max_reply_tokens: int
    max_turns: int
    reward: RewardFn | NameOrPath
    model: str
    metrics: Mapping[str, Metric]
    main_metric: str | None

    def prompt(self, example: Example) -> Prompt | Sequence[Message] | str:
        """Return what is asked: the one prompt formatter of supervised training, RL, evaluation and reward models."""
        ...

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        """Return what the other side says to the agent's last turn; ``None`` ends the episode.

        Called after every turn of the agent but the ``max_turns``-th.
        """
        ...

    def turn_reward(self, episode: Episode) -> float:
        """Return the reward of the agent's last turn, before it is answered.

        The return of an episode is the sum of these and of the reward at its end.
        """
        ...

    def allowed(self, episode: Episode, ids: Sequence[int], tokenizer: Any) -> IntArray | None:
        """Return the ids that may be written next, behind ``ids`` of the agent's turn; ``None``: any."""
        ...

    def is_success(self, episode: Episode) -> bool:
        """Return whether the episode succeeded by the task's own criterion, independent of any reward."""
        ...

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality of ``n`` episodes, shape ``(n,)``, where the data knows it; else ``None``."""
        ...


class State(NamedTuple):
    """Everything that training needs to go on bit for bit.

    Attributes:
        tensors: Weights, moments of the optimizer, states of random generators, by name.
        record: The rest, as JSON.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


@runtime_checkable
class Agent(Protocol):
    """An agent: it maps observations of a text environment to actions.

    An agent that samples from a language model has it as ``text_model``. Evaluation then samples whole texts from that
    model; any other agent, and one whose ``text_model`` is ``None``, is stepped through the environment with
    :meth:`act`. What is special about a class of agents is said by its class attribute ``facts``, if it has one: a
    :class:`~textgym.agents.facts.AgentFacts`.
    """

    @classmethod
    def create(cls, env: Any, model: Any = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make an agent for an environment; commands make every agent so.

        Args:
            env: A vector environment of the agent's grain to learn in, or a single one to act in.
            model: Language model to start from, or its name; an agent without one ignores it.
            seed: Seed of all random numbers.
            device: Where a model runs.
            options: Arguments of the constructor (:func:`~textgym.agents.options.agent_options`).
        """
        ...

    @property
    def grain(self) -> Grain:
        """``"token"``: an action is the next token; ``"episode"``: it is a whole text."""
        ...

    def act(self, observations: Any, *, greedy: bool = False, generator: Generator | None = None) -> Any:
        """Choose an action for each of ``n`` environments.

        Args:
            observations: Token grain: the batched observation, arrays (n, ...) by name. Episode grain: ``n`` texts.
            greedy: Take the most likely action instead of sampling one.
            generator: Source of randomness; by default torch's global one.

        Returns:
            Token grain: ids (n,). Episode grain: a list of ``n`` texts.
        """
        ...

    def save(self, folder: str | Path) -> None:
        """Write the agent to a folder, which :meth:`load` reads; nothing is pickled."""
        ...

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Self:
        """Read an agent from a folder that :meth:`save` wrote; ``changes`` are constructor arguments to change."""
        ...


@runtime_checkable
class Trainable(Agent, Protocol):
    """An agent that learns, in iterations, and goes on bit for bit from a state.

    Its ``load`` takes ``env=`` and ``device=`` besides: the environment to go on in, made with the same arguments.

    Attributes:
        num_timesteps: Steps made so far: environment steps, or optimizer steps where nothing is sampled.
        history: One record (name -> number) per iteration; ``"timesteps"`` is ``num_timesteps`` at its end.
    """

    num_timesteps: int
    history: list[dict[str, float]]

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time of the last iteration by part."""
        ...

    @property
    def steps_per_iteration(self) -> int:
        """Time steps of one iteration; where these are not known beforehand, the most that there can be."""
        ...

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Any:
        """Make whole iterations until ``total_timesteps`` further steps are made.

        Args:
            total_timesteps: How many.
            callback: Stable-Baselines3's, whatever the agent: ``on_rollout_start`` is called between iterations, when
                weights are whole, ``on_step`` after every step, ``on_rollout_end`` before weights change.
            reset_num_timesteps: Count from 0; ``False`` goes on.
        """
        ...

    def get_state(self) -> State:
        """Return the state; in a rollout, or after an error in one, the state at its beginning.

        Raises:
            CheckpointError: An update is under way, or was broken off: the weights are not whole.
        """
        ...

    def set_state(self, state: State) -> None:
        """Go on from a state of an agent that was made with the same arguments.

        Raises:
            CheckpointError: It is of another kind of agent, model or environment.
        """
        ...
