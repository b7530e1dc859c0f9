"""Write an agent of your own that learns: a bandit that finds out which sentence of a document to repeat.

It writes whole texts (``grain = "episode"``), uses no language model, and has the methods of an agent, so that runs,
checkpoints and evaluation work with it. Takes seconds:

    python examples/own_agent.py
    PYTHONPATH=examples textgym train TextSumm-v0 --agent own_agent:SentenceBandit --reward rouge --steps 2000
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback

import textgym  # noqa: F401  # registers the environments
from textgym.files.disk import replace_text
from textgym.plots import Labels, plot_history
from textgym.types import State


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    total_timesteps: int = 2_000
    """texts to learn from"""
    n_envs: int = 20
    """texts per iteration"""
    arms: int = 4
    """sentences to choose from"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/own-agent.png")
    """where the plot goes"""


class SentenceBandit:
    """Repeats the sentence with the highest reward so far, and now and then another one.

    Args:
        env: Vector environment to learn in; without one it can only act.
        arms: How many first sentences to choose from.
        epsilon: Share of sentences drawn at random.
        seed: Seed of the random numbers of training.
    """

    grain: Literal["episode"] = "episode"

    def __init__(self, env: Any = None, *, arms: int = 4, epsilon: float = 0.1, seed: int = 0) -> None:
        self.env, self.epsilon, self.seed = env, epsilon, seed
        self.settings = {"arms": arms, "epsilon": epsilon, "seed": seed}
        self.totals, self.counts = np.zeros(arms), np.zeros(arms)
        self.num_timesteps, self.history, self.seconds = 0, list[dict[str, float]](), dict[str, float]()

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make the agent of an environment: what the command line calls. It needs no model and no device."""
        return cls(env, seed=seed, **options)

    @property
    def means(self) -> np.ndarray:
        """Mean reward of every sentence, shape (arms,); 0 where it was never tried."""
        return self.totals / np.maximum(self.counts, 1)

    @property
    def steps_per_iteration(self) -> int:
        """Every copy of the environment takes one text."""
        return int(self.env.num_envs)

    def act(
        self, observations: Sequence[str], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> list[str]:
        """Answer ``n`` documents with a sentence of each."""
        random = torch.rand(len(observations), 2, generator=generator).numpy()  # explore? and if so, which arm?
        explores = (random[:, 0] < self.epsilon) & (not greedy)
        self.chosen = np.where(explores, (random[:, 1] * len(self.counts)).astype(int), self.means.argmax())
        split = [text.split("\n\nSummary:")[0].split(". ") for text in observations]
        return [sentences[min(arm, len(sentences) - 1)] for arm, sentences in zip(self.chosen, split, strict=True)]

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make whole iterations; the callback is told where they begin and end, so that runs can save and stop."""
        watcher = ConvertCallback(None) if callback is None else callback
        watcher.init_callback(self)  # type: ignore[arg-type]
        self.num_timesteps = 0 if reset_num_timesteps else self.num_timesteps
        end = self.num_timesteps + total_timesteps
        watcher.on_training_start(locals(), globals())
        goes_on = True
        while goes_on and self.num_timesteps < end:
            watcher.on_rollout_start()
            rewards = self._iterate()
            goes_on = watcher.on_step()
            watcher.on_rollout_end()
            self.history.append({"timesteps": float(self.num_timesteps), "reward": float(np.mean(rewards))})
        watcher.on_training_end()
        return self

    def _iterate(self) -> np.ndarray:
        """Try a sentence in every copy. Seeds come from the step's number alone: nothing random has to be saved."""
        start, seed = time.perf_counter(), self.seed + 1_000_003 * self.num_timesteps
        documents, _ = self.env.reset(seed=seed)
        sentences = self.act(documents, generator=torch.Generator().manual_seed(seed))
        rewards = self.env.step(sentences)[1]
        np.add.at(self.totals, self.chosen, rewards)
        np.add.at(self.counts, self.chosen, 1)
        self.num_timesteps += len(rewards)
        self.seconds = {"rollout": time.perf_counter() - start}
        return rewards

    def get_state(self) -> State:
        """Return what training goes on from: arrays, and a record of JSON."""
        tensors = {"totals": torch.tensor(self.totals), "counts": torch.tensor(self.counts)}
        return State(tensors, {"num_timesteps": self.num_timesteps})

    def set_state(self, state: State) -> None:
        """Go on from a state."""
        self.totals, self.counts = (state.tensors[name].numpy().copy() for name in ("totals", "counts"))
        self.num_timesteps = state.record["num_timesteps"]

    def save(self, folder: str | Path) -> None:
        """Write settings and state as JSON; nothing is pickled."""
        tensors, record = self.get_state()
        numbers = {name: tensor.tolist() for name, tensor in tensors.items()}
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"settings": self.settings, "tensors": numbers, "record": record})
        replace_text(Path(folder, "bandit.json"), text)  # written aside and renamed: never half a file

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: str = "auto", **changes: Any) -> Self:
        """Read what :meth:`save` wrote."""
        saved = json.loads(Path(folder, "bandit.json").read_text(encoding="utf-8"))
        agent = cls(env, **{**saved["settings"], **changes})
        tensors = {name: torch.tensor(numbers, dtype=torch.float64) for name, numbers in saved["tensors"].items()}
        agent.set_state(State(tensors, saved["record"]))
        return agent


def main(args: Args) -> SentenceBandit:
    """Train a bandit, and draw what it found."""
    env = gym.make_vec("TextSummEpisode-v0", args.n_envs, reward="rouge")
    agent = SentenceBandit.create(env, seed=args.seed, arms=args.arms).learn(args.total_timesteps)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plot_history(agent.history, args.out, title="Sentence bandit", labels=Labels("texts", "rougeL"))
    return agent


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    agent = main(args)
    print("sentence  mean ROUGE-L  tried")
    for place, (mean, count) in enumerate(zip(agent.means, agent.counts, strict=True), start=1):
        print(f"{place:8}  {mean:12.3f}  {count:5.0f}")
    print(f"plot: {args.out}")
