"""The commands about runs that are there: ``textgym runs``, ``textgym show``. Each imports what it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from textgym.cli import completion


def runs(
    folder: Annotated[
        str,
        typer.Argument(metavar="[FOLDER]", help="Folder with runs. Default: runs.", autocompletion=completion.runs),
    ] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all that is known.")] = False,
) -> None:
    """List runs: task, agent, reward and true quality before and after, amount of training, date, state."""
    from textgym.cli.run_table import run_runs

    run_runs(folder, as_json=as_json)


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder.", autocompletion=completion.runs)],
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Print the report of a run, and write it as a page: curves, samples, settings, how to resume and load it."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.training.show import run_show

    quiet_libraries()
    run_show(run, open_page=open_page)
