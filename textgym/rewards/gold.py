"""The true quality of a response, where the data of a task knows it."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.errors import RewardError
from textgym.rewards.arguments import shown
from textgym.rewards.protocol import as_scores, check_scores
from textgym.rewards.whole import EpisodeReward
from textgym.types import Episode, FloatArray, Task
from textgym.values import attribute_of


class GoldReward(EpisodeReward):
    """The true quality of a response, where the data of a task knows it; in a conversation, of all of it."""

    name = "gold"

    def __init__(self, task: Task) -> None:
        """Remember the task that knows it.

        Raises:
            TypeError: It has no method ``gold``.
            ValueError: Its episodes have several turns, and a state that is not to be seen in them.
        """
        if not callable(attribute_of(task, "gold")):
            raise TypeError(f"expected a task with a method gold, got {shown(task)}; give it an environment's task")
        super().__init__(task)

    def of_episodes(self, episodes: Sequence[Episode]) -> FloatArray:
        """Return the true quality of ``n`` episodes; shape ``(n,)``.

        Raises:
            RewardError: The data do not know it.
        """
        scores = gold_scores(self._task, episodes)
        if scores is None:
            has_references = any(episode.example.references for episode in episodes)
            other = "such as 'rouge'" if has_references else "such as module:function"
            raise RewardError(
                f"expected data that knows the true quality of a response, got {self._task.dataset.name!r}, which does "
                f"not; choose another reward, {other}"
            )
        return scores


def knows_gold(task: Task) -> bool:
    """Return whether the data of a task know the true quality of responses.

    An empty response to the first example is scored to find out.

    Raises:
        RewardError: As :func:`gold_scores`.
    """
    return len(task.dataset) > 0 and gold_scores(task, [Episode.of(task.dataset[0], "")]) is not None


def gold_scores(task: Task, episodes: Sequence[Episode]) -> FloatArray | None:
    """Return the true quality of ``n`` episodes, checked like a reward; ``None`` where the data do not know it.

    Raises:
        RewardError: Not ``n`` numbers, or one of them is not finite.
    """
    found = task.gold(episodes)
    if found is None:
        return None
    label, texts = f"gold of {task.name}", [episode.text for episode in episodes]
    values = as_scores(found, label, texts)
    check_scores(label, values, texts)
    return values
