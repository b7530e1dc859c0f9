"""Train in a dialogue of several turns: write a summary, and a shorter one whenever the reader asks for it.

An episode is a conversation. The task answers each turn of the agent with ``reply`` and rewards it with
``turn_reward``; PPO sees one long text in which only the agent's own tokens are actions. Takes some minutes on
two CPU cores:

    python examples/dialogue.py
    PYTHONPATH=examples textgym train dialogue:Shorten-v0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from textgym import register_task
from textgym.agents import PPO, make_vec_env
from textgym.data.source import BuiltIn
from textgym.metrics import count_words, rougeL
from textgym.tasks import TextTask
from textgym.tasks.summarization.reports import Reports
from textgym.types import Episode, Message

FIRST_LIMIT = 16


class Shorten(TextTask):
    """Summarise a report in as few words as the reader wants: 16, then 13, then 10."""

    name = "shorten"
    built_in: ClassVar[BuiltIn] = {"reports": Reports}
    default_data = "reports"
    prompt_template = "{prompt}\n\nSummary:"
    max_new_tokens = 40  # of each turn
    max_reply_tokens = 16  # of what the reader says in between
    max_turns = 3
    reward = "none"  # turns are rewarded below; a reward here would score the last text besides

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        """Ask for fewer words; nothing more to say ends the episode."""
        limit = episode.state.get("limit", FIRST_LIMIT)  # the state is saved with the environment: JSON values
        episode.state["limit"] = limit - 3
        if count_words(episode.text) > limit:
            return None  # the reader gives up on a writer who does not listen
        return [Message("user", f"In {limit - 3} words, please.")]

    def turn_reward(self, episode: Episode) -> float:
        """Overlap with an editor's summary, or nothing for a text beyond the limit. Called before :meth:`reply`."""
        if count_words(episode.text) > episode.state.get("limit", FIRST_LIMIT):
            return 0.0
        return float(rougeL([""], [episode.text], [episode.example])[0])

    def is_success(self, episode: Episode) -> bool:
        """All three turns were taken, and the last one kept the limit."""
        turns = [turn for turn in episode.turns if turn.role == "assistant"]
        return len(turns) == self.max_turns and count_words(episode.text) <= FIRST_LIMIT - 3 * (len(turns) - 1)


register_task("Shorten", "dialogue:Shorten")


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    total_timesteps: int = 20_000
    """tokens to train on; those of the reader do not count"""
    n_envs: int = 32
    """parallel environments"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/dialogue.png")
    """where the plot goes"""


def plot(history: Sequence[Mapping[str, float]], out: Path) -> None:
    """Draw return and success against the tokens trained on."""
    figure = Figure()
    axes = figure.add_subplot(xlabel="tokens", ylabel="mean of the episodes finished")
    for name in ("reward", "success"):
        axes.plot([row["timesteps"] for row in history], [row[name] for row in history], label=name)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> list[dict[str, float]]:
    """Train, and return a record per iteration."""
    agent = PPO("CausalLMPolicy", make_vec_env("Shorten-v0", args.n_envs, seed=args.seed), seed=args.seed)
    agent.learn(args.total_timesteps)
    plot(agent.history, args.out)
    return agent.history


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    history = main(args)
    for title, row in (("first", history[0]), ("last", history[-1])):
        print(f"{title:>6}: " + ", ".join(f"{name} {row[name]:.2f}" for name in ("reward", "success", "length")))
    print(f"plot: {args.out}")
