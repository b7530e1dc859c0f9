"""The record of one finished run of a comparison: a small file of JSON lines, which needs nothing beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from textgym.errors import CheckpointError
from textgym.files.disk import replace_text
from textgym.models.stored_values import Check, fields, integer, listed, mapped, number, optional, plain, text, truth
from textgym.security.foreign import parse_json, read_text
from textgym.training.comparison.budget import NOTHING, Spent
from textgym.training.run_folder import intervals_as_json
from textgym.types import Interval, JsonObject
from textgym.values import as_object, as_text

_LARGEST = 16 * 2**20
"""Bytes of a record; usual ones have some ten thousand."""
_DIGITS = 6


class Point(NamedTuple):
    """The measurements at one point of a training.

    Attributes:
        spent: Budget spent until then.
        measures: Means over held-out prompts by name; ``training/NAME`` is the agent's own, of its last iteration.
    """

    spent: Spent
    measures: Mapping[str, float]


class Sample(NamedTuple):
    """The texts of an agent about one held-out prompt.

    Attributes:
        key: Key of the example.
        prompt: The prompt.
        before: Text before training; ``None`` of an agent that learns nothing.
        after: Text after it.
        reward: Reward of the text after training; ``None`` without a reward.
    """

    key: str
    prompt: str
    before: str | None
    after: str
    reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One finished run: what was measured, what it cost, and what it was a run of.

    Attributes:
        label: Label of the agent.
        seed: Seed of the run.
        agent: Name of the agent, or ``module:Class``.
        learns: Whether there was anything to train.
        unit: Name of a time step, in the plural.
        settings: Settings that must be the same for all runs it is compared with, and the agent's own options.
        before, after: Means of held-out measures with 95 % intervals over prompts; ``before`` is empty where nothing
            was trained, ``after`` where the run failed.
        points: The learning curve.
        samples: Texts about a few prompts.
        spent: Tokens, seconds and labels of the training.
        steps, planned: Time steps made, and planned.
        evaluation_seconds: Time of the last evaluation, in which texts are written, scored and measured.
        memory, gpu_memory: Most memory of the process, bytes; ``None`` where it was not measured.
        machine: Processor, threads, GPU.
        versions: Versions of packages.
        warnings: Warnings of its training.
        failure: Message of the error that ended it; ``None``: none.
    """

    label: str
    seed: int
    agent: str
    learns: bool
    unit: str
    settings: JsonObject
    before: Mapping[str, Interval] = field(default_factory=dict)
    after: Mapping[str, Interval] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    samples: tuple[Sample, ...] = ()
    spent: Spent = NOTHING
    steps: int = 0
    planned: int = 0
    evaluation_seconds: float = 0.0
    memory: int | None = None
    gpu_memory: int | None = None
    machine: Mapping[str, str | int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def name(self) -> str:
        """The name of its file, without the ending."""
        return name_of_run(self.label, self.seed)


def name_of_run(label: str, seed: int) -> str:
    """Return how the file and the folder of a run are called."""
    return f"{label}-{seed}"


def write_record(file: Path, record: RunRecord) -> None:
    """Write a record as JSON lines, in one step."""
    head = {name: getattr(record, name) for name in _HEAD}
    result = {name: getattr(record, name) for name in _RESULT}
    lines = [
        *({"kind": "point", **point.spent._asdict(), "measures": dict(point.measures)} for point in record.points),
        *({"kind": "sample", **sample._asdict()} for sample in record.samples),
        {"kind": "before", "measures": intervals_as_json(record.before)},
        {"kind": "after", "measures": intervals_as_json(record.after)},
        {"kind": "result", **record.spent._asdict(), **result, "warnings": list(record.warnings)},
    ]
    # What a run is one of is compared to the last digit; what was measured has no more digits than it needs.
    whole = [{"kind": "run", **head}, *map(_rounded, lines)]
    replace_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in whole))


def read_record(file: Path) -> RunRecord:
    """Read what :func:`write_record` wrote; the file may be somebody else's.

    Raises:
        CheckpointError: It is something else, or damaged.
    """
    try:
        lines = [parse_json(line) for line in read_text(file, _LARGEST).splitlines() if line]
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    known: dict[str, list[JsonObject]] = {kind: [] for kind in _LINES}
    for place, line in enumerate(lines, start=1):
        kind = as_text(as_object(line).get("kind"))
        if kind not in _LINES or not fields(_LINES[kind])({key: line[key] for key in line if key != "kind"}):
            raise _damaged(file, f"something else in line {place}")
        known[kind].append(line)
    if any(len(known[kind]) != 1 for kind in ("run", "before", "after", "result")):
        raise _damaged(file, "other lines")
    return _assembled(known)


def _assembled(lines: Mapping[str, Sequence[JsonObject]]) -> RunRecord:
    (head,), (result,) = lines["run"], lines["result"]
    names = Sample._fields
    of_head: dict[str, Any] = {name: head[name] for name in _HEAD}
    of_result: dict[str, Any] = {name: result[name] for name in _RESULT}
    return RunRecord(
        **of_head,
        before=_intervals(lines["before"][0]["measures"]),
        after=_intervals(lines["after"][0]["measures"]),
        points=tuple(Point(_spent(line), line["measures"]) for line in lines["point"]),
        samples=tuple(Sample(*(line[name] for name in names)) for line in lines["sample"]),
        spent=_spent(result),
        **of_result,
        warnings=tuple(result["warnings"]),
    )


def _spent(line: JsonObject) -> Spent:
    return Spent(line["tokens"], line["seconds"], line["labels"])


def _intervals(measures: Mapping[str, Mapping[str, float | None]]) -> dict[str, Interval]:
    """Return intervals, whose missing bounds are infinite."""
    found = {}
    for name, each in measures.items():
        low, high = each["low"], each["high"]
        mean = math.nan if each["mean"] is None else each["mean"]
        found[name] = Interval(mean, -math.inf if low is None else low, math.inf if high is None else high)
    return found


def _rounded(value: Any) -> Any:
    """Return JSON whose numbers have six digits at most, so that files stay small."""
    match value:
        case float():
            return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


def _damaged(file: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"expected the record of a run of `textgym compare` in {str(file)!r}, got {what}; restore the file, or remove "
        "it to make the run again"
    )


_SPENT: Mapping[str, Check] = {"tokens": optional(number), "seconds": number, "labels": optional(number)}
_INTERVAL = fields({"mean": optional(number), "low": optional(number), "high": optional(number)})
_HEAD: Mapping[str, Check] = {
    "label": text,
    "seed": integer,
    "agent": text,
    "learns": truth,
    "unit": text,
    "settings": mapped(plain),
    "machine": mapped(lambda value: text(value) or integer(value)),
    "versions": mapped(text),
}
_RESULT: Mapping[str, Check] = {
    "steps": integer,
    "planned": integer,
    "evaluation_seconds": number,
    "memory": optional(integer),
    "gpu_memory": optional(integer),
    "failure": optional(text),
}
_LINES: Mapping[str, Mapping[str, Check]] = {
    "run": _HEAD,
    "point": {**_SPENT, "measures": mapped(optional(number))},
    "sample": {"key": text, "prompt": text, "before": optional(text), "after": text, "reward": optional(number)},
    "before": {"measures": mapped(_INTERVAL)},
    "after": {"measures": mapped(_INTERVAL)},
    "result": {**_SPENT, **_RESULT, "warnings": listed(text)},
}
