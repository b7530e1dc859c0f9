"""Warnings of a training run: its log, measurements that cannot show a change, and rewards of references."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.agents.common.health import Record, all_concerns
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.measures import compare, score_responses
from textgym.models.probing.noise import random_states_kept
from textgym.naming import argument
from textgym.types import Interval

_FEW_PROMPTS = 30  # the 95 % interval of a share of 30 reaches 0.17 to both sides: smaller changes cannot be seen
_REFERENCES = 16


def few_prompts(prompts: int, split: str = "test") -> str | None:
    """Return what to say where too few prompts are measured on; ``None`` if there are enough.

    >>> few_prompts(30) is None
    True
    """
    if prompts >= _FEW_PROMPTS:
        return None
    reach = min(0.5, (0.96 / prompts) ** 0.5)  # 1.96 standard errors of a share of 1/2
    return (
        f"only {prompts} {split} prompts: the 95 % interval of a share of them reaches {reach:.2f} to both sides, "
        f"so that few changes can be told from chance; raise {argument('eval_prompts')}, or add data to the {split} "
        "split if it has no more"
    )


def no_change(change: Interval, prompts: int) -> str | None:
    """Return what to say where a change of the reward cannot be told from none; ``None`` if it can.

    Args:
        change: Mean difference between after and before, with its 95 % interval.
        prompts: Number of prompts it was measured on.

    >>> no_change(Interval(0.5, 0.1, 0.9), 100) is None
    True
    """
    if change.low > 0 or change.high < 0:
        return None
    return (
        f"no measurable change: the reward changed by {change.mean:+.3f}, and the 95 % interval [{change.low:+.3f}, "
        f"{change.high:+.3f}] includes 0; train longer ({argument('steps')}), or raise {argument('learning_rate')} or "
        f"{argument('eval_prompts')} above {prompts}"
    )


def run_warnings(eval_set: EvaluationSet, log: Sequence[Record], before: Evaluation, after: Evaluation) -> list[str]:
    """Return everything that a finished run warns of, in the order in which it is known."""
    prompts = len(eval_set.examples)
    change = compare(before.measures, after.measures).get("reward")
    signs = all_concerns(log, lambda: reference_rewards(eval_set))
    found = [few_prompts(prompts, eval_set.task.dataset.split), *signs.values()]
    if change is not None and "reward" not in signs:  # nothing can change where all rewards are equal
        found.append(no_change(change, prompts))
    return [text for text in found if text is not None]


def reference_rewards(eval_set: EvaluationSet) -> list[float]:
    """Return the rewards of a few texts known to be good; none where there are no such texts, or several turns.

    Random generators stay as they are, whatever the reward draws.
    """
    task = eval_set.task
    known = [example for example in eval_set.examples if example.demonstrations or example.references][:_REFERENCES]
    if not known or eval_set.reward is None or task.max_turns > 1:
        return []
    texts = [(example.demonstrations or example.references)[0] for example in known]
    with random_states_kept():
        rewards: list[float] = score_responses(task, known, texts, eval_set.reward).values["reward"].tolist()
    return rewards
