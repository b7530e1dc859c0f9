"""The settings of a comparison: which agents, with which options, on which seeds and budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from textgym.agents.facts import facts_of
from textgym.agents.options import EARLIER_NAMES, Option, OptionValue, agent_options
from textgym.agents.registry import can_learn, resolve_agent
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, use_start_model
from textgym.errors import did_you_mean
from textgym.naming import argument
from textgym.training.comparison.budget import Budget
from textgym.training.stored_settings import settings_from_json
from textgym.training.train_settings import PARALLEL_ENVS, TrainSettings, train_settings
from textgym.types import Agent, Split

_LABEL = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_TRUTHS: Mapping[str, bool] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NONE = "none"
_WORDS: Mapping[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}
_BUDGETS_OF_TEXTS = ("max_prompt_tokens", "max_new_tokens")
OWN = ("agents", "options", "seeds", "device", "out")
"""Settings in which a comparison can grow; all others are the same for all of its runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """Settings of ``textgym compare``; :func:`comparison_settings` reads what is typed.

    Names of files stay as they are given, so that a comparison goes on in another checkout.

    Attributes:
        choice: Task and data.
        agents: Label of each agent, which names its files -> name of the agent, or ``module:Class``.
        options: Label -> options of the agent, where they are not its defaults.
        seeds: Number of runs of each agent.
        budget: Budget of each run, as :meth:`~textgym.training.comparison.budget.Budget.parse` reads it.
        model: Start model of all; by default that of the task.
        reward: Name, ``module:attribute`` or folder; ``None`` is the task's default.
        n_envs: Number of parallel environments.
        split: Split of the data that all are evaluated on.
        eval_prompts: Number of its prompts to evaluate on, before and after.
        curve_points: Measurements of each run on its way, beside that of the start.
        curve_prompts: Number of prompts of each, the first ones of the evaluation.
        seed: Seed of the first run of each agent; the others have the next ones.
    """

    choice: EnvChoice
    agents: Mapping[str, str]
    options: Mapping[str, Mapping[str, OptionValue]] = field(default_factory=dict)
    seeds: int = 5
    budget: str = "tokens=100000"
    model: str = ""
    reward: str | None = None
    n_envs: int = PARALLEL_ENVS
    split: Split = "test"
    eval_prompts: int = 200
    curve_points: int = 10
    curve_prompts: int = 64
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        use_start_model(self)
        counts = ("seeds", "n_envs", "eval_prompts", "curve_points", "curve_prompts")
        check_settings(self, counts=(*counts, "max_prompt_tokens", "max_new_tokens"))
        Budget.parse(self.budget)
        if not self.agents:
            raise ValueError(f"expected at least one agent in {argument('agents')}, got none; name some: ppo,reinforce")
        wrong = next((label for label in self.agents if not _LABEL.fullmatch(label)), None)
        if wrong is not None:
            raise ValueError(
                f"expected a label of letters, digits, dots, - and _ for each of {argument('agents')}, got {wrong!r}; "
                "write LABEL=AGENT"
            )
        strange = next((label for label in self.options if label not in self.agents), None)
        if strange is not None:
            raise ValueError(
                f"expected options of one of {', '.join(self.agents)}, got some of {strange!r}."
                f"{did_you_mean(strange, self.agents)}"
            )

    @classmethod
    def from_json(cls, record: object) -> ComparisonSettings:
        """Read what ``dataclasses.asdict`` wrote.

        Raises:
            CheckpointError: It is something else.
            ConsentError: It names a module, and the user has not.
        """
        return settings_from_json(cls, record)

    @property
    def allowed(self) -> Budget:
        """The budget of each run."""
        return Budget.parse(self.budget)

    @property
    def all_seeds(self) -> range:
        """The seed of every run of an agent."""
        return range(self.seed, self.seed + self.seeds)

    def shared(self) -> dict[str, Any]:
        """Return what is the same for all runs, as JSON."""
        return {name: value for name, value in asdict(self).items() if name not in (*OWN, "seed")}

    def of_run(
        self, label: str, seed: int, folder: Path, steps: int | None = None, limit: int | None = None
    ) -> TrainSettings:
        """Return the settings of one run, which is a run of ``textgym train``.

        Args:
            label: Label of the agent.
            seed: Seed of the run.
            folder: Where it goes.
            steps: Time steps; ``None`` leaves them to the agent.
            limit: Examples that an offline agent learns from, where labels are limited; ``None`` is as many as labels.

        Raises:
            ValueError: The agent has no such option; or its labels are limited, and it has no option for that; or an
                option gives what the comparison sets.
        """
        kind, budget, options = self.kind_of(label), self.allowed, dict(self.options.get(label, {}))
        for name in _BUDGETS_OF_TEXTS:
            if name in options and getattr(self, name) is not None:
                raise _said_twice(label, name, options[name], argument(name, getattr(self, name)))
        is_offline = can_learn(kind) and not facts_of(kind).samples
        if budget.kind == "labels" and is_offline:
            name = facts_of(kind).labels_option
            if not name:
                raise ValueError(
                    f"expected an agent whose labels can be limited for a budget of labels, got {label!r}, whose facts "
                    "have no labels_option; choose another budget, or leave it out"
                )
            if name in options:
                raise _said_twice(label, name, options[name], argument("budget", self.budget))
            options[name] = int(budget.amount) if limit is None else limit
        return train_settings(
            self.choice,
            self.agents[label],
            options=options,
            model=self.model,
            reward=self.reward,
            n_envs=self.n_envs,
            split=self.split,
            eval_prompts=self.eval_prompts,
            max_prompt_tokens=self.max_prompt_tokens,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            device=self.device,
            out=str(folder),
            **({} if steps is None else {"steps": steps}),
        )

    def kind_of(self, label: str) -> type[Agent]:
        """Return the class of an agent."""
        return resolve_agent(self.agents[label])


