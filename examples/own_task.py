"""Define a task of your own, and train the shipped model on it: say what something costs, and nothing else.

A task owns its data, prompt, reward, success, gold and metrics; both grains of environments, evaluation, training and
the contract tests follow from it. Takes two to three minutes on two CPU cores:

    python examples/own_task.py
    PYTHONPATH=examples textgym train own_task:Cost-v0
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from textgym import Example, register_task
from textgym.agents import PPO, make_vec_env
from textgym.metrics import count_words, words_of
from textgym.tasks import TextTask
from textgym.types import Episode, FloatArray, Metric

PLACES = ("Ashby", "Kelby", "Marwick", "Oakham", "Selby", "Torworth")
THINGS = ("bridge", "library", "museum", "school", "tram line")
EXAMPLES = [
    Example(
        key=f"{place}/{thing}/{amount}",
        prompt=f"The council of {place} will spend {amount} million on a new {thing}. Work begins in May.",
        references=(f"{amount} million",),
        extra={"amount": str(amount)},  # a file's other columns arrive here as well
    )
    for place, thing, amount in itertools.product(PLACES, THINGS, range(11, 31))
]


def says_amount(episodes: Sequence[Episode]) -> FloatArray:
    """Return whether the amount is among the words of ``n`` episodes, shape (n,)."""
    return np.array([episode.example.extra["amount"] in words_of(episode.text) for episode in episodes], dtype=float)


def short_and_right(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Reward ``n`` texts: 1 for the amount, minus 0.05 for every word."""
    right = says_amount([Episode.of(example, text) for example, text in zip(examples, responses, strict=True)])
    return right - 0.05 * np.array([count_words(response) for response in responses])


class Cost(TextTask):
    """Say what something costs."""

    name = "cost"
    default_data: ClassVar[list[Example]] = EXAMPLES  # or a file: data="costs.jsonl"; splits are made from the keys
    prompt_template = "{prompt}\n\nSummary:"  # as the shipped model was trained; other models want other words
    max_prompt_tokens = 64
    max_new_tokens = 16
    reward = short_and_right
    metrics: ClassVar[dict[str, Metric]] = {
        "says_amount": says_amount,
        "words": lambda episodes: np.array([count_words(episode.text) for episode in episodes], dtype=float),
    }
    main_metric = "says_amount"

    def is_success(self, episode: Episode) -> bool:
        """The amount, in at most six words."""
        return bool(says_amount([episode])[0]) and count_words(episode.text) <= 6

    def gold(self, episodes: Sequence[Episode]) -> FloatArray:
        """True quality, which is reported and never trained on: here success itself is known for certain."""
        return np.array([self.is_success(episode) for episode in episodes], dtype=float)


register_task("Cost", "own_task:Cost")


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    total_timesteps: int = 25_000
    """tokens to train on"""
    n_envs: int = 64
    """parallel environments"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/own-task.png")
    """where the plot goes"""


def main(args: Args) -> list[dict[str, float]]:
    """Train, draw success, and return a record per iteration."""
    agent = PPO("CausalLMPolicy", make_vec_env("Cost-v0", args.n_envs, seed=args.seed), seed=args.seed)
    agent.learn(args.total_timesteps)
    figure = Figure()
    axes = figure.add_subplot(xlabel="tokens", ylabel="share of successes")
    axes.plot([row["timesteps"] for row in agent.history], [row["success"] for row in agent.history])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    return agent.history


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    history = main(args)
    for title, row in (("first", history[0]), ("last", history[-1])):
        print(
            f"{title:>6}: " + ", ".join(f"{name} {row[name]:.2f}" for name in ("reward", "success", "gold", "length"))
        )
    print(f"plot: {args.out}")
