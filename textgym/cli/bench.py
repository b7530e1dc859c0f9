"""``textgym bench``: run a benchmark by name."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import textgym
from textgym import console
from textgym.errors import TextGymError, suggested
from textgym.models.device import pick_device
from textgym.training.run_folder import write_json


class UnknownBenchmarkError(TextGymError, ValueError):
    """No benchmark has this name."""


class NoBenchmarksError(TextGymError, RuntimeError):
    """The benchmarks are not installed."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """Settings of ``textgym bench``; see ``Options`` of ``benchmarks/harness.py``.

    Without ``device``, the benchmark ``gpu`` runs on a GPU and the others on the CPU.
    """

    name: str
    repetitions: int = 3
    smoke: bool = False
    device: str | None = None
    threads: int | None = None
    json_file: str | None = None
    plot: str | None = None
    trl_python: str | None = None


def run_bench(settings: BenchSettings) -> None:
    """Run it, print the table, and write what was asked for."""
    benchmarks = load_benchmarks()
    if settings.name not in benchmarks.BENCHMARKS:
        known = list(benchmarks.BENCHMARKS)
        raise UnknownBenchmarkError(
            f"expected one of {', '.join(known)}, got {settings.name!r}.{suggested(settings.name, known)}"
        )
    plot = Path(settings.plot) if settings.plot else None
    device = str(pick_device(settings.device or _own_device(settings)))
    python = Path(settings.trl_python) if settings.trl_python else None
    options = benchmarks.Options(settings.repetitions, settings.smoke, device, settings.threads, plot, python)
    report = benchmarks.run_benchmark(settings.name, options)
    report.show()
    if settings.json_file:
        write_json(Path(settings.json_file), report.as_json())
        console.remark(f"Wrote {settings.json_file}")


def load_benchmarks(root: Path = Path(textgym.__file__).parents[1]) -> ModuleType:
    """Import the benchmarks of a checkout, where they lie beside the package; they are no part of the wheel.

    Only this package becomes importable: with the whole checkout on ``sys.path``, ``import agents`` would make a second
    copy of ``textgym.agents``.

    Args:
        root: The folder that holds the package.

    Raises:
        NoBenchmarksError: There are none.
    """
    file = root / "benchmarks" / "__init__.py"
    known = sys.modules.get("benchmarks")
    if known is not None and known.__file__ is not None and Path(known.__file__).resolve() == file.resolve():
        return known
    if not file.is_file():
        raise NoBenchmarksError(
            f"expected a checkout of textgym, which holds the benchmarks, got the package in {str(root)!r}; clone the "
            "repository, run `pip install -e .` in it, and call `textgym bench` again"
        )
    spec = importlib.util.spec_from_file_location("benchmarks", file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None:
        raise NoBenchmarksError(f"expected a Python package in {str(file.parent)!r}, got another; restore the checkout")
    module = sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _own_device(settings: BenchSettings) -> str:
    if settings.name != "gpu":
        return "cpu"
    return "auto" if settings.smoke else "cuda"
