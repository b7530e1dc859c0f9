"""``textgym evaluate``: one model or agent, or several that are compared; ``textgym score``: episodes of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from textgym.cli.agent_options import given_options, given_values, names_of, settings_of


def evaluate_given(context: Any, names: Collection[str], settings: Callable[..., Any]) -> None:
    """Evaluate what stands on the command line.

    Args:
        context: The command.
        names: Settings that may be taken from the run of the first model or agent.
        settings: Makes settings of a class, given the command and further values.
    """
    from textgym.training.evaluate import EvaluateSettings, run_evaluate
    from textgym.training.evaluate_several import EvaluateSeveralSettings, run_evaluate_several
    from textgym.training.from_run import taken_from_model

    named = actors_of(context)
    taken = taken_from_model("evaluate", {**given_values(context), **named}, names) | named
    if "models" in named:
        run_evaluate_several(settings(EvaluateSeveralSettings, context, **taken))
    else:
        run_evaluate(settings(EvaluateSettings, context, **taken))


def score_given(context: Any) -> None:
    """Score the episodes that stand on the command line, of the task and data of their run."""
    from textgym.training.from_run import taken_from_model
    from textgym.training.rescore import ScoreSettings, require_task, run_score

    given = given_values(context)
    source = require_task(given.get("episodes"), given)
    names = names_of(ScoreSettings)
    taken = taken_from_model("score", {**given, "episodes": source}, names - {"metric"}) if source is not None else {}
    metrics = {"metric": tuple(given["metric"])} if "metric" in given else {}
    run_score(settings_of(ScoreSettings, context, **taken, **metrics))


def actors_of(context: Any) -> dict[str, Any]:
    """Return the models, agents with their options, and measures that are given, as settings.

    One agent beside one model writes the tokens of that model. Where there are more of either, all are compared.
    """
    options = given_options(context)
    models, agents, metrics = (tuple(context.params[name] or ()) for name in ("model", "agent", "metric"))
    found: dict[str, Any] = {name: given[0] for name, given in (("model", models), ("agent", agents)) if given}
    found |= {"metric": metrics} if metrics else {}
    found |= {"agent_options": options} if options else {}
    if max(len(models), len(agents)) < 2:
        return found
    return {**found, "agent": None if models else agents[0], "models": models, "agents": agents}
