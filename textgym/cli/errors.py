"""The end of a command after an error or interrupt: one line on stderr, and a meaningful exit code."""

from __future__ import annotations

import sys
import traceback

from textgym import console
from textgym.errors import DiskFullError, EndedError, TextGymError, did_you_mean, notes_of
from textgym.security.escaping import printable

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_WRONG_PATH = FileExistsError | FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError


def report_interrupt(error: KeyboardInterrupt) -> int:
    """Print how to go on after an interrupt; return the exit code."""
    console.error(f"interrupted. {getattr(error, 'advice', 'Nothing was saved.')}")
    number = getattr(error, "signal", None)
    return INTERRUPTED if number is None else 128 + int(number)


def reader_is_gone(error: Exception) -> bool:
    """Say whether an error only means that nobody reads our output, as in ``textgym --help | head -1``."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def report(error: Exception, debug: bool) -> int:
    """Print one line about an error; return the exit code."""
    if debug:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    usage = getattr(error, "format_message", None)
    if usage is not None:  # wrong command, option or value
        console.error(f"{_usage_message(error, usage())} (textgym --help lists what there is)")
        return BAD_INPUT
    bad_input = isinstance(error, TextGymError | _WRONG_PATH) or _is_ours(error)
    hint = "" if debug or bad_input else " (--debug before the command shows where)"
    console.error(f"{error}" if bad_input else f"{type(error).__name__}: {error}{hint}")
    for note in notes_of(error):
        console.warn(note)
    return BAD_INPUT if bad_input and not isinstance(error, DiskFullError | EndedError) else FAILED


def _usage_message(error: Exception, message: str) -> str:
    """Return the message of a usage error, with one suggestion instead of several."""
    name, similar = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    return f"No such option: {name}.{did_you_mean(name, similar)}" if name and similar else message


def _is_ours(error: Exception) -> bool:
    """Say whether a ``ValueError`` or ``TypeError`` was raised by textgym itself, about what a user gave it."""
    if not isinstance(error, ValueError | TypeError) or error.__traceback__ is None:
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).startswith("textgym")
