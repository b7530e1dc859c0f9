"""Reward models, loaded when they first score."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.rewards.arguments import shown
from textgym.rewards.protocol import ScoredConversations, Scores, score
from textgym.security.consent import load_attribute
from textgym.types import Example, RewardFn, Shown, Task
from textgym.values import as_text, attribute_of

_LEARNED = "textgym.reward_models:load_reward"


class LazyReward(ScoredConversations):
    """A reward that is loaded when it first scores, so that making an environment stays fast and imports no torch."""

    def __init__(self, name: str, source: str) -> None:
        """Remember ``name`` (for messages) and ``source`` (what ``load_reward`` is called with)."""
        if not as_text(source):
            raise TypeError(f"expected the name or folder of a reward model, got {shown(source)}; give it as a str")
        self.name = name
        self.source = source
        self._loaded: RewardFn | None = None

    def bind(self, task: Task | None) -> LazyReward:
        """Return itself: a reward model needs no task."""
        return self

    def load(self) -> RewardFn:
        """Load the reward model, which may draw from torch's global generator; later calls return the same one."""
        if self._loaded is None:
            self._loaded = load_attribute(_LEARNED)(self.source)
        return self._loaded

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations."""
        return score(self.load(), prompts, responses, examples, name=self.name)


class ShippedReward(LazyReward):
    """The reward model that ships with the package."""

    def __init__(self) -> None:
        super().__init__("learned", "tiny-reward")


def load_reward_models(reward: object) -> None:
    """Load now what a reward, or a part of it, would load when it first scores.

    Code that restores random generators calls this before, because loading may draw from them.
    """
    if isinstance(reward, LazyReward):
        reward.load()
    for part in attribute_of(reward, "parts") or ():
        load_reward_models(part)
