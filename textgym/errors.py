"""Errors that users meet. Each says what was expected, what came, and what to do about it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class TextGymError(Exception):
    """Base of every error that is textgym's own."""


class DataError(TextGymError, ValueError):
    """The data of a task cannot be read, or nothing usable is left of it."""


class UnknownShapeError(DataError):
    """Rows of feedback have no shape that is known; the lines of the message after the first are those that are."""


class RewardError(TextGymError, ValueError):
    """A reward returned something that is not one finite number per text."""


class TokenizerMismatchError(TextGymError, ValueError):
    """A policy and an environment do not share one tokenizer."""


class ModelError(TextGymError, ValueError):
    """A model cannot be loaded or does not have the form that is needed."""


class CheckpointError(TextGymError, ValueError):
    """A checkpoint is incomplete, damaged or of another kind."""


class NoCheckpointError(CheckpointError):
    """None of the checkpoints of a run can be used."""


class RunFolderError(TextGymError, ValueError):
    """A run folder is taken, or is not one."""


class FolderInUseError(RunFolderError):
    """A living process works in a folder."""


class LockedError(TextGymError):
    """A living process holds a lock.

    Args:
        holder: Description of the process.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


class ProjectInUseError(TextGymError, OSError):
    """A living process serves a project already."""


class DiskFullError(TextGymError, OSError):
    """There is no room for a file; what was written before is still there."""


class ConsentError(TextGymError, ValueError):
    """A file names a module; importing it would run code that the user did not ask for."""


class EndedError(TextGymError):
    """Code of others that a command ran wanted to end the process."""


class MissingExtraError(TextGymError, ImportError):
    """An optional dependency is needed; the message names the pip command that installs it."""

    @classmethod
    def of(cls, what: str, packages: str, extra: str) -> MissingExtraError:
        """Return the error of something that needs packages of an extra of textgym.

        >>> print(MissingExtraError.of("adapters (LoRA)", "peft", "lora"))
        expected the package peft for adapters (LoRA), got none; install it with: pip install 'textgym[lora]'
        """
        return cls(
            f"expected the package {packages} for {what}, got none; install it with: pip install 'textgym[{extra}]'"
        )


@contextlib.contextmanager
def exits_as(kind: type[Exception], expected: str) -> Iterator[None]:
    """Make an error of whatever would end the process within the block, such as ``sys.exit()``; interrupts pass.

    Args:
        kind: Class of the error.
        expected: Requirement on foreign code, for the message.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, GeneratorExit, panics of compiled code
        raise kind(
            f"expected {expected}, got {error!r}; let code that is imported or called return, or raise an error that "
            "says what is wrong"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out: Python's own, torch's of any device, or the system's by its text.

    Errors of ours say so by their cause at most: they are about something else.
    """
    match error:
        case MemoryError():
            return True
        case TextGymError():
            return False
    texts = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in texts)


def notes_of(error: BaseException) -> list[str]:
    """Return what was added to an error with ``add_note``."""
    return [str(note) for note in vars(error).get("__notes__", ())]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to ``name``, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
