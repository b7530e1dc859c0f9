"""A run that evaluates several models and agents on the same prompts, and compares each with the first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from textgym import console
from textgym.envs.choice import describe_data
from textgym.evaluation.acting import require_own_temperature
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, text_model_of
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.measures import compare_significance
from textgym.metrics.significance import PairedTest
from textgym.models.text_model import TextModel
from textgym.plots import plot_comparison
from textgym.training.agents import FoundAgent, evaluation_of, find_agent, options_for
from textgym.training.evaluate import EvaluateSettings
from textgym.training.from_run import say_cut_prompts, say_other_template
from textgym.training.recovery import advising_on_memory, describe_splits
from textgym.training.results import write_texts
from textgym.training.run_folder import RunFolder, intervals_as_json
from textgym.training.stored_settings import located

_PLOT = "comparison.png"
Tests = Mapping[str, Mapping[str, PairedTest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSeveralSettings(EvaluateSettings):
    """Settings of ``textgym evaluate`` with several models or agents; ``model`` or ``agent`` is the first of them.

    Each agent gets those of ``agent_options`` that it has.

    Attributes:
        models: Language models, compared in this order.
        agents: Agents, compared behind them; those that write tokens and have no model write those of the first model.
    """

    models: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()

    def each(self) -> dict[str, EvaluateSettings]:
        """Return the settings of each model and agent by its name, which is numbered where it occurs twice."""
        tokens = self.models[0] if self.models else self.model
        named = [(name, replace(self, model=name, agent=None, agent_options={})) for name in self.models]
        for name in self.agents:
            own = options_for(name, self.agent_options)
            named.append((name, replace(self, model=tokens, agent=name, agent_options=own)))
        found: dict[str, EvaluateSettings] = {}
        for name, settings in named:
            count = sum(other == name for other, _ in named[: len(found)])
            found[f"{name} ({count + 1})" if count else name] = settings
        return found


@advising_on_memory("evaluate")
def run_evaluate_several(settings: EvaluateSeveralSettings) -> RunFolder:
    """Evaluate several models and agents on the same prompts with the same seeds; write texts, a plot and a summary.

    Data, reward and token budgets are those of the first, where nothing else is given.

    Raises:
        ValueError: The temperature does not suit an agent.
    """
    start = time.perf_counter()
    found = {name: find_agent(each) for name, each in settings.each().items()}
    first = next(iter(found.values()))
    if any(each.language_model is None for each in found.values()):
        require_own_temperature(settings.temperature)
    eval_set = evaluation_of(
        settings, first, settings.reward, settings.prompts, temperature=settings.temperature, metrics=settings.metric
    )
    console.say(
        f"Comparing {', '.join(found)} on {len(eval_set.examples)} prompts of {describe_data(eval_set.task)}, "
        f"temperature {settings.temperature:g}, reward {eval_set.reward_name!r}."
    )
    reference = _reference(settings, first)
    run = RunFolder.create(settings.out, "evaluate", asdict(located(settings)))
    with run:
        known = {"splits": describe_splits((eval_set.task,)), "reward": eval_set.reward_name}
        run.write_config({**run.config(), **known})
        evaluations = {name: _evaluate(name, each, eval_set, reference) for name, each in found.items()}
        for number, evaluation in enumerate(evaluations.values(), start=1):
            write_texts(run, str(number), eval_set, evaluation)
        tests = tests_of(evaluations)
        run.write_summary(summary_of(evaluations, tests, time.perf_counter() - start))
        means = {name: evaluation.measures.intervals() for name, evaluation in evaluations.items()}
        plot_comparison(run.path / _PLOT, means)
    show_table(evaluations, tests)
    console.say(f"\nTexts, {_PLOT} and summary.json are in {run.path}")
    return run


def _reference(settings: EvaluateSeveralSettings, first: FoundAgent) -> TextModel | None:
    """Return the model that the KL is measured to: the one that is named, or else the first."""
    name = settings.reference_model or first.language_model
    return None if name is None else load_model(name, settings.device)


def _evaluate(name: str, found: FoundAgent, eval_set: EvaluationSet, reference: TextModel | None) -> Evaluation:
    """Load one of them and evaluate it; it ends its texts by stop strings of its own."""
    if found.language_model is not None:
        say_other_template(eval_set.task, found.language_model)
    agent = found.load()
    model = text_model_of(agent)
    if model is not None:
        require_context(model, eval_set.task)
        say_cut_prompts(eval_set.task, model.tokenizer, eval_set.examples)
    own = replace(eval_set, sampling=replace(eval_set.sampling, stop=found.stop))
    return evaluate(agent, own, reference=reference, title=name, tokenizer=found.tokenizer)


def tests_of(evaluations: Mapping[str, Evaluation]) -> Tests:
    """Return the paired differences of all but the first to the first."""
    (_, first), *others = evaluations.items()
    return {name: compare_significance(before=first, after=other) for name, other in others}


def summary_of(evaluations: Mapping[str, Evaluation], tests: Tests, total: float) -> dict[str, object]:
    """Return measures, files of texts, and differences to the first, as they stand in ``summary.json``."""
    return {
        "models": {
            name: {
                "measures": intervals_as_json(evaluation.measures.intervals()),
                "standard_deviations": evaluation.measures.spreads(),
                "texts": f"texts-{number}.jsonl",
                "seconds": evaluation.seconds,
            }
            for number, (name, evaluation) in enumerate(evaluations.items(), start=1)
        },
        "compared_with": next(iter(evaluations)),
        "differences": {
            name: {measure: _test_as_json(test) for measure, test in found.items()} for name, found in tests.items()
        },
        "prompts": len(next(iter(evaluations.values())).episodes),
        "seconds": {"total": total},
    }


def _test_as_json(test: PairedTest) -> dict[str, float | None]:
    interval = intervals_as_json({"difference": test.difference})["difference"]
    return {**interval, "p_value": test.p_value}


def show_table(evaluations: Mapping[str, Evaluation], tests: Tests) -> None:
    """Print a table: for each measure a line per model, with its difference to the first and the p-value."""
    means = {name: evaluation.measures.intervals() for name, evaluation in evaluations.items()}
    first = next(iter(means))
    rows: list[Sequence[str]] = []
    for measure in dict.fromkeys(measure for found in means.values() for measure in found):
        for name, found in means.items():
            if measure in found:
                rows.append((measure, name, console.with_bounds(found[measure]), *_compared(tests, name, measure)))
    console.print_rows(("measure", "", "mean, 95 % interval", f"difference to {first}", "p"), _without_repeats(rows))


def _compared(tests: Tests, name: str, measure: str) -> tuple[str, str]:
    test = tests.get(name, {}).get(measure)
    return ("", "") if test is None else (console.with_bounds(test.difference), f"{test.p_value:.4f}")


def _without_repeats(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return rows that name a measure once, in its first line."""
    before = ["", *(row[0] for row in rows)]
    return [("" if row[0] == last else row[0], *row[1:]) for last, row in zip(before, rows, strict=False)]
