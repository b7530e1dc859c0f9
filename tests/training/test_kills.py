"""Runs that are killed again and again end as those that nobody disturbed: 0 that cannot be gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors.torch import load_file
from torch import equal

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"),
]
KILLS = {"train": 50, "sft": 40, "reward": 40, "rlhf": 30}
MOST_IN_A_ROW = 3


class Result(NamedTuple):
    """How a command ended: its exit status (-9 if it was killed), and how often it changed files."""

    status: int
    calls: int


class Server:
    """Runs commands in processes forked from one that has everything imported."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.log = open(folder / "errors.log", "w")  # noqa: SIM115 - as long as the server
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "kill_server.py"), str(library)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=folder,
            env={**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )

    def run(self, *arguments: str, folder: Path, call: int = 0, seconds: float = 0.0) -> Result:
        """Run a command; kill it in its ``call``-th change of a file below ``folder``, or after ``seconds``."""
        job = {"arguments": arguments, "folder": str(folder), "call": call, "seconds": seconds}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return Result(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("kills")
    library = folder / "kills.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "kills.c", "-ldl"], check=True)
    made = Server(library, folder)
    yield made
    made.close()


def commands(lm: str, data: str) -> dict[str, list[str]]:
    """Small runs of every command that can be gone on with."""
    of_data = ["TextSumm-v0", "--data", data, "--prompt-column", "doc", "--reference-column", "sum", "--model", lm]
    budgets = ["--max-prompt-tokens", "40", "--max-new-tokens", "6"]
    small = [*of_data, *budgets, "--eval-prompts", "4"]
    return {
        "train": ["train", *small, "--reward", "rouge", "--steps", "144", "--n-envs", "4", "--n-steps", "6",
                  "--batch-size", "12", "--epochs", "1", "--save-every", "1"],
        "sft": ["sft", *small, "--reward", "rouge", "--steps", "10", "--batch-size", "4", "--save-every", "2"],
        "reward": ["reward", "fit", *of_data, *budgets, "--pairs", "40", "--batch-size", "4", "--save-every", "2"],
        "rlhf": ["rlhf", *of_data, "--max-new-tokens", "6", "--rounds", "2", "--labels", "12", "--iterations", "2",
                 "--n-envs", "4", "--eval-prompts", "4"],
    }  # fmt: skip


def step(command: list[str], out: Path) -> list[str]:
    """What a user types next: ``--resume`` where there is a run, the same command again where there is none."""
    if (out / "config.json").is_file():
        name = command[:2] if command[0] == "reward" else command[:1]
        return [*name, "--resume", str(out)]
    return [*command, "--out", str(out)]


def outcome(run: Path) -> dict[str, Any]:
    """Everything that a run must end with, without times."""
    found = {name.relative_to(run).as_posix(): load_file(name) for name in sorted(run.rglob("*.safetensors"))}
    weights = {name: tensors for name, tensors in found.items() if "checkpoints" not in name}
    texts = {name.relative_to(run).as_posix(): name.read_bytes() for name in sorted(run.rglob("texts-*.jsonl"))}
    return {"weights": weights, "texts": texts, "summary": _timeless(json.loads((run / "summary.json").read_text()))}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if "seconds" not in key and key != "versions"}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["weights"].keys() == other["weights"].keys()
    assert one["weights"]
    for file, tensors in one["weights"].items():
        assert all(equal(tensor, other["weights"][file][name]) for name, tensor in tensors.items()), file
    assert one["texts"] == other["texts"]
    assert one["summary"] == other["summary"]


@pytest.mark.parametrize("kind", list(KILLS))
def test_killed_runs_end_as_if_nothing_had_happened(
    kind: str, server: Server, lm: str, data: str, tmp_path: Path
) -> None:
    command, rng = commands(lm, data)[kind], random.Random(kind)
    start = time.perf_counter()
    calm = tmp_path / "calm"
    whole = server.run(*step(command, calm), folder=calm)
    duration = time.perf_counter() - start
    assert whole.status == 0
    assert whole.calls > 30
    expected, kills, runs = outcome(calm), 0, 0
    # Every second run is killed at changes of files, the others at any moment.
    while kills < KILLS[kind]:
        out, runs = tmp_path / f"run-{runs}", runs + 1
        for _ in range(rng.randint(1, MOST_IN_A_ROW)):
            at_a_call = {"call": rng.randint(1, whole.calls)} if runs % 2 else {"seconds": rng.uniform(0.02, duration)}
            result = server.run(*step(command, out), folder=out, **at_a_call)
            assert result.status in (0, -9), f"{kind}, run {runs}: {result} after {kills} kills"
            kills += result.status == -9
        last = server.run(*step(command, out), folder=out)
        assert last.status == 0, f"{kind}, run {runs}: cannot be gone on with after {kills} kills"
        assert_same(outcome(out), expected)
        shutil.rmtree(out)
    print(f"{kind}: {kills} kills in {runs} runs, all of them as the one that nobody killed")
