"""Rewards of whole episodes, where a task can tell from what was said how good they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from textgym.naming import argument
from textgym.rewards.protocol import ScoredConversations, Scores
from textgym.tasks.base import prompt_of
from textgym.types import Episode, Example, FloatArray, Message, Shown, Task, shown_messages
from textgym.values import attribute_of


class EpisodeReward(ScoredConversations):
    """A reward that a task computes from a whole episode: the conversation that was shown, and the last turn.

    Args:
        task: The task. With episodes of several turns, it says by ``scored_by_turns`` that what was said is enough.

    Raises:
        ValueError: Its episodes have several turns, and more than what was said may count.
    """

    name: str

    def __init__(self, task: Task) -> None:
        if task.max_turns > 1 and not attribute_of(task, "scored_by_turns"):
            raise ValueError(
                f"expected a task of one turn for the reward {self.name!r}, got {task.name!r} of {task.max_turns}: "
                f'rewards do not see the state of an episode; give {argument("reward")}, or set reward = "none" in the '
                "task and reward turns in its turn_reward; where gold and is_success read the turns alone, set "
                "scored_by_turns = True"
            )
        self._task = task

    @abstractmethod
    def of_episodes(self, episodes: Sequence[Episode]) -> FloatArray:
        """Return the rewards of ``n`` finished episodes, shape ``(n,)``."""

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` last turns with what was shown before them; of a prompt given as text, they are the only turns.

        Raises:
            RewardError: The task does not know the quality of these.
        """
        shown = zip(prompts, responses, examples, strict=True)
        values = self.of_episodes([self._episode(*each) for each in shown])
        return Scores(values, {self.name: values})

    def _episode(self, prompt: Shown, response: str, example: Example) -> Episode:
        before: tuple[Message, ...] = ()
        if self._task.max_turns > 1:
            before = shown_messages(prompt)[len(prompt_of(self._task, example).messages) :]
        return Episode(example, (*before, Message("assistant", response)))
