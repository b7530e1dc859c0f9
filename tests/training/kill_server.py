"""Runs commands in forked processes, so that a hundred of them import torch once.

Reads one JSON object per line: the arguments of ``textgym``, and where to die. A library that was loaded before
everything else counts the system calls that change files below a folder, and kills the process in the middle of the
n-th. Answers with the exit status, and how many such calls there were if it lived.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading

import torch

from textgym.cli import app as cli
from textgym.rlhf import run as rlhf
from textgym.training import reward, train

assert all(module.__name__ for module in (reward, rlhf, train))  # imported before anything is forked


def run(job: dict[str, object], library: ctypes.CDLL, report: int) -> None:
    """Run one command in this process, which ends with it."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    if seconds := job.get("seconds"):
        threading.Timer(float(str(seconds)), os.kill, (os.getpid(), signal.SIGKILL)).start()
    library.arm(str(job["folder"]).encode(), int(str(job.get("call", 0))))
    code = 0
    try:
        sys.argv = ["textgym", *map(str, job["arguments"])]  # type: ignore[call-overload]
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        os.write(report, str(library.count()).encode())
        os._exit(code)


def serve() -> None:
    """Answer jobs until the input ends."""
    torch.set_num_threads(1)
    library = ctypes.CDLL(sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            run(job, library, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            calls = report.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "calls": int(calls or 0)}), flush=True)


if __name__ == "__main__":
    serve()
