"""The commands about the machine: ``textgym bench``, ``textgym doctor``. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from textgym.cli import options as options


def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ppo, rollout, scaling, env, peers, gpu, active-selection, dialogue-rewards or feedback-modes.",
        ),
    ],
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed runs of each case.")] = 3,
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny sizes, to see that it runs.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu or cuda; cuda for gpu, else cpu by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch.")] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="Write everything measured to this file.")] = None,
    plot: Annotated[str | None, typer.Option("--plot", "--picture", help="Plot it, where it can be plotted.")] = None,
) -> None:
    """Measure what things cost beside what cannot be avoided, and what reward models learn. Needs a checkout."""
    from textgym.cli.bench import BenchSettings, run_bench
    from textgym.cli.quiet import quiet_libraries

    quiet_libraries()
    run_bench(BenchSettings(name, repetitions, smoke, device, threads, json_file, plot))


def doctor(model: options.Model = "tiny", device: options.Device = "auto") -> None:
    """Say what is installed, what is missing, and whether a model takes the fast paths."""
    from textgym.cli.doctor import run_doctor

    problems = run_doctor(model, device)
    if problems:
        raise typer.Exit(1)
