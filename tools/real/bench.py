"""Shared parts of all studies: folders, commands that are run once, and figures that are kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real.models import MINILM, SMOLLM

TOOLS = Path(__file__).resolve().parents[1]
RESUMABLE = (("train",), ("sft",), ("reward", "fit"))
_START = "from textgym.cli import main; main()"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """The amount of work of a study: the whole of it, or enough to see that it runs.

    Attributes:
        prompts: Held-out prompts of an evaluation.
        sft_steps, sft_batch: Optimizer steps of supervised fine-tuning, and texts per step.
        tokens: Tokens that reinforcement learning has room for.
        n_envs, group_size: Texts of an iteration, and how many of them continue one prompt.
        pairs: Simulated comparisons.
        rows: Rows of a file that are scored.
        table_tokens: Tokens of the short trainings.
    """

    prompts: int = 200
    sft_steps: int = 40
    sft_batch: int = 16
    tokens: int = 30_720
    n_envs: int = 64
    group_size: int = 8
    pairs: int = 1000
    rows: int = 2000
    table_tokens: int = 1536


SMOKE = Size(prompts=4, sft_steps=1, sft_batch=2, tokens=64, n_envs=2, group_size=2, pairs=60, rows=60, table_tokens=64)


@dataclass
class Bench:
    """The place where studies run.

    Attributes:
        home: Folder of all that is written; commands run in it.
        data: Folder with the user's files; ``None`` takes built-in data.
        size: How much is done.
        encoder: Sentence encoder, relative to ``home``.
        model: Language model, relative to ``home``.
        commands: Commands of the study that runs, as they are typed.
        is_fresh: Whether runs that were finished before are made again.
        is_one_process: Whether commands run in this process, where all is imported already, and not each in its own.
    """

    home: Path
    data: Path | None = None
    size: Size = field(default_factory=Size)
    encoder: str = MINILM
    model: str = SMOLLM
    commands: list[str] = field(default_factory=list)
    is_fresh: bool = False
    is_one_process: bool = False

    def begin(self, is_fresh: bool) -> None:
        """Begin a study: no commands yet."""
        self.commands, self.is_fresh = [], is_fresh

    def file(self, name: str) -> str | None:
        """Return the user's file of this name, relative to ``home``; ``None`` where there is none."""
        return f"data/{name}" if self.data is not None and (self.data / name).is_file() else None

    def link_data(self) -> None:
        """Show the user's folder as ``data`` in ``home``, so that commands name short paths."""
        link = self.home / "data"
        if link.is_symlink():
            link.unlink()
        if self.data is not None:
            link.symlink_to(self.data.resolve(), target_is_directory=True)

    def textgym(self, *arguments: str, out: str) -> Figures:
        """Run a command of textgym whose run folder is ``runs/OUT``, unless it was finished before.

        A run that was interrupted is resumed, or made again where it cannot be.

        Returns:
            ``summary.json`` of the run, with ``"command"``, and with the ``"wall_seconds"`` that its calls took.

        Raises:
            subprocess.CalledProcessError: The command failed.
        """
        run = self.home / "runs" / out
        command = [*arguments, "--out", f"runs/{out}"]
        self.commands.append(shown(command))
        if self.is_fresh:
            shutil.rmtree(run, ignore_errors=True)
        if not (run / "summary.json").is_file():
            print(f"    {shown(command)}", flush=True)
            self._call(command, run)
        summary: Figures = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        return {**summary, "command": shown(command), "wall_seconds": _read_seconds(self._clock(run))}

    def _clock(self, run: Path) -> Path:
        return self.home / "logs" / f"{run.name}.seconds"

    def _call(self, command: Sequence[str], run: Path) -> None:
        start, clock, log = time.perf_counter(), self._clock(run), self.home / "logs" / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = next((list(words) for words in RESUMABLE if tuple(command[: len(words)]) == words), [])
        resuming = [*words, "--resume", f"runs/{run.name}", *_named_modules(command)]
        is_resumed = bool(words) and run.is_dir() and self._run(resuming, log) == 0
        before = _read_seconds(clock) if is_resumed else 0.0
        if not is_resumed:
            shutil.rmtree(run, ignore_errors=True)
            start = time.perf_counter()
            status = self._run(command, log)
            if status:
                tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-6:])
                raise subprocess.CalledProcessError(status, shown(command), output=tail)
        clock.write_text(f"{before + time.perf_counter() - start:.1f}", encoding="utf-8")

    def _run(self, command: Sequence[str], log: Path) -> int:
        if self.is_one_process:
            return _run_here(command, log)
        path = os.pathsep.join([str(TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}
        with log.open("w", encoding="utf-8") as file:
            return subprocess.run(
                [sys.executable, "-P", "-c", _START, *command],
                cwd=self.home,
                env=environment,
                stdout=file,
                stderr=file,
                check=False,
            ).returncode

    def finished(self, study: str) -> Figures | None:
        """Return the figures of a study that was finished on this data; ``None`` where there are none."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            kept: Figures = json.loads(self._figures(study).read_text(encoding="utf-8"))
            if kept["data"] == self._data_name():
                return kept
        return None

    def keep(self, study: str, figures: Mapping[str, object]) -> Figures:
        """Write the figures of a study with commands and machine; return all of them."""
        kept: Figures = {**figures, "commands": self.commands, "data": self._data_name(), "machine": machine()}
        kept["day"] = time.strftime("%Y-%m-%d")
        file = self._figures(study)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return kept

    def _figures(self, study: str) -> Path:
        return self.home / "figures" / f"{study}.json"

    def _data_name(self) -> str | None:
        return None if self.data is None else str(self.data)


def _run_here(command: Sequence[str], log: Path) -> int:
    from textgym.cli.app import app

    with log.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            app(list(command), standalone_mode=False)
        except SystemExit as end:  # as every command does
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _named_modules(command: Sequence[str]) -> list[str]:
    """Return the options that name a module: resuming asks for them again, as code is only run where it is named."""
    pairs = itertools.pairwise(command)
    return [text for pair in pairs if pair[0] == "--reward" and ":" in pair[1].partition("?")[0] for text in pair]


def _read_seconds(file: Path) -> float:
    """Return the seconds that a run took so far; 0 where nothing was written."""
    with contextlib.suppress(OSError, ValueError):
        return float(file.read_text(encoding="utf-8"))
    return 0.0


def shown(command: Sequence[str]) -> str:
    """Return a command of textgym as it is typed.

    >>> shown(["sft", "TextGen-v0", "--reward", "length?target=5"])
    "textgym sft TextGen-v0 --reward 'length?target=5'"
    """
    return shlex.join(["textgym", *command])


def machine() -> str:
    """Return what the studies ran on, for the page."""
    import torch

    return f"{_processor()}, {torch.get_num_threads()} threads, {platform.system()}, torch {torch.__version__}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
