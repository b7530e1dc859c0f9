"""The end of a command after an error or interrupt: one line on stderr, and a meaningful exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from textgym import console
from textgym.cli.command import help_command
from textgym.cli.suggestions import suggestion
from textgym.errors import DiskFullError, EndedError, RunFailedError, TextGymError, UnknownShapeError, notes_of
from textgym.security.escaping import printable
from textgym.training.interrupts import RunInterrupted, signal_of
from textgym.values import attribute_of

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # of Ctrl-C; other signals are 128 and their number
_LONGEST_PATH, _LONGEST_NAME = 4_096, 255  # bytes, on Linux


def report_interrupt(error: KeyboardInterrupt) -> int:
    """Print how to resume after an interrupt; return the exit code."""
    advice = error.advice if isinstance(error, RunInterrupted) else "Nothing was saved."
    console.notice(f"Stopped. {advice}")
    return 128 + signal_of(error)


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
    usage = attribute_of(error, "format_message")
    if usage is not None:  # wrong command, option or value
        console.error(_usage_message(error, usage()))
        return BAD_INPUT
    code, message = _explain(error, debug)
    match error:
        case UnknownShapeError():
            message, *listed = message.splitlines()
            console.error(message)
            for line in listed:
                console.remark(line)
        case _:
            console.error(message)
    for note in notes_of(error):
        console.warn(note)
    return code


def _explain(error: Exception, debug: bool) -> tuple[int, str]:
    """Return the exit code of an error, and its line: what is not about the input says its class, and where to look."""
    match error:
        case DiskFullError() | EndedError() | RunFailedError():
            return FAILED, str(error)
        case (
            TextGymError()
            | FileExistsError()
            | FileNotFoundError()
            | IsADirectoryError()
            | NotADirectoryError()
            | PermissionError()
        ):
            return BAD_INPUT, str(error)
        case OSError(errno=errno.ENAMETOOLONG):
            return BAD_INPUT, _too_long(os.fsdecode(error.filename or ""))
        case ValueError() | TypeError() if _is_ours(error):
            return BAD_INPUT, str(error)
    hint = "" if debug else " (--debug before the command shows where)"
    return FAILED, f"{type(error).__name__}: {error}{hint}"


def _too_long(path: str) -> str:
    longest = max(path.split(os.sep), key=len)
    return (
        f"expected a path of at most {_LONGEST_PATH:,} bytes, in which no name has more than {_LONGEST_NAME}, got "
        f"{len(path):,} characters with a name of {len(longest):,}: {longest[:40]!r}...; give a shorter one"
    )


def _usage_message(error: Exception, message: str) -> str:
    """Return the message of a usage error, with one suggestion instead of several, and the help of the command."""
    context, name = attribute_of(error, "ctx"), attribute_of(error, "option_name")
    if context is None:
        return message
    if name and message.startswith("No such option"):
        message = f"No such option: {name}.{suggestion(name, context)}"
    return f"{message} ({help_command(context)} lists what there is)"


def _is_ours(error: Exception) -> bool:
    """Say whether an error was raised by textgym itself."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(modules) and str(modules[-1]).startswith("textgym")
