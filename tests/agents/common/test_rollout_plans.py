from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from textgym.agents.common.rollout_plans import (
    UNFINISHED_TEXTS,
    Drain,
    RolloutPlan,
    Steps,
    StepsThatCarry,
    WholeTexts,
    make_plan,
    require_plan,
)


def counted(plan: RolloutPlan, lengths: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which tokens count, by environment, whose texts have these lengths."""
    ends = [set(np.cumsum(each).tolist()) for each in lengths]
    rows = []
    while not plan.is_over():
        rows.append(plan.counts.astype(int).tolist())
        plan.step(np.array([len(rows) in each for each in ends]))
    return np.array(rows).T.tolist()


def test_steps() -> None:
    assert counted(Steps(2, 3), [[2, 5], [4]]) == [[1, 1, 1], [1, 1, 1]]


def test_carrying_goes_on_until_a_text_ends() -> None:
    assert counted(StepsThatCarry(2, 3), [[2, 5], [4]]) == [[1, 1, 1], [1, 1, 1]]
    assert counted(StepsThatCarry(2, 3), [[5], [7]]) == [[1] * 5, [1] * 5]


def test_whole_texts() -> None:
    assert counted(WholeTexts(2, 2), [[1, 1, 9], [2, 2, 9]]) == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_no_prompt_is_begun_where_its_text_would_end_too_late() -> None:
    # Texts of 4 tokens have 4^2 / (2 * 4) = 2 left on average, so none is begun from step 10 - 2 on: the end of the
    # second one. Beside two of 3 tokens, these have (2 * 16 + 2 * 9) / (2 * (2 * 4 + 2 * 3)) = 1.8 left: none is begun
    # from step 9 on, the end of the other environment's third one.
    assert counted(Drain(1, 10), [[4] * 9]) == [[1] * 8]
    assert counted(Drain(2, 10), [[4] * 9, [3] * 9]) == [[1] * 12, [1] * 9 + [0] * 3]


def test_texts_longer_than_the_rollout_are_finished() -> None:
    assert counted(Drain(2, 3), [[7], [1] * 9]) == [[1] * 7, [1, 1, 1, 0, 0, 0, 0]]


def test_a_drained_rollout_has_about_as_many_tokens() -> None:
    rng = np.random.default_rng(0)
    tokens = []
    for _ in range(20):
        lengths = np.minimum(rng.geometric(1 / 15, size=(64, 60)), 48)  # each token ends its text with chance 1 / 15
        tokens.append(np.sum(counted(Drain(64, 96), lengths.tolist())) / (64 * 96))
    assert np.mean(tokens) == pytest.approx(1, abs=0.02)
    assert min(tokens) > 0.93
    assert max(tokens) < 1.07


def test_only_known_treatments_of_texts_that_can_be_unfinished() -> None:
    for name in UNFINISHED_TEXTS:
        assert make_plan(name, 2, 5).cuts == (name == "bootstrap")
        require_plan(name, None)
    require_plan("bootstrap", 8)
    with pytest.raises(ValueError, match="expected unfinished_texts to be one of bootstrap, drain, carry"):
        require_plan("drop", None)
    with pytest.raises(ValueError, match="expected no unfinished_texts with rollout_texts=8, whose texts are all"):
        require_plan("carry", 8)
