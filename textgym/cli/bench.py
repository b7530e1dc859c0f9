"""``textgym bench``: run a benchmark by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks import BENCHMARKS, Options, run_benchmark
from textgym import console
from textgym.errors import TextGymError, did_you_mean
from textgym.models.device import pick_device
from textgym.training.run_folder import write_json


class UnknownBenchmarkError(TextGymError, ValueError):
    """No benchmark has this name."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """Settings of ``textgym bench``; see :class:`benchmarks.Options`.

    Without ``device``, the benchmark ``gpu`` runs on a GPU and the others on the CPU.
    """

    name: str
    repetitions: int = 3
    smoke: bool = False
    device: str | None = None
    threads: int | None = None
    json_file: str | None = None
    plot: str | None = None


def run_bench(settings: BenchSettings) -> None:
    """Run it, print the table, and write what was asked for."""
    if settings.name not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UnknownBenchmarkError(
            f"expected one of {known}, got {settings.name!r}.{did_you_mean(settings.name, list(BENCHMARKS))}"
        )
    plot = Path(settings.plot) if settings.plot else None
    device = str(pick_device(settings.device or _own_device(settings)))
    options = Options(settings.repetitions, settings.smoke, device, settings.threads, plot)
    report = run_benchmark(settings.name, options)
    report.show()
    if settings.json_file:
        write_json(Path(settings.json_file), report.as_json())
        console.remark(f"Wrote {settings.json_file}")


def _own_device(settings: BenchSettings) -> str:
    if settings.name != "gpu":
        return "cpu"
    return "auto" if settings.smoke else "cuda"
