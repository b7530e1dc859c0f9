"""Work in a process of its own: results, errors, stops, and memory that is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from textgym.errors import RunFailedError, notes_of
from textgym.training.interrupts import Terminated
from textgym.training.isolation import run_apart

TARGETS = """
import os, signal, sys, time
from textgym.errors import DataError

def double(job):
    print("printed by the other process")
    return {"doubled": 2 * job["number"], "own": os.getpid(), "path": sys.path, "parent": os.getppid()}

def fail(job):
    error = DataError("expected data, got none; add some")
    error.add_note("look there")
    raise error

def crash(job):
    raise ZeroDivisionError("by chance")

def vanish(job):
    os._exit(7)

def die(job):
    os.kill(os.getpid(), signal.SIGKILL)

def stop(job):
    raise KeyboardInterrupt

def wait(job):
    open(job["file"], "w").close()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        open(job["file"] + ".saved", "w").close()
        raise

def wait_as_a_run_does(job):
    from textgym.training.interrupts import signals_as_interrupts
    with signals_as_interrupts():
        return wait(job)
"""
WAIT = """
import sys
from textgym.training.isolation import run_apart
from textgym.training.interrupts import signals_as_interrupts
with signals_as_interrupts():
    run_apart("own_targets:wait_as_a_run_does", {"file": sys.argv[1]}, "waiting")
"""


@pytest.fixture(autouse=True)
def _targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_targets.py").write_text(TARGETS)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


def wait_for(file: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, file
        time.sleep(0.05)


def test_a_function_is_called_elsewhere_with_the_same_module_path(capfd: pytest.CaptureFixture[str]) -> None:
    found = run_apart("own_targets:double", {"number": 21}, "doubling")
    assert found["doubled"] == 42
    assert found["own"] != os.getpid() == found["parent"]
    assert found["path"] == sys.path
    assert "printed by the other process" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fail", "work: expected data, got none; add some"),
        ("crash", "work: ZeroDivisionError: by chance"),
        ("vanish", "work: its process ended with status 7 before it was done"),
        ("die", "work: its process was killed by signal 9 before it was done, perhaps for lack of memory"),
    ],
)
def test_what_goes_wrong_there_is_an_error_here(target: str, message: str) -> None:
    with pytest.raises(RunFailedError) as caught:
        run_apart(f"own_targets:{target}", {}, "work")
    assert str(caught.value).startswith(message)
    assert notes_of(caught.value) == (["look there"] if target == "fail" else [])


def test_a_stop_there_is_a_stop_here() -> None:
    with pytest.raises(Terminated) as caught:
        run_apart("own_targets:stop", {}, "work")
    assert caught.value.signal == signal.SIGINT


def test_an_interrupt_here_lets_the_other_process_save_its_work(tmp_path: Path) -> None:
    file = tmp_path / "begun"

    def interrupt() -> None:
        wait_for(file)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_apart("own_targets:wait_as_a_run_does", {"file": str(file)}, "work")
    thread.join()
    assert Path(f"{file}.saved").exists()


def test_a_process_whose_parent_is_killed_stops_too(tmp_path: Path) -> None:
    file = tmp_path / "begun"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "modules")}
    parent = subprocess.Popen([sys.executable, "-P", "-c", WAIT, str(file)], env=environment)
    wait_for(file)
    parent.kill()
    parent.wait()
    wait_for(Path(f"{file}.saved"))
