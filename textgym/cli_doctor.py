"""The command ``textgym doctor``. It imports what it needs when it runs."""

from __future__ import annotations

import typer

from textgym import cli_options as options


def doctor(model: options.Model = "tiny", device: options.Device = "auto") -> None:
    """Say what is installed, what is missing, and whether a model takes the fast paths."""
    from textgym.pipelines.doctor import run_doctor

    problems = run_doctor(model, device)
    if problems:
        raise typer.Exit(1)
