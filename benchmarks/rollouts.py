"""Gold after PPO by what becomes of texts that the end of a rollout cuts: ``textgym bench rollouts --plot curves.png``.

PPO is trained on ``TextSumm-v1`` with gold as its reward, with each treatment of unfinished texts and two lambdas, from
several seeds, with settings that are otherwise equal. Afterwards each run answers the same held-out prompts, with the
same random numbers. Each finished run is a line of ``runs/rollouts.jsonl``: a study that was stopped goes on when it is
started again, and runs with other settings are left alone.

What is compared is gold of a treatment minus gold of the first one, of the same prompt and seed. The first interval is
over prompts (several seeds of a prompt are one cluster), and says what holds for these runs on other prompts; the
second is over the means of seeds, and says what holds for other runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.harness import Measurement, Options, Report
from textgym import console, plots
from textgym.agents import PPO, make_vec_env
from textgym.evaluation.core import evaluate, make_evaluation_set
from textgym.files.disk import append_line
from textgym.metrics import mean_interval
from textgym.metrics.intervals import paired_difference_interval
from textgym.models.loading import load_language_model
from textgym.types import FloatArray, Interval

ENV_ID, REWARD, MODEL = "TextSumm-v1", "gold", "tiny"
RESULTS = Path("runs/rollouts.jsonl")
TREATMENTS = ("bootstrap", "drain", "carry", "carry_recompute")
LAMBDAS = (0.95, 1.0)
_CURVE = ("timesteps", "reward", "kl", "length", "explained_variance", "stale", "stale_age", "dropped")
_START = "start model"
_STYLES = {"bootstrap": ("#0072b2", "o"), "drain": ("#d55e00", "s"), "carry": ("#009e73", "D")}
_STYLES["carry_recompute"] = ("#cc79a7", "^")


@dataclass(frozen=True, slots=True)
class Study:
    """Settings that all runs share.

    Attributes:
        tokens: Tokens that a run writes, about: whole rollouts.
        n_envs, n_steps: Environments, and tokens of each in a rollout.
        learning_rate, kl_coef: Learning rate and KL penalty coefficient of PPO.
        prompts: Held-out prompts that a run answers in the end.
        seeds: Runs of each treatment.
    """

    tokens: int = 12_500
    n_envs: int = 32
    n_steps: int = 48
    learning_rate: float = 3e-4
    kl_coef: float = 0.02
    prompts: int = 200
    seeds: int = 5

    @property
    def key(self) -> dict[str, Any]:
        """Everything that makes runs comparable, as it stands in their lines."""
        return {name: value for name, value in asdict(self).items() if name != "seeds"}


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the study: a treatment of unfinished texts, a lambda and a seed; ``None``: the start model."""

    treatment: str | None
    gae_lambda: float
    seed: int

    @property
    def name(self) -> str:
        """The row of the table that the run belongs to."""
        return _START if self.treatment is None else f"{self.treatment}, lambda {self.gae_lambda:g}"


def cases(seeds: int) -> Iterator[Case]:
    """Yield all runs; all treatments of one seed before those of the next, so that a part is a study, too."""
    yield Case(None, 0.0, 0)
    for seed in range(seeds):
        for gae_lambda in LAMBDAS:
            for treatment in TREATMENTS:
                yield Case(treatment, gae_lambda, seed)


def run_case(case: Case, study: Study) -> dict[str, Any]:
    """Train as a case says, and answer the held-out prompts.

    Returns:
        A line of the file: settings, gold of each prompt, seconds of training, tokens that were learned from, and the
        records of the iterations.
    """
    model, learned, seconds = load_language_model(MODEL), 0, 0.0
    curve: list[dict[str, float]] = []
    if case.treatment is not None:
        options: dict[str, Any] = {"unfinished_texts": case.treatment, "gae_lambda": case.gae_lambda}
        settings = {"n_steps": study.n_steps, "learning_rate": study.learning_rate, "kl_coef": study.kl_coef}
        env = make_vec_env(ENV_ID, study.n_envs, seed=1000 * case.seed, reward=REWARD)
        agent = PPO.create(env, model, seed=case.seed, device="cpu", **settings, **options)
        counter, start = _LearnedTokens(), time.perf_counter()
        agent.learn(study.tokens, callback=counter)
        seconds, learned = time.perf_counter() - start, counter.tokens
        curve = [{name: record[name] for name in _CURVE if name in record} for record in agent.history]
        model = agent.text_model
    found = evaluate(model, make_evaluation_set(ENV_ID, REWARD, study.prompts, seed=0), title=case.name)
    return {
        "study": study.key,
        "case": asdict(case),
        "gold": found.measures.values["gold"].tolist(),
        "seconds": seconds,
        "learned": learned,
        "curve": curve,
    }


class _LearnedTokens(BaseCallback):
    """Counts the tokens that rollouts hand to updates."""

    model: PPO
    tokens = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.tokens += int(self.model.rollout_buffer.counted.sum())


