"""Agents by name, and the options that their constructors give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pytest

from textgym.agents.facts import AgentFacts
from textgym.agents.options import Option, agent_options, argument_help, checked_options, present_names
from textgym.agents.registry import installed_agents, resolve_agent
from textgym.errors import AgentError, ConsentError
from textgym.security.consent import names_from

if TYPE_CHECKING:
    from fractions import Fraction


class Base:
    """Does nothing.

    Args:
        warmth: How warm,
            in degrees.
        model: The model.
    """

    def __init__(self, warmth: float = 0.5, model: Any = None, table: Mapping[str, int] | None = None) -> None:
        self.warmth = warmth


class Writer:
    """Writes.

    Args:
        env: Where.
        rate, decay: Of learning.
        kind: What it is.
        limit: At most this many,
            or all.
        seed: Of everything.
        log: Where logs go.

    Attributes:
        other: Not an argument.
    """

    grain = "episode"
    facts: ClassVar = AgentFacts(not_options=("log",), policy=Base)

    def __init__(
        self,
        env: Any,
        rate: float | Mapping[str, float] = 1e-3,
        decay: float = 0.1,
        *,
        kind: Literal["a", "b"] = "a",
        limit: int | None = None,
        quick: bool = False,
        seed: int = 0,
        log: str | None = None,
        _setup: bool = True,
    ) -> None:
        self.env = env

    @classmethod
    def create(cls, env: Any, model: Any = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Writer:
        return cls(env, **options)

    def act(self, observations: Sequence[str], *, greedy: bool = False, generator: Any = None) -> list[str]:
        return [""] * len(observations)

    def save(self, folder: str | Path) -> None:
        Path(folder).mkdir()

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Writer:
        return cls(None, **changes)


class Anything(Writer):
    """Takes any whole number that its facts allow.

    Args:
        warmup_steps: Steps.
        last: An index.
        rounds: Rounds.
        frame: A table.
        table: Another.
    """

    facts: ClassVar = AgentFacts(limits={"rounds": (-3, 4)})

    def __init__(
        self,
        env: Any = None,
        warmup_steps: int = 0,
        last: int = -1,
        rounds: int = 1,
        frame: int | Fraction = 3,
        table: Fraction | None = None,
    ) -> None:
        self.env = env


class Halfway:
    def act(self) -> None: ...


def test_options_are_the_plain_arguments_of_agent_and_policy_with_their_docstring() -> None:
    assert agent_options(Writer) == [
        Option("rate", float, 1e-3, "Of learning."),
        Option("decay", float, 0.1, "Of learning."),
        Option("kind", str, "a", "What it is.", ("a", "b")),
        Option("limit", int, None, "At most this many, or all.", (), True),
        Option("quick", bool, False, ""),
        Option("warmth", float, 0.5, "How warm, in degrees."),
    ]


def test_whole_numbers_are_what_the_agent_says() -> None:
    options = {"warmup_steps": 0, "last": -1, "rounds": -3}
    assert checked_options(Anything, options) == options
    assert checked_options(Anything, {"last": -7}) == {"last": -7}  # any, as its default is below 0
    with pytest.raises(ValueError, match="expected warmup_steps of at least 0, got -1; choose another"):
        checked_options(Anything, {"warmup_steps": -1})
    for rounds in (-4, 5):
        with pytest.raises(ValueError, match="expected rounds of at"):
            checked_options(Anything, {"rounds": rounds})


@pytest.mark.parametrize(
    ("name", "right", "wrong", "words"),
    [
        ("rate", [1, 0.5, np.float32(0.5)], [True, "1", None], "a number"),
        ("limit", [None, 3, np.int64(3)], [3.0, True, "3"], "a whole number"),
        ("kind", ["a"], [1, None], "a text"),
        ("quick", [True, np.bool_(False)], [1, 0.0, "True"], "True or False"),
    ],
)
def test_options_have_the_types_of_their_arguments(name: str, right: list[Any], wrong: list[Any], words: str) -> None:
    for value in right:
        assert checked_options(Writer, {name: value}) == {name: value}
    for value in wrong:
        with pytest.raises(TypeError, match=f"expected {words} as {name}, got {value!r}; give one"):
            checked_options(Writer, {name: value})


class Mixed:
    def __init__(
        self,
        env: Any,
        *,
        share: int | float = 0.5,
        level: Literal[1, 2] = 1,
        noise: Annotated[float | None, "standard deviation"] = None,
        epochs: int = 3,
        width: float | Literal["auto"] = "auto",
        code: str | float = "auto",
        flags: bool | int = True,
    ) -> None:
        self.env = env

    @classmethod
    def create(cls, env: Any, model: str | None, *, seed: int = 0, device: str = "auto", **options: Any) -> Any:
        return cls(env, **options)


def test_options_of_unions_and_choices_have_one_type_or_are_none() -> None:
    """What a text means must be plain: ``"1"`` could be a number or a name."""
    assert agent_options(Mixed) == [
        Option("share", float, 0.5, ""),
        Option("level", int, 1, "", (1, 2)),
        Option("noise", float, None, "", (), True),
        Option("epochs", int, 3, ""),
    ]
    assert checked_options(Mixed, {"share": 0.25, "level": 2}) == {"share": 0.25, "level": 2}
    with pytest.raises(ValueError, match="expected level to be one of 1, 2, got 3; choose one"):
        checked_options(Mixed, {"level": 3})


def test_an_option_that_is_called_like_an_earlier_name_keeps_its_name() -> None:
    assert present_names({"epochs": 5}, Mixed) == {"epochs": 5}
    assert present_names({"epochs": 5}, resolve_agent("ppo")) == {"n_epochs": 5}


def test_arguments_of_types_for_type_checkers_only() -> None:
    assert [(option.name, option.type) for option in agent_options(Anything)][-2:] == [("rounds", int), ("frame", int)]


COUNTED = [
    "ppo",
    "reinforce",
    "reinforce_pp",
    "rloo",
    "grpo",
    "sb3_ppo",
    "sft",
    "dpo",
    "kto",
    "expert_iteration",
    "awr",
]


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_agents_are_at_least_1(name: str) -> None:
    kind = resolve_agent(name)
    counts = [option.name for option in agent_options(kind) if option.type is int]
    assert "batch_size" in counts
    for count in counts:
        with pytest.raises(ValueError, match=f"expected {count} of at least [12], got 0"):
            checked_options(kind, {count: 0})


class Derived(Writer):
    """Writes more.

    :param pages: Pages to write,
        each of them long
        (at least 1)
    :param ink: Colour of the ink

    :return: Nothing.

    Args:
        rate: Rate of writing here.
    """

    def __init__(self, env: Any, pages: int = 3, ink: str = "blue", **options: Any) -> None:
        super().__init__(env, **options)


def test_a_subclass_describes_what_it_hands_on_and_fields_of_sphinx_are_read() -> None:
    """Stable-Baselines3 describes arguments so."""
    found = {option.name: option.help for option in agent_options(Derived)}
    assert found["pages"] == "Pages to write, each of them long (at least 1)"
    assert found["ink"] == "Colour of the ink"
    assert found["rate"] == "Rate of writing here."
    assert found["decay"] == "Of learning."


def test_agents_with_optional_packages_are_listed_where_these_are_installed() -> None:
    assert {"ppo", "sb3_ppo", "a2c", "random"} <= set(installed_agents())


def test_argument_help_of_a_class_without_a_section() -> None:
    assert argument_help(Halfway) == {}


def test_an_agent_of_a_user_is_found_by_module_and_class() -> None:
    assert resolve_agent(f"{__name__}:Writer") is Writer


def test_unknown_agents_are_errors_that_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got agent 'pppo'\. Did you mean 'ppo'"):
        resolve_agent("pppo")
    with pytest.raises(TypeError, match=r"got a class without save, load, create; see textgym\.types\.Agent"):
        resolve_agent(f"{__name__}:Halfway")
    with pytest.raises(TypeError, match="got a function"):
        resolve_agent(f"{__name__}:test_argument_help_of_a_class_without_a_section")


def test_a_class_needs_a_grain_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{__name__}:Writer"
    for grain in ("word", "", property(lambda self: "token")):
        monkeypatch.setattr(Writer, "grain", grain)
        with pytest.raises(AgentError, match=r"grain of the agent Writer to be 'token' or 'episode', got .*; set it"):
            resolve_agent(own)
    monkeypatch.delattr(Writer, "grain")
    with pytest.raises(AgentError, match="to be 'token' or 'episode', got None; set it in the class"):
        resolve_agent(own)


def test_a_class_named_in_a_file_needs_consent(tmp_path: Path) -> None:
    name = f"{__name__}:Writer"
    with pytest.raises(ConsentError, match="agent"):
        resolve_agent(name, from_file=True)
    with names_from(tmp_path, "textgym train"), pytest.raises(ConsentError, match=f"textgym train --agent {name}"):
        resolve_agent(name, from_file=True)
    with names_from(tmp_path, "textgym train", [name]):
        assert resolve_agent(name, from_file=True) is Writer


def test_names_of_the_table_need_no_consent(tmp_path: Path) -> None:
    with names_from(tmp_path, "textgym train"):
        assert resolve_agent("ppo", from_file=True).__name__ == "PPO"


def test_every_option_of_every_agent_has_a_default_that_fits_and_a_help_text() -> None:
    for name in installed_agents():
        for option in agent_options(resolve_agent(name)):
            assert option.help, f"{name}: {option.name}"
            assert option.default is None or isinstance(option.default, (option.type, int)), f"{name}: {option.name}"
            assert option.default is not None or option.optional, f"{name}: {option.name}"
