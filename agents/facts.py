"""Optional facts and methods of an agent beyond the protocols of ``textgym.types``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from textgym.envs.acting import grain_of
from textgym.types import Agent, Split, Task
from textgym.values import attribute_of

if TYPE_CHECKING:
    from stable_baselines3.common.logger import Logger

    from textgym.agents.common.health import Concerns


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """The defaults of a training run, for settings that its user does not give.

    Attributes:
        steps: Time steps to train for.
        eval_prompts: Prompts to measure on, before and after.
        save_every: Iterations, or optimizer steps where nothing is sampled, between checkpoints.
        split: Split of the evaluation.
    """

    steps: int = 200_000
    eval_prompts: int = 300
    save_every: int = 10
    split: Split = "test"


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The facts of a class of agents that commands read before they make one: its attribute ``facts``, if any.

    Attributes:
        name: Name of the agent in messages; ``""`` is the name of the class.
        method: Method of training, for the model card; ``""`` is ``name``.
        samples: Whether it learns from its own texts in the environment and their rewards. If not, a time step is
            an optimizer step, and training can stop, and go on, after any of them.
        not_options: Arguments of its constructor that are no options of a command.
        reference_option: Name of the option that gives the reference model of a KL penalty; ``""`` for none.
        labels_option: Name of the option of an agent that samples nothing which says from how many demonstrations,
            preferences or rated texts it learns at most; ``""`` for none.
        data_option: Name of the option that gives such an agent its data, where it makes them itself without, which can
            take as long as a training; ``""`` for none.
        policy: Another class whose constructor's arguments are options of the agent too; of an agent, also those that
            this says of its own.
        limits: The least and the largest value of options that are numbers, where these are not 0 and any.
        check: Raises a ``ValueError`` for options, the default ones among them, that do not fit together.
        defaults: Defaults of a run.
    """

    name: str = ""
    method: str = ""
    samples: bool = True
    not_options: Collection[str] = ()
    reference_option: str = ""
    labels_option: str = ""
    data_option: str = ""
    policy: type[object] | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], object] | None = None
    defaults: RunDefaults = RunDefaults()


def facts_of(agent: type[object]) -> AgentFacts:
    """Return the facts of a class of agents, with a name."""
    facts: AgentFacts = attribute_of(agent, "facts") or AgentFacts()
    name = facts.name or agent.__name__
    return replace(facts, name=name, method=facts.method or name)


Processes = Literal["none", "data", "agents"]
"""What several processes do together: ``"data"``: they train one agent, each with a share of its environments or of its
batches; ``"agents"``: they train one agent each, out of a group; ``"none"``: they cannot train it."""


def processes_of(agent: type[object]) -> Processes:
    """Return what several processes do with a class of agents, which has it as an attribute; most can do nothing."""
    return cast("Processes", attribute_of(agent, "processes") or "none")


def unit_of(agent: type[Agent]) -> str:
    """Return what a time step of an agent is, in the plural."""
    if not facts_of(agent).samples:
        return "steps"
    return "tokens" if grain_of(agent) == "token" else "texts"


@runtime_checkable
class Measured(Protocol):
    """A :class:`~textgym.types.Trainable` with measures of its own, such as a loss, beside those of its texts."""

    def measures(self, task: Task) -> Mapping[str, float | None]:
        """Return them by name, on a task that nothing is learnt from; ``None`` where there is nothing to measure."""
        ...


@runtime_checkable
class Sourced(Protocol):
    """A :class:`~textgym.types.Trainable` that learns from files, which may change while a run is interrupted."""

    def changed_sources(self) -> Sequence[str]:
        """Return a sentence about every file that says something else than when the agent was made."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A :class:`~textgym.types.Trainable` that can say beforehand how long it will take."""

    def seconds_per_step(self) -> float:
        """Return the seconds of a time step, from a short measurement of this machine; nothing else changes."""
        ...


@runtime_checkable
class ChecksEnv(Protocol):
    """A :class:`~textgym.types.Trainable` that learns in some environments only, although it acts in others too."""

    def require_env(self) -> None:
        """Check its environment before anything of a run is made.

        Raises:
            ValueError: It cannot learn there.
        """
        ...


@runtime_checkable
class Logging(Protocol):
    """A :class:`~textgym.types.Trainable` that writes its records to a logger of Stable-Baselines3."""

    def set_logger(self, logger: Logger) -> None:
        """Write to this one from now on."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A :class:`~textgym.types.Trainable` that looks for signs that its training goes wrong."""

    def set_concerns(self, concerns: Concerns) -> None:
        """Let these warn from now on, so that nothing is said twice."""
        ...


@runtime_checkable
class Offline(Protocol):
    """A :class:`~textgym.types.Trainable` that learns from given texts, and can say how many.

    Comparisons at equal budgets count them.

    Attributes:
        labels: Demonstrations, preferences or ratings that it learns from, each counted once.
    """

    @property
    def labels(self) -> int:
        """Their number."""
        ...

    def tokens_per_step(self) -> float:
        """Return the mean number of tokens of responses that an optimizer step reads; prompts do not count."""
        ...


@runtime_checkable
class Recoverable(Protocol):
    """A :class:`~textgym.types.Trainable` whose state of before an update can be had although the update failed."""

    def remember_weights(self) -> None:
        """Copy what an update changes; called in ``on_rollout_end``."""
        ...
