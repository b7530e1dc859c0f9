"""Costs of textgym, beside the unavoidable ones, and accuracy of its reward models: ``textgym bench NAME``."""

from __future__ import annotations

from benchmarks.harness import Options, Report

__all__ = ["BENCHMARKS", "Options", "Report", "module_of", "run_benchmark"]

BENCHMARKS = {
    "ppo": "one PPO iteration against the bare model computations",
    "rollout": "tokens per second through the environment against generate() and a bare decoding loop",
    "scaling": "time and memory per token as texts, batches and vocabularies grow",
    "env": "environment steps per CPU-second, without a model",
    "peers": "one iteration of PPO, or of GRPO and RLOO, against TRL, where it is installed",
    "trl": "the same training by TRL, in an environment of its own: speed, and reward paired by prompt",
    "gpu": "rollout, update and memory on an NVIDIA GPU",
    "active-selection": "labels that choosing the pairs to ask about saves",
    "dialogue-rewards": "reward models from a file of whole dialogues against rules of length",
    "tasks": "scores of random tokens, the start model and a reference in every built-in task",
    "rollouts": "what PPO learns, by treatment of texts that the end of a rollout cuts",
    "feedback-modes": "what answers in every mode of the feedback page teach, collected in a browser",
}


def run_benchmark(name: str, options: Options) -> Report:
    """Run one of :data:`BENCHMARKS`."""
    import importlib

    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    report: Report = importlib.import_module(module_of(name)).run(options)
    return report


def module_of(name: str) -> str:
    """Return the module that holds one of :data:`BENCHMARKS`."""
    return f"benchmarks.{name.replace('-', '_')}"
