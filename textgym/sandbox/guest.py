"""The driver inside a sandbox of full Python: it loads a program, calls its function and answers with plain values.

A program shares this process, so nothing here is a defence: it may overwrite all of it, and answer whatever it likes.
What it does not have is the expected values. Every sandbox starts this file again, so it imports next to nothing: it
reads Python literals, which the worker is trusted to write, and writes JSON.
"""

from __future__ import annotations

import builtins
import os
import resource
import sys

from textgym.sandbox.plain import decode, encode

TYPE_CHECKING = False  # as typing has it, which takes a while to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    Message = dict[str, Any]
_MOST_DETAIL = 300
_ENDS = (StopIteration, StopAsyncIteration)


class Guest:
    """A namespace that code is loaded into.

    Args:
        read: Function that returns the next message from outside; ``None`` at the end.
        write: Function that sends one.
    """

    def __init__(self, read: Callable[[], Message | None], write: Callable[[Message], None]) -> None:
        self._read, self._write = read, write
        self._names: dict[str, Any] = {"__name__": "program"}

    def serve(self) -> None:
        """Do what is asked until nothing more is."""
        while (message := self._read()) is not None:
            try:
                answer = self._do(message)
            except BaseException as error:  # SystemExit too
                answer = {"error": error_kind(error), "detail": describe(error), "class": type(error).__name__}
            self._write(answer)

    def _do(self, message: Message) -> Message:
        match message:
            case {"load": code}:
                _seed_randomness(code)
                exec(compile(code, "program", "exec", dont_inherit=True), self._names)
                return {"value": None}
            case {"call": name, "args": args, "options": options}:
                given: Any = decode(options)
                return {"value": encode(self._names[name](*map(decode, args), **given))}
            case {"run": code, "names": names}:
                _seed_randomness(code)
                self._names.update({name: self._elsewhere for name in names})
                exec(compile(code, "tests", "exec", dont_inherit=True), self._names)
                return {"value": None}
        raise ValueError("no such request")

    def _elsewhere(self, *args: object, **options: object) -> object:
        """Call the function under test, which lives in another sandbox."""
        self._write({"ask": encode(args)["tuple"], "options": encode(options)})
        answer = self._read()
        if answer is None:
            raise SystemExit
        if "error" in answer:
            raise same_error(str(answer.get("class")), str(answer.get("detail")))
        return decode(answer["value"])


def _seed_randomness(code: str) -> None:
    """Make random numbers the same every time, for code that may draw some."""
    if "random" in code and "random" not in sys.modules:
        import random

        random.seed(0)


def as_json(value: object) -> str:
    """Return a value that :func:`encode` made, or a dict of such, as JSON."""
    match value:
        case None | bool():
            return "null" if value is None else str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            plain = value.isascii() and value.isprintable() and '"' not in value and "\\" not in value
            return f'"{value}"' if plain else '"' + "".join(map(_json_letter, value)) + '"'
        case list():
            return f"[{','.join(map(as_json, value))}]"
        case dict():
            return "{" + ",".join(f"{as_json(name)}:{as_json(each)}" for name, each in value.items()) + "}"
    raise TypeError(f"{type(value).__name__} in JSON")


def _json_letter(letter: str) -> str:
    code = ord(letter)
    if 32 <= code < 127 and letter not in '"\\':
        return letter
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def error_kind(error: BaseException) -> str:
    """Return the reason of an outcome that an error stands for."""
    if isinstance(error, AssertionError):
        return "wrong"
    return "memory" if isinstance(error, MemoryError) else "error"


def describe(error: BaseException) -> str:
    """Return an error in one line."""
    try:
        return f"{type(error).__name__}: {error}"[:_MOST_DETAIL]
    except BaseException:  # its __str__ is the program's own
        return "an error that cannot be shown"


def same_error(name: str, detail: str) -> Exception:
    """Return the built-in error of that name; a ``RuntimeError`` where there is none.

    The end of an iteration is none: it would end ``all(map(candidate, ...))`` early, as if all were well.
    """
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _ENDS):
        try:
            return kind(detail)
        except TypeError:  # those of Unicode take more
            pass
    return RuntimeError(detail)


def main(seconds: int, memory: int) -> None:
    """Set the limits of this process, hide its streams from ``print`` and serve.

    Args:
        seconds: Processor time; one more until the system kills it.
        memory: Size of its address space in bytes.
    """
    requests, answers = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 0)  # standard error is the null device
    os.dup2(2, 1)
    sys.set_int_max_str_digits(100_000)
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 1),
    ):
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    Guest(lambda: _next_line(requests), lambda message: _write_line(answers, message)).serve()


def _next_line(requests: IO[str]) -> Message | None:
    line = requests.readline()
    return eval(line) if line else None


def _write_line(answers: IO[str], message: Message) -> None:
    answers.write(as_json(message) + "\n")
    answers.flush()
