"""The true quality of a response, where the data of a task knows it."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.errors import RewardError
from textgym.rewards.arguments import shown
from textgym.rewards.protocol import as_scores, check_scores
from textgym.types import Episode, Example, FloatArray, Task, episodes_of
from textgym.values import attribute_of


class GoldReward:
    """The true quality of a response, where the data of a task knows it."""

    name = "gold"

    def __init__(self, task: Task) -> None:
        """Remember the task that knows it.

        Raises:
            TypeError: It has no method ``gold``.
            ValueError: Its episodes have several turns.
        """
        if not callable(attribute_of(task, "gold")):
            raise TypeError(f"expected a task with a method gold, got {shown(task)}; give it an environment's task")
        if task.max_turns > 1:
            raise ValueError(
                f"expected a task of one turn for the reward 'gold', got {task.name!r} of {task.max_turns}: a reward "
                "sees the last turn alone; reward turns in its turn_reward (info['gold'] has the whole episode's)"
            )
        self._task = task

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        scores = gold_scores(self._task, episodes_of(examples, responses))
        if scores is None:
            other = "such as 'rouge'" if any(example.references for example in examples) else "such as module:function"
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
