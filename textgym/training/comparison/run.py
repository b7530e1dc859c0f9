"""A comparison from its first run to its report; it goes on wherever it was stopped, also in another checkout."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from textgym import console
from textgym.agents.registry import can_learn
from textgym.envs.choice import describe_data
from textgym.errors import CheckpointError, RunFolderError
from textgym.files.disk import replace_text
from textgym.files.locks import LOCK
from textgym.models.device import release_memory
from textgym.naming import argument
from textgym.security.consent import load_attribute
from textgym.text.plurals import counted
from textgym.training.comparison.budget import Budget
from textgym.training.comparison.checking import check_comparison
from textgym.training.comparison.drawing import draw_curves
from textgym.training.comparison.planning import Plan, plan_at_once
from textgym.training.comparison.records import RunRecord, name_of_run, read_record
from textgym.training.comparison.report import write_report
from textgym.training.comparison.results import Comparison
from textgym.training.comparison.settings import OWN, ComparisonSettings
from textgym.training.comparison.tables import markdown_of
from textgym.training.comparison.worker import Job, RunOrder
from textgym.training.interrupts import signals_as_interrupts
from textgym.training.isolation import run_apart
from textgym.training.long_runs import check_resumed, new_run
from textgym.training.recovery import advising, resuming
from textgym.training.run_folder import RunFolder, value_of
from textgym.types import JsonObject, Task

COMMAND = "compare"
WORKER = "textgym.training.comparison.worker:work"
OF_RUNS = "compare runs"
"""The command of the folder of a comparison of runs that were made before."""
RUNS, TRAINING = "runs", "training"
"""Folders of the records, which are small, and of the run folders, which are not."""
REPORT, TABLES, CURVES = "report.html", "report.md", "curves.png"
_PLANS = "plans"
_OF_AGENT = ("agent", "options")


def run_comparison(settings: ComparisonSettings, *, worker: str = WORKER, apart: bool = True) -> Comparison:
    """Make all runs of a comparison one after the other, but for those whose records are there, and write a report.

    Every run is one of ``textgym train``, in ``training/AGENT-SEED`` of the folder, and ends in a record in ``runs/``,
    which is all that the report is made of. In a folder that holds a comparison with the same settings, agents and
    seeds are added to it.

    Args:
        settings: Agents, seeds, budget, task.
        worker: Import path of the function that does a :class:`~textgym.training.comparison.worker.Job`.
        apart: Make each run in a process of its own, which is what its memory can be measured in, and where agents of
            a notebook or script (``__main__:Class``) are not found.

    Raises:
        RunFolderError: The folder holds something else, or a comparison with other settings.
        RunFailedError: A run ended with an error; everything before it is kept.
    """
    with signals_as_interrupts():
        tasks = check_comparison(settings, _begun(settings))
        with _folder_of(settings, tasks) as run:
            return _make_runs(run, settings, tasks, worker, apart)


def resume_comparison(
    path: str | Path, consent: Collection[str] = (), *, worker: str = WORKER, apart: bool = True
) -> Comparison:
    """Go on with all agents and seeds of a comparison; otherwise as :func:`run_comparison`.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        worker, apart: As of :func:`run_comparison`.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no comparison.
        DataError: The data has changed.
    """
    with resuming(str(path), COMMAND, consent, can_go_on=True) as run:
        settings = replace(ComparisonSettings.from_json(run.settings_of(COMMAND)), out=str(path))
        tasks = check_comparison(settings, settings.agents)
        check_resumed(run, tasks, False)
        return _make_runs(run, settings, tasks, worker, apart)


def read_comparison(path: str | Path) -> Comparison:
    """Read the finished runs of a comparison from its folder; nothing that is named there is imported.

    Raises:
        RunFolderError: The folder is no comparison.
        CheckpointError: A record is damaged, or of another comparison.
    """
    run = RunFolder.open(path)
    if run.stored("command", "") == OF_RUNS:
        shared = {name: value for name, value in run.stored("settings", dict[str, Any]()).items() if name not in OWN}
        records = [read_record(file) for file in sorted((run.path / RUNS).glob("*.jsonl"))]
        return Comparison(None, shared, tuple(records))
    stored = dict(run.settings_of(COMMAND))
    shared = {name: value for name, value in stored.items() if name not in (*OWN, "seed")}
    return _comparison(run, {**shared, "splits": run.stored("splits", dict[str, object]())})


def _begun(settings: ComparisonSettings) -> set[str]:
    """Return the labels of agents whose first run is finished in the folder, if there is one."""
    if settings.out is None:
        return set()
    records = RunFolder(settings.out).path / RUNS
    return {label for label in settings.agents if (records / f"{name_of_run(label, settings.seed)}.jsonl").is_file()}


@contextmanager
def _folder_of(settings: ComparisonSettings, tasks: Sequence[Task]) -> Iterator[RunFolder]:
    """Make the folder of a comparison, or open that of one which goes on, and hold it."""
    if settings.out is None or not (RunFolder(settings.out).path / "config.json").is_file():
        with new_run(settings.out, COMMAND, asdict(settings), tasks, ()) as run:
            yield run
        return
    with RunFolder.open(settings.out) as run, advising(run, COMMAND, can_go_on=True):
        merged = _merged(run.settings_of(COMMAND), settings, run.shown)
        check_resumed(run, tasks, False)
        run.write_config({**run.config(), "settings": merged})
        yield run


def _merged(stored: JsonObject, settings: ComparisonSettings, shown: str) -> JsonObject:
    """Return the settings of a comparison that goes on with further agents and seeds.

    Raises:
        RunFolderError: Others differ.
    """
    wanted = _plain(asdict(settings))
    for name, value in _plain(settings.shared()).items():
        if stored.get(name) != value:
            raise RunFolderError(
                f"expected the settings of the comparison in {shown!r}, got {argument(name, value)} in place of "
                f"{stored.get(name)!r}; give the same, or another {argument('out')}"
            )
    agents, options = ({**value_of(stored, name, {}), **wanted[name]} for name in ("agents", "options"))
    for label in wanted["agents"]:
        known = [value_of(stored, name, {}).get(label) for name in ("agents", "options")]
        if known[0] is not None and known != [wanted[name].get(label) for name in ("agents", "options")]:
            raise RunFolderError(
                f"expected {label!r} with the options that it has in {shown!r}, got others; give it another label: "
                f"other={wanted['agents'][label]}"
            )
    first = min(value_of(stored, "seed", 0), settings.seed)
    last = max(value_of(stored, "seed", 0) + value_of(stored, "seeds", 0), settings.all_seeds.stop)
    return {**wanted, "agents": agents, "options": options, "seed": first, "seeds": last - first}


def _make_runs(
    run: RunFolder, settings: ComparisonSettings, tasks: Sequence[Task], worker: str, apart: bool
) -> Comparison:
    """Make what is missing: all agents with one seed before any with the next, so that each has every hour of the day.

    The plan of an agent, and all of its runs, are decided by what the folder holds, whoever goes on with it.
    """
    shared = _plain({**settings.shared(), "splits": run.stored("splits", dict[str, object]())})
    for folder in (RUNS, TRAINING):
        (run.path / folder).mkdir(exist_ok=True)
    replace_text(run.path / ".gitignore", f"/{TRAINING}/\n/{LOCK}\n")
    comparison = _comparison(run, shared)
    done = {record.name for record in comparison.runs}
    left = [(label, seed) for seed in settings.all_seeds for label in settings.agents]
    left = [(label, seed) for label, seed in left if name_of_run(label, seed) not in done]
    _announce(run, settings, tasks, len(left))
    start = time.perf_counter()
    for number, (label, seed) in enumerate(left, start=1):
        console.heading(f"{label}, seed {seed} (run {number} of {len(left)})")
        plan = _plan_of(run, settings, label, worker, apart)
        file = run.path / RUNS / f"{name_of_run(label, seed)}.jsonl"
        order = RunOrder(
            seed=seed,
            file=str(file),
            identity=_plain(shared | _own(settings, label)),
            steps=None if plan is None else plan.steps,
            limit=None if plan is None else plan.limit,
            apart=apart,
        )
        job = Job(settings=settings, label=label, folder=run.path / TRAINING / name_of_run(label, seed), run=order)
        _do(job, worker, apart, f"{label}, seed {seed}")
        _say_result(read_record(file), (time.perf_counter() - start) / number * (len(left) - number))
        if number == len(left) or left[number][1] != seed:
            comparison = _comparison(run, shared)
            write_results(run, comparison)
    if not left:
        write_results(run, comparison)
    console.say(f"\n{markdown_of(comparison)}")
    console.say(f"Report: {Path(run.shown) / REPORT}   records: {Path(run.shown) / RUNS}")
    return comparison


def _announce(run: RunFolder, settings: ComparisonSettings, tasks: Sequence[Task], left: int) -> None:
    count = len(settings.agents) * settings.seeds
    finished = "" if left == count else f", {count - left} of them finished"
    console.say(
        f"{', '.join(settings.agents)} on {settings.choice.env_id}, {describe_data(tasks[0])}: "
        f"{counted(settings.seeds, 'seeds')}, {settings.allowed.words} each, {counted(count, 'runs')}{finished}. "
        f"Files: {run.shown}"
    )


def _plan_of(run: RunFolder, settings: ComparisonSettings, label: str, worker: str, apart: bool) -> Plan | None:
    """Return the length of the runs of an agent, which is decided once; ``None`` for one that learns nothing."""
    if not can_learn(settings.kind_of(label)):
        return None
    plans = run.stored(_PLANS, dict[str, object]())
    plan = plan_at_once(settings, label) or Plan.from_json(plans.get(label))
    if plan is None:
        console.say(f"How many steps of {label} {settings.allowed.words} are: a trial, or a look at its data, tells.")
        job = Job(settings=settings, label=label, folder=run.path / TRAINING / f"trial-of-{label}")
        plan = Plan(**_do(job, worker, apart, f"{label}, planning its runs"))
        run.write_config({**run.config(), _PLANS: {**plans, label: plan._asdict()}})
    return plan


def _do(job: Job, worker: str, apart: bool, what: str) -> JsonObject:
    if apart:
        return run_apart(worker, job.as_json(), what)
    done: JsonObject = load_attribute(worker)(_plain(job.as_json()))
    release_memory()
    return done


def _say_result(record: RunRecord, seconds_left: float) -> None:
    if record.failure is not None:
        console.warn(f"{record.name} failed: {record.failure}")
        return
    first, last = (side.get("reward") for side in (record.before, record.after))
    parts = [] if last is None else [f"reward {'' if first is None else f'{console.number(first.mean)} -> '}"]
    parts = [f"{part}{console.number(last.mean)}" for part in parts if last is not None]
    if record.learns:
        parts.append(f"{record.steps:,} {record.unit} in {console.duration(record.spent.seconds)} of training")
    left = f"; about {console.duration(seconds_left)} left" if seconds_left else ""
    console.say(f"{', '.join(parts)}{left}")


def _comparison(run: RunFolder, shared: Mapping[str, Any]) -> Comparison:
    """Read all records, each of which must be one of this comparison.

    Raises:
        CheckpointError: One is not, or is damaged.
    """
    records = []
    for file in sorted((run.path / RUNS).glob("*.jsonl")):
        record = read_record(file)
        other = [name for name in shared if record.settings.get(name) != shared[name]]
        if other or file.stem != record.name:
            what = f"other settings ({', '.join(other)})" if other else f"the name {record.name!r}"
            raise CheckpointError(
                f"expected a run of this comparison in {str(file)!r}, got one with {what}; move it elsewhere"
            )
        records.append(record)
    budget = shared.get("budget")
    if not isinstance(budget, str):
        raise CheckpointError(f"expected a budget in '{run.shown}/config.json', got {budget!r}; restore the file")
    return Comparison(Budget.parse(budget), shared, tuple(_in_order(run, records)))


def _in_order(run: RunFolder, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records in the order in which the agents were named."""
    named = list(value_of(run.stored("settings", dict[str, Any]()), "agents", dict[str, str]()))
    places = {label: place for place, label in enumerate(named)}
    return sorted(records, key=lambda record: (places.get(record.label, len(places)), record.label, record.seed))


def _own(settings: ComparisonSettings, label: str) -> dict[str, Any]:
    """Return what distinguishes the runs of an agent from those of the others."""
    return dict(zip(_OF_AGENT, (settings.agents[label], settings.options.get(label, {})), strict=True))


def write_results(run: RunFolder, comparison: Comparison) -> None:
    """Write the page, the tables and the curves of a comparison into its folder."""
    write_report(comparison, run.path / REPORT)
    replace_text(run.path / TABLES, markdown_of(comparison))
    draw_curves(comparison, run.path / CURVES)


def _plain(value: Any) -> Any:
    """Return JSON as it is read again."""
    return json.loads(json.dumps(value))
