"""Train by GRPO on a reward that is verified, in the three forms that the field uses, and compare them.

The reward is 1 for the right word and else 0: no reward model, no value function, only several answers to each question
and which of them are right. GRPO, DAPO and Dr. GRPO differ in how they weigh the tokens of a batch and what they divide
advantages by, which are arguments here. One seed shows how the curves run, not which form is best: ``textgym compare``
takes five. Takes about a minute on one CPU core:

    python examples/grpo.py
    python examples/grpo.py --forms grpo dr_grpo --density dense
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from textgym.agents import GRPO, make_vec_env
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.plots import running_mean
from textgym.types import Interval

FORMS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {"loss_type": "grpo", "scale_advantages": "group"},
    "dapo": {"loss_type": "dapo", "scale_advantages": "group", "clip_range_high": 0.28},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_advantages": "none"},
}
"""Mean over tokens, divisor of advantages, and clip range of each form; all of them without a KL penalty here."""


@dataclass(frozen=True)
class Args:
    """The settings of the example; ``main(Args(forms=("grpo",)))`` from a notebook."""

    density: str = "sparse"
    """when a word is paid: sparse, for all letters at its end; dense, for each letter"""
    forms: tuple[str, ...] = ("grpo", "dapo", "dr_grpo")
    """what to compare"""
    total_timesteps: int = 46_080
    """tokens to train each form on"""
    n_envs: int = 256
    """parallel environments, which is the number of texts between two updates"""
    group_size: int = 8
    """answers to each question"""
    learning_rate: float = 3e-3
    """step size of AdamW at first; it falls to 0"""
    eval_prompts: int = 16
    """held-out questions, before and after"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/grpo.png")
    """where the plot goes"""


class Result(NamedTuple):
    """The records of a run, one for each update, and the share of held-out questions answered before and after."""

    history: Sequence[Mapping[str, float]]
    before: Interval
    after: Interval


def train(form: str, args: Args) -> Result:
    """Train one form from the start model."""
    env = make_vec_env("TextSpell-v0", args.n_envs, seed=args.seed, density=args.density)
    asked = make_evaluation_set("TextSpell-v0", prompts=args.eval_prompts, seed=args.seed)
    agent = GRPO.create(
        env,
        seed=args.seed,
        group_size=args.group_size,
        learning_rate=args.learning_rate,
        n_epochs=2,
        n_minibatches=2,
        kl_coef=0.0,
        **FORMS[form],
    )
    before = evaluate(agent, asked).measures.intervals()["gold"]
    agent.learn(args.total_timesteps)
    return Result(agent.history, before, evaluate(agent, asked).measures.intervals()["gold"])


def plot(results: Mapping[str, Result], out: Path) -> None:
    """Draw the share of right answers, and of groups whose answers are all right or all wrong, which teach nothing."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rewards, equal = figure.subplots(1, 2, sharex=True)
    for form, result in results.items():
        tokens = [record["timesteps"] for record in result.history]
        for axes, name in ((rewards, "reward"), (equal, "equal_groups")):
            axes.plot(tokens, running_mean([record[name] for record in result.history], 5), label=form)
    rewards.set(xlabel="tokens", ylabel="mean reward", ylim=(0, 1.02))
    equal.set(xlabel="tokens", ylabel="groups of equal rewards", ylim=(0, 1.02))
    rewards.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> dict[str, Result]:
    """Train all forms and compare them."""
    results = {form: train(form, args) for form in args.forms}
    plot(results, args.out)
    return results


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    print(f"{'':8}  held-out words right, before  after")
    for form, result in main(args).items():
        before, after = (f"{each.mean:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in (result.before, result.after))
        print(f"{form:8}  {before:>28}  {after}")
    print(f"plot: {args.out}")