def read_runs(file: Path, study: Study) -> dict[Case, dict[str, Any]]:
    """Return the finished runs in a file that have the settings of a study; none where there is no file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    runs = [json.loads(line) for line in lines]
    return {Case(**run["case"]): run for run in runs if run["study"] == study.key}


def finish(file: Path, study: Study) -> dict[Case, dict[str, Any]]:
    """Run what a file lacks of a study, a line for each run, and return all runs of it."""
    wanted = list(cases(study.seeds))
    runs = read_runs(file, study)
    file.parent.mkdir(parents=True, exist_ok=True)
    with console.progress("training", len(wanted), "runs") as ticker:
        for case in wanted:
            if case not in runs:
                runs[case] = run_case(case, study)
                append_line(file, json.dumps(runs[case]) + "\n")
            ticker.advance(note=case.name)
    return {case: runs[case] for case in wanted}


def gold_by_name(runs: Mapping[Case, Mapping[str, Any]]) -> dict[str, FloatArray]:
    """Return gold (S, P) of ``S`` seeds and ``P`` prompts, by row of the table."""
    rows: dict[str, list[list[float]]] = {}
    for case, run in runs.items():
        rows.setdefault(case.name, []).append(run["gold"])
    return {name: np.array(golds) for name, golds in rows.items()}


def compared(gold: FloatArray, with_gold: FloatArray) -> tuple[Interval, Interval | None]:
    """Compare gold (S, P) with other gold of the same prompts and seeds.

    Returns:
        The mean difference with its interval over prompts, and with that over seeds, where there are several.
    """
    prompts = np.tile(np.arange(gold.shape[1]), len(gold)).tolist()
    of_prompts = paired_difference_interval(gold.reshape(-1), with_gold.reshape(-1), prompts)
    of_seeds = mean_interval((gold - with_gold).mean(1), share=False) if len(gold) > 1 else None
    return of_prompts, of_seeds


def outcomes(runs: Mapping[Case, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the table: a row for each treatment and lambda, and one for the start model."""
    golds = gold_by_name(runs)
    first = golds[Case(TREATMENTS[0], LAMBDAS[0], 0).name]
    table: dict[str, dict[str, str]] = {}
    for name, gold in golds.items():
        own = [run for case, run in runs.items() if case.name == name]
        is_start = name == _START
        of_prompts, of_seeds = compared(np.broadcast_to(gold, first.shape), first)
        prompts = np.tile(np.arange(gold.shape[1]), len(gold)).tolist()
        table[name] = {
            "gold": console.with_bounds(mean_interval(gold.reshape(-1), prompts)),
            "minus the first, over prompts": console.with_bounds(of_prompts),
            "over seeds": "" if of_seeds is None else console.with_bounds(of_seeds),
            "written": "" if is_start else f"{np.mean([run['curve'][-1]['timesteps'] for run in own]):,.0f}",
            "learned": "" if is_start else f"{np.mean([run['learned'] for run in own]):,.0f}",
            "stale": _last_half(own, "stale"),
            "their age": _last_half(own, "stale_age"),
            "explained variance": _last_half(own, "explained_variance"),
        }
    return table


def _last_half(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the mean of a number over the second half of the iterations of some runs; empty where none has it."""
    halves = [record[name] for run in runs for record in run["curve"][len(run["curve"]) // 2 :] if name in record]
    return f"{np.mean(halves):.2f}" if halves else ""


def run(options: Options) -> Report:
    """Run the study, or what is left of it; the seeds of the study take the place of repetitions."""
    study = Study()
    if not options.smoke:
        runs = finish(RESULTS, study)
    else:
        study = Study(tokens=32, n_envs=2, n_steps=16, prompts=2, seeds=1)
        with tempfile.TemporaryDirectory() as folder:
            runs = finish(Path(folder) / RESULTS.name, study)
    if options.plot:
        plot_curves(options.plot, runs)
    return _report(runs, study)


def plot_curves(file: Path, runs: Mapping[Case, Mapping[str, Any]]) -> None:
    """Draw gold of the texts that training wrote, mean and range of the seeds, a panel for each lambda.

    Args:
        file: Where the PNG goes.
        runs: The runs of a study.
    """
    figure = plots.blank_figure()
    panels = figure.subplots(1, len(LAMBDAS), sharey=True, squeeze=False)[0]
    for axes, gae_lambda in zip(panels, LAMBDAS, strict=True):
        for treatment in TREATMENTS:
            kind = treatment, gae_lambda
            own = [run["curve"] for case, run in runs.items() if (case.treatment, case.gae_lambda) == kind]
            length = min(map(len, own))
            steps, gold = (
                np.array([[record[name] for record in curve[:length]] for curve in own])
                for name in ("timesteps", "reward")
            )
            colour, marker = _STYLES[treatment]
            axes.fill_between(steps.mean(0), gold.min(0), gold.max(0), color=colour, alpha=0.12, linewidth=0)
            axes.plot(steps.mean(0), gold.mean(0), color=colour, marker=marker, markersize=4, label=treatment)
        y_label = "gold of the texts of training" if axes is panels[0] else ""
        plots.finish_axes(axes, f"lambda {gae_lambda:g}", "tokens written", y_label)
    plots.save_figure(figure, file)


def _report(runs: Mapping[Case, Mapping[str, Any]], study: Study) -> Report:
    measurements: dict[str, Measurement] = {}
    for case, found in runs.items():
        if case.treatment is not None:
            row = measurements.setdefault(case.name, Measurement(case.name, [], [], {}, None, None))
            row.seconds.append(found["seconds"])
            row.work.append(found["learned"])
    title = f"PPO on {ENV_ID}, by treatment of texts that a rollout cuts ({study.seeds} seeds, {study.prompts} prompts)"
    table = outcomes(runs)
    columns = next(iter(table.values()))
    turned = {column: {name: row[column] for name, row in table.items()} for column in columns}
    return Report("rollouts", title, list(measurements.values()), outcomes=turned)
