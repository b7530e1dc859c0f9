"""Run the tests with other releases of the packages than the locked ones, one environment at a time.

The rows are: the locked versions, the newest of everything, the lower bounds of pyproject.toml, and each minor release
of a package with the others as locked as can be. Each environment is made in a temporary folder and deleted afterwards.
What is finished is kept in runs/drift/ and not repeated; `--fresh` forgets it. Arguments that are not known here go to
pytest, and then docs/compatibility.md is left as it is: it shows whole runs only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from drift_page import PAGE, print_table, write_page
from lock import DEV, LEFT_OUT, ROOT, ResolutionError, pins, resolve, run_uv

RESULTS = ROOT / "runs" / "drift"
TESTS = ("tests/models", "tests/agents", "tests/envs")
_TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis")
_EXTRAS = ("data", "feedback", "lora", "tensorboard")
_MOST_SECONDS = 3 * 3600.0
_BOUND = re.compile(r"([A-Za-z0-9-]+)>=(\d+)\.(\d+)")


class NotRunError(Exception):
    """A row cannot be run; the message says why."""


@dataclass(frozen=True)
class Row:
    """The packages of one environment: ``torch`` as pip takes it, the other packages with exact versions."""

    name: str
    torch: str
    packages: Mapping[str, str]
    problem: str = ""


@dataclass
class Result:
    """The result of a row. ``imported`` are the versions that its Python really imports."""

    row: str
    torch: str
    packages: Mapping[str, str]
    arguments: Sequence[str]
    python: str = field(default_factory=platform.python_version)
    system: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}")
    commit: str = ""
    day: str = ""
    imported: Mapping[str, str] = field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: Sequence[str] = ()
    reason: str = ""  # why it was not run

    def is_of(self, row: Row, arguments: Sequence[str]) -> bool:
        """Return whether the same versions and tests are meant, on this Python."""
        mine = (self.torch, dict(self.packages), list(self.arguments), self.python)
        return mine == (row.torch, dict(row.packages), list(arguments), platform.python_version())


def direct_packages() -> list[str]:
    """Return the names of what pyproject.toml asks for, torch first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in _EXTRAS for name in project["optional-dependencies"][extra]),
    ]
    names = dict.fromkeys(re.split(r"[ <>=!~;\[]", line, maxsplit=1)[0] for line in wanted)
    return ["torch", *(name for name in names if name != "torch")]


def lower_bound(package: str) -> tuple[int, int]:
    """Return the first two numbers of a package's lower bound.

    Raises:
        NotRunError: pyproject.toml asks for no such package.
    """
    for name, major, minor in _BOUND.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8")):
        if name == package:
            return int(major), int(minor)
    raise NotRunError(f"expected a package with a lower bound in pyproject.toml, got {package!r}; name one of these")


def plan(torch: str, vary: Sequence[str]) -> Iterator[Row]:
    """Yield the rows; what cannot be resolved comes with the reason."""
    tools = [f"{name}=={version}" for name, version in _locked().items() if name in _TEST_TOOLS]
    yield _resolved("locked", torch, *tools, prefer=True)
    newest = _resolved("newest", torch, *tools)
    yield newest
    yield _resolved("lower bounds", torch, *tools, options=("--resolution", "lowest-direct"))
    for package in vary:
        last = _newest_torch() if package == "torch" else newest.packages.get(package, "")
        for minor in _minors(package, last):
            changed = f"{package}~={minor}.0"
            now, further = (changed, ()) if package == "torch" else (torch, (changed,))
            yield _resolved(f"{package} {minor}", now, *tools, *further, prefer=True)


def _locked() -> dict[str, str]:
    return pins(DEV.read_text(encoding="utf-8"))


def _minors(package: str, last: str) -> list[str]:
    major, minor = lower_bound(package)
    numbers = [int(number) for number in last.split(".")[:2] if number.isdigit()]
    if len(numbers) < 2 or numbers[0] != major:  # across a new major version it is unknown which minors there were
        return [f"{major}.{minor}"]
    return [f"{major}.{number}" for number in range(minor, numbers[1] + 1)]


