"""Spell words with stock DQN, and compare what it learns with the exact values.

The task is so small that the best return of every unfinished word is known. The algorithm is that of Stable-Baselines3,
unmodified; its Q network is a language model of a few letters. Takes about a minute on two CPU cores:

    python examples/dqn_spelling.py
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents import make_vec_env
from textgym.agents.common.observations import to_tensors
from textgym.agents.common.q_policy import TextQPolicy
from textgym.agents.common.replay import EpisodeReplayBuffer


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    total_timesteps: int = 6_000
    """tokens to train on"""
    n_envs: int = 16
    """parallel environments"""
    learning_rate: float = 3e-3
    """step size of AdamW, constant"""
    gamma: float = 0.9
    """discount: the sooner a letter is paid, the better"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/dqn-spelling.png")
    """where the plot goes"""


class Exact:
    """The unfinished words of the task, and what is exactly known about them.

    Attributes:
        observations: The words as the network reads them, arrays (n, ...).
        values: Optimal values of all letters, (n, V); minus infinity where the task allows none.
    """

    def __init__(self, gamma: float) -> None:
        self.env: Any = gym.make("TextSpell-v0", difficulty="easy", density="dense")
        optimal = self.env.unwrapped.optimal_values(gamma=gamma)
        shown = [self._observe(key, written) for key, written in optimal]
        self.observations = {name: np.stack([each[name] for each in shown]) for name in shown[0]}
        self.values = np.stack([optimal.of_actions(*state) for state in optimal])

    def _observe(self, key: str, written: tuple[int, ...]) -> dict[str, np.ndarray]:
        observation, _ = self.env.reset(options={"task_key": key})
        for token in written:
            observation, *_ = self.env.step(token)
        return dict(observation)

    def learned(self, agent: DQN) -> np.ndarray:
        """Return the values that an agent gives to the letters, (n, V)."""
        policy: TextQPolicy = agent.policy  # type: ignore[assignment]
        policy.set_training_mode(False)
        with torch.no_grad():
            return policy.q_values(to_tensors(self.observations, policy.device)).cpu().numpy()


class Errors(BaseCallback):
    """Compares learned and exact values about forty times.

    Args:
        exact: Exact values to compare with.
        every: Steps of all environments between two comparisons.
    """

    def __init__(self, exact: Exact, every: int) -> None:
        super().__init__()
        self.exact, self.every = exact, max(1, every)
        self.rows: list[tuple[int, float, float]] = []

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            learned, exact = self.exact.learned(self.model), self.exact.values  # type: ignore[arg-type]
            error = np.abs(learned.max(axis=1) - exact.max(axis=1))
            best = exact[np.arange(len(exact)), learned.argmax(axis=1)] == exact.max(axis=1)
            self.rows.append((self.num_timesteps, float(error.mean()), float(best.mean())))
        return True


def plot(errors: Errors, learned: np.ndarray, exact: np.ndarray, out: Path) -> None:
    """Draw the errors through training, and every learned value beside the exact one."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    through, beside = figure.subplots(1, 2)
    steps, mean_errors, right = zip(*errors.rows, strict=True)
    through.plot(steps, mean_errors, label="mean error of V")
    through.plot(steps, right, label="share of best letters")
    through.set(xlabel="tokens", ylim=(0, 1.05))
    through.legend()
    legal = np.isfinite(exact)
    beside.plot([0, 1], [0, 1], color="0.7")
    beside.scatter(exact[legal], learned[legal], s=12)
    beside.set(xlabel="exact Q", ylabel="learned Q")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> list[tuple[int, float, float]]:
    """Train, and return tokens, mean error of the values and share of best letters through training."""
    env = make_vec_env("TextSpell-v0", args.n_envs, seed=args.seed, difficulty="easy", density="dense")
    agent = DQN(
        TextQPolicy,
        env,
        learning_rate=args.learning_rate,
        gamma=args.gamma,
        replay_buffer_class=EpisodeReplayBuffer,  # every token once; one pass for all transitions of a text
        buffer_size=20_000,
        learning_starts=256,
        batch_size=256,
        train_freq=2,
        gradient_steps=2,
        target_update_interval=128,
        exploration_fraction=0.5,
        seed=args.seed,
    )
    exact = Exact(args.gamma)
    errors = Errors(exact, args.total_timesteps // args.n_envs // 40)
    agent.learn(args.total_timesteps, callback=errors)
    plot(errors, exact.learned(agent), exact.values, args.out)
    return errors.rows


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    print("tokens  error of V  best letters")
    for step, error, best in main(args)[::8]:
        print(f"{step:6}  {error:10.3f}  {best:12.2f}")
    print(f"plot: {args.out}")
