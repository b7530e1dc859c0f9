"""The score that simulated annotators compare by: any registered reward, a callable, or the true quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from textgym.errors import DataError, RewardError
from textgym.files.paths import name_of
from textgym.naming import argument
from textgym.rewards import GoldReward, knows_gold, resolve_reward, reward_name, score
from textgym.tasks.base import shown_of
from textgym.types import Example, FloatArray, NameOrPath, RewardFn, Task, episodes_of

GOLD_NOISE = 0.1
"""Difference in true quality at which the better text is preferred with probability 0.73, by default."""
NOISE = 0.05
"""The same for every other reward, which agrees less with what people see."""

Resolve = Callable[[RewardFn | NameOrPath, Task], RewardFn]


class MetricReward:
    """A metric of a task as a reward.

    Args:
        task: Has the metric.
        name: The metric.
    """

    def __init__(self, task: Task, name: str) -> None:
        self.name = name
        self._metric = task.metrics[name]

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        return self._metric(episodes_of(examples, responses))


class AnnotatorReward(NamedTuple):
    """The score that a simulated annotator compares by.

    Attributes:
        name: Name of the score in records.
        reward: Scores texts.
        noise: Difference at which the better text is preferred with probability 0.73, unless another is asked for.
        is_gold: Whether it is the true quality.
    """

    name: str
    reward: RewardFn
    noise: float
    is_gold: bool


def annotator_reward(
    task: Task, reward: RewardFn | NameOrPath | None = None, resolve: Resolve = resolve_reward
) -> AnnotatorReward:
    """Return what annotators compare texts of a task by.

    Args:
        task: Task of the texts.
        reward: A reward or its name; ``None`` is the true quality where the data know it, else the task's main metric.
        resolve: Finds a reward by its name.

    Raises:
        DataError: The data do not have what the reward needs, or the task has no main metric.
        ValueError: No reward is called so.
    """
    if reward is None and knows_gold(task) and task.max_turns == 1:
        return AnnotatorReward("gold", GoldReward(task), GOLD_NOISE, is_gold=True)
    if reward is None and task.main_metric is None:
        raise DataError(
            f"expected references for a simulated annotator, got none in {task.dataset.name!r}; name their column with "
            f"{argument('reference_column')}, choose a reward that needs none, or collect feedback from people"
        )
    found = MetricReward(task, str(task.main_metric)) if reward is None else resolve(reward, task)
    name = name_of(reward) or reward_name(found)
    is_gold = isinstance(found, GoldReward)
    _require_score(task, found, name)
    return AnnotatorReward(name, found, GOLD_NOISE if is_gold else NOISE, is_gold)


def _require_score(task: Task, reward: RewardFn, name: str) -> None:
    """Score an empty text, so that what is missing is found before texts are sampled."""
    example = task.dataset[0]
    try:
        score(reward, [shown_of(task, example)], [""], [example], name=name)
    except RewardError as error:
        raise DataError(f"expected data that an annotator can compare by {name!r}: {error}") from error
