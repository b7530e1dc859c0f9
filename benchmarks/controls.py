"""Four controls of the demo: ``python -m benchmarks.controls [--demo RUN] [--out FOLDER]``.

1. More supervised training of the start model, for as long as PPO took: how much of the gap to the references closes?
   The start model ships with sharpened logits, which training undoes, so the trained one is measured with logits
   sharpened likewise as well.
2. The trained model's texts assigned to other prompts: does gold fall, or does one text fit all (mode collapse)?
3. The same PPO run with a reward that is always 0: do the intervals of gold before and after overlap?
4. Both models at temperature 0: how much of the gain is there without sampling noise, which PPO also removes?

Without ``--demo`` the demo itself runs first. Results are printed and written to ``FOLDER/controls.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from textgym.assets import TINY_TEMPERATURE
from textgym.envs.choice import EnvChoice
from textgym.evaluation.core import evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.metrics import mean_interval
from textgym.rlhf.demo import ENV_ID, DemoSettings, run_demo, training_of
from textgym.training.run_folder import RunFolder
from textgym.training.train import run_train
from textgym.training.train_settings import train_settings
from textgym.types import Example, Interval, episodes_of


def constant(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """Control 3: a reward that knows nothing."""
    return [0.0] * len(responses)


def supervised_control(demo: RunFolder, settings: DemoSettings, out: Path) -> dict[str, Any]:
    """Share of the gap to the references that as many seconds of supervised training close."""
    summary = demo.summary()
    minutes = summary["seconds"]["training"] / 60
    run = run_train(
        train_settings(
            EnvChoice(ENV_ID),
            agent="sft",
            model=settings.model,
            minutes=minutes,
            reward=str(demo.reward),
            split="test",
            eval_prompts=settings.eval_prompts,
            seed=settings.seed,
            out=str(out / "sft"),
        )
    )
    measured = run.summary()
    before, after = measured["before"]["gold"], measured["after"]["gold"]
    sharpened = gold_at(TINY_TEMPERATURE, str(run.model), settings)
    gap = summary["references"]["gold"]["mean"] - before["mean"]
    closed = (sharpened["mean"] - before["mean"]) / gap
    return {"minutes": minutes, "before": before, "after": after, "sharpened": sharpened, "gap_closed": closed}


def gold_at(temperature: float, model: str, settings: DemoSettings) -> dict[str, float]:
    """Gold of a model's texts on the demo's test documents."""
    eval_set = make_evaluation_set(
        EnvChoice(ENV_ID).make("test"), None, settings.eval_prompts, settings.seed, temperature=temperature
    )
    measures = evaluate(load_model(model, settings.device), eval_set, title=f"temperature {temperature:g}").measures
    return measures.intervals()["gold"]._asdict()


def greedy_control(demo: RunFolder, settings: DemoSettings) -> dict[str, Any]:
    """Gold of both models where each token is the most likely one."""
    return {"before": gold_at(0.0, settings.model, settings), "after": gold_at(0.0, str(demo.model), settings)}


def shuffled_control(demo: RunFolder) -> dict[str, Any]:
    """Gold of the trained model's texts at their own prompts and at others'."""
    rows = demo.read_rows("texts-after.jsonl")
    task = EnvChoice(ENV_ID).make("test")
    examples = [task.dataset.find(row["task_key"]) for row in rows]
    texts = [row["text"] for row in rows]
    own = task.gold(episodes_of(examples, texts))
    others = [texts[i] for i in np.roll(np.arange(len(texts)), 1)]
    shuffled = task.gold(episodes_of(examples, others))
    assert own is not None
    assert shuffled is not None
    prompts = [example.prompt for example in examples]
    return {"own": mean_interval(own, prompts)._asdict(), "shuffled": mean_interval(shuffled, prompts)._asdict()}


def constant_control(demo: RunFolder, settings: DemoSettings, out: Path) -> dict[str, Any]:
    """Gold before and after the same run with a constant reward."""
    same = training_of(demo, settings, EnvChoice(ENV_ID))
    run = run_train(replace(same, reward="benchmarks.controls:constant", out=str(out / "constant")))
    summary = run.summary()
    before, after = summary["before"]["gold"], summary["after"]["gold"]
    overlap = before["low"] <= after["high"] and after["low"] <= before["high"]
    return {"before": before, "after": after, "overlap": overlap}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the controls and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", help="folder of a finished `textgym demo`")
    parser.add_argument("--out", type=Path, default=Path("runs/controls"))
    args = parser.parse_args(arguments)
    demo = RunFolder.open(args.demo) if args.demo else run_demo(DemoSettings(out=str(args.out / "demo")))
    recorded = demo.config()["settings"]
    settings = DemoSettings(**{**recorded, "out": None})
    results = {
        "demo": {side: demo.summary()[side]["gold"] for side in ("before", "after", "references")},
        "more supervised training": supervised_control(demo, settings, args.out),
        "shuffled across prompts": shuffled_control(demo),
        "constant reward": constant_control(demo, settings, args.out),
        "temperature 0": greedy_control(demo, settings),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "controls.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("\nGold, mean [95 % interval]")
    for control, figures in results.items():
        print(f"  {control}: " + ", ".join(f"{name} {_show(value)}" for name, value in figures.items()))


def _show(value: Any) -> str:
    if isinstance(value, dict):
        interval = Interval(**value)
        return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
