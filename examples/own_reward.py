"""Train on a reward of your own: a weighted sum of a built-in one and a function.

A reward scores ``n`` texts at once. Its parts are logged by name, so that a run shows which of them was learned. Takes
some minutes on two CPU cores:

    python examples/own_reward.py
    PYTHONPATH=examples textgym train TextSumm-v0 --reward own_reward:brevity
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from textgym import Example
from textgym.agents import PPO, make_vec_env
from textgym.metrics import count_words
from textgym.rewards import Clip, WeightedSum


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    total_timesteps: int = 30_000
    """tokens to train on"""
    n_envs: int = 32
    """parallel environments"""
    rouge_weight: float = 1.0
    """weight of the overlap with an editor's summary"""
    brevity_weight: float = 1.0
    """weight of the reward below; 0 leaves the length to the overlap"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/own-reward.png")
    """where the plot goes"""


def brevity(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """Score ``n`` texts: 1 for nothing, 0 for thirty words, below that for more."""
    return [1 - count_words(response) / 30 for response in responses]


def make_reward(args: Args) -> WeightedSum:
    """Combine both; the clip keeps one endless text from outweighing all others of a minibatch."""
    return WeightedSum(
        {"rouge": (args.rouge_weight, "rouge"), "brevity": (args.brevity_weight, Clip(brevity, -1.0, 1.0))}
    )


def plot(history: Sequence[Mapping[str, float]], out: Path) -> None:
    """Draw every part of the reward against the tokens trained on."""
    figure = Figure()
    axes = figure.add_subplot(xlabel="tokens", ylabel="mean of the texts finished")
    for name in (name for name in history[0] if name.startswith("reward/")):
        axes.plot([row["timesteps"] for row in history], [row[name] for row in history], label=name)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> list[dict[str, float]]:
    """Train, and return a record per iteration."""
    env = make_vec_env("TextSumm-v0", args.n_envs, seed=args.seed, reward=make_reward(args))
    agent = PPO("CausalLMPolicy", env, seed=args.seed)
    agent.learn(args.total_timesteps)
    plot(agent.history, args.out)
    return agent.history


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    history = main(args)
    print("          tokens  " + "  ".join(f"{name:>14}" for name in ("reward/rouge", "reward/brevity", "length")))
    for title, row in (("first", history[0]), ("last", history[-1])):
        numbers = "  ".join(f"{row[name]:14.3f}" for name in ("reward/rouge", "reward/brevity", "length"))
        print(f"{title:>6}  {row['timesteps']:8.0f}  {numbers}")
    print(f"plot: {args.out}")
