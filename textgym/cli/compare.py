"""``textgym compare``: several agents from the same start, with the same budget and seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence

import typer

from textgym.cli import options as options
from textgym.cli.agent_options import is_given, settings_of
from textgym.cli.options import BUDGETS, RUN, TASK, takes
from textgym.cli.resuming import consent_with_resume, of_start_model
from textgym.files.paths import user_path
from textgym.plots import ignore_style_of_folder
from textgym.security.consent import find_user_modules_in
from textgym.types import JsonObject

_WORKER = "textgym.cli.compare:work"


@takes(
    {
        **TASK,
        "env_id": options.EnvIdOrRuns,
        "agents": options.ComparedAgents,
        "option": options.ComparedOptions,
        "budget": options.Budget,
        "seeds": options.Seeds,
        "model": options.Model,
        "reward": options.Reward,
        "n_envs": options.NEnvs,
        **BUDGETS,
        "split": options.Split,
        "eval_prompts": options.EvalPrompts,
        "curve_points": options.CurvePoints,
        "curve_prompts": options.CurvePrompts,
        **RUN,
        "resume": options.Resume,
    }
)
def compare(context: typer.Context, **_: object) -> None:
    """Train several agents from the same start, with the same budget and seeds, and compare what came of it.

    Each run is one of textgym train. The folder of --out can be gone on with at any time, by the same command with more
    agents or seeds, or by --resume. Runs that are finished already are compared when their folders are given instead of
    ENV_ID.
    """
    from textgym.cli.quiet import quiet_libraries
    from textgym.training.comparison import compare_runs, comparison_settings, resume_comparison, run_comparison

    quiet_libraries()
    path = context.params["resume"]
    if path is not None:
        resume_comparison(path, consent_with_resume(context), worker=_WORKER)
        return
    named = context.params["env_id"] or []
    if _are_runs(named):
        _require_alone(context)
        compare_runs(named, context.params["out"])
        return
    if named:
        context.params["env_id"] = named[0]
    taken = of_start_model(context, "compare")
    run_comparison(settings_of(comparison_settings, context, **taken), worker=_WORKER)


def _are_runs(names: Sequence[str]) -> bool:
    """Say whether folders of runs are named, and no environment."""
    from textgym.training.comparison.finished import split_label

    return len(names) > 1 or any(user_path(split_label(name)[1]).is_dir() for name in names)


def _require_alone(context: typer.Context) -> None:
    """Refuse options of a training beside runs that are finished: they would be ignored in silence."""
    others = [
        param.opts[0]
        for param in context.command.params
        if param.name not in ("env_id", "out") and is_given(context, str(param.name))
    ]
    if others:
        raise ValueError(
            f"expected finished runs alone, or with --out, got {', '.join(others)} too: the runs have their settings; "
            "leave that out, or name one ENV_ID to train agents"
        )


def work(job: JsonObject) -> JsonObject:
    """Do a part of a comparison in a process of its own, as quietly as a command, and as careful with its folder."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.training.comparison.worker import work as do

    find_user_modules_in(os.getcwd())
    ignore_style_of_folder()
    quiet_libraries()
    return do(job)
