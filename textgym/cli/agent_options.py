"""Commands whose options, or the defaults of these, are made from the signature of what they run."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer

from textgym.checks import LARGEST_COUNT
from textgym.cli.command import AGENT_GIVEN, Command
from textgym.errors import MissingExtraError
from textgym.security.consent import load_attribute
from textgym.terms import join_terms

_Settings = TypeVar("_Settings")
SHORT: Mapping[str, str] = {"learning_rate": "lr", "missing_eos_penalty": "eos_penalty"}
"""Short names of options, beside the earlier ones."""
_GIVEN = "textgym.agent_options"
_OPTION = "--agent"


class DefaultsCommand(Command):
    """A command whose help tells the defaults of what it runs.

    Attributes:
        target: Import path of the function that gets the options, ``"module:attribute"``.
        env_id: The environment where none is named; ``None`` is that of ``EnvChoice``.
        of_run: Whether there is none without a run, which has one.
    """

    target = ""
    env_id: str | None = None
    of_run = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the defaults before help is shown."""
        if set(args) & set(ctx.help_option_names):
            defaults = self.defaults()
            self.params = [_with_default(param, defaults.get(str(param.name))) for param in self.params]
        return super().parse_args(ctx, args)

    def defaults(self) -> Mapping[str, Any]:
        """Return the defaults of :attr:`target`, by name."""
        from textgym.envs.choice import EnvChoice

        parameters = inspect.signature(load_attribute(self.target)).parameters
        found = {name: parameter.default for name, parameter in parameters.items()}
        named = f"{self.env_id or EnvChoice().env_id}, or the environment of the run in --model"
        task = {"env_id": "the environment of the run" if self.of_run else named}
        if found.get("model") == "":
            found["model"] = "that of ENV_ID"
        return task | found if "choice" in found else found


def defaults_of(target: str, env_id: str | None = None, *, of_run: bool = False) -> type[DefaultsCommand]:
    """Return the class of a command that makes ``target``, ``"module:attribute"``, of its options."""
    return type("Command", (DefaultsCommand,), {"target": target, "env_id": env_id, "of_run": of_run})


class AgentCommand(DefaultsCommand):
    """A command that also has the options of the agent that ``--agent`` names, or else of its own.

    Attributes:
        agent: Name of the command's agent; ``None`` is the default of the function it runs.
    """

    target = "textgym.training.train_settings:TrainSettings"
    agent: str | None = None
    _of_agent: Mapping[str, Any] = {}  # defaults of the agent, once arguments are read

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the agent's options before the arguments are read."""
        from textgym.agents.facts import facts_of
        from textgym.agents.registry import resolve_agent

        own = [param for param in self.params if param.expose_value]
        if ctx.resilient_parsing:  # the shell asks what to complete, and waits
            return DefaultsCommand.parse_args(self, ctx, args)
        self.name_options(ctx, args)  # for errors about the agent
        given = next(iter(named_agents(args)), None)
        if given is not None and self.agent is None:
            ctx.meta[AGENT_GIVEN] = given
        name = self.agent or given or super().defaults()["agent"]
        self._of_agent = asdict(facts_of(resolve_agent(name)).defaults)
        self.params = [*own, *agent_parameters(name, {str(param.name) for param in own})]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return what a shell can complete: the options of the agent that is named too."""
        from textgym.agents.registry import AGENTS

        given = self.agent or ctx.params.get("agent")
        if incomplete.startswith("-") and (given is None or given in AGENTS):
            name = given or DefaultsCommand.defaults(self)["agent"]
            with contextlib.suppress(MissingExtraError):
                self.params = [*self.params, *agent_parameters(name, {str(param.name) for param in self.params})]
        return super().shell_complete(ctx, incomplete)

    def defaults(self) -> Mapping[str, Any]:
        """Return those of a run, and of the agent."""
        return {**super().defaults(), **self._of_agent}


class SftCommand(AgentCommand):
    """The command of the agent ``sft``."""

    agent = "sft"


class ActorCommand(DefaultsCommand):
    """A command that also has the options of the agents that ``--agent`` names, if they have nothing to train.

    The others act as a run has left them.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the agents' options before the arguments are read."""
        self.params = [param for param in self.params if param.expose_value]
        if ctx.resilient_parsing:  # the shell asks what to complete, and waits
            return super().parse_args(ctx, args)
        self.name_options(ctx, args)  # for errors about the agents
        for name in named_agents(args):
            self.params += actor_parameters(name, {str(param.name) for param in self.params})
        return super().parse_args(ctx, args)


def actor_command(target: str, env_id: str | None = None) -> type[ActorCommand]:
    """Return the class of an :class:`ActorCommand` that makes ``target``, ``"module:attribute"``, of its options."""
    return type("Command", (ActorCommand,), {"target": target, "env_id": env_id})


def is_given(context: Any, name: str) -> bool:
    """Say whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def given_values(context: Any) -> dict[str, Any]:
    """Return the command's own options that stand on the command line; those of the task are one mapping.

    A reward in several parts is one text, as :func:`~textgym.terms.parse_terms` reads it.
    """
    found = {name: value for name, value in context.params.items() if is_given(context, name)}
    if "reward" in found:
        found["reward"] = join_terms(found["reward"])
    chosen = task_options(found.pop("difficulty", None), found.pop("task_option", None))
    return {**found, "task_options": chosen} if chosen else found


def given_options(context: Any) -> dict[str, Any]:
    """Return the agent's options that stand on the command line; the others are left to its constructor."""
    found: dict[str, Any] = context.meta.get(_GIVEN, {})
    return found


