"""Outcome of every architecture of transformers: ``python -m benchmarks.architectures [--json FILE] [--page FILE]``.

Small random models of all causal LMs that the installed transformers knows, and some that are none, pass through all
paths of textgym (:mod:`~benchmarks.bare_model`). Each is cached, uncached or refused; none may deviate from the
bare model and say nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as hf_logging

from benchmarks.bare_model import Comparison, compare
from benchmarks.small_networks import Architecture, architectures
from textgym import console
from textgym.errors import did_you_mean
from textgym.training.run_folder import write_json
from textgym.versions import versions

TOLERANCE = 1e-4  # nats, in fp32
TIME_LIMIT = 120  # seconds for one architecture
BEGIN, END = "<!-- architectures -->", "<!-- /architectures -->"
_MEANING = {
    "cached": "a new token costs one token",
    "uncached": "a new token costs the whole text",
    "refused": "an error when the model is loaded, or when a path would compute something else",
    "failed": "another error",
    "not built": "this release of transformers cannot build it small, or needs more than token ids",
}


def run(
    names: Sequence[str] = (), report: Callable[[str, Comparison], object] = lambda name, result: None
) -> dict[str, Comparison]:
    """Compare the named architectures, or all; results by name, each reported as it comes.

    Raises:
        ValueError: For an unknown name.
    """
    known = {architecture.name: architecture for architecture in architectures()}
    for name in names:
        if name not in known:
            raise ValueError(f"expected names of architectures, got {name!r}.{did_you_mean(name, known)}")
    chosen = [known[name] for name in names or known]
    results: dict[str, Comparison] = {}
    built: set[str] = set()
    with _quiet():
        for architecture in chosen:
            result = compare_one(architecture, built)
            if result is not None:
                results[architecture.name] = result
                report(architecture.name, result)
    return results


def compare_one(architecture: Architecture, built: set[str], limit: float = TIME_LIMIT) -> Comparison | None:
    """Build and compare one; ``None`` for the same network under another name (as ``built`` shows)."""
    try:
        with _time_limit(limit):
            try:
                if architecture.is_wrapper:
                    return None
                network = architecture.build()
            except TimeoutError:
                raise
            except Exception as error:  # whatever a library raises: one model must not end a table
                return Comparison("not built", reason=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            key = _identity(network)
            if key in built:
                return None
            built.add(key)
            return compare(network, architecture.width)
    except TimeoutError as error:
        return Comparison("failed", reason=str(error), seconds=float(limit))


def _identity(network: Any) -> str:
    """Class and configuration: many model types share one class."""
    fields = {name: value for name, value in network.config.to_dict().items() if name not in ("model_type", "dtype")}
    return f"{type(network).__name__} {json.dumps(fields, sort_keys=True, default=str)}"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End the block with a TimeoutError after ``seconds`` (in the main thread of a POSIX system)."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"expected a result within {seconds:g} s, got none")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers has much to say about models that are this small."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)


def wrong(results: Mapping[str, Comparison]) -> list[str]:
    """Names of those that deviate from the bare model, or are not a number."""
    return [name for name, result in results.items() if result.deviation is not None and not is_right(result)]


def is_right(result: Comparison) -> bool:
    """Return whether everything was computed as the bare model computes it."""
    return result.deviation is not None and 0 <= result.deviation <= TOLERANCE


def as_json(results: Mapping[str, Comparison]) -> dict[str, Any]:
    """Results with the date and the versions they are of."""
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "tolerance": TOLERANCE,
        "architectures": {name: _finite(asdict(result)) for name, result in results.items()},
    }


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a deviation that is none is recorded as -1."""
    number = record["deviation"]
    if number is not None and number != number:
        record["deviation"] = -1.0
    record["paths"] = {name: value if value == value else -1.0 for name, value in record["paths"].items()}
    return record


def read_results(path: Path) -> dict[str, Comparison]:
    """Results that were written as JSON."""
    records = json.loads(path.read_text(encoding="utf-8"))["architectures"]
    return {name: Comparison(**record) for name, record in records.items()}


def as_markdown(results: Mapping[str, Comparison]) -> str:
    """A table of all results, the counts above it."""
    counts = Counter(str(result.status) for result in results.values())
    absent = ", ".join(name for name, result in results.items() if result.status == "not built")
    lines = [
        f"{', '.join(f'{name} {version}' for name, version in versions().items())}; "
        f"{datetime.date.today().isoformat()}.",
        "",
        *(f"- {counts[status]} {status}: {meaning}" for status, meaning in _MEANING.items() if counts[status]),
        "",
        "| architecture | outcome | deviation, nats | reason |",
        "|---|---|---|---|",
        *(_row(name, result) for name, result in results.items() if result.status != "not built"),
        *(["", f"Not built: {absent}."] if absent else []),
    ]
    return "\n".join(lines)


def _row(name: str, result: Comparison) -> str:
    deviation = "" if result.deviation is None else f"{result.deviation:.1e}"
    reason = (result.reason or next(iter(result.warnings), "")).partition(";")[0].replace("|", r"\|")
    return f"| {name} | {result.status} | {deviation} | {reason} |"


def write_page(path: Path, results: Mapping[str, Comparison]) -> None:
    """Put the table between the two markers of a page.

    Raises:
        ValueError: If the page lacks them.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the lines {BEGIN} and {END} in {path}, got none; add them where the table belongs")
    path.write_text(f"{before}{BEGIN}\n{as_markdown(results)}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, print the table and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    parser.add_argument("--page", type=Path, metavar="FILE", help=f"write the table into this page, at {BEGIN}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = run(given.names, _say)
    console.say(f"deviating: {', '.join(wrong(results)) or 'none'}")
    if given.json is not None:
        write_json(given.json, as_json(results))
    if given.page is not None:
        write_page(given.page, results)


def _say(name: str, result: Comparison) -> None:
    deviation = "" if result.deviation is None else f"{result.deviation:.1e}"
    reason = result.reason or next(iter(result.warnings), "")
    console.say(f"{name:<36}{result.status:<10}{deviation:<9}{result.seconds:5.1f} s  {reason}")


if __name__ == "__main__":
    main()
