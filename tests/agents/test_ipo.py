"""Identity preference optimization: the difference of the log-ratios ends at its target."""

from __future__ import annotations

import numpy as np
import pytest

from tests.agents.preference_data import letters, make
from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.ipo import IPO


@pytest.mark.parametrize(("average", "target"), [(False, 1.0), (True, 2.0)])
def test_the_difference_ends_at_its_target(average: bool, target: float) -> None:
    """1 / (2 beta) = 1 nat of whole texts; per token that is two nats of texts of two tokens."""
    model = letters()
    encode = model.tokenizer.encode
    agent = IPO(
        model, [PreferencePair(encode("ab="), encode("ab"), encode("bc"))], beta=0.5, average_log_probs=average,
        batch_size=1, learning_rate=2e-3, log_every=1,
    )  # fmt: skip
    agent.learn(40)
    last = agent.history[-1]
    start = agent.references
    assert start is not None
    lead = (last["log_prob_chosen"] - last["log_prob_rejected"]) - float(start[0][0, 0] - start[0][0, 1])
    assert lead == pytest.approx(target, abs=0.1)
    assert agent.losses[-1] < 0.01


def test_the_first_loss_is_the_squared_target() -> None:
    agent = make("ipo", beta=0.25)
    assert agent.loss([0, 1], np.random.default_rng(0))[0].item() == pytest.approx(4.0, abs=1e-4)
