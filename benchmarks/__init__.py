"""What the standard RL interface costs, beside what cannot be avoided: ``textgym bench NAME``."""

from __future__ import annotations

from textgym.benchmarks.harness import Options, Report

__all__ = ["BENCHMARKS", "Options", "Report", "run_benchmark"]

BENCHMARKS = {
    "ppo": "one PPO iteration against the bare model computations",
    "rollout": "tokens per second through the environment against generate() and a bare decoding loop",
    "scaling": "time and memory per token as texts, batches and vocabularies grow",
    "env": "environment steps per CPU-second, without a model",
    "peers": "one PPO iteration against TRL, where it is installed",
    "gpu": "rollout, update and memory on an NVIDIA GPU",
}


def run_benchmark(name: str, options: Options) -> Report:
    """Run one of :data:`BENCHMARKS`."""
    import importlib

    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    report: Report = importlib.import_module(f"textgym.benchmarks.{name}").run(options)
    return report
