"""A comparison of runs that were made before: their tables, curves and report, from what their folders hold.

The folders may be somebody else's: nothing that is named there is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from textgym import console
from textgym.agents.facts import unit_of
from textgym.agents.registry import AGENTS, resolve_agent
from textgym.errors import RunFolderError
from textgym.files.paths import user_path
from textgym.text.plurals import counted
from textgym.training.comparison.budget import NOTHING, Spent
from textgym.training.comparison.meter import OF_TRAINING, points_of, read_spent
from textgym.training.comparison.records import Point, RunRecord, Sample, write_record
from textgym.training.comparison.results import Comparison
from textgym.training.comparison.run import OF_RUNS, REPORT, RUNS, write_results
from textgym.training.comparison.tables import markdown_of
from textgym.training.run_facts import facts_of_run, settings_in
from textgym.training.run_folder import RunFolder
from textgym.training.run_report import read_report, thinned
from textgym.types import Interval, JsonObject
from textgym.values import as_list, as_object, as_text, finite, finite_ones, is_whole

_LABELLED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.ASCII | re.DOTALL)
_MOST_POINTS = 200
_SAMPLES = 4
_OF_RUN = ("seed", "out", "device", "save_every", "reward_timeout")
"""Settings in which the runs of one agent may differ."""
_SAME: Mapping[str, str] = {
    "env_id": "task",
    "task_options": "options of the task",
    "data": "data",
    "prompt_template": "prompt template",
    "reward": "reward",
    "split": "split of the evaluation",
    "max_prompt_tokens": "budget of a prompt",
    "max_new_tokens": "budget of a text",
    "prompts": "evaluation prompts",
}
"""Facts that runs must have in common, in the words of messages."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """A finished run.

    Attributes:
        run: Its folder.
        label: Label that the user gave; ``None`` for none.
        settings: Settings of its training.
        identity: Facts that it must have in common with the others.
    """

    run: RunFolder
    label: str | None
    settings: JsonObject
    identity: Mapping[str, str]

    @property
    def agent(self) -> str:
        """Name of the agent, or ``module:Class``."""
        return as_text(self.settings.get("agent")) or "agent"

    @property
    def method(self) -> str:
        """The settings that runs of one label have in common, as a text."""
        own = {name: value for name, value in self.settings.items() if name not in _OF_RUN}
        return json.dumps(own, sort_keys=True)


def compare_runs(folders: Sequence[str], out: str | None = None) -> Comparison:
    """Compare finished runs: print the tables, and write report, tables, curves and records into a new folder.

    Args:
        folders: Run folders of ``textgym train`` and its like; ``LABEL=RUN`` gives one another label.
        out: The folder; ``None`` makes one in ``runs/``.

    Raises:
        RunFolderError: A folder is no finished run, or they cannot be compared; the message says what differs.
        CheckpointError: A file is damaged.
    """
    comparison = comparison_of(folders)
    agents = {label: comparison.runs_of(label)[0].agent for label in comparison.labels}
    run = RunFolder.create(out, OF_RUNS, {**comparison.settings, "agents": agents})
    with run:
        (run.path / RUNS).mkdir()
        for record in comparison.runs:
            write_record(run.path / RUNS / f"{record.name}.jsonl", record)
        write_results(run, comparison)
    console.say(markdown_of(comparison))
    console.say(f"Report: {Path(run.shown) / REPORT}   records: {Path(run.shown) / RUNS}")
    return comparison


def comparison_of(folders: Sequence[str]) -> Comparison:
    """Return the comparison of finished runs; otherwise as :func:`compare_runs`, which also writes it down."""
    found = [_finished(*split_label(text)) for text in folders]
    if len({each.run.path.resolve() for each in found}) < max(2, len(found)):
        raise RunFolderError(f"expected at least two different runs, got {', '.join(folders)}; name each once")
    _require_alike(found)
    labels = _labels_of(found)
    records = [_record(each, labels[each.method, each.label]) for each in found]
    twice = [name for name, count in Counter(record.name for record in records).items() if count > 1]
    if twice:
        raise RunFolderError(
            f"expected runs with different seeds of each agent, got {twice[0]!r} twice; leave one of them out, or give "
            "it a label: LABEL=RUN"
        )
    models = {as_text(each.settings.get("model")) for each in found}
    first = found[0]
    shared = {
        "choice": as_object(first.settings.get("choice")),
        **{
            name: value
            for name, value in first.identity.items()
            if name not in ("env_id", "data") and value not in ("", "{}")
        },
        **({"model": next(iter(models))} if len(models) == 1 else {}),
        "folders": ", ".join(each.run.shown for each in found),
    }
    if len(models) > 1:  # what they wrote before training is no text of one start model
        records = [_without_start(record) for record in records]
    return Comparison(None, shared, tuple(sorted(records, key=lambda record: (record.label, record.seed))))


def split_label(text: str) -> tuple[str | None, str]:
    """Return the label that a user gave to a run, and its folder.

    >>> split_label("near=runs/a"), split_label("runs/a")
    (('near', 'runs/a'), (None, 'runs/a'))
    """
    found = None if user_path(text).exists() else _LABELLED.fullmatch(text)
    return (None, text) if found is None else (found[1], found[2])


def _finished(label: str | None, folder: str) -> _Finished:
    run = RunFolder.open(folder)
    facts, config = facts_of_run(run), run.config()
    settings = settings_in(config)
    if not as_text(settings.get("agent")) or facts.command not in ("train", "sft", "demo", "rlhf round"):
        raise RunFolderError(
            f"expected runs of one agent each, got {run.shown!r}, a run of `textgym {facts.command}`; leave it "
            "out, or compare models with textgym evaluate --model A --model B"
        )
    if not as_object(run.summary().get("after")):
        raise RunFolderError(
            f"expected finished runs, got {run.shown!r}, which is {facts.state}; finish it, or leave it out"
        )
    return _Finished(run, label, settings, _identity(run, config, settings))


def _identity(run: RunFolder, config: JsonObject, settings: JsonObject) -> dict[str, str]:
    choice = as_object(settings.get("choice"))
    stated = as_text(settings.get("reward"))
    # A name that stands for the task's own reward is the same as none; one with options or a place is not.
    is_plain = re.fullmatch(r"\w*", stated) is not None
    split = as_text(settings.get("split"))
    keys = [as_text(row.get("task_key")) for row in run.read_rows("texts-after.jsonl")]
    digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:8]
    data = as_text(as_object(config.get("splits")).get(split))
    return {
        "env_id": as_text(choice.get("env_id")).replace("Episode-v", "-v"),
        "task_options": json.dumps(as_object(choice.get("task_options")), sort_keys=True),
        "data": data or as_text(choice.get("data")),
        "prompt_template": as_text(choice.get("prompt_template")),
        "reward": (as_text(config.get("reward")) if is_plain else "") or stated or "default",
        "split": split,
        "max_prompt_tokens": str(settings.get("max_prompt_tokens") or ""),
        "max_new_tokens": str(settings.get("max_new_tokens") or ""),
        "prompts": f"{counted(len(keys), 'prompts')} ({digest})",
    }


def _require_alike(runs: Sequence[_Finished]) -> None:
    """Check that runs answered the same question.

    Raises:
        RunFolderError: Two did not.
    """
    first = runs[0]
    for other in runs[1:]:
        differing = [name for name in _SAME if first.identity[name] != other.identity[name]]
        if differing:
            sides = [
                f"{each.run.shown!r} with " + ", ".join(f"{_SAME[name]} {each.identity[name]!r}" for name in differing)
                for each in (first, other)
            ]
            raise RunFolderError(
                f"expected runs of the same task and reward, evaluated on the same prompts, got {' and '.join(sides)}; "
                "leave one out, or evaluate both on the same: textgym evaluate --model A --model B"
            )


def _labels_of(runs: Sequence[_Finished]) -> dict[tuple[str, str | None], str]:
    """Return a label for each method and given label: that, the name of the agent, or of the folders if it is taken.

    Raises:
        RunFolderError: One label is given to runs with different settings.
    """
    groups: dict[tuple[str, str | None], list[_Finished]] = {}
    for each in sorted(runs, key=lambda run: run.label is None):  # given labels are taken first
        groups.setdefault((each.method, each.label), []).append(each)
    names = Counter(group[0].agent for (_, given), group in groups.items() if given is None)
    labels: dict[tuple[str, str | None], str] = {}
    for (method, given), group in groups.items():
        agent = group[0].agent
        own = agent.rpartition(":")[2] if names[agent] == 1 else _name_of_folders(group)
        label = given or re.sub(r"[^\w.-]+", "-", own, flags=re.ASCII).strip("-.") or "agent"
        if label in labels.values() and given is not None:
            raise RunFolderError(
                f"expected runs with the same settings under one label, got {label!r} for runs with different ones; "
                "give them different labels"
            )
        labels[method, given] = label if label not in labels.values() else f"{label}-{len(labels) + 1}"
    return labels


def _name_of_folders(group: Sequence[_Finished]) -> str:
    """Return the name of the first folder, without a number at its end, as that of a seed."""
    name = group[0].run.path.name
    return name.rstrip("-_.0123456789") or name


def _record(found: _Finished, label: str) -> RunRecord:
    run, settings, summary, config = found.run, found.settings, found.run.summary(), found.run.config()
    seed, facts, seconds = settings.get("seed"), facts_of_run(run), as_object(summary.get("seconds"))
    before, after = (_intervals(as_object(summary.get(side))) for side in ("before", "after"))
    unit = _unit(found.agent, config)
    points = tuple(points_of(read_spent(run))) or tuple(_points(run, unit))
    return RunRecord(
        label=label,
        seed=seed if is_whole(seed) else 0,
        agent=found.agent,
        learns=bool(before),
        unit=unit,
        settings={"agent": found.agent, "options": as_object(settings.get("options"))},
        before=before,
        after=after,
        points=points or (Point(NOTHING, {name: each.mean for name, each in after.items()}),),
        samples=tuple(_samples(run)),
        spent=points[-1].spent if points else NOTHING,
        steps=int(facts.trained or 0),
        evaluation_seconds=_seconds(seconds.get("after")),
        versions={name: text for name, each in as_object(config.get("versions")).items() if (text := as_text(each))},
        warnings=tuple(text for each in as_list(summary.get("warnings")) if (text := as_text(each))),
    )


def _unit(agent: str, config: JsonObject) -> str:
    """Return what a time step is: as the run notes it, or as the agent says, if it is one of textgym."""
    return as_text(config.get("unit")) or (unit_of(resolve_agent(agent)) if agent in AGENTS else "steps")


def _intervals(measures: JsonObject) -> dict[str, Interval]:
    """Return means with their bounds, which are infinite where they are not known."""
    found = {}
    for name, value in measures.items():
        each = as_object(value)
        mean, low, high = (each.get(key) for key in ("mean", "low", "high"))
        if (centre := finite(mean)) is not None:
            least, most = finite(low), finite(high)
            found[name] = Interval(centre, -inf if least is None else least, inf if most is None else most)
    return found


def _points(run: RunFolder, unit: str) -> Iterator[Point]:
    """Yield what a log notes of the agent's own texts, against what was spent until then."""
    spent, rows = [], [row for row in run.log() if finite(row.get("timesteps")) is not None]
    seconds = texts = tokens = 0.0
    for row in rows:
        known = finite_ones(row)
        seconds += sum(value for name, value in known.items() if name.startswith("seconds/"))
        texts += known.get("texts", 0.0)
        tokens += known.get("tokens", known.get("texts", 0.0) * known.get("length", 0.0))
        made = known["timesteps"]
        spent.append(
            Spent(
                tokens=made if unit == "tokens" else tokens or None,
                seconds=seconds,
                labels=made if unit == "texts" else texts or None,
            )
        )
    for place in thinned(range(len(rows)), _MOST_POINTS):
        own = {f"training/{name}": rows[place].get(name) for name in OF_TRAINING}
        yield Point(spent[place], finite_ones(own))


def _samples(run: RunFolder) -> Iterator[Sample]:
    for pair in read_report(run).pairs[:_SAMPLES]:
        yield Sample(pair.key, "", pair.before, pair.after, pair.rewards[1])


def _without_start(record: RunRecord) -> RunRecord:
    """Leave out the KL before training, by which a start model's texts are known."""
    return replace(record, before={name: each for name, each in record.before.items() if name != "kl"})


def _seconds(value: Any) -> float:
    return finite(value) or 0.0
