"""Run the lessons, each with one seed and then its claims over several, and write what came of it.

    python tools/run_lessons.py                # all of them
    python tools/run_lessons.py 1 5            # some of them
    python tools/run_lessons.py --notebooks    # also as notebooks, whose outputs the documentation shows

Results are kept in lessons/results.json, and lessons/README.md shows them. Notebooks need Jupytext and
nbclient; without them an error says so before anything runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textgym.teaching import lessons_in, read_cells

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "lessons"
_NEEDED = ("jupytext", "nbclient", "ipykernel")
_LINK = re.compile(r"\]\((?!https?:|#)")  # of a file, from the folder of the script
_TABLE = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True)
class Result:
    """The outcome of a lesson: seconds of the script and of its claims, and a line for each claim."""

    title: str
    seconds: float
    claim_seconds: float
    claims: Sequence[str]
    day: str


def title_of(script: Path) -> str:
    """Return the title of a lesson, with its number."""
    prose = next(cell.source for cell in read_cells(script.read_text(encoding="utf-8")) if not cell.is_code)
    return prose.splitlines()[0].removeprefix("# # ")


def run_lesson(script: Path) -> Result:
    """Run a script and its claims.

    Raises:
        subprocess.CalledProcessError: Either fails; what it wrote is on the screen.
    """
    seconds = _run(script)[0]
    claim_seconds, written = _run(script, "--claims")
    claims = [line.removeprefix("holds: ") for line in written.splitlines() if line.startswith("holds: ")]
    return Result(title_of(script), round(seconds, 1), round(claim_seconds, 1), claims, time.strftime("%Y-%m-%d"))


def _run(script: Path, *options: str) -> tuple[float, str]:
    """Return the seconds that a script takes and what it writes, which is shown too."""
    begun = time.perf_counter()
    command = [sys.executable, str(script), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    done.check_returncode()
    return time.perf_counter() - begun, done.stdout


def write_notebook(script: Path, folder: Path) -> Path:
    """Write a lesson as a notebook with its outputs: those that are stored if its code is the same, else new ones.

    To have new ones all the same, remove the notebook.

    Args:
        script: The lesson.
        folder: Where the notebook goes; it is made if it is missing.
    """
    import jupytext
    from nbclient import NotebookClient

    file = folder / f"{script.stem}.ipynb"
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same script gives the same ids
        cell["source"] = cell["source"].strip("\n")  # as ruff leaves it
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub("](../", cell["source"])
    stored = jupytext.read(file) if file.is_file() else None
    if stored is not None and _code(stored) == _code(notebook):
        notebook.metadata = stored.metadata
        for cell, known in zip(_code_cells(notebook), _code_cells(stored), strict=True):
            cell["outputs"], cell["execution_count"] = known["outputs"], known["execution_count"]
    else:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
        for cell in notebook.cells:
            cell.get("metadata", {}).pop("execution", None)  # times, which differ from run to run
    for cell in _code_cells(notebook):  # progress and warnings name places of this machine
        cell["outputs"] = [each for each in cell["outputs"] if each.get("name") != "stderr"]
    folder.mkdir(parents=True, exist_ok=True)
    jupytext.write(notebook, file)
    return file


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell["cell_type"] == "code"]


def _code(notebook: Any) -> list[str]:
    return [cell["source"] for cell in _code_cells(notebook)]


def table_of(results: Mapping[str, Result]) -> str:
    """Return the results as a table in Markdown, a row for each lesson."""
    rows = [
        "| lesson | seconds | of the claims | claims, over three seeds or more, with 95 % intervals |",
        "|---|---|---|---|",
    ]
    for name, result in sorted(results.items()):
        claims = "<br>".join(result.claims)
        rows.append(f"| [{result.title}]({name}.py) | {result.seconds:.0f} | {result.claim_seconds:.0f} | {claims} |")
    return "\n".join(rows) + "\n"


def keep_results(results: Mapping[str, Result], folder: Path) -> None:
    """Add results to those in a folder, and show all of them on its page."""
    file, page = folder / "results.json", folder / "README.md"
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known.update({name: asdict(result) for name, result in results.items()})
    file.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    table = table_of({name: Result(**fields) for name, fields in known.items()})
    page.write_text(_TABLE.sub(lambda _: table, page.read_text(encoding="utf-8")), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the lessons that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("numbers", nargs="*", type=int, help="lessons to run; by default all")
    parser.add_argument("--notebooks", action="store_true", help="also write them as notebooks")
    chosen = parser.parse_args(arguments)
    missing = [name for name in _NEEDED if chosen.notebooks and importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"expected {', '.join(_NEEDED)} for notebooks, found no {', '.join(missing)}; install them")
    scripts = [path for path in lessons_in(FOLDER) if not chosen.numbers or int(path.stem[:2]) in chosen.numbers]
    if not scripts:
        parser.error(f"expected numbers of lessons, got {chosen.numbers}; lessons/ has those from 1 on")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from a second core
    for script in scripts:
        print(f"== {title_of(script)}", flush=True)
        try:
            keep_results({script.stem: run_lesson(script)}, FOLDER)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{script.name} failed with status {error.returncode}; see above")
        if chosen.notebooks:
            print(f"notebook: {write_notebook(script, FOLDER / 'notebooks').relative_to(ROOT)}", flush=True)
    print(table_of({name: Result(**each) for name, each in json.loads((FOLDER / "results.json").read_text()).items()}))


if __name__ == "__main__":
    main()
