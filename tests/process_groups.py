"""Functions of tests run as the ranks of a process group, started by torchrun as users start them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_ranks(size: int, function: str, folder: Path, **arguments: object) -> list[Any]:
    """Call ``module:function(folder=..., **arguments)`` in ``size`` processes; return its JSON results by rank."""
    done = torchrun(size, ["-m", "tests.process_groups", function, str(folder), json.dumps(arguments)])
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"result-{rank}.json").read_text()) for rank in range(size)]


def torchrun(
    size: int, command: list[str], variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command as torchrun does, with further environment variables; the port is free."""
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(size)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(variables or {})}
    return subprocess.run(
        [*launcher, *command], env=environment, text=True, capture_output=True, timeout=280, check=False, **options
    )


def main() -> None:
    """Be one of the ranks."""
    import torch

    from textgym.agents.common.distributed import processes

    torch.set_num_threads(1)
    named, folder, arguments = sys.argv[1:]
    module, function = named.split(":")
    with processes() as ranks:
        result = getattr(importlib.import_module(module), function)(folder=Path(folder), **json.loads(arguments))
        Path(folder, f"result-{ranks.rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
