"""Memory of this process, and the machine."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from textgym.training.machine import describe_machine, peak_gpu_memory, peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="measured by /proc")
def test_the_peak_is_what_was_taken_and_stays() -> None:
    before = peak_memory()
    assert before is not None
    held = np.ones(2**24)  # 128 MiB, touched
    taken = peak_memory()
    del held
    after = peak_memory()
    assert taken is not None
    assert after is not None
    slack = 2**23  # the system counts pages in portions
    assert after > taken - slack > before - 2 * slack > 2**24


@pytest.mark.skipif(sys.platform != "linux", reason="measured by /proc")
def test_a_new_process_has_a_peak_of_its_own() -> None:
    held = np.ones(2**26)  # 512 MiB, of which the process that is started has nothing
    code = "import importlib.util as u, sys; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert int(shown.stdout) * 1024 < 2**28 < held.nbytes


def test_the_machine_is_named() -> None:
    found = describe_machine("cpu")
    assert found["processor"]
    assert found["threads"]
    assert "gpu" not in found
    assert peak_gpu_memory() is None or peak_gpu_memory() >= 0  # type: ignore[operator]