def _newest_torch() -> str:
    return pins(resolve("torch", options=("--python", sys.executable)))["torch"]


def _resolved(name: str, torch: str, *more: str, options: Sequence[str] = (), prefer: bool = False) -> Row:
    chosen = ("--python", sys.executable, *options)
    try:
        text = resolve(torch, *more, options=chosen, extras=_EXTRAS, prefer=DEV if prefer else None)
    except ResolutionError as error:
        return Row(name, torch, {}, " ".join(str(error).split()))
    found = pins(text)
    return Row(name, torch, {package: found[package] for package in found if not LEFT_OUT.match(package)})


def run_row(row: Row, torch_index: str, arguments: Sequence[str], source: Path, cuda: bool = False) -> Result:
    """Make the environment, run the tests in it, delete it."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    result = Result(row.name, row.torch, row.packages, arguments, day=time.strftime("%Y-%m-%d"))
    result.commit = commit.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="drift-") as folder:
        try:
            if row.problem:
                raise NotRunError(row.problem)
            python = _make_environment(row, torch_index, Path(folder), source, cuda)
            names = [name for name in direct_packages() if name == "torch" or name in row.packages]
            found = _call([python, str(ROOT / "tools" / "imported.py"), *names], "its packages cannot be imported")
            result.imported = json.loads(found.splitlines()[-1])
            _run_tests(python, Path(folder), source, arguments, result)
        except NotRunError as error:
            result.reason = str(error)
    return result


def _make_environment(row: Row, torch_index: str, folder: Path, source: Path, cuda: bool) -> str:
    """Install a row; return the path of its Python."""
    python = folder / "venv" / "bin" / "python"
    listed = folder / "packages.txt"
    listed.write_text("".join(f"{name}=={version}\n" for name, version in row.packages.items()), encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    index = ["--retries", "1", *(["--extra-index-url", torch_index] if torch_index else [])]
    try:
        run_uv(["venv", "--quiet", "--seed", "--python", sys.executable, str(folder / "venv")])
        if not cuda:
            _refuse_cuda_build(pip, index, row.torch)
        _call([*pip, "--no-deps", *index, row.torch], "torch cannot be installed")
        run_uv(["pip", "install", "--quiet", "--no-deps", "--python", str(python), "--requirements", str(listed)])
        _call([*pip, row.torch], "torch cannot be installed")  # what only a CUDA build needs; nothing else is missing
        wheel = next(source.glob("*.whl"))
        run_uv(["pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)])
    except ResolutionError as error:
        raise NotRunError(" ".join(str(error).split())) from error
    return str(python)


def _refuse_cuda_build(pip: Sequence[str], index: Sequence[str], torch: str) -> None:
    """Check that pip would take a build of torch like the one here: CUDA builds are several gigabytes each."""
    report = _call([*pip, "--dry-run", "--no-deps", "--report", "-", *index, torch], "torch cannot be installed")
    (found,) = json.loads(report)["install"]
    needed = found["metadata"].get("requires_dist", [])
    if _needs_cuda(needed) and not _needs_cuda(metadata.requires("torch") or []):
        version = found["metadata"]["version"]
        raise NotRunError(
            f"only a CUDA build of torch {version} could be reached, and the one here is none; --cuda takes it"
        )


def _needs_cuda(requirements: Sequence[str]) -> bool:
    return any(LEFT_OUT.match(line) and not line.startswith("torch") for line in requirements)


def _run_tests(python: str, folder: Path, source: Path, arguments: Sequence[str], result: Result) -> None:
    report = folder / "report.xml"
    away = folder / "away"
    shutil.copytree(source / "tests", away / "tests")
    shutil.copy(source / "pyproject.toml", away)
    pytest = str(Path(python).with_name("pytest"))
    command = [pytest, "-m", "not slow", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    log = RESULTS / f"{re.sub(r'[^a-z0-9.]+', '-', result.row)}.log"
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with log.open("w", encoding="utf-8") as file:
        try:
            subprocess.run(command, cwd=away, env=clean, stdout=file, stderr=file, timeout=_MOST_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NotRunError(f"the tests took longer than {_MOST_SECONDS / 3600:.0f} hours; see {log}") from error
    if not report.is_file():
        raise NotRunError(f"pytest could not run; see {log}")
    count_tests(report, result)


def count_tests(report: Path, result: Result) -> None:
    """Read a JUnit report into a result. An error in a fixture or while collecting is a failure.

    Raises:
        NotRunError: No test was run.
    """
    cases = list(ElementTree.parse(report).iter("testcase"))
    if not cases:
        raise NotRunError("no test was selected")
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case not in bad and case.find("skipped") is not None]
    result.passed, result.failed, result.skipped = len(cases) - len(bad) - len(skipped), len(bad), len(skipped)
    result.failures = [f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}" for case in bad]


def _call(command: Sequence[str], problem: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise NotRunError(f"{problem}: {errors[0] if errors else result.returncode}")
    return result.stdout


def read_results() -> list[Result]:
    """Return what earlier calls finished."""
    file = RESULTS / "results.json"
    return [Result(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []


def save_results(results: Sequence[Result]) -> None:
    """Keep what is finished, through an interrupt at any moment."""
    partial = RESULTS / "results.json.partial"
    partial.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
    partial.replace(RESULTS / "results.json")


def build_source(folder: Path) -> None:
    """Put the wheel, the tests and their settings into a folder, so that editing goes on while rows run."""
    for earlier in ("build/lib", *(str(path) for path in ROOT.glob("build/bdist.*"))):
        shutil.rmtree(ROOT / earlier, ignore_errors=True)  # modules that are gone would come along from it
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    _call(command, "the wheel cannot be built")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def run_rows(
    rows: Sequence[Row], torch_index: str, arguments: Sequence[str], fresh: bool, cuda: bool = False
) -> list[Result]:
    """Run what is not finished yet; return a result for every row. Rows of equal versions are run once."""
    kept = [] if fresh else [result for result in read_results() if not result.reason]
    chosen: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="drift-source-") as folder:
        build_source(Path(folder))
        for number, row in enumerate(rows, start=1):
            done = next((result for result in kept if result.is_of(row, arguments)), None)
            if done is not None and not row.problem:
                print(f"{number}/{len(rows)} {row.name}: finished on {done.day} ({done.commit})", flush=True)
                chosen.append(done if done.row == row.name else Result(**asdict(done) | {"row": row.name}))
                continue
            print(f"{number}/{len(rows)} {row.name} ...", flush=True)
            result = run_row(row, torch_index, arguments, Path(folder), cuda)
            print(f"    {result.reason or f'{result.passed} passed, {result.failed} failed'}", flush=True)
            chosen.append(result)
            kept.append(result)
            save_results(kept)
    return chosen


def main() -> None:
    """Run what the command line asks for, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--torch", required=True, help="which torch goes with the rows that do not vary it")
    parser.add_argument("--torch-index", default="", help="further index for torch, such as that of CPU builds")
    parser.add_argument("--vary", action="append", default=[], help="a package to try every minor release of")
    parser.add_argument("--only", action="append", help="run only the row of this name, such as 'lower bounds'")
    parser.add_argument("--cuda", action="store_true", help="also install CUDA builds of torch, gigabytes each")
    parser.add_argument("--fresh", action="store_true", help="also run what is finished")
    options, given = parser.parse_known_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # so that environments are deleted then too
        signal.signal(number, signal.default_int_handler)
    arguments = [*([] if any(argument.startswith("tests") for argument in given) else TESTS), *given]
    try:
        rows = [row for row in plan(options.torch, options.vary) if row.name in (options.only or [row.name])]
        results = run_rows(rows, options.torch_index, arguments, options.fresh, options.cuda)
    except NotRunError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on after the last finished row")
    print_table(results, _locked())
    if given or options.only:
        print(f"{PAGE.relative_to(ROOT)} is unchanged: it shows whole runs only")
    else:
        write_page(results, _locked())


if __name__ == "__main__":
    main()
