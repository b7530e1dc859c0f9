"""Settings of a training run: which agent, on what, for how long; the agent's own options beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from textgym.agents.common.losses import require_adaptable
from textgym.agents.registry import AGENTS, Option, agent_options, resolve_agent
from textgym.checks import LARGEST_COUNT, check_settings
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError, did_you_mean
from textgym.training.stored_settings import settings_from_json

OptionValue = int | float | str | bool | None
OPTION_ALIASES: Mapping[str, str] = {"epochs": "n_epochs", "whiten_rewards": "scale_rewards"}
"""Earlier names of agents' options, as they stand in runs of earlier versions."""
_MOST_ENVS = 2**16
"""Environments are objects of one process: more are a mistake, and would fill the memory one by one."""
_ABOVE_0 = ("learning_rate", "kl_target", "temperature", "reward_timeout")
_FROM_0_TO_1 = ("gae_lambda",)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of ``textgym train``.

    Attributes:
        choice: Task and data.
        agent: Name of the agent, or ``module:Class``.
        options: Arguments of its constructor and its policy's, where they are not the default.
        model: Start model.
        reward: Name, ``module:attribute`` or folder; ``None`` is the task's default.
        steps: Time steps to train for: tokens, of which whole iterations are made.
        n_envs: Texts written side by side.
        eval_prompts: Prompts of the test split to measure on, before and after.
        save_every: Iterations between checkpoints.
        reward_timeout: Longest time in seconds that the reward may take for the texts of a step; ``None`` for no limit.
    """

    choice: EnvChoice
    model: str = "tiny"
    agent: str = "ppo"
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    reward: str | None = None
    steps: int = 200_000
    n_envs: int = 64
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    eval_prompts: int = 300
    seed: int = 0
    save_every: int = 10
    reward_timeout: float | None = None
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        budgets = ("max_prompt_tokens", "max_new_tokens")
        check_settings(
            self, counts=("steps", "n_envs", "eval_prompts", "save_every", *budgets), positive=("reward_timeout",)
        )
        if self.n_envs > _MOST_ENVS:
            raise ValueError(f"expected n_envs of at most {_MOST_ENVS:,}, got {self.n_envs}; lower it")
        if self.agent in AGENTS:  # a class of somebody else is imported when the agent is made, and no sooner
            object.__setattr__(self, "options", checked_options(self.agent, self.options))
        batch, n_steps = (self.options.get(name) for name in ("batch_size", "n_steps"))
        if (batch == 1 and self.agent == "ppo") or self.n_envs * (2 if n_steps is None else int(n_steps)) < 2:
            raise ValueError(
                "expected at least 2 tokens per optimiser step and iteration, to normalise advantages over, got "
                f"batch_size={batch}, n_envs={self.n_envs}, n_steps={n_steps}; raise them"
            )

    def with_options(self, **options: OptionValue) -> TrainSettings:
        """Return the same with other options of the agent."""
        return replace(self, options={**self.options, **options})

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainSettings:
        """Read what ``dataclasses.asdict`` wrote; options of earlier versions stand beside the other settings.

        Raises:
            CheckpointError: It is something else.
            ConsentError: It names a module, and the user has not.
        """
        names = {each.name for each in fields(cls)}
        agent = record.get("agent", "ppo")
        if not isinstance(agent, str):
            raise CheckpointError(f"expected the name of an agent in the settings of a run, got {agent!r}")
        if "options" not in record and agent in AGENTS:
            known = {option.name for option in agent_options(resolve_agent(agent))}
            others = {OPTION_ALIASES.get(name, name): record[name] for name in record.keys() - names}
            options = {name: value for name, value in others.items() if name in known and value is not None}
            record = {**{name: record[name] for name in record.keys() & names}, "options": options}
        return settings_from_json(cls, record)


def train_settings(choice: EnvChoice, agent: str = "ppo", **values: Any) -> TrainSettings:
    """Make settings from values by name: those of the run, and options of the agent, whose earlier names are known."""
    names = {each.name for each in fields(TrainSettings)}
    own = {name: value for name, value in values.items() if name in names}
    options = {OPTION_ALIASES.get(name, name): value for name, value in values.items() if name not in names}
    return TrainSettings(choice, agent=agent, **{**own, "options": {**own.get("options", {}), **options}})


def checked_options(agent: str, options: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Return options of an agent as plain values, each of a type that its constructor takes.

    Raises:
        TypeError: A value is of another type.
        ValueError: There is no such option, or a number is out of range.
    """
    known = {option.name: option for option in agent_options(resolve_agent(agent))}
    found: dict[str, OptionValue] = {}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"expected an option of the agent {agent!r}, got {name!r}.{did_you_mean(name, known)}")
        found[name] = value.item() if isinstance(value, np.generic) else value
        _check_option(known[name], found[name])
    if "kl_coef" in known:
        kl_coef, kl_target = (found.get(name, known[name].default) for name in ("kl_coef", "kl_target"))
        require_adaptable(kl_coef, kl_target)
    return found


def _check_option(option: Option, value: object) -> None:
    name = option.name
    if value is None and option.optional:
        return
    takes = (int, float) if option.type is float else option.type
    if not isinstance(value, takes) or (isinstance(value, bool) and option.type is not bool):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}[option.type]
        raise TypeError(f"expected {words} as {name}, got {value!r}; give one")
    if option.choices and value not in option.choices:
        raise ValueError(f"expected {name} to be one of {', '.join(option.choices)}, got {value!r}; choose one")
    if isinstance(value, str | bool):
        return
    number = float(value)
    if option.type is int and not 1 <= number <= LARGEST_COUNT:
        bound = "of at least 1" if number < 1 else f"of at most {LARGEST_COUNT:,}"
        raise ValueError(f"expected {name} {bound}, got {value}; choose another")
    if not math.isfinite(number) or number < 0 or (number == 0 and name in _ABOVE_0):
        bound = "above 0" if name in _ABOVE_0 else "of at least 0"
        raise ValueError(f"expected {name} {bound}, got {value}; choose another")
    if name in _FROM_0_TO_1 and number > 1:
        raise ValueError(f"expected {name} of at most 1, got {value}; lower it")
