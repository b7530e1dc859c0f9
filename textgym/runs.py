"""The folder of a run: configuration, versions, logs, summary. Everything in it is plain text, JSON or safetensors."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from textgym.errors import CheckpointError, TextGymError
from textgym.escaping import markdown, markdown_cell
from textgym.foreign import LARGEST_STATE, parse_json, read_json, read_text, refuse_links
from textgym.types import Interval

PACKAGES = ("textgym", "gymnasium", "stable-baselines3", "torch", "transformers", "tokenizers", "datasets", "numpy")
_CONFIG, _LOG, _SAMPLES, _SUMMARY = "config.json", "log.jsonl", "samples.jsonl", "summary.json"


class RunFolderError(TextGymError, ValueError):
    """A run folder is taken, or is not one."""


class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder.
        checkpoints, model, reward, tensorboard: Its parts; they need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        """Name a folder; :meth:`create` and :meth:`open` also check it."""
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.reward = self.path / "reward"
        self.tensorboard = self.path / "tensorboard"

    @classmethod
    def create(cls, path: str | Path | None, command: str, settings: Mapping[str, Any]) -> RunFolder:
        """Make the folder of a new run and write its configuration.

        Args:
            path: A new or empty folder; ``None`` makes one in ``runs/``, named after the command and the time.
            command: Which command it is a run of.
            settings: Its settings, as JSON.

        Raises:
            RunFolderError: The folder holds something already.
        """
        target = Path(path).expanduser() if path is not None else _new_name(command)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RunFolderError(
                f"expected a new or empty folder for --out, got {str(target)!r}, which is in use; choose another "
                "(an interrupted training run is continued with --resume)"
            )
        target.mkdir(parents=True, exist_ok=True)
        run = cls(target)
        config = {"command": command, "seed": settings.get("seed"), "settings": dict(settings), "versions": versions()}
        run.write_config({**config, "started": time.strftime("%Y-%m-%d %H:%M:%S")})
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of an earlier run, to go on in it.

        Raises:
            RunFolderError: There is none, or something in it leads to another place.
        """
        run = cls(path)
        if not (run.path / _CONFIG).is_file():
            raise RunFolderError(f"expected a run folder with a {_CONFIG}, got {str(path)!r}; check the path")
        try:
            refuse_links(run.path)
        except ValueError as error:
            raise RunFolderError(str(error)) from error
        return run

    def config(self) -> dict[str, Any]:
        """Return what :meth:`create` wrote.

        Raises:
            CheckpointError: The file is damaged.
        """
        return _read_object(self.path / _CONFIG)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration."""
        write_json(self.path / _CONFIG, config)

    # ----------------------------------------------------------------- results
    def summary(self) -> dict[str, Any]:
        """Return the summary so far, ``{}`` before there is one."""
        file = self.path / _SUMMARY
        return _read_object(file) if file.is_file() else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary; versions are added."""
        write_json(self.path / _SUMMARY, {**summary, "versions": versions()})

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the JSON lines ``name``, such as ``"texts-before.jsonl"``."""
        lines = [_line(row) for row in rows]
        _replace(self.path / name, "".join(lines))

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON lines ``name``; none if there is no such file. A last line that was cut off is dropped."""
        file = self.path / name
        return _read_lines(file) if file.is_file() else []

    # -------------------------------------------------------------------- logs
    def append_log(self, record: Mapping[str, Any]) -> None:
        """Append one record to ``log.jsonl``."""
        self._append(_LOG, record)

    def append_samples(self, timesteps: int, texts: Mapping[str, str]) -> None:
        """Append what the model wrote at a moment (text by example key)."""
        self._append(_SAMPLES, {"timesteps": timesteps, "texts": dict(texts)})

    def log(self) -> list[dict[str, Any]]:
        """Return the records of ``log.jsonl``."""
        return self.read_rows(_LOG)

    def samples(self) -> list[dict[str, Any]]:
        """Return what was appended by :meth:`append_samples`."""
        return self.read_rows(_SAMPLES)

    def truncate_logs(self, timesteps: int) -> None:
        """Forget what was logged after a checkpoint."""
        for name in (_LOG, _SAMPLES):
            kept = [row for row in self.read_rows(name) if row.get("timesteps", 0) <= timesteps]
            self.write_rows(name, kept)

    def write_samples_table(self, prompts: Mapping[str, str]) -> None:
        """Write ``samples.md``: a section per example (its document first), a row per moment."""
        parts = ["# Sample texts through training\n"]
        rows = self.samples()
        for key, prompt in prompts.items():
            parts.append(f"\n## {markdown_cell(key)}\n\n{_quote(prompt)}\n\n| tokens seen | text |\n|---:|---|\n")
            parts += [f"| {row['timesteps']:,} | {_cell(row['texts'].get(key, ''))} |\n" for row in rows]
        _replace(self.path / "samples.md", "".join(parts))

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        with open(self.path / name, "a", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.write(_line(record))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source tree that was never installed
            found[name] = "unknown"
    return found


def intervals_as_json(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Return intervals as ``{name: {"mean", "low", "high"}}``; an infinite bound is ``None``."""
    return {name: {key: _plain(value) for key, value in item._asdict().items()} for name, item in intervals.items()}


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a crash leaves the old file or the new one; NaN and infinity become ``null``."""
    _replace(file, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _new_name(command: str) -> Path:
    """Return a path in ``runs/`` that is not taken."""
    stem = f"{command.replace(' ', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_plain(record), ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Return what JSON can say: numpy's numbers and arrays as Python's, numbers that are not finite as ``None``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {str(file)!r}, got: {error}; is it a run folder?") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a JSON object in {str(file)!r}, got {type(content).__name__}")
    return content


def _read_lines(file: Path) -> list[dict[str, Any]]:
    lines = read_text(file, LARGEST_STATE).removesuffix("\n").split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__} instead of an object")
            rows.append(row)
        except ValueError as error:
            if number == len(lines):  # the machine stopped in the middle of a line
                break
            raise CheckpointError(f"{file}:{number}: expected JSON, got: {error}; remove the line") from error
    return rows


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in markdown(text).splitlines()) or "> (empty)"


def _cell(text: str) -> str:
    return markdown_cell(text) or "(empty)"
