"""Errors that users meet. Each says what was expected, what came, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator


class TextGymError(Exception):
    """Base of every error that is textgym's own."""


class DataError(TextGymError, ValueError):
    """The data of a task cannot be read, or nothing usable is left of it."""


class UnknownShapeError(DataError):
    """Rows of feedback have no shape that is known; the lines of the message after the first are those that are."""


class NothingLearnedError(DataError):
    """A model that was fitted to feedback tells no texts apart; fitting it again gives the same."""


class RewardError(TextGymError, ValueError):
    """A reward returned something that is not one finite number per text."""


class AgentError(TextGymError, ValueError):
    """An agent has no grain that exists, or returned something that is not one action per observation."""


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


class SandboxUnavailableError(TextGymError, RuntimeError):
    """Programs of models cannot be run, as there is no sandbox for them; the message says how to get one."""


class RankLostError(TextGymError, RuntimeError):
    """One of the processes that train together has ended before the others."""


class EndedError(TextGymError):
    """Code of others that a command ran wanted to end the process."""


class WrongNameError(TextGymError, ImportError):
    """A package has no such name; the message gives the import of the right one."""


class RunFailedError(TextGymError):
    """A run in a process of its own failed, or that process died."""


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
    """Return ``" Did you mean 'x'?"`` for the known name most similar to ``name``, else the list of known names.

    >>> did_you_mean("rogue", ["rouge", "gold"]), did_you_mean("bleu", ["rouge", "gold"])
    (" Did you mean 'rouge'?", ' Known: gold, rouge.')
    """
    known = sorted(known)
    return suggested(name, known) or f" Known: {', '.join(known)}."


def suggested(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name most similar to ``name``, and nothing if none is."""
    found = most_similar(name, known)
    return f" Did you mean {found!r}?" if found else ""


def most_similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` may have been meant to be; ``None`` if none is similar.

    A typing error changes few letters, at most a quarter of them (one in short names), where two that swapped places
    count as one; or the end of a name is missing or too much. That ``ticket`` and ``article`` have four letters in
    common in the same order is none.

    >>> most_similar("tikcet", ["ticket", "article"]), most_similar("ticket", ["article"])
    ('ticket', None)
    """
    scored = [(_difference(name.lower(), each.lower()), each) for each in sorted(known)]
    similar = [(distance, each) for distance, each in scored if distance <= _most_edits(name, each)]
    if similar:
        return min(similar)[1]
    return next((each for _, each in sorted(scored) if _begins_alike(name.lower(), each.lower())), None)


def _most_edits(name: str, known: str) -> int:
    return max(1, max(len(name), len(known)) // 4)


def _begins_alike(name: str, known: str) -> bool:
    """Say whether one of two names is the beginning, and at least half, of the other."""
    short, long = sorted((name, known), key=len)
    return long.startswith(short) and 2 * len(short) >= len(long)


def _difference(a: str, b: str) -> int:
    """Return how many letters to insert, delete, replace or swap with the next one lead from one name to another.

    The optimal string alignment distance.
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, above, row = row, before, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
