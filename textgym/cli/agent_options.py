"""Command-line options that are made from an agent's constructor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from textgym.checks import LARGEST_COUNT

ALIASES: Mapping[str, str] = {
    "n_epochs": "--epochs",
    "learning_rate": "--lr",
    "missing_eos_penalty": "--eos-penalty",
    "scale_rewards": "--whiten-rewards",
}
"""Short or earlier spellings of options."""
_GIVEN = "textgym.agent_options"
_OPTION = "--agent"


class AgentCommand(TyperCommand):
    """A command that also has the options of the agent that ``--agent`` names, or else of its default."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the agent's options before the arguments are read."""
        own = [param for param in self.params if param.expose_value]
        taken = {str(param.name) for param in own}
        default = next((param.default for param in own if param.name == "agent"), None)
        name = named_agent(args) or default
        self.params = [*own, *(agent_parameters(name, taken) if isinstance(name, str) else [])]
        return super().parse_args(ctx, args)


def given_options(context: Any) -> dict[str, Any]:
    """Return the agent's options that stand on the command line; the others are left to its constructor."""
    found: dict[str, Any] = context.meta.get(_GIVEN, {})
    return found


def named_agent(args: Sequence[str]) -> str | None:
    """Return the agent that arguments name, before they are parsed."""
    for place, argument in enumerate(args):
        if argument == "--":
            break
        if argument == _OPTION and place + 1 < len(args):
            return args[place + 1]
        if argument.startswith(f"{_OPTION}="):
            return argument.partition("=")[2]
    return None


def agent_parameters(name: str, taken: set[str]) -> list[Any]:
    """Return the options of an agent as parameters of a command, but for those whose names are taken.

    Raises:
        ValueError: There is no such agent.
    """
    from textgym.agents.registry import agent_options, resolve_agent

    options = [option for option in agent_options(resolve_agent(name)) if option.name not in taken]
    found = [param for param in _parameters(options) if param.name in {option.name for option in options}]
    for param in found:
        param.expose_value = False
        param.callback = _keep
    return found


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
    names = [*([ALIASES[option.name]] if option.name in ALIASES else []), flag]
    if option.type is bool and option.default is not False:
        names = [f"{flag}/--no-{flag[2:]}"]
    help_text = option.help + (f" One of {', '.join(option.choices)}." if option.choices else "")
    default = "" if option.default is None or option.type is bool else f" Default: {_plain(option.default)}."
    return typer.Option(*names, help=help_text + default, show_default=False)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and value < LARGEST_COUNT else str(value)


def _keep(ctx: Any, param: Any, value: Any) -> Any:
    """Remember a value that was given."""
    source = ctx.get_parameter_source(param.name)
    if source is not None and source.name == "COMMANDLINE":
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value
    return value