def task_options(difficulty: str | None, pairs: Sequence[str] | None) -> dict[str, str]:
    """Return what ``--difficulty`` and ``--task-option`` choose, by name.

    >>> task_options("hard", ["direction=to_english"])
    {'difficulty': 'hard', 'direction': 'to_english'}
    """
    chosen = {} if difficulty is None else {"difficulty": difficulty}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"expected --task-option NAME=VALUE, got {pair!r}; write both, such as difficulty=hard")
        chosen[name] = value
    return chosen


def settings_of(kind: Callable[..., _Settings], context: Any, **more: object) -> _Settings:
    """Make a command's settings from the options that were given, which are named after its arguments.

    Args:
        kind: Makes them; what is not given is its default.
        context: The command.
        more: Further values.
    """
    from textgym.envs.choice import EnvChoice

    values = given_values(context) | more
    of_choice = values.keys() & inspect.signature(EnvChoice).parameters.keys()
    choice = EnvChoice(**{name: values.pop(name) for name in of_choice})
    not_settings = {"what", "text", "resume", "accept_changed_data"}
    return kind(choice=choice, **{name: value for name, value in values.items() if name not in not_settings})


def names_of(kind: Callable[..., object]) -> set[str]:
    """Return the names of a command's settings, those of its task among them."""
    from textgym.envs.choice import EnvChoice

    return {*inspect.signature(kind).parameters, *inspect.signature(EnvChoice).parameters}


def named_agents(args: Sequence[str]) -> list[str]:
    """Return the agents that arguments name, before they are parsed.

    >>> named_agents(["TextSumm-v0", "--agent", "ppo", "--agent=random", "--", "--agent", "sft"])
    ['ppo', 'random']
    """
    options = list(itertools.takewhile(lambda argument: argument != "--", args))
    found = []
    for place, argument in enumerate(options):
        if argument == _OPTION:
            found += options[place + 1 : place + 2]
        elif argument.startswith(f"{_OPTION}="):
            found.append(argument.partition("=")[2])
    return found


def agent_parameters(name: str, taken: set[str]) -> list[Any]:
    """Return the options of an agent as parameters of a command, but for those whose names are taken.

    Raises:
        ValueError: There is no such agent.
    """
    from textgym.agents.options import agent_options
    from textgym.agents.registry import resolve_agent

    options = [option for option in agent_options(resolve_agent(name)) if option.name not in taken]
    found = [param for param in _parameters(options) if param.name in {option.name for option in options}]
    for param in found:
        param.expose_value = False
        param.callback = _keep
    return found


def actor_parameters(name: str, taken: set[str]) -> list[Any]:
    """Return the options of an agent that has nothing to train; none of a run folder, or of one that learns.

    Raises:
        ValueError: There is no such agent.
    """
    from textgym.agents.registry import can_learn, resolve_agent
    from textgym.training.agents import is_agent_name

    is_fixed = is_agent_name(name) and not can_learn(resolve_agent(name))
    return agent_parameters(name, taken) if is_fixed else []


def _parameters(options: Sequence[Any]) -> list[Any]:
    """Make parameters the way typer does, from a function that has the options as arguments."""

    def function(**_: object) -> None: ...

    kinds = {option.name: Annotated[option.type | None, _declaration(option)] for option in options}
    function.__annotations__ = kinds
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as PEP 362 has it
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in kinds.items()
        ]
    )
    made = typer.Typer(add_completion=False)
    made.command()(function)
    return list(typer.main.get_command(made).params)


def _declaration(option: Any) -> Any:
    flag = f"--{option.name.replace('_', '-')}"
    names = [*_other_flags(option.name), flag]
    if option.type is bool and option.default is not False:
        names = [f"{flag}/--no-{flag[2:]}"]
    help_text = _plain(option.help) + (f" One of {', '.join(map(str, option.choices))}." if option.choices else "")
    return typer.Option(*names, help=help_text + _default(option.default), show_default=False)


def _plain(text: str) -> str:
    """Return a description as a shell shows it: options as they are typed, and no marks of docstrings.

    >>> _plain('``"mean"`` in place of ``kl_coef``, see :class:`~textgym.agents.ppo.PPO`')
    'mean in place of --kl-coef, see PPO'
    """
    text = re.sub(r":\w+:`~(?:\w+\.)*(\w+)`", r"\1", text)
    text = re.sub(r":\w+:`([^`]+)`", r"\1", text)
    text = re.sub(r'``"([^`]*)"``', r"\1", text)
    return re.sub(r"``([^`]+)``", lambda found: _as_typed(found[1]), text)


def _as_typed(name: str) -> str:
    """Return an option that a description names as it is typed; what has no underscore is a word of something else."""
    return f"--{name.replace('_', '-')}" if re.fullmatch("[a-z]+(_[a-z]+)+", name) else name


def _other_flags(name: str) -> list[str]:
    """Return the short and the earlier spellings of an option."""
    from textgym.agents.options import EARLIER_NAMES

    others = [earlier for earlier, present in EARLIER_NAMES.items() if present == name]
    others += [SHORT[name]] if name in SHORT else []
    return [f"--{other.replace('_', '-')}" for other in others]


def _with_default(param: Any, default: object) -> Any:
    """Return a copy of a parameter whose help tells its default."""
    param = copy.copy(param)
    param.help = (param.help or "") + _default(default)
    return param


def _default(value: object) -> str:
    match value:
        case bool():
            return ""
        case float() if value < LARGEST_COUNT:
            return f" Default: {value:g}."
        case str() | int() | float():
            return f" Default: {value}."
    return ""


def _keep(ctx: Any, param: Any, value: Any) -> Any:
    """Remember a value that was given."""
    if is_given(ctx, param.name):
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value
    return value
