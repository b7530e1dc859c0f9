"""The folder of a run: configuration, versions, logs, summary. Everything in it is plain text, JSON or safetensors."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import shutil
import time
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from textgym.errors import CheckpointError, ConsentError, RunFolderError
from textgym.files.disk import append_line, remove_leftovers, replace_text, unfinished_name
from textgym.files.locks import LOCK, FolderLock
from textgym.files.paths import folders_in, suggested_folder, user_path
from textgym.hub import AGENT
from textgym.naming import argument
from textgym.security.escaping import markdown, markdown_cell
from textgym.security.foreign import LARGEST_STATE, parse_json, read_json, read_text, refuse_links
from textgym.training.event_files import truncate_events
from textgym.types import Interval, JsonObject
from textgym.values import is_number, plain_value
from textgym.versions import versions

__all__ = ["RunFolder", "RunFolderError", "intervals_as_json", "write_json"]
_Value = TypeVar("_Value")
_RESUMABLE = ("train", "sft", "reward fit", "rlhf", "compare")
_SAME: Mapping[str, tuple[str, ...]] = {"train": ("train", "sft"), "sft": ("sft", "train")}
"""Commands that resume the runs of each other: ``sft`` is short for ``train --agent sft``."""
_ROUND = "rlhf round"
_MADE = {"tokens": "tokens written in training", "texts": "texts written in training", "steps": "optimizer steps"}
_CONFIG, _LOG, _SAMPLES, _SUMMARY = "config.json", "log.jsonl", "samples.jsonl", "summary.json"
_FAILURE, PAGE = "failure.json", "report.html"
"""The error that ended the last attempt, and the page that ``textgym show`` writes."""


class RunFolder:
    """The files of one run.

    A run that writes holds the folder's lock, from :meth:`create` on or inside ``with run:``; the end of the block, of
    the outermost one where they are nested, releases it, and the system does if the process dies.

    Attributes:
        path: The folder, absolute: whoever changes the working directory later changes nothing.
        shown: The same as it is shown to users, relative where it lies in the working directory.
        checkpoints, model, agent, reward, tensorboard: Its parts; they need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        """Name a folder; :meth:`create` and :meth:`open` also check it."""
        self.path = user_path(path).absolute()
        self.shown = str(self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.agent = self.path / AGENT
        self.reward = self.path / "reward"
        self.tensorboard = self.path / "tensorboard"
        self._lock: FolderLock | None = None
        self._holders = 0

    def __enter__(self) -> Self:
        """Hold the lock of the folder, and remove what killed runs left half-written in it.

        Raises:
            RunFolderError: It is no run of textgym.
            FolderInUseError: Another run works here.
        """
        if self._lock is None:
            self._require_ours()
            self._lock = FolderLock(self.path)
            for folder in (self.path, self.checkpoints):
                remove_leftovers(folder)
        self._holders += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock at the end of the outermost block, and keep the error that ended it, if one did."""
        self._holders -= 1
        if self._holders <= 0:
            if not isinstance(error, ConsentError | RunFolderError):  # which say nothing about the run
                self._keep_failure(error)
            self._release()

    def _keep_failure(self, error: BaseException | None) -> None:
        """Write down an error, or forget that of an earlier attempt; interrupts are none."""
        with contextlib.suppress(OSError):  # as where the disk is full, which may be the error
            if isinstance(error, Exception):
                at = time.strftime("%Y-%m-%d %H:%M:%S")
                write_json(self.path / _FAILURE, {"error": f"{type(error).__name__}: {error}", "at": at})
            else:
                (self.path / _FAILURE).unlink(missing_ok=True)

    def failure(self) -> str:
        """Return the error that ended the last attempt; empty if none did.

        Raises:
            CheckpointError: The file is damaged.
        """
        file = self.path / _FAILURE
        return value_of(_read_object(file), "error", "") if file.is_file() else ""

    def _release(self) -> None:
        self._holders = 0
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @classmethod
    def create(
        cls, path: str | Path | None, command: str, settings: Mapping[str, object], beginnings: Collection[str] = ()
    ) -> RunFolder:
        """Make the folder of a new run, lock it, and write its configuration.

        Args:
            path: A new or empty folder; ``None`` makes one in ``runs/``, named after the command and the time.
            command: Name of the command that the run belongs to.
            settings: Its settings, as JSON.
            beginnings: Names of what a run of this command has written before there is anything to go on from. A folder
                with no more than these, of a run with the same settings that was killed so early, is begun again.

        Raises:
            RunFolderError: The folder holds something else already.
            FolderInUseError: Another run works there.
        """
        if path is None:
            run = cls(_new_folder(command))
        else:
            run = cls(path)
            _refuse_foreign(run)
            run.path.mkdir(parents=True, exist_ok=True)
        had_lock = (run.path / LOCK).exists()
        run._lock = FolderLock(run.path)
        try:
            run._clear(command, settings, beginnings)
            config = {"command": command, "seed": settings.get("seed"), "settings": dict(settings)}
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            run.write_config({**config, "versions": versions(), "started": started})
        except BaseException:
            run._release()
            if not had_lock:
                (run.path / LOCK).unlink(missing_ok=True)
            raise
        return run

    def _require_ours(self) -> None:
        """Check that textgym made the folder: what is removed in it are textgym's own files then.

        Raises:
            RunFolderError: It did not.
            CheckpointError: The configuration is damaged.
        """
        if not self.stored("command", ""):
            raise RunFolderError(
                f"expected a run folder of textgym, got {self.shown!r}, whose {_CONFIG} names no command of it; check "
                "the path"
            )

    def _clear(self, command: str, settings: Mapping[str, object], beginnings: Collection[str]) -> None:
        """Remove the beginning of a run that was killed, if that is all there is.

        Raises:
            RunFolderError: There is more.
        """
        found = [path for path in self.path.iterdir() if path.name != LOCK]
        if not found:
            return
        if all(unfinished_name(path) == _CONFIG for path in found):  # killed at its very first file
            for path in found:
                path.unlink()
            return
        known = {*beginnings, _CONFIG, _FAILURE, PAGE}
        unknown = any((unfinished_name(path) or path.name) not in known for path in found)
        if unknown or any(unfinished_name(path) is None for path in self.checkpoints.glob("*")):
            raise _taken(self, "which holds a run")
        before = self.config()
        if before.get("command") != command or not _same_settings(value_of(before, "settings", {}), settings):
            raise _taken(self, "where a run with other settings began")
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of an earlier run, to go on in it.

        Raises:
            RunFolderError: There is none, or something in it leads to another place.
        """
        run = cls(path)
        if not (run.path / _CONFIG).is_file():
            runs = folders_in(user_path(path), lambda each: (each / _CONFIG).is_file())
            check = f"name one of the runs in it: {runs}" if runs else f"check the path.{suggested_folder(path)}"
            raise RunFolderError(f"expected a run folder with a {_CONFIG}, got {str(path)!r}; {check}")
        try:
            refuse_links(run.path)
        except ValueError as error:
            raise RunFolderError(str(error)) from error
        return run

    def config(self) -> JsonObject:
        """Return what :meth:`create` wrote.

        Raises:
            CheckpointError: The file is damaged.
        """
        return _read_object(self.path / _CONFIG)

    def stored(self, name: str, default: _Value) -> _Value:
        """Return a value of the configuration, as :func:`value_of` does.

        Raises:
            CheckpointError: The file is damaged.
        """
        return value_of(self.config(), name, default)

    def has_settings(self, settings: Mapping[str, object]) -> bool:
        """Say whether the run was made with these settings; the folder itself may be spelled in several ways."""
        return _same_settings(self.stored("settings", dict[str, object]()), settings)

    def write_config(self, config: Mapping[str, object]) -> None:
        """Replace the configuration."""
        write_json(self.path / _CONFIG, config)

    def settings_of(self, command: str, *, rounds: bool = False) -> JsonObject:
        """Return the settings that a run of ``command`` was made with.

        A run of another command that did the same on its way, as ``demo`` trains, has them under the command's name.

        Args:
            command: Name of the command that resumes the run.
            rounds: Whether rounds of ``textgym rlhf`` count. Only their own loop resumes them.

        Raises:
            RunFolderError: It is a run of another command.
            CheckpointError: They are damaged.
        """
        config, names = self.config(), _SAME.get(command, (command,))
        made_by = config.get("command")
        if (made_by == _ROUND and not rounds) or (made_by not in names and config.keys().isdisjoint(names)):
            raise RunFolderError(
                f"expected a run of `textgym {command}` to resume, got {self.shown!r}, {self._what_else(made_by)}"
            )
        settings = value_of(config, next((name for name in names if name in config), "settings"), dict[str, object]())
        if not settings:
            raise CheckpointError(f"expected settings in {str(self.path / _CONFIG)!r}, got none; restore the file")
        return settings

    def resumed_by(self, command: str) -> str:
        """Return the command that resumes the run: its own, if that does what ``command`` does."""
        try:
            made_by = self.config().get("command")
        except CheckpointError:  # an error that is being explained already
            return command
        return str(made_by) if made_by in _SAME.get(command, ()) else command

    def _what_else(self, made_by: object) -> str:
        """Say which command made the folder, and what can be done with it."""
        if made_by == _ROUND:
            parent = str(Path(self.shown).parent)
            return f"a round of the run {parent!r}; resume it with `textgym rlhf --resume {shlex.quote(parent)}`"
        if made_by in _RESUMABLE:
            how = f"resume it with `textgym {made_by} --resume {shlex.quote(self.shown)}`"
            return f"a run of `textgym {made_by}`; {how}"
        return f"a run of `textgym {made_by}`, which cannot be resumed; start a new run"

    # ----------------------------------------------------------------- results
    def summary(self) -> JsonObject:
        """Return the summary so far, ``{}`` before there is one."""
        file = self.path / _SUMMARY
        return _read_object(file) if file.is_file() else {}

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Replace the summary; versions are added."""
        write_json(self.path / _SUMMARY, {**summary, "versions": versions()})

    def write_rows(self, name: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Replace the JSON lines ``name``, such as ``"texts-before.jsonl"``."""
        replace_text(self.path / name, "".join(map(_line, rows)))

    def read_rows(self, name: str) -> list[JsonObject]:
        """Return the JSON lines ``name``; none if there is no such file. A last line that was cut off is dropped."""
        file = self.path / name
        return _read_lines(file) if file.is_file() else []

    # -------------------------------------------------------------------- logs
    def append_log(self, record: Mapping[str, object]) -> None:
        """Append one record to ``log.jsonl``."""
        self.append_row(_LOG, record)

    def append_samples(
        self, timesteps: int, texts: Mapping[str, str], prompts: Mapping[str, str] | None = None
    ) -> None:
        """Append what the model wrote at a moment (text by example key), to which prompts if they are not known yet."""
        more = {} if prompts is None else {"prompts": dict(prompts)}
        self.append_row(_SAMPLES, {"timesteps": timesteps, "texts": dict(texts), **more})

    def log(self) -> list[JsonObject]:
        """Return the records of ``log.jsonl``."""
        return self.read_rows(_LOG)

    def samples(self) -> list[JsonObject]:
        """Return what was appended by :meth:`append_samples`."""
        return self.read_rows(_SAMPLES)

    def require_no_training(self) -> None:
        """Check that no training has written here, whose records and checkpoints a new one would mix with its own.

        Raises:
            RunFolderError: One has.
        """
        checkpoint = max((path.name for path in self.checkpoints.glob("step-*")), default=None)
        if checkpoint is None and not self.log() and not self.samples():
            return
        newest = f"; its newest checkpoint is checkpoints/{checkpoint}" if checkpoint is not None else ""
        raise RunFolderError(
            f"expected a folder without a training run, got {self.shown!r}, which holds one{newest}; resume it "
            "(`textgym train --resume`, or train(..., resumed=True) with an agent loaded from its newest checkpoint), "
            "or train in another folder"
        )

    def truncate_logs(self, last: int, counted: str = "timesteps") -> None:
        """Forget what was logged after a checkpoint, at more than ``last`` of what ``counted`` names.

        Rows that cannot be a log's are dropped, with a warning. TensorBoard's files are shortened too.
        """
        truncate_events(self.tensorboard, last)
        for name, is_sound in ((_LOG, _is_record), (_SAMPLES, _is_sample)):
            if not (self.path / name).is_file():
                continue
            rows = self.read_rows(name)
            sound = [row for row in rows if is_sound(row, counted)]
            if len(sound) < len(rows):
                warnings.warn(
                    f"dropped {len(rows) - len(sound)} rows of {str(self.path / name)!r} that are no numbers or "
                    "texts of a run; they are missing from plots and tables",
                    stacklevel=2,
                )
            self.write_rows(name, [row for row in sound if row[counted] <= last])

    def write_samples_table(self, prompts: Mapping[str, str], unit: str = "tokens") -> None:
        """Write ``samples.md``: a section per example (its document first), a row per moment of training.

        Args:
            prompts: Documents by the keys of examples.
            unit: Name of a time step of the agent, in the plural.
        """
        made = _MADE.get(unit, unit)
        parts = [
            "# Sample texts through training\n\nPrompts of the validation split, of which training reads none. "
            f"*{made}*: how far training was. *text*: one sample at temperature 1, with the same seed every time.\n"
        ]
        rows = self.samples()
        for key, prompt in prompts.items():
            parts.append(f"\n## {markdown_cell(key)}\n\n{_quote(prompt)}\n\n| {made} | text |\n|---:|---|\n")
            parts += [f"| {row['timesteps']:,} | {_cell(row['texts'].get(key, ''))} |\n" for row in rows]
        replace_text(self.path / "samples.md", "".join(parts))

    def append_row(self, name: str, record: Mapping[str, object]) -> None:
        """Append one record to the JSON lines ``name``."""
        append_line(self.path / name, _line(record))


def value_of(record: JsonObject, name: str, default: _Value) -> _Value:
    """Return a value of a JSON object; ``default`` if there is none of its type."""
    value = record.get(name)
    return value if isinstance(value, type(default)) else default


def intervals_as_json(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Return intervals as ``{name: {"mean", "low", "high"}}``; an infinite bound is ``None``."""
    return {name: {key: _plain(value) for key, value in item._asdict().items()} for name, item in intervals.items()}


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Write JSON so that a crash leaves the old file or the new one; NaN and infinity become ``null``."""
    replace_text(file, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _new_folder(command: str) -> Path:
    """Make a folder in ``runs/`` that nobody else has made."""
    stem = f"{command.replace(' ', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    for name in (stem, *(f"{stem}-{number}" for number in range(2, 100))):
        path = Path("runs") / name
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise RunFolderError(
        f"expected a free name for a run, got 99 runs called runs/{stem}-...; name one with {argument('out')}"
    )


def _refuse_foreign(run: RunFolder) -> None:
    """Leave alone, without so much as a lock, what is no folder or holds what is not a run's."""
    if run.path.exists() and not run.path.is_dir():
        raise _taken(run, "which is a file")
    if not run.path.is_dir() or all(
        path.name == LOCK or unfinished_name(path) == _CONFIG for path in run.path.iterdir()
    ):
        return
    try:
        run._require_ours()
    except (RunFolderError, CheckpointError) as error:
        raise _taken(run, "which holds other files") from error
    try:
        refuse_links(run.path)
    except ValueError as error:
        raise RunFolderError(str(error)) from error


def _taken(run: RunFolder, why: str) -> RunFolderError:
    return RunFolderError(
        f"expected a new or empty folder as {argument('out')}, got {run.shown!r}, {why}; choose another (an "
        "interrupted training run is resumed with --resume)"
    )


def _same_settings(stored: JsonObject, settings: Mapping[str, object]) -> bool:
    """Compare settings as JSON has them; the folder itself may be spelled in several ways."""
    return {**stored, "out": None} == {**_plain(settings), "out": None}


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(_plain(record), ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Return what JSON can say: numpy's numbers and arrays as Python's, numbers that are not finite as ``None``."""
    match plain_value(value):
        case Mapping() as members:
            return {str(key): _plain(item) for key, item in members.items()}
        case [*items]:
            return [_plain(item) for item in items]
        case object(tolist=as_list):
            return _plain(as_list())
        case float() as number if not math.isfinite(number):
            return None
        case plain:
            return plain


def _is_record(row: Mapping[str, object], counted: str) -> bool:
    """Say whether a row is one of ``log.jsonl``: numbers, and ``None`` for those that are not finite."""
    return is_number(row.get(counted)) and all(value is None or is_number(value) for value in row.values())


def _is_sample(row: Mapping[str, object], counted: str) -> bool:
    """Say whether a row is one of ``samples.jsonl``: a moment, and texts by key."""
    match row.get("texts"):
        case {**texts}:
            return is_number(row.get(counted)) and all(type(text) is str for text in texts.values())
    return False


def _read_object(file: Path) -> JsonObject:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {str(file)!r}, got: {error}; is it a run folder?") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a JSON object in {str(file)!r}, got {type(content).__name__}")
    return content


def _read_lines(file: Path) -> list[JsonObject]:
    lines = read_text(file, LARGEST_STATE).removesuffix("\n").split("\n")
    rows: list[JsonObject] = []
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
