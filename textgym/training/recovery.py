"""Checks of a resumed run against its start, and advice to the user of a run that stops."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from textgym import console
from textgym.agents.common.distributed import current
from textgym.data.fingerprint import fingerprint
from textgym.errors import (
    CheckpointError,
    ConsentError,
    DataError,
    NothingLearnedError,
    RunFolderError,
    is_out_of_memory,
    notes_of,
)
from textgym.security.consent import check_names, check_repeated, names_from, resume_command
from textgym.training.interrupts import RunInterrupted, signal_of, signals_as_interrupts
from textgym.training.run_folder import RunFolder
from textgym.types import Task
from textgym.versions import versions

ACCEPT = "--accept-changed-data"
_MEMORY = {
    "train": (
        "--micro-batch-size (tokens of a forward and backward pass), --n-envs, --batch-size or --max-prompt-tokens, "
        "train adapters only (--lora-rank)"
    ),
    "sft": "--batch-size or --max-prompt-tokens",
    "reward fit": (
        "--batch-size, --members or --max-prompt-tokens, train adapters only (--lora-rank), or a linear head on frozen "
        "texts (--embeddings)"
    ),
    "rlhf": "--n-envs, --members or --max-prompt-tokens, or fit a linear head on frozen texts (--embeddings)",
    "compare": "--n-envs, --max-prompt-tokens or --max-new-tokens",
    "evaluate": "--max-prompt-tokens or --max-new-tokens",
    "generate": "--max-prompt-tokens or --max-new-tokens",
    "feedback sample": "--max-prompt-tokens or --max-new-tokens",
}
"""What takes memory, by command: options that it has."""
_KEEPS_FEEDBACK = "reward fit"  # a run that is resumed with what taught nothing learns nothing again


@contextmanager
def resuming(
    path: str, command: str, consent: Collection[str], *, can_go_on: bool | None = None
) -> Iterator[RunFolder]:
    """Open and hold the folder of an earlier run, which may be somebody else's; advise whoever stops it.

    Args:
        path: The folder.
        command: The one that has ``--resume``.
        consent: ``module:attribute`` names in its settings that may be imported.
        can_go_on: As for :func:`advising`.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no run of the command.
        FolderInUseError: Another run works there.
    """
    named = names_from(path, resume_command(command, path, {}), consent)
    with signals_as_interrupts(), named, RunFolder.open(path) as run:
        settings = run.settings_of(command)
        check_repeated(consent, settings)
        check_names(settings)
        with advising(run, command, can_go_on=can_go_on):
            yield run


def how_to_resume(run: RunFolder, command: str) -> str:
    """Return the command line that resumes a run."""
    none: dict[str, object] = {}
    settings = run.stored("train", none) or run.stored("settings", none)
    return _in_processes(resume_command(run.resumed_by(command), run.shown, settings), run.stored("processes", 1))


def _in_processes(command: str, count: int) -> str:
    """Return the command line that runs ``textgym ...`` in as many processes."""
    if count == 1:
        return command
    name, arguments = command.split(" ", 1)
    return f"torchrun --nproc_per_node {count} $(which {name}) {arguments}"


def require_as_many(run: RunFolder, command: str) -> None:
    """Check that a run goes on with as many processes as it began with, each of which has random numbers of its own.

    Raises:
        CheckpointError: There are more or fewer.
    """
    began, now = run.stored("processes", 1), current().size
    if began != now:
        count = "1 process" if began == 1 else f"{began} processes"
        raise CheckpointError(
            f"expected {count}, as {run.shown!r} began with, got {now}; resume with: {how_to_resume(run, command)}"
        )


def describe_splits(tasks: Iterable[Task]) -> dict[str, str]:
    """Return a fingerprint of the data of every task, by split, as it is stored with a run."""
    return {str(task.dataset.split): fingerprint(task.dataset) for task in tasks}


def check_data(run: RunFolder, now: Mapping[str, str], name: str, accept: bool) -> None:
    """Compare the data of a run with that it began with; a run that did not store it is not checked.

    Args:
        run: The run; ``splits`` of its configuration are the fingerprints of :func:`describe_splits` at its start.
        now: Present fingerprints, by split.
        name: Name of the data, for messages.
        accept: Only warn of changed data.

    Raises:
        DataError: They differ.
    """
    before = run.stored("splits", dict[str, object]())
    changed = [split for split, text in now.items() if before.get(split, text) != text]
    if not changed:
        return
    what = f"the {' and '.join(changed)} split of {name!r}"
    if not accept:
        raise DataError(
            f"expected the data that the run began with, got other examples in {what} (rows added, removed, reordered "
            f"or changed); restore the data, or continue on the changed data with {ACCEPT}: the result then mixes both"
        )
    console.warn(
        f"continuing with changed data in {what}: the result mixes both; earlier measurements are on the old data"
    )


def say_other_versions(run: RunFolder) -> None:
    """Warn where packages are not those that a run began with."""
    began, now = run.stored("versions", dict[str, object]()), versions()
    others = [f"{name} {began[name]} (now {now[name]})" for name in now if began.get(name, now[name]) != now[name]]
    if others:
        console.warn(
            f"the run began with {', '.join(others)}: it continues, but the result is not bit-for-bit reproducible"
        )


@contextmanager
def advising_on_memory(command: str) -> Iterator[None]:
    """Tell a user for whom memory runs out, where there is no run (yet), what to lower."""
    try:
        yield
    except Exception as error:
        _add_memory_note(error, command)
        raise


@contextmanager
def advising(run: RunFolder, command: str, *, can_go_on: bool | None = None) -> Iterator[None]:
    """Tell a user whose run stops, for whatever reason, how to resume it, if there is something to resume from.

    Args:
        run: The folder.
        command: Name of the command that has ``--resume``.
        can_go_on: Whether the run can be resumed; by default, whether there is a checkpoint.

    Raises:
        RunInterrupted: Instead of another interrupt.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        how = how_to_resume(run, command) if _has_something(run, can_go_on) else ""
        if how in str(error):  # nothing to go on from, or named by a part of the same run
            raise
        since = " from the last checkpoint" if _has_checkpoint(run) else ""
        raise RunInterrupted(f"Resume{since} with: {how}", signal_of(error)) from None
    except (ConsentError, RunFolderError):
        raise  # nobody is urged to consent, or to resume in a folder that is the wrong one
    except Exception as error:
        if not (isinstance(error, NothingLearnedError) and run.resumed_by(command) == _KEEPS_FEEDBACK):
            _add_notes(error, run, command, can_go_on)
        raise


def _has_something(run: RunFolder, can_go_on: bool | None) -> bool:
    return _has_checkpoint(run) if can_go_on is None else can_go_on


def _has_checkpoint(run: RunFolder) -> bool:
    """Say whether there is one, of the run or of a part of it."""
    return any(run.checkpoints.rglob("step-*"))


def _add_notes(error: Exception, run: RunFolder, command: str, can_go_on: bool | None) -> None:
    """Say what helps; an error that passes two of these blocks is explained once."""
    _add_memory_note(error, run.resumed_by(command) if is_out_of_memory(error) else command)
    if _has_something(run, can_go_on) and not any("--resume" in note for note in notes_of(error)):
        error.add_note(f"The work so far is saved. Once the cause is fixed, resume with: {how_to_resume(run, command)}")


def _add_memory_note(error: Exception, command: str) -> None:
    is_explained = any(note.startswith("Memory ran out") for note in notes_of(error))
    if is_out_of_memory(error) and not is_explained:
        error.add_note(f"Memory ran out. Lower {_MEMORY[command]}, or use a smaller model.")
