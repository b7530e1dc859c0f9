"""Seconds of one PPO iteration on workload W1, against the bare model computations: ``python benchmarks/ppo.py``.

Limit and product alternate in one process; medians and ratios are printed. W1 is stated in ``benchmarks/limit.py``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from limit import Limit, Workload, language_model

from textgym.agents import PPO, CausalLMPolicy, EpisodeRolloutBuffer, make_vec_env
from textgym.models.language_model import LanguageModel
from textgym.reward_models import PreferenceRewardModel
from textgym.tokenization import Tokenizer


def write_prompts(path: Path, work: Workload, count: int = 512) -> None:
    """A data file whose prompts are ``work.prompt`` tokens long once cut."""
    tokenizer = Tokenizer.load("tiny")
    words = [word for word in tokenizer.decode_batch([[i] for i in range(work.vocabulary)]) if word.isalpha()]
    words = [word for word in words if len(tokenizer.encode_response(word)) == 1]
    rng = np.random.default_rng(0)
    rows = [{"prompt": " " + " ".join(rng.choice(words, work.prompt + 16)), "reference": "none"} for _ in range(count)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def make_agent(kind: str, work: Workload, data: Path) -> Any:
    """One of the agents that are compared."""
    scorer = PreferenceRewardModel(LanguageModel(language_model(work, 1), "tiny"))
    venv = make_vec_env(
        "TextSumm-v0",
        n_envs=work.texts,
        seed=0,
        data=str(data),
        reward=scorer,
        max_prompt_tokens=work.prompt,
        max_new_tokens=work.response,
    )
    policy_kwargs: dict[str, Any] = {
        "model": language_model(work, 0),
        "suppress_tokens": Tokenizer.load("tiny").eos_ids,
        "optimizer_kwargs": {"eps": 1e-5, "weight_decay": 0.0, "fused": True},
        "critic": "separate" if "separate" in kind else "shared",
    }
    settings = {
        "n_steps": work.response,
        "batch_size": work.minibatch * work.response,
        "n_epochs": work.epochs,
        "gamma": 1.0,
        "learning_rate": 1e-5,
        "policy_kwargs": policy_kwargs,
    }
    if kind.startswith("textgym"):
        return PPO(CausalLMPolicy, venv, **settings)
    if "episode" in kind:
        settings["rollout_buffer_class"] = EpisodeRolloutBuffer
    return stable_baselines3.PPO(CausalLMPolicy, venv, **settings)


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def run(kinds: list[str], repetitions: int, work: Workload) -> dict[str, list[float]]:
    """Alternate limits and agents; one warm-up, then ``repetitions`` timed iterations of each."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "prompts.jsonl"
        write_prompts(data, work)
        steps: dict[str, Callable[[], object]] = {"limit": Limit(work).iteration}
        if any("separate" in kind for kind in kinds):
            steps["limit, separate critic"] = Limit(work, separate_critic=True).iteration
        for kind in kinds:
            agent = make_agent(kind, work, data)
            steps[kind] = lambda agent=agent: agent.learn(work.texts * work.response, reset_num_timesteps=False)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for repetition in range(repetitions + 1):
            for name, step in steps.items():
                elapsed = seconds_of(step)
                if repetition:
                    times[name].append(elapsed)
                print(f"  {name:32s} {elapsed:7.2f} s", flush=True)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--kinds",
        nargs="*",
        default=[
            "textgym PPO",
            "textgym PPO, separate critic",
            "stock PPO, episode buffer",
            "stock PPO, default buffer",
        ],
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    times = run(args.kinds, args.repetitions, Workload())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    print(f"{'':32s} {'median s':>9s} {'ratio':>7s}")
    for name, values in times.items():
        limit = times["limit, separate critic" if "separate" in name else "limit"]
        ratios = [a / b for a, b in zip(values, limit, strict=True)]
        print(f"{name:32s} {statistics.median(values):9.2f} {statistics.median(ratios):7.2f}")
    if args.json:
        args.json.write_text(json.dumps(times, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
