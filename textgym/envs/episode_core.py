"""Whole texts as actions, for ``n`` copies at once; single and vector environments are thin around it."""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium.error import InvalidAction, ResetNeeded

from textgym.envs.conversations import Conversations, TurnEnds
from textgym.envs.rendering import Frame
from textgym.envs.types import EnvState
from textgym.text.stopping import cut_at_stop
from textgym.types import FinishReason, RewardFn, Task


class EpisodeCore:
    """A task, its reward and the stop strings of whole texts.

    Attributes:
        conversations: Conversation in each copy.
    """

    def __init__(self, task: Task, reward: RewardFn, stop: tuple[str, ...], n: int = 1) -> None:
        """Keep what scores an answer."""
        self.task, self.reward, self.stop, self.n = task, reward, stop, n
        self.conversations = Conversations(task, n)

    def step(self, actions: Sequence[str]) -> TurnEnds:
        """Take in one text per copy, with one reward call for the episodes that end.

        Raises:
            InvalidAction: There are not ``n`` actions, or one of them is not a ``str``.
        """
        if isinstance(actions, str) or len(actions) != self.n:
            raise InvalidAction(f"expected {self.n} texts, one per copy, got {actions!r:.80}")
        for action in actions:
            if not isinstance(action, str):
                raise InvalidAction(f"expected a text (str) as the action, got {type(action).__name__}")
        cuts = [cut_at_stop(action, self.stop) for action in actions]
        reasons: list[FinishReason] = [
            "eos" if cut == action else "stop" for cut, action in zip(cuts, actions, strict=True)
        ]
        return self.conversations.end_turns(range(self.n), [str(cut).strip() for cut in cuts], reasons, self.reward)

    def copies(self, n: int) -> EpisodeCore:
        """Return a core with the same arguments for ``n`` copies, not yet reset."""
        return EpisodeCore(self.task, self.reward, self.stop, n)

    def render(self, row: int) -> Frame:
        """Return what one copy was shown, and the turn that ended its episode."""
        if not self.conversations.examples:
            raise ResetNeeded("expected reset() before render(), got no episode; call reset() first")
        turns = self.conversations.episode(row).turns
        response = turns[-1].content if turns and turns[-1].role == "assistant" else ""
        return Frame(self.conversations.shown(row), response)

    def get_state(self) -> EnvState:
        """Return the state of all copies: JSON values only."""
        return self.conversations.get_state()

    def set_state(self, state: EnvState) -> None:
        """Take over a state of :meth:`get_state`."""
        self.conversations.set_state(state)
