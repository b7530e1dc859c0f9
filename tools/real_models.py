"""Run studies with real pretrained models: make the environment and the models, measure, and write the page.

Each step says what it does, and is skipped where it was done before: packages come from PyPI into build/real/venv,
models into build/real/models, runs and figures beside them. Texts are those of the folder in --data, by name:
xsum.jsonl, reviews.en-de.jsonl, dialogsum.dev.jsonl and so on; without it, built-in ones.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lock import ROOT
from real.environment import is_inside, make_environment, rerun_inside

if TYPE_CHECKING:
    from real.bench import Bench

STUDIES: Mapping[str, str] = {
    "similarity": "real.similarity:run",
    "sentiment": "real.sentiment:run",
    "continue": "real.tuning:run_continue",
    "dialogue": "real.tuning:run_dialogue",
    "tables": "real.tables:run",
}
"""Name of a study -> its function."""


def main(given: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    options = _parser().parse_args(given)
    home = options.out.resolve()
    environment = home / "venv"
    if not options.smoke and not is_inside(environment):
        python = make_environment(environment)
        return rerun_inside(python, [__file__, *(sys.argv[1:] if given is None else given)])
    return _run(options, home)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("studies", nargs="*", help=f"which to run, all by default: {', '.join(STUDIES)}")
    parser.add_argument("--data", type=Path, help="folder with files of your own; by default built-in data")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "real", help="folder for all that is written")
    parser.add_argument("--fresh", action="store_true", help="forget the figures and runs of these studies")
    parser.add_argument("--smoke", action="store_true", help="shipped models, a few texts, no page")
    return parser


def _run(options: argparse.Namespace, home: Path) -> int:
    from real.bench import SMOKE, Bench, Size
    from real.models import make_models

    from textgym.security.consent import load_attribute

    unknown = sorted(set(options.studies) - STUDIES.keys())
    if unknown:
        print(f"expected studies of {', '.join(STUDIES)}, got {', '.join(unknown)}; correct them", file=sys.stderr)
        return 2
    if options.data is not None and not options.data.is_dir():
        print(f"expected a folder in --data, got {options.data}; check the path", file=sys.stderr)
        return 2
    home.mkdir(parents=True, exist_ok=True)
    bench = Bench(home, None if options.data is None else options.data.resolve(), SMOKE if options.smoke else Size())
    if options.smoke:
        bench.encoder = bench.model = "tiny"
        bench.is_one_process = True
    else:
        make_models(home)
    bench.link_data()
    with contextlib.chdir(home):  # where models and files have the names that stand in commands
        for name in options.studies or STUDIES:
            if not _study(bench, name, load_attribute(STUDIES[name]), options.fresh):
                return 1
    if not options.smoke:
        from real.page import write_page

        write_page(home / "figures")
    return 0


def _study(bench: Bench, name: str, run: Callable[[Bench], Mapping[str, object]], fresh: bool) -> bool:
    """Run a study, or say that it is finished; return whether it came to its end."""
    if bench.finished(name) is not None and not fresh:
        print(f"{name}: finished before; --fresh runs it again", flush=True)
        return True
    print(f"{name}:", flush=True)
    bench.begin(fresh)
    try:
        bench.keep(name, run(bench))
    except subprocess.CalledProcessError as error:
        print(f"{name}: {error}\n{error.output}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
