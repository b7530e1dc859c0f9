"""The records and protocols that cross the floors of the package. No heavy imports here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from stable_baselines3.common.callbacks import BaseCallback
    from torch import Generator, Tensor

NameOrPath = str | os.PathLike[str]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Grain = Literal["token", "episode"]
"""What an action is: the next token, or a whole text."""
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
    """Whatever answers observations of a text environment with actions.

    An agent class also has a class method ``create(env, model=None, *, seed=0, device="auto", **options)``; the command
    line makes every agent with it. Its options are the arguments of its constructor
    (:func:`textgym.agents.agent_options`).

    An agent that samples from a language model has it as ``text_model``. Evaluation then samples whole texts from that
    model; any other agent is stepped through the environment with :meth:`act`.

    """

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
