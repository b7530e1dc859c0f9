"""Preferences implied by behaviour."""

import numpy as np
import pytest

from textgym.feedback.types import Comparison, ImplicitFeedback, Record
from textgym.reward_models.evidence import observe
from textgym.reward_models.implicit import (
    DEFAULT_WEIGHT,
    Vote,
    engagement,
    implied_preferences,
    weight_of_agreement,
    weight_of_behaviour,
)


def event(text: str, position: int, dwell: float, prompt: str = "p", annotator: str = "u") -> ImplicitFeedback:
    return ImplicitFeedback(prompt, prompt, text, position, False, dwell, annotator=annotator)


def test_position_and_length_explain_nothing_any_more() -> None:
    """Attention made of position and length alone leaves nothing; what is added to it is all that counts."""
    rng = np.random.default_rng(0)
    texts = [" ".join(["word"] * int(n)) for n in rng.integers(1, 60, size=300)]
    words = np.log1p([len(text.split()) for text in texts])
    positions = rng.integers(0, 3, size=300)
    causes = 2.0 - 0.5 * positions + 0.3 * words
    plain = [event(text, int(p), float(np.expm1(c))) for text, p, c in zip(texts, positions, causes, strict=True)]
    assert engagement(plain) == pytest.approx(np.zeros(300), abs=1e-6)
    interest = rng.normal(size=300)
    felt = zip(texts, positions, causes + 0.1 * interest, strict=True)
    found = engagement([event(text, int(p), float(np.expm1(c))) for text, p, c in felt])
    assert np.corrcoef(found, interest)[0, 1] > 0.99
    assert abs(np.corrcoef(found, words)[0, 1]) < 1e-9
    assert [found[positions == p].mean() for p in range(3)] == pytest.approx([0, 0, 0], abs=1e-9)


def test_pairs_of_a_session_count_as_one_less_than_its_responses() -> None:
    others = [event(f"o{i}", 0, 1.0 + i % 7, prompt="q", annotator=f"v{i}") for i in range(20)]
    session = [event(text, 0, dwell) for text, dwell in (("x", 9.0), ("y", 5.0), ("z", 1.0))]
    found = [each for each in implied_preferences([*session, *others]) if each.prompt == "p"]
    assert {(each.better, each.worse) for each in found} == {("x", "y"), ("x", "z"), ("y", "z")}
    assert sum(each.share for each in found) == pytest.approx(2)


def test_responses_seen_alone_are_compared_across_people() -> None:
    events = [event(f"text {i % 2}", 0, 9.0 - 5.0 * (i % 2) + 0.1 * i, annotator=f"u{i}") for i in range(8)]
    [found] = implied_preferences(events)
    assert (found.better, found.worse, found.share) == ("text 0", "text 1", 1.0)


def test_nobody_looked() -> None:
    assert implied_preferences([]) == []
    assert implied_preferences([event("x", 0, 1.0), event("y", 0, 1.0)]) == []


@pytest.mark.parametrize(("agreement", "weight"), [(0.5, 0.0), (0.6, 0.2), (0.75, 0.5), (1.0, 1.0), (0.3, 0.0)])
def test_weight_by_hand(agreement: float, weight: float) -> None:
    assert weight_of_agreement(agreement) == pytest.approx(weight)


def votes_on(events: list[ImplicitFeedback], right: int, wrong: int) -> list[Vote]:
    """Votes on the first two events, of which the first has more attention."""
    first, second = ((each.prompt, each.response) for each in events[:2])
    return [Vote(first, second, 1.0)] * right + [Vote(first, second, 0.0)] * wrong + [Vote(first, second, 0.5)] * 9


def test_weight_follows_how_well_behaviour_predicts_votes() -> None:
    """20 imagined votes, 12 of them right: 100 right ones make it 112 of 120."""
    events = [event("x", 0, 9.0), event("y", 0, 1.0), event("z", 0, 4.0)]
    assert weight_of_behaviour(events, []) == pytest.approx(DEFAULT_WEIGHT) == pytest.approx(0.2)
    assert weight_of_behaviour(events, votes_on(events, 100, 0)) == pytest.approx(2 * 112 / 120 - 1)
    assert weight_of_behaviour(events, votes_on(events, 50, 50)) == pytest.approx(2 * 62 / 120 - 1)
    assert weight_of_behaviour(events, votes_on(events, 0, 100)) == 0.0
    elsewhere = [Vote(("q", "x"), ("q", "y"), 1.0)] * 100
    assert weight_of_behaviour(events, elsewhere) == pytest.approx(DEFAULT_WEIGHT)


def test_behaviour_that_contradicts_votes_is_not_learnt_from() -> None:
    events = [event("x", 0, 9.0), event("y", 0, 1.0), event("z", 0, 4.0)]
    votes: list[Record] = [Comparison("p", "p", "x", "y", "b")] * 100
    evidence = observe([*events, *votes])
    assert evidence.implicit_weight == 0.0
    assert {each.kind for each in evidence.observations} == {"comparison"}
    assert observe(events).implicit_weight == pytest.approx(DEFAULT_WEIGHT)
    assert [each.weight for each in observe(events).observations] == pytest.approx([DEFAULT_WEIGHT * 2 / 3] * 3)
    assert observe(votes).implicit_weight is None
