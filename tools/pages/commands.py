"""Pages of the command line, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer.main

from pages.markdown import Pages, code, plain, table
from textgym.agents.registry import installed_agents
from textgym.cli.agent_options import AgentCommand, SftCommand, agent_parameters
from textgym.cli.app import app

FOLDER = "commands"
_INTRODUCTION = """\
`textgym COMMAND --help` shows the same. Every command exits with 0 if it is done, 1 if the run failed, 2 if the
input was wrong, and 130, 143 or 129 if Ctrl-C, SIGTERM or SIGHUP interrupted it. `textgym --debug COMMAND ...` shows
the traceback of an error, `textgym --version` the version.
"""


def commands() -> dict[tuple[str, ...], Any]:
    """Return every command that does something by itself, by the words that call it."""
    return dict(_walk((), typer.main.get_command(app)))


def _walk(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    parts = getattr(command, "commands", None)
    if parts is None:
        yield words, command
        return
    for name, part in parts.items():
        if not part.hidden:
            yield from _walk((*words, name), part)


def help_of(words: Sequence[str], command: Any) -> tuple[str, list[list[str]], list[list[str]]]:
    """Return the usage of a command, and what its help says about each argument and each option, with its default.

    Options of agents, which ``--agent`` adds, are left out: they are those of :func:`agent_rows`.
    """
    # With the request for help in its arguments, and without acting on it, a command adds the defaults of what it runs.
    with command.make_context(" ".join(("textgym", *words)), ["--help"], resilient_parsing=True) as context:
        is_of_any_agent = isinstance(command, AgentCommand) and not isinstance(command, SftCommand)
        given = [each for each in command.params if each.expose_value or not is_of_any_agent]
        kinds = [[each for each in given if each.param_type_name == kind] for kind in ("argument", "option")]
        arguments, options = (_rows(each, context) for each in kinds)
        return command.get_usage(context).removeprefix("Usage: "), arguments, options


def agent_rows(name: str) -> list[list[str]]:
    """Return what the help of ``textgym train --agent NAME`` says about each option of the agent."""
    with commands()["train",].make_context("textgym train", [], resilient_parsing=True) as context:
        return _rows(agent_parameters(name, set()), context)


def _rows(given: Sequence[Any], context: Any) -> list[list[str]]:
    records = [each.get_help_record(context) for each in given]
    return [[code(name), plain(" ".join(text.split()))] for name, text in filter(None, records)]


def command_pages() -> Pages:
    """Return a page for each command, and one that lists them."""
    found = commands()
    pages = {_page(words): command_page(words, command) for words, command in found.items()}
    rows = [
        [f"[`textgym {' '.join(words)}`]({_page(words).rpartition('/')[2]})", _paragraphs(command.help)[0]]
        for words, command in found.items()
    ]
    names = "\n".join("-".join(words) for words in found)
    pages[f"{FOLDER}/index.md"] = (
        f"# Command line\n\n{_INTRODUCTION}\n{table(['command', 'what it does'], rows)}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )
    return pages


def command_page(words: Sequence[str], command: Any) -> str:
    """Return the page of a command."""
    usage, arguments, options = help_of(words, command)
    parts = [f"# textgym {' '.join(words)}", f"```text\n{usage}\n```", *_paragraphs(command.help)]
    if arguments:
        parts += ["## Arguments", table(["argument", "meaning"], arguments)]
    if options:
        parts += ["## Options", table(["option", "meaning"], options)]
    if isinstance(command, AgentCommand) and not isinstance(command, SftCommand):
        links = ", ".join(f"[`{name}`](../agents.md#{name.replace('_', '-')})" for name in installed_agents())
        parts += ["## Options of the agent", f"`--agent NAME` adds the options of that agent: {links}."]
    return "\n\n".join(parts) + "\n"


def _paragraphs(text: str | None) -> list[str]:
    parts = re.split(r"\n\s*\n", (text or "").replace("\b", "").strip())
    return [part if part.startswith(" ") else plain(" ".join(part.split())) for part in parts]


def _page(words: Sequence[str]) -> str:
    return f"{FOLDER}/{'-'.join(words)}.md"
