"""Preferences implied by behaviour: clicks, dwell, scrolling and copying, cleared of position and length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from textgym.feedback.types import ImplicitFeedback
from textgym.metrics.words import count_words
from textgym.types import FloatArray, Shown

DEFAULT_AGREEMENT = 0.6
"""How often behaviour is taken to agree with a vote where there is none to compare with."""
_PRIOR_VOTES = 20  # that many votes with the default agreement are added to those that were observed
_EPSILON = 1e-9


class Vote(NamedTuple):
    """An explicit preference between two (prompt, response) texts; ``label`` is the share of the first."""

    first: tuple[Shown, str]
    second: tuple[Shown, str]
    label: float


class ImpliedPreference(NamedTuple):
    """One response got more attention than another to the same prompt.

    Attributes:
        prompt: The prompt.
        better, worse: The responses.
        share: How often it counts: the pairs of m responses count m - 1 times together.
    """

    prompt: Shown
    better: str
    worse: str
    share: float


def engagement(events: Sequence[ImplicitFeedback]) -> FloatArray:
    """Attention beyond what position and length explain, shape ``(n,)``, in standard deviations.

    Each signal (clicked, log of 1 + dwell seconds, share scrolled, copied) is regressed on the position, one effect
    per place, and on the log of the number of words; what is left is scaled to standard deviation 1, and the signals
    that vary are averaged. Positions have to be random for this to remove their effect and nothing else, as they are
    where :attr:`~textgym.feedback.types.Feedback.order_seed` is drawn.

    References:
        Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback" (2017), arXiv:1608.04468,
        on why clicks need it. There examination multiplies; here it adds, which dwell and scrolling need.
    """
    signals = np.array([[e.clicked, np.log1p(e.dwell_seconds), e.scrolled, e.copied] for e in events], dtype=np.float64)
    positions = np.array([e.position for e in events])
    places = (positions[:, None] == np.unique(positions)).astype(np.float64)  # (n, P)
    words = np.log1p([count_words(e.response) for e in events])
    causes = np.column_stack([places, words - words.mean()])
    residuals = signals - causes @ np.linalg.lstsq(causes, signals, rcond=None)[0]  # (n, 4)
    spreads = residuals.std(axis=0)
    varying = spreads > _EPSILON
    if not varying.any():
        return np.zeros(len(events))
    return np.asarray((residuals[:, varying] / spreads[varying]).mean(axis=1))


def implied_preferences(
    events: Sequence[ImplicitFeedback], attention: FloatArray | None = None
) -> list[ImpliedPreference]:
    """Pairs of responses that one person saw for one prompt, the one with more :func:`engagement` first.

    Responses that nobody saw beside another are compared with each other, for one prompt, across people.

    Args:
        events: Behaviour, ``n`` records.
        attention: :func:`engagement` of the records, shape ``(n,)``, where it has been computed.
    """
    if not events:
        return []
    attention = engagement(events) if attention is None else attention
    sessions: dict[tuple[Shown, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    alone = _seen_alone(events)
    for event, value in zip(events, attention, strict=True):
        session = (event.prompt, "" if (event.prompt, event.annotator) in alone else f"by {event.annotator}")
        sessions[session][event.response].append(float(value))
    return [each for (prompt, _), values in sessions.items() for each in _pairs(prompt, values)]


def _seen_alone(events: Sequence[ImplicitFeedback]) -> set[tuple[Shown, str]]:
    """Sessions, as (prompt, annotator), with one response only."""
    responses: dict[tuple[Shown, str], set[str]] = defaultdict(set)
    for event in events:
        responses[event.prompt, event.annotator].add(event.response)
    return {session for session, texts in responses.items() if len(texts) == 1}


def _pairs(prompt: Shown, values: dict[str, list[float]]) -> Iterator[ImpliedPreference]:
    means = {response: float(np.mean(each)) for response, each in values.items()}
    for first, second in combinations(means, 2):
        lead = means[first] - means[second]
        if abs(lead) > _EPSILON and first.strip() != second.strip():
            better, worse = (first, second) if lead > 0 else (second, first)
            yield ImpliedPreference(prompt, better, worse, 2 / len(means))


def weight_of_agreement(agreement: float) -> float:
    """Weight of a comparison whose answer is right with a probability: ``2 * agreement - 1``, never negative.

    Such an answer is the truth in that share of cases and a coin toss in the others.
    """
    return max(0.0, 2 * agreement - 1)


DEFAULT_WEIGHT = weight_of_agreement(DEFAULT_AGREEMENT)


def weight_of_behaviour(
    events: Sequence[ImplicitFeedback], votes: Sequence[Vote], attention: FloatArray | None = None
) -> float:
    """Weight of implied preferences, by how often :func:`engagement` and explicit votes agree.

    Votes about two texts that were both seen in natural use count; 20 imagined ones with an agreement of 0.6 are added,
    so that few votes move the weight little, and without votes it is ``2 * 0.6 - 1 = 0.2``.

    Args:
        events: Behaviour.
        votes: Explicit preferences; those without one (label 0.5) are not counted.
        attention: The :func:`engagement` of the events, where it has been computed.

    Returns:
        The weight, in [0, 1].
    """
    attention = engagement(events) if attention is None else attention
    found: dict[tuple[Shown, str], list[float]] = defaultdict(list)
    for event, value in zip(events, attention, strict=True):
        found[event.prompt, event.response].append(float(value))
    means = {text: float(np.mean(values)) for text, values in found.items()}
    counted = [vote for vote in votes if vote.label != 0.5 and vote.first in means and vote.second in means]
    leads = [np.sign(means[vote.first] - means[vote.second]) * np.sign(vote.label - 0.5) for vote in counted]
    right = sum((1 + lead) / 2 for lead in leads)
    return weight_of_agreement(float((right + DEFAULT_AGREEMENT * _PRIOR_VOTES) / (len(counted) + _PRIOR_VOTES)))