def _said_twice(label: str, name: str, value: OptionValue, setting: str) -> ValueError:
    option = f"{label}:{name.replace('_', '-')}={value}"
    return ValueError(
        f"expected {argument('option')} {option} or {setting}, which sets it for all agents, got both; leave one of "
        "them out"
    )


def comparison_settings(
    choice: EnvChoice, agents: Sequence[str] = (), option: Sequence[str] = (), **values: Any
) -> ComparisonSettings:
    """Make settings from agents and options as they are typed.

    >>> made = comparison_settings(EnvChoice("TextSpell-v0"), ["ppo,free=ppo"], ["free:kl-coef=0"], seeds=3)
    >>> made.agents, made.options
    ({'ppo': 'ppo', 'free': 'ppo'}, {'free': {'kl_coef': 0.0}})

    Args:
        choice: Task and data.
        agents: Names with commas between; ``LABEL=AGENT`` gives one another label, as for a second set of options.
        option: Options, each ``LABEL:NAME=VALUE``.
        values: Further settings by name.

    Raises:
        ValueError: An agent is named twice, there is no such agent or option, or it has no such value.
    """
    named = _labelled([part.strip() for text in agents for part in text.split(",") if part.strip()])
    return ComparisonSettings(choice=choice, agents=named, options=_options_of(named, option), **values)


def _labelled(texts: Sequence[str]) -> dict[str, str]:
    """Return agents by their labels: those that are given, or the last part of the name."""
    found: dict[str, str] = {}
    for text in texts:
        label, equals, agent = text.partition("=")
        if not equals:
            agent, label = label, label.rpartition(":")[2]
        if label in found:
            raise ValueError(
                f"expected agents with different labels in {argument('agents')}, got {label!r} twice; name one "
                f"otherwise: other={agent}"
            )
        found[label] = agent
    return found


def _options_of(agents: Mapping[str, str], texts: Sequence[str]) -> dict[str, dict[str, OptionValue]]:
    """Return options by label and name, each of a type that its agent takes."""
    found: dict[str, dict[str, OptionValue]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        label, colon, name = name.partition(":")
        if not (equals and colon and name):
            raise ValueError(f"expected AGENT:NAME=VALUE as {argument('option')}, got {text!r}; write all three")
        if label not in agents:
            raise ValueError(
                f"expected an option of one of {', '.join(agents)}, got {text!r}.{did_you_mean(label, agents)}"
            )
        option = _find(name, {each.name: each for each in agent_options(resolve_agent(agents[label]))}, label)
        found.setdefault(label, {})[option.name] = value_of_text(option, value)
    return found


def _find(name: str, known: Mapping[str, Option], label: str) -> Option:
    plain = name.replace("-", "_")
    plain = "learning_rate" if plain == "lr" and plain not in known else plain
    plain = plain if plain in known else EARLIER_NAMES.get(plain, plain)
    if plain not in known:
        raise ValueError(f"expected an option of {label}, got {name!r}.{did_you_mean(plain, known)}")
    return known[plain]


def value_of_text(option: Option, text: str) -> OptionValue:
    """Return the value of an option that a text says, of the type of the option.

    Raises:
        ValueError: It says none.
    """
    if option.optional and text.lower() == _NONE:
        return None
    try:
        return _TRUTHS[text.lower()] if option.type is bool else option.type(text)
    except (KeyError, ValueError):
        raise ValueError(f"expected {_WORDS[option.type]} as {option.name}, got {text!r}; give one") from None
