"""Commands whose help is whole at any width, and whose options are named in messages as they were typed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

from textgym.naming import name_options

AGENT_GIVEN = "textgym.agent"
"""Key of a context for the agent that stands on the command line."""
_CALLED = {"validation_fraction": "held_out", "rank": "lora_rank", "agent": "agents"}
"""Options by arguments of functions that commands hand them to under another name."""
_WIDEST, _NARROWEST = 120, 40
_NARROW_COLUMN = 8
_HYPHEN = "\u2011"  # one that no line is broken at
_WIDE = 72  # from here on, a description stands beside its option


def help_width() -> int:
    """Return the number of columns that help may take."""
    return max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))


class Group(TyperGroup):
    """A group whose help has the whole first paragraph of each command."""

    def get_help(self, ctx: Any) -> str:
        """Return the help."""
        return _help_page(self, ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command does."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_paragraph(each.help)) for name, each in commands if each is not None and not each.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows, col_max=max(len(name) for name, _ in rows))


class Command(TyperCommand):
    """A command whose options have the names in messages that its user typed."""

    def get_help(self, ctx: Any) -> str:
        """Return the help."""
        return _help_page(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the options before they are read."""
        self.name_options(ctx, args)
        return super().parse_args(ctx, args)

    def name_options(self, ctx: Any, args: Sequence[str]) -> None:
        """Let messages name the options as they stand among the arguments, as long as the context is open."""
        typed = {str(param.name): _typed(param, args) for param in self.params}
        called = {name: typed[option] for name, option in _CALLED.items() if option in typed}
        ctx.call_on_close(partial(name_options, name_options(typed | called)))


def help_command(context: Any) -> str:
    """Return the command that shows the help of a context, with the agent that its user has named."""
    agent = context.meta.get(AGENT_GIVEN)
    named = "" if agent is None else f" --agent {shlex.quote(agent)}"
    return f"{context.command_path}{named} --help"


def _typed(param: Any, args: Sequence[str]) -> str:
    """Return an option as it stands among the arguments, else its first name; of an argument, that in the usage."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).strip("[]").partition("|")[0]
    given = {arg.partition("=")[0] for arg in args}
    return str(next((name for name in param.opts if name in given), param.opts[0]))


def _help_page(command: Any, ctx: Any) -> str:
    """Return the help of a command: descriptions stand under their options where it is narrow, and no option breaks."""
    formatter = ctx.make_formatter()
    write_rows, write_text, narrow = formatter.write_dl, formatter.write_text, formatter.width < _WIDE

    def write_unbroken(rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        unbroken = [(name, text.replace("-", _HYPHEN)) for name, text in rows]
        write_rows(unbroken, _NARROW_COLUMN if narrow else col_max, col_spacing)

    formatter.write_dl = write_unbroken
    formatter.write_text = lambda text: write_text(text.replace("-", _HYPHEN))
    command.format_help(ctx, formatter)
    return str(formatter.getvalue()).replace(_HYPHEN, "-").rstrip("\n")


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n", maxsplit=1)[0].split())
