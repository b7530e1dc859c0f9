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
            help="One of ppo, rollout, scaling, env, peers, trl, gpu, active-selection, dialogue-rewards, tasks, "
            "rollouts or feedback-modes.",
        ),
    ],
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed repetitions of each case.")] = 3,
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny sizes: a smoke test.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Device: auto, cpu or cuda. Default: cuda for gpu, else cpu.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Number of CPU threads of torch.")] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="Write all measurements to this file.")] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", "--picture", help="Write a plot to this file, where the benchmark has one.")
    ] = None,
    trl_python: Annotated[
        str | None, typer.Option("--trl-python", help="Python of an environment with TRL and textgym, for trl.")
    ] = None,
) -> None:
    """Benchmark against a bare-model baseline, and measure how well reward models learn. Needs a checkout."""
    from textgym.cli.bench import BenchSettings, run_bench
    from textgym.cli.quiet import quiet_libraries

    quiet_libraries()
    run_bench(BenchSettings(name, repetitions, smoke, device, threads, json_file, plot, trl_python))


def doctor(model: options.Model = "tiny", device: options.Device = "auto") -> None:
    """Check the installation, and whether a model uses the fast paths."""
    from textgym.cli.doctor import run_doctor

    problems = run_doctor(model, device)
    if problems:
        raise typer.Exit(1)
