"""Four agents, each with a quarter of the prompts, with and without exchange: the rewards of each on all prompts.

Agents of a group learn by PPO on words that no other agent is asked for. With `exchange="average"` neighbours on a
ring average their weights after every iteration, with `"penalty"` each is drawn to its neighbours' policies, with
`"none"` it learns alone. All of them are measured on all words. Takes about a minute on two CPU cores:

    python examples/decentralized.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from textgym.agents import ConsensusPPO, make_vec_env
from textgym.evaluation.core import EvaluationSet, evaluate, make_evaluation_set


@dataclass(frozen=True)
class Args:
    """The settings of the example; ``main(Args(agents=2))`` from a notebook."""

    env_id: str = "TextSpell-v0"
    """a token-level environment, whose prompts are dealt to the agents"""
    exchanges: tuple[str, ...] = ("average", "none")
    """what to compare: average, penalty, none"""
    graph: str = "ring"
    """who exchanges with whom: full, ring, star, random"""
    agents: int = 4
    """number of agents"""
    n_envs: int = 64
    """parallel environments of all agents together"""
    n_steps: int = 12
    """tokens of each between two updates"""
    total_timesteps: int = 15_360
    """tokens to train each group on"""
    stages: int = 4
    """how often to measure on the way"""
    learning_rate: float = 5e-3
    """step size of Adam, constant"""
    prompts: int = 32
    """prompts to measure on"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/decentralized.png")
    """the plot"""


def measure(group: ConsensusPPO, prompts: EvaluationSet) -> float:
    """Mean reward of all agents, each on all prompts."""
    return float(np.mean([evaluate(agent, prompts).measures.values["reward"] for agent in group.peers.values()]))


def train(args: Args, exchange: str) -> list[float]:
    """Train a group, and return what its agents are paid on all prompts, before and after each stage."""
    env = make_vec_env(args.env_id, args.n_envs, seed=args.seed)
    prompts = make_evaluation_set(env.get_attr("task")[0], prompts=args.prompts, seed=args.seed, temperature=0.0)
    group = ConsensusPPO.create(
        env,
        seed=args.seed,
        agents=args.agents,
        exchange=exchange,
        graph=args.graph,
        n_steps=args.n_steps,
        learning_rate=lambda _: args.learning_rate,
        kl_coef=0.003,
    )
    found = [measure(group, prompts)]
    for _ in range(args.stages):
        group.learn(args.total_timesteps // args.stages, reset_num_timesteps=False)
        found.append(measure(group, prompts))
    print(f"{exchange}: {group.bytes_sent / 1e6:.1f} MB sent to neighbours")
    return found


def plot(found: Mapping[str, Sequence[float]], args: Args) -> None:
    """Draw a line for each kind of exchange."""
    figure = Figure()
    axes = figure.add_subplot(xlabel="tokens of all agents", ylabel="mean reward on all prompts", ylim=(0, 1))
    for exchange, rewards in found.items():
        axes.plot(np.linspace(0, args.total_timesteps, len(rewards)), rewards, label=exchange)
    axes.legend(title="exchange")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)


def main(args: Args) -> dict[str, list[float]]:
    """Train one group for each kind of exchange, and compare."""
    found = {exchange: train(args, exchange) for exchange in args.exchanges}
    plot(found, args)
    return found


if __name__ == "__main__":
    from command_line import read_args

    for name, rewards in main(read_args(Args)).items():
        print(f"{name:>8}  " + "  ".join(f"{reward:.2f}" for reward in rewards))
