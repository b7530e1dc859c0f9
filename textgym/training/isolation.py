"""Work in a process of its own, which begins fresh: its memory is its own, and gone with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from textgym.errors import RunFailedError, notes_of
from textgym.security.consent import load_attribute
from textgym.training.interrupts import Terminated, signal_of
from textgym.types import JsonObject
from textgym.values import as_object

# The module path is that of the process that asks, whatever the environment says of it.
_BOOT = """
import sys
job, sys.path[:] = sys.argv[-1], sys.argv[1:-1]
try:
    from textgym.training.isolation import main
    main(job)
except KeyboardInterrupt:
    sys.exit(130)
"""
_GRACE = 1.0  # seconds: a signal from the keyboard reaches both processes, and is not to count twice


def run_apart(target: str, argument: Mapping[str, Any], what: str) -> JsonObject:
    """Call a function in a process of its own, which prints where this one does, and return what it returns.

    An interrupt of this process asks the other one to stop, which may save its work first; a second one ends it. If
    this process is killed, the other one stops likewise.

    Args:
        target: The function, ``"module:name"``. It takes a JSON object, and returns one.
        argument: The object.
        what: Description of the work, for errors.

    Raises:
        KeyboardInterrupt: This process, or the other one, was stopped by its user.
        RunFailedError: The function raised an error, or its process died.
    """
    (answers, answer), (wishes, wish) = os.pipe(), os.pipe()
    job = json.dumps({"target": target, "argument": argument, "answer": answer, "wishes": wishes})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with open(answers, "rb") as told, open(wish, "wb") as lifeline:
        with open(answer, "wb"), open(wishes, "rb"):  # these ends are the other process's alone
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, *sys.path, job], env=environment, pass_fds=(answer, wishes)
            )
        try:
            text = told.read()
            status = process.wait()
        except KeyboardInterrupt:
            lifeline.close()
            process.wait()
            raise
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return _result(text, status, what)


def _result(text: bytes, status: int, what: str) -> JsonObject:
    match as_object(json.loads(text) if text else None):
        case {"result": dict(result)}:
            return result
        case {"stopped": int(number)}:
            raise Terminated(number)
        case {"error": str(message), "notes": list(notes)}:
            error = RunFailedError(f"{what}: {message}")
            for note in notes:
                error.add_note(str(note))
            raise error
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    raise RunFailedError(f"{what}: its process {how} before it was done, perhaps for lack of memory")


def main(job: str) -> None:
    """Do the work that another process asks for, and tell it how that ended."""
    asked = json.loads(job)
    for descriptor in (asked["answer"], asked["wishes"]):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_stop_on_wish, args=(asked["wishes"],), daemon=True).start()
    answer = json.dumps(_answer(asked["target"], asked["argument"]))
    with open(asked["answer"], "w", encoding="utf-8") as pipe:
        pipe.write(answer)


def _answer(target: str, argument: JsonObject) -> JsonObject:
    try:
        return {"result": load_attribute(target)(argument)}
    except KeyboardInterrupt as stop:
        return {"stopped": signal_of(stop)}
    except Exception as error:  # the place where errors of this process end
        name = "" if _is_plain(error) else f"{type(error).__name__}: "
        return {"error": f"{name}{error}", "notes": list(notes_of(error))}


def _is_plain(error: Exception) -> bool:
    """Say whether an error is worded for users: its class tells them nothing more."""
    return type(error).__module__.startswith("textgym.") or type(error) in (ValueError, TypeError)


def _stop_on_wish(wishes: int) -> None:
    """Ask this process to stop when the other end of a pipe is closed, on purpose or because its process died."""
    while os.read(wishes, 1):
        pass
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGTERM)
