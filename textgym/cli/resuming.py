"""Commands that start a run, or go on with one: what they take from a start model, and the consent beside --resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer

from textgym.cli.agent_options import given_options, given_values, is_given
from textgym.security.consent import FIELDS, names_module

_AGENT_OPTION = "option"  # of the agents of a comparison, whose values may be names


def of_start_model(context: typer.Context, command: str) -> dict[str, Any]:
    """Return the task that a start model is of, where the user names none."""
    from textgym.training.from_run import taken_for_training

    return taken_for_training(command, given_values(context))


def run_or_resume(context: typer.Context, run: Callable[[], object], resume: Callable[..., object]) -> None:
    """Start a run, or go on with the one that ``--resume`` names."""
    path, accepts = context.params["resume"], bool(context.params["accept_changed_data"])
    if path is None:
        run()
    else:
        resume(path, consent_with_resume(context), accept_changed_data=accepts)


def consent_with_resume(context: typer.Context) -> list[str]:
    """Return the names of modules that are repeated beside ``--resume``, which says that they may be imported.

    A run goes on with its own settings; others given beside ``--resume`` would be silently ignored.
    """
    names = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in ("resume", "accept_changed_data") or not is_given(context, name):
            continue
        value = {**given_values(context), **given_options(context)}.get(name)
        found = [text for text in _names_in(value) if names_module(text)]
        if found and name in (*FIELDS, _AGENT_OPTION):
            names += found
        else:
            option = parameter.opts[0] if parameter.param_type_name == "option" else "ENV_ID"
            raise ValueError(f"expected --resume alone, got {option} too: a run keeps its own settings; leave it out")
    return names


def _names_in(value: object) -> Iterator[str]:
    """Yield what an option names; one that is repeated may have several with commas between, each with a label."""
    match value:
        case str():
            yield value
        case list():
            yield from (part.partition("=")[2] or part for text in value for part in str(text).split(","))
