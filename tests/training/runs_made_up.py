"""Run folders that nobody made, with numbers that are easy to reckon with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgym.training.run_folder import RunFolder

SETTINGS: dict[str, Any] = {
    "choice": {"env_id": "TextSpell-v0", "data": None, "task_options": {}},
    "agent": "ppo",
    "model": "letters",
    "reward": None,
    "split": "test",
    "steps": 200_000,
    "eval_prompts": 2,
    "save_every": 10,
    "options": {"kl_coef": 0.1},
    "seed": 0,
    "n_envs": 64,
}
EVIL = "<script>alert(1)</script>\u202e\x1b[31m|`"


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def measured(reward: float, gold: float) -> dict[str, Any]:
    return {"reward": interval(reward), "gold": interval(gold), "kl": interval(0.5)}


def make_run(path: Path, command: str = "train", *, text: str = "abc", **settings: Any) -> RunFolder:
    """A training run that was killed after two iterations, whose prompts and texts are, or begin with, ``text``."""
    given = {**SETTINGS, **settings}
    run = RunFolder.create(path, command, given)
    splits = {"test": "2 examples, sha256 12"}
    run.write_config({**run.config(), "train": given, "unit": "tokens", "reward": "letters", "splits": splits})
    for count, reward in ((100, 0.25), (200, 0.5)):
        more = {"kl": 0.1, "length": 3.0, "texts": 10.0, "seconds/rollout": 1.5, "seconds/update": 0.5}
        run.append_log({"iteration": count // 100, "timesteps": count, "reward": reward, **more})
    run.append_samples(0, {"words/0": f"{text} old"}, {"words/0": f"{text} prompt"})
    run.append_samples(200, {"words/0": f"{text} new"})
    run.write_summary({"before": measured(0.25, 0.125), "seconds": {"before": 1.0}})
    run.write_rows("texts-before.jsonl", rows(f"{text} old", 0.25))
    run.__exit__(None, None, None)
    return run


def rows(text: str, reward: float) -> list[Mapping[str, Any]]:
    return [
        {"task_key": f"words/{place}", "text": text, "measures": {"reward": reward}, "finish_reason": "eos"}
        for place in range(2)
    ]


def finish(run: RunFolder, reward: float = 0.5, gold: float = 0.25, text: str = "abc") -> RunFolder:
    """Write what the end of a training writes."""
    run.write_rows("texts-after.jsonl", rows(f"{text} new", reward))
    more = {"difference": measured(0.25, 0.125), "p_values": {"reward": 0.03125}, "prompts": 2}
    seconds = {"before": 1.0, "training": 4.0, "after": 1.0, "total": 7.0}
    run.write_summary(
        {**run.summary(), "after": measured(reward, gold), **more, "seconds": seconds, "warnings": [f"{text} few"]}
    )
    (run.path / "model").mkdir()
    (run.path / "model" / "config.json").write_text('{"model_type": "gpt_neox"}')
    (run.path / "model" / "tokenizer.json").write_text("{}")
    return run
