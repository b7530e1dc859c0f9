"""The episode-level judgement, shared by one copy and many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.error import InvalidAction, ResetNeeded

from textgym.envs.arguments import transcript
from textgym.envs.scoring import FinishReason, judge
from textgym.text.stopping import cut_at_stop
from textgym.types import Example, FloatArray, RewardFn, Task


class BanditCore:
    """A task, its reward and the stop strings of whole-text answers."""

    def __init__(self, task: Task, reward: RewardFn, stop: tuple[str, ...]) -> None:
        """Keep what judges an answer."""
        self.task, self.reward, self.stop = task, reward, stop

    def judge(self, examples: Sequence[Example], actions: Sequence[Any]) -> tuple[FloatArray, list[dict[str, Any]]]:
        """Judge one answer per example, with one reward call.

        Returns:
            Rewards, shape ``(n,)``, and their infos.

        Raises:
            InvalidAction: There are not ``n`` actions, or one of them is not a ``str``.
        """
        if isinstance(actions, str) or len(actions) != len(examples):
            raise InvalidAction(f"expected {len(examples)} texts, one per copy, got {actions!r:.80}")
        for action in actions:
            if not isinstance(action, str):
                raise InvalidAction(f"expected a text (str) as the action, got {type(action).__name__}")
        cuts = [cut_at_stop(action, self.stop) for action in actions]
        reasons: list[FinishReason] = [
            "eos" if cut == action else "stop" for cut, action in zip(cuts, actions, strict=True)
        ]
        return judge(self.task, self.reward, examples, [str(cut).strip() for cut in cuts], reasons)

    def render(self, example: Example | None, response: str) -> str:
        """Return a prompt and its response as text."""
        if example is None:
            raise ResetNeeded("expected reset() before render(), got no episode; call reset() first")
        return transcript(self.task.format_prompt(example), response)
