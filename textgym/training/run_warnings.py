"""Warnings of a training run: its log, measurements that cannot show a change, and rewards of references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.agents.common.health import Record, all_concerns
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.measures import compare, score_responses
from textgym.models.probing.noise import random_states_kept
from textgym.naming import argument
from textgym.types import FloatArray, Interval

_FEW_PROMPTS = 30  # the 95 % interval of a share of 30 reaches 0.17 to both sides: smaller changes cannot be seen
_REFERENCES = 16
_NEAR_TOP = 0.05  # of the range of rewards: where half of the texts are this close to the largest, little is left
_MANY_CUT = 0.5  # share of texts
_SHORT = 4.0  # tokens: a choice of a list ends at its budget


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


def no_change(change: Interval, prompts: int, *, is_near_top: bool = False) -> str | None:
    """Return what to say where a change of the reward cannot be told from none; ``None`` if it can.

    Args:
        change: Mean difference between after and before, with its 95 % interval.
        prompts: Number of prompts it was measured on.
        is_near_top: Most texts got nearly the largest reward before training.

    >>> no_change(Interval(0.5, 0.1, 0.9), 100) is None
    True
    """
    if change.low > 0 or change.high < 0:
        return None
    advice = (
        f"train longer ({argument('steps')}), or raise {argument('learning_rate')} or {argument('eval_prompts')} above "
        f"{prompts}"
    )
    if is_near_top:
        advice = (
            "most texts got nearly the largest reward before training already: choose a reward that tells them apart, "
            "or leave the model as it is"
        )
    return (
        f"no measurable change: the reward changed by {change.mean:+.3f}, and the 95 % interval [{change.low:+.3f}, "
        f"{change.high:+.3f}] includes 0; {advice}"
    )


def loss_of_reward(change: Interval, *, has_penalty: bool, is_near_top: bool = False) -> str | None:
    """Return what to say where the reward is measurably lower after training; ``None`` if it is not.

    Args:
        change: As of :func:`no_change`.
        has_penalty: The agent samples texts, and keeps near a reference by a KL penalty.
        is_near_top: As of :func:`no_change`.

    >>> loss_of_reward(Interval(-0.1, -0.3, 0.1), has_penalty=True) is None
    True
    """
    if not change.high < 0:
        return None
    if has_penalty:
        advice = f"start again with a lower {argument('learning_rate')} or a higher {argument('kl_coef')}"
    else:
        advice = f"the texts that it learned from may not be what this reward values; lower {argument('learning_rate')}"
    top = "; most texts got nearly the largest reward before training already" if is_near_top else ""
    return (
        f"the model became worse: the reward changed by {change.mean:+.3f}, with the 95 % interval [{change.low:+.3f}, "
        f"{change.high:+.3f}]{top}; {advice}, or keep the model that it started from"
    )


def near_top(rewards: FloatArray) -> bool:
    """Say whether half of the texts got nearly the largest reward; of rewards of shape ``(n,)``.

    >>> near_top(np.array([1.0, 1.0, 1.0, 0.0])), near_top(np.array([0.0, 0.4, 0.6, 1.0]))
    (True, False)
    """
    high, low = float(np.max(rewards)), float(np.min(rewards))
    return high - float(np.median(rewards)) <= _NEAR_TOP * (high - low)


def many_cut(after: Evaluation, max_new_tokens: int) -> str | None:
    """Return what to say where most texts after training are cut by their budget; ``None`` where they are not.

    Args:
        after: Evaluation after training.
        max_new_tokens: Budget of a text.
    """
    cut = float(np.mean([episode.finish_reason == "length" for episode in after.episodes]))
    lengths = after.measures.values.get("length")
    is_short = lengths is not None and float(np.nanmean(lengths)) <= _SHORT
    if cut <= _MANY_CUT or len(after.episodes) < _FEW_PROMPTS or is_short:
        return None
    return (
        f"{100 * cut:.0f} % of the held-out texts are cut to {argument('max_new_tokens', max_new_tokens)} before they "
        "end: rewards score texts that break off; raise it"
    )


def run_warnings(eval_set: EvaluationSet, log: Sequence[Record], before: Evaluation, after: Evaluation) -> list[str]:
    """Return everything that a finished run warns of, in the order in which it is known."""
    prompts = len(eval_set.examples)
    change = compare(before=before, after=after).get("reward")
    signs = all_concerns(log, lambda: reference_rewards(eval_set))
    found = [few_prompts(prompts, eval_set.task.dataset.split), *signs.values()]
    if change is not None and "reward" not in signs:  # nothing can change where all rewards are equal
        is_near_top = near_top(before.measures.values["reward"])
        found.append(no_change(change, prompts, is_near_top=is_near_top))
        has_penalty = any(record.get("kl") is not None for record in log)
        found.append(loss_of_reward(change, has_penalty=has_penalty, is_near_top=is_near_top))
    if "cut" not in signs:
        found.append(many_cut(after, eval_set.sampling.max_new_tokens))
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
