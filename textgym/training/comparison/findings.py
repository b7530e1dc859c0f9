"""Sentences on what happened to each agent of a comparison; they follow from its numbers by stated rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from textgym import console
from textgym.text.plurals import counted
from textgym.training.comparison.budget import Kind
from textgym.training.comparison.results import Change, Comparison, Curve
from textgym.types import Interval

_SAME_LENGTH, _SAME_DIVERSITY = 0.2, 0.2  # relative changes that are not worth a sentence
_COLLAPSED = 0.5  # of the diversity at the start
_FELL_BACK = 0.2  # of the whole gain that was there before
_STILL_RISING = 0.15  # of the whole gain, in the last fifth of the budget
_LAST = 0.8
_UNEVEN = 0.5  # of the gain: range of the seeds
_UNSPENT = 0.9  # of the budget
_ENDS = 0.2  # share of texts


def headline_of(comparison: Comparison) -> str:
    """Return who had the highest reward, and how sure that is, in a sentence or two."""
    ranked = [label for label in comparison.ranked if comparison.after("reward", label)]
    if not ranked:
        return "No run is finished yet."
    best = comparison.after("reward", ranked[0])
    assert best is not None
    runs = counted(len(comparison.finished(ranked[0])), "runs")
    each = "" if comparison.budget is None else f", {comparison.budget.words} each"
    first = f"{ranked[0]} has the highest reward, {_mean(best)} ({runs}{each})."
    if len(ranked) < 2:
        return first
    better = comparison.improvement("reward", ranked[0], ranked[1])
    assert better is not None
    return (
        f"{first} A run of it has more than one of {ranked[1]}, the next, with probability {better.mean:.2f} "
        f"[{better.low:.2f}, {better.high:.2f}]."
    )


def findings_of(comparison: Comparison, label: str) -> list[str]:
    """Return what happened to an agent, a sentence each.

    Every sentence follows from the numbers by a rule. "Rose" and "fell" mean that the 95 % interval of the change, over
    seeds, does not include 0; of a single seed, nothing is said but the numbers.

    Args:
        comparison: The finished runs.
        label: Label of the agent.
    """
    if not comparison.finished(label):
        return [*_failures(comparison, label), "No run of it is finished."]
    if not any(run.learns for run in comparison.runs_of(label)):
        reward = comparison.after("reward", label)
        known = "" if reward is None else f": reward {_mean(reward)}"
        return [f"It learns nothing, and was only evaluated{known}."]
    return [sentence for rule in _RULES for sentence in rule(comparison, label)]


def _reward(comparison: Comparison, label: str) -> Iterator[str]:
    change = comparison.change("reward", label)
    if change is None:
        return
    moved = _moved(change.difference)
    if not _has_bounds(change.difference):
        yield f"Its reward went from {_sides(change)} in its only run, which tells nothing of others."
    elif moved is None:
        yield f"Its reward did not change measurably: {_sides(change)} ({_signed(change.difference)})."
    else:
        yield f"Its reward {moved} by {_size(change.difference)}: {_sides(change)}."


def _gold(comparison: Comparison, label: str) -> Iterator[str]:
    """Compare the true quality with the reward, if that is another one."""
    gold, reward = comparison.change("gold", label), comparison.change("reward", label)
    if gold is None or reward is None or gold == reward:
        return
    moved, of_reward = _moved(gold.difference), _moved(reward.difference)
    if of_reward == "rose" and moved == "fell":
        yield f"Gold fell by {_size(gold.difference)} meanwhile ({_sides(gold)}): the reward is over-optimised."
    elif of_reward == "rose" and moved is None:
        yield f"Gold did not follow measurably: {_sides(gold)} ({_signed(gold.difference)})."
    elif moved is not None:
        yield f"Gold {moved} by {_size(gold.difference)}: {_sides(gold)}."


def _distance(comparison: Comparison, label: str) -> Iterator[str]:
    kl = comparison.after("kl", label)
    if kl is not None:
        yield f"It ended {_mean(kl)} nats per text from the start model."


def _length(comparison: Comparison, label: str) -> Iterator[str]:
    change = comparison.change("length", label)
    if change is not None and _moved(change.difference) and _relative(change) > _SAME_LENGTH:
        verb = "grew" if change.difference.mean > 0 else "shrank"
        yield f"Texts {verb} from {change.before:.1f} to {change.after:.1f} tokens."


def _diversity(comparison: Comparison, label: str) -> Iterator[str]:
    change = comparison.change("diversity", label)
    if change is None or not _moved(change.difference) or _relative(change) <= _SAME_DIVERSITY:
        return
    if change.after < _COLLAPSED * change.before:
        yield f"Texts collapsed: diversity fell from {change.before:.2f} to {change.after:.2f}."
    else:
        yield f"Diversity {_moved(change.difference)} from {change.before:.2f} to {change.after:.2f}."


def _ends(comparison: Comparison, label: str) -> Iterator[str]:
    change = comparison.change("eos", label)
    if change is not None and _moved(change.difference) and abs(change.difference.mean) > _ENDS:
        share = f"{100 * change.before:.0f} % to {100 * change.after:.0f} %"
        yield f"The share of texts that end by themselves went from {share}."


def _course(comparison: Comparison, label: str) -> Iterator[str]:
    """Look at the learning curve: when the gain was made, whether it was kept, and whether it was at its end."""
    kind: Kind = comparison.kind
    curve, change = comparison.curve("reward", label, kind), comparison.change("reward", label)
    if curve is None or change is None or _moved(change.difference) is None:
        return
    top = int(np.argmax(curve.mean))
    gain, kept = curve.mean[top] - curve.mean[0], curve.mean[-1] - curve.mean[0]
    if gain > 0 and curve.mean[top] - curve.mean[-1] > _FELL_BACK * gain:
        yield (
            f"Its curve peaked at about {_amount(curve.spent[top], kind)} and fell back: "
            f"{console.number(float(curve.mean[top]))} to {console.number(float(curve.mean[-1]))}."
        )
    elif kept > 0:
        half = int(np.argmax(curve.mean - curve.mean[0] >= kept / 2))
        yield f"Half of the gain was there after about {_amount(curve.spent[half], kind)}."
        if _late(curve) > _STILL_RISING * kept:
            yield "The curve was still rising at the end."


def _late(curve: Curve) -> float:
    """Return the gain of the last fifth of a curve."""
    return float(curve.mean[-1] - np.interp(_LAST * curve.spent[-1], curve.spent, curve.mean))


def _seeds(comparison: Comparison, label: str) -> Iterator[str]:
    change = comparison.change("reward", label)
    ends = [run.after["reward"].mean for run in comparison.finished(label) if "reward" in run.after]
    if change is not None and len(ends) > 1 and max(ends) - min(ends) > _UNEVEN * abs(change.difference.mean):
        yield f"Seeds differ: {console.number(min(ends))} to {console.number(max(ends))}."


def _unspent(comparison: Comparison, label: str) -> Iterator[str]:
    budget = comparison.budget
    if budget is None:
        return
    spent = comparison.cost(label, lambda run: run.spent.of(budget.kind))
    if spent is not None and spent.mean < _UNSPENT * budget.amount:
        yield f"It made all of its steps with {_amount(spent.mean, budget.kind)} of {budget.words}."
    shares = comparison.cost(label, lambda run: run.steps / run.planned if run.planned else None)
    if shares is not None and shares.mean < _UNSPENT:
        yield (
            f"The budget ended it at {100 * shares.mean:.0f} % of the planned steps, before its learning rate had "
            "fallen to its end."
        )


def _failures(comparison: Comparison, label: str) -> Iterator[str]:
    runs = comparison.runs_of(label)
    failed = Counter(run.failure for run in runs if run.failure is not None)
    for message, count in failed.items():
        yield f"{count} of {counted(len(runs), 'runs')} failed: {message}."


def _warnings(comparison: Comparison, label: str) -> Iterator[str]:
    """Pass on what more than half of the runs warned of; numbers in the texts are those of the first."""
    runs = comparison.finished(label)
    kinds = Counter(_kind(text) for run in runs for text in {_kind(each): each for each in run.warnings}.values())
    for kind, count in kinds.items():
        if 2 * count > len(runs):
            text = next(each for run in runs for each in run.warnings if _kind(each) == kind)
            yield f"Warned in {count} of {counted(len(runs), 'runs')}: {text}."


def _kind(warning: str) -> str:
    """Return what tells warnings apart: their first words, in which no numbers are."""
    return "".join(letter for letter in warning[:60] if not (letter.isdigit() or letter in ".+-"))


def _moved(difference: Interval) -> str | None:
    """Return "rose" or "fell"; ``None`` where the interval includes 0, as that of a single run does."""
    return "rose" if difference.low > 0 else "fell" if difference.high < 0 else None


def _has_bounds(interval: Interval) -> bool:
    return math.isfinite(interval.low + interval.high)


def _relative(change: Change) -> float:
    return abs(change.difference.mean) / max(1e-9, abs(change.before))


def _sides(change: Change) -> str:
    return f"{console.number(change.before)} to {console.number(change.after)}"


def _mean(interval: Interval) -> str:
    known = _has_bounds(interval) and interval.low < interval.high
    return console.with_bounds(interval) if known else console.number(interval.mean)


def _size(difference: Interval) -> str:
    """Return how far something moved, whichever way."""
    sign = 1 if difference.mean >= 0 else -1
    low, high = sorted((sign * difference.low, sign * difference.high))
    return console.with_bounds(Interval(sign * difference.mean, low, high))


def _signed(difference: Interval) -> str:
    text = _mean(difference)
    return text if text.startswith("-") else f"+{text}"


def _amount(number: float, kind: Kind) -> str:
    """Return an amount in two digits, as it is read off a curve."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.1f} {kind}" if rounded < 10 and kind == "seconds" else f"{rounded:,.0f} {kind}"


_RULES: tuple[Callable[[Comparison, str], Iterator[str]], ...] = (
    _reward,
    _gold,
    _distance,
    _length,
    _diversity,
    _ends,
    _course,
    _seeds,
    _unspent,
    _failures,
    _warnings,
)
