"""Measures by name, beside those that a task has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textgym.envs.scoring import score_last_turns
from textgym.evaluation.reward_guard import guarded_reward
from textgym.metrics.names import LOWER_IS_BETTER
from textgym.rewards.options import with_options
from textgym.security.consent import load_attribute
from textgym.terms import Term, parse_terms
from textgym.types import Episode, FloatArray, Metric, RewardFn, Task


@dataclass(frozen=True)
class RewardMetric:
    """A reward as a measure: the score of the last turn of every episode.

    Attributes:
        reward: Scores texts.
        task: Task that formats the prompts.
    """

    reward: RewardFn
    task: Task

    def __call__(self, episodes: Sequence[Episode]) -> FloatArray:
        """Measure ``n`` episodes; shape ``(n,)``."""
        return score_last_turns(self.task, self.reward, episodes).total


def named_metrics(names: Sequence[str], task: Task) -> Mapping[str, Metric]:
    """Return measures by what they are called.

    Args:
        names: Each is written as a reward, ``NAME[?key=value&...]``: one of
            :data:`~textgym.metrics.names.LOWER_IS_BETTER`, such as ``"ter"``, or whatever names a reward.
        task: Task that is measured.

    Returns:
        The measures by name; of two with one name, the second is called as it is written.

    Raises:
        ValueError: There is no measure of that name, or it has no such option.
        MissingExtraError: A package is needed.
    """
    found: dict[str, Metric] = {}
    for text in names:
        terms = parse_terms(text)
        name = terms[0].name if len(terms) == 1 and terms[0].weight == 1.0 else text
        label = name if name not in found and name not in task.metrics else text
        found[label] = RewardMetric(_of_terms(text, terms, task), task)
    return found


def _of_terms(text: str, terms: Sequence[Term], task: Task) -> RewardFn:
    if len(terms) == 1 and terms[0].weight == 1.0 and terms[0].name in LOWER_IS_BETTER:
        return with_options(load_attribute(LOWER_IS_BETTER[terms[0].name]), terms[0], task)
    return guarded_reward(text, task)
