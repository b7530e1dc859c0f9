"""Settings of a training run, as they are stored with it: agent, task, data, length and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from textgym.agents.facts import RunDefaults, facts_of
from textgym.agents.options import OptionValue, agent_options, checked_options, present_names
from textgym.agents.registry import AGENTS, resolve_agent
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, use_start_model
from textgym.errors import CheckpointError
from textgym.models.stored_values import text
from textgym.naming import argument
from textgym.training.stored_settings import settings_from_json
from textgym.types import Split

PARALLEL_ENVS = 64
"""Number of parallel environments, by default."""
_MOST_ENVS = 2**16
"""Environments are objects of one process: more are a mistake, and would fill the memory one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The record of a training run in its ``config.json``; :func:`train_settings` makes one.

    Attributes:
        choice: Task and data.
        agent: Name of the agent, or ``module:Class``.
        options: Arguments of its constructor and its policy's, where they are not the default.
        model: Start model; by default that of the task.
        reward: Name, ``module:attribute`` or folder; ``None`` is the task's default.
        steps: Time steps to train for, of which whole iterations are made.
        minutes: Train for this long instead: for the number of steps that fit.
        n_envs: Number of parallel environments.
        split: Split of the data that the agent is evaluated on.
        eval_prompts: Number of prompts of this split to evaluate on, before and after training.
        save_every: Iterations, or optimizer steps where nothing is sampled, between checkpoints.
        reward_timeout: Longest time in seconds that the reward may take for the texts of a step; ``None`` for no limit.
    """

    choice: EnvChoice
    steps: int
    eval_prompts: int
    save_every: int
    split: Split
    model: str = ""
    agent: str = "ppo"
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    reward: str | None = None
    minutes: float | None = None
    n_envs: int = PARALLEL_ENVS
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    reward_timeout: float | None = None
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        use_start_model(self)
        counts = ("steps", "n_envs", "eval_prompts", "save_every", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, positive=("minutes", "reward_timeout"))
        if self.n_envs > _MOST_ENVS:
            raise ValueError(f"expected {argument('n_envs')} of at most {_MOST_ENVS:,}, got {self.n_envs}; lower it")
        if self.agent in AGENTS:  # a class of somebody else is imported when the agent is made, and no sooner
            object.__setattr__(self, "options", checked_options(resolve_agent(self.agent), self.options))

    def with_options(self, **options: OptionValue) -> TrainSettings:
        """Return the same with other options of the agent."""
        return replace(self, options={**self.options, **options})

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> TrainSettings:
        """Read what ``dataclasses.asdict`` wrote; in earlier versions, options of agents stood beside the rest.

        Raises:
            CheckpointError: It is something else.
            ConsentError: It names a module, and the user has not.
        """
        agent: Any = record.get("agent", "ppo")
        if not text(agent):
            raise CheckpointError(f"expected the name of an agent in the settings of a run, got {agent!r}")
        names = {each.name for each in fields(cls)}
        own = {name: record[name] for name in record.keys() & names}
        defaults = RunDefaults()
        if agent in AGENTS:
            kind = resolve_agent(agent)
            defaults, known = facts_of(kind).defaults, {option.name for option in agent_options(kind)}
            others = present_names({name: record[name] for name in record.keys() - names}, kind)
            options = {name: value for name, value in others.items() if name in known and value is not None}
            given = own.get("options", {})
            if options and isinstance(given, Mapping):
                own["options"] = {**options, **given}
        return settings_from_json(cls, {**asdict(defaults), **own})


def train_settings(choice: EnvChoice, agent: str = "ppo", **values: Any) -> TrainSettings:
    """Make settings from values by name: those of the run, and options of the agent, whose earlier names are known.

    What is not given is the default of the agent, see :class:`~textgym.agents.facts.RunDefaults`.
    """
    names = {each.name for each in fields(TrainSettings)}
    own = {name: value for name, value in values.items() if name in names}
    kind = resolve_agent(agent)
    options = present_names({name: value for name, value in values.items() if name not in names}, kind)
    defaults = asdict(facts_of(kind).defaults)
    own = {**defaults, **own, "options": {**own.get("options", {}), **options}}
    return TrainSettings(choice=choice, agent=agent, **own)
