"""Limit and product, timed in turn in one process: medians, ratios, rates, peak memory, and the machine they are of."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from textgym import console
from textgym.training.run_folder import intervals_as_json
from textgym.types import Interval
from textgym.versions import versions

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Options:
    """Options that all benchmarks share.

    Attributes:
        repetitions: Timed runs of each case, after one that is not counted.
        smoke: Tiny sizes: shows that the benchmark runs, measures nothing.
        device: Device that models run on.
        threads: Threads of torch; ``None`` leaves them as they are.
        plot: PNG to write, by benchmarks that have one.
        trl_python: Python of an environment with TRL, for the benchmark that runs it there.
    """

    repetitions: int = 3
    smoke: bool = False
    device: str = "cpu"
    threads: int | None = None
    plot: Path | None = None
    trl_python: Path | None = None


@dataclass(slots=True)
class Case:
    """One thing to time.

    Attributes:
        name: Label of the row in the table.
        run: One run of it; it may return its own count of work, which then replaces ``work``.
        work: Tokens or steps of one run; 0 if nothing is counted.
        limit: The case it is compared with; ``None`` for a limit.
        parts: Filled by ``run``: seconds of its parts.
        extrapolated: ``run`` does some of the work and multiplies its parts, whose sum then counts as the seconds.
    """

    name: str
    run: Callable[[], Any]
    work: float = 0
    limit: str | None = None
    parts: dict[str, float] = field(default_factory=dict)
    extrapolated: bool = False


@dataclass(slots=True)
class Measurement:
    """Measured values of a case: one entry per repetition in each list."""

    name: str
    seconds: list[float]
    work: list[float]
    parts: dict[str, list[float]]
    limit: str | None
    peak_bytes: int | None

    @property
    def median(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float | None:
        """Median work per second."""
        return (
            statistics.median([w / s for w, s in zip(self.work, self.seconds, strict=True)]) if all(self.work) else None
        )


@dataclass(slots=True)
class Report:
    """The result of a benchmark.

    Attributes:
        name, title: Name of the benchmark on the command line, and heading of its tables.
        measurements: Timed cases, one row of the table each.
        unit: Unit of work, such as tokens.
        figures: Results of the whole benchmark, by name.
        notes: Remarks that readers of the results need.
        outcomes: Results of each case, by its name: columns of a table, the same for all.
        scores: Means of measures, by the title of a table and the column in it.
    """

    name: str
    title: str
    measurements: list[Measurement]
    unit: str = "tokens"
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, Mapping[str, Interval]]] = field(default_factory=dict)

    def ratio(self, measurement: Measurement) -> float | None:
        """Time per unit of work, over that of the limit; the median over repetitions that ran next to each other."""
        limit = next((other for other in self.measurements if other.name == measurement.limit), None)
        if limit is None:
            return None
        own, bound = _per_unit(measurement), _per_unit(limit)
        return statistics.median([mine / least for mine, least in zip(own, bound, strict=True)])

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        rows = [
            {**asdict(item), "median": item.median, "ratio": self.ratio(item), "rate": item.rate}
            for item in self.measurements
        ]
        return {
            "benchmark": self.name,
            "title": self.title,
            "unit": self.unit,
            "rows": rows,
            "figures": self.figures,
            "outcomes": self.outcomes,
            "scores": {
                title: {column: intervals_as_json(means) for column, means in columns.items()}
                for title, columns in self.scores.items()
            },
            "notes": self.notes,
            "machine": machine(),
            "versions": versions(),
        }

    def show(self) -> None:
        """Print it as a table, and the parts of each case as another."""
        console.heading(self.title)
        header = ["", "seconds", "ratio", f"{self.unit}/s", "peak MiB"]
        console.print_rows(header, [self._row(item) for item in self.measurements])
        split = [item for item in self.measurements if len(item.parts) > 1]
        if split:
            parts = list(dict.fromkeys(name for item in split for name in item.parts))
            console.heading("Seconds of the parts")
            console.print_rows(["", *parts], [[item.name, *(_part(item, part) for part in parts)] for item in split])
        if self.outcomes:
            console.heading("What came of it")
            columns = [[str(value) for value in outcome.values()] for outcome in self.outcomes.values()]
            names = next(iter(self.outcomes.values()))
            console.print_rows(["", *self.outcomes], list(zip(names, *columns, strict=True)))
        for title, table in self.scores.items():
            console.heading(title)
            console.print_measures(table)
        console.say()
        for name, value in self.figures.items():
            console.say(f"{name}: {value}")
        for note in self.notes:
            console.say(note)
        console.say(", ".join(f"{key} {value}" for key, value in machine().items()))
        console.say(", ".join(f"{key} {value}" for key, value in versions().items()))

    def _row(self, item: Measurement) -> list[str]:
        ratio, rate, peak = self.ratio(item), item.rate, item.peak_bytes
        return [
            item.name,
            f"{item.median:.3g}",
            "" if ratio is None else f"{ratio:.2f}",
            "" if rate is None else f"{rate:,.0f}",
            "" if peak is None else f"{peak / _MIB:,.0f}",
        ]


def _part(item: Measurement, part: str) -> str:
    return f"{statistics.median(item.parts[part]):.2f}" if part in item.parts else ""


def measure(cases: Sequence[Case], options: Options) -> list[Measurement]:
    """Run all cases in turn: once uncounted, then ``options.repetitions`` times."""
    device = torch.device(options.device)
    found = [Measurement(case.name, [], [], {}, case.limit, None) for case in cases]
    with _models_frozen(), console.progress("measuring", len(cases) * (options.repetitions + 1), "runs") as ticker:
        for repetition in range(options.repetitions + 1):
            for case, item in zip(cases, found, strict=True):
                case.parts.clear()
                memory = PeakMemory(device)
                start = clock(device)
                work = case.run()
                seconds = clock(device) - start
                peak = memory.peak()
                if repetition:
                    item.seconds.append(sum(case.parts.values()) if case.extrapolated else seconds)
                    item.work.append(float(work) if isinstance(work, int | float) else case.work)
                    for name, part in case.parts.items():
                        item.parts.setdefault(name, []).append(part)
                    item.peak_bytes = max(filter(None, (item.peak_bytes, peak)), default=None)
                ticker.advance(note=case.name)
    return found


@contextmanager
def _models_frozen() -> Iterator[None]:
    """Exclude the objects that exist already from garbage collection within the block, since they outlive it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def clock(device: torch.device) -> float:
    """Seconds, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def timed(parts: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    """Add the seconds of the block to ``parts[name]``."""
    start = clock(device)
    yield
    parts[name] = parts.get(name, 0.0) + clock(device) - start


class PeakMemory:
    """The most memory that was in use since this object was made: of a GPU, or (on Linux) resident in this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    def peak(self) -> int | None:
        """Bytes; ``None`` where the system does not say."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident_peak()


def _reset_resident_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # man 5 proc: resets VmHWM


def _resident_peak() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()} | (
        {"gpu": gpu} if gpu else {}
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _per_unit(item: Measurement) -> list[float]:
    return [seconds / (work or 1.0) for seconds, work in zip(item.seconds, item.work, strict=True)]
