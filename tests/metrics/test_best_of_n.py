"""Best-of-n in closed form: exact values, the bound, and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textgym.metrics.best_of_n import best_of_n_kl, best_of_n_kl_bound, best_of_n_law, best_of_n_win_rate_bound

P, REWARDS = [0.4, 0.3, 0.2, 0.1], [0.0, 0.25, 0.5, 1.0]
EXACT = {  # n: probabilities, KL, bound, expected reward
    1: ([0.4, 0.3, 0.2, 0.1], 0.0, 0.0, 0.275),
    2: ([0.16, 0.33, 0.32, 0.19], 0.1571992419669524, 0.1931471805599453, 0.4325),
    4: ([0.0256, 0.2145, 0.416, 0.3439], 0.5871136671886619, 0.6362943611198906, 0.605525),
    8: ([0.00065536, 0.05699265, 0.3728192, 0.56953279], 1.1241081450212178, 1.2044415416798357, 0.7701905525),
    64: (
        [3.4028236692093966e-26, 1.2197604876358306e-10, 0.001179018335797802, 0.998820981542219],
        2.2926393268670884, 3.1745080833596715, 0.999410490740612,
    ),
}  # fmt: skip


@pytest.mark.parametrize("n", EXACT)
def test_exact_values(n: int) -> None:
    law, kl, bound, expected = EXACT[n]
    found = best_of_n_law(P, REWARDS, n)
    assert found.tolist() == pytest.approx(law, abs=1e-12)
    assert found @ REWARDS == pytest.approx(expected)
    assert best_of_n_kl(P, REWARDS, n) == pytest.approx(kl, abs=1e-12)
    assert best_of_n_kl_bound(n) == pytest.approx(bound)
    assert best_of_n_kl(P, REWARDS, n) <= best_of_n_kl_bound(n) + 1e-12


@pytest.mark.parametrize(("n", "kl"), [(2, 0.19314717801898715), (4, 0.6362943592442136), (16, 1.835088695449436)])
def test_many_rare_outcomes_reach_the_bound(n: int, kl: float) -> None:
    size = 20_000
    found = best_of_n_kl(np.full(size, 1 / size), np.arange(size, dtype=np.float64), n)
    assert found == pytest.approx(kl, abs=1e-9)
    assert found == pytest.approx(best_of_n_kl_bound(n), abs=1e-6)


def test_outcomes_with_equal_rewards_share_in_proportion() -> None:
    # rewards 0, 1, 1: at least one of two samples is 1 with probability 1 - 0.5^2 = 0.75
    assert best_of_n_law([0.5, 0.3, 0.2], [0, 1, 1], 2).tolist() == pytest.approx([0.25, 0.45, 0.3])
    assert best_of_n_kl([0.5, 0.5], [1, 1], 8) == pytest.approx(0)


def test_the_law_is_what_sampling_gives() -> None:
    rng = np.random.default_rng(0)
    samples = rng.choice(4, size=(200_000, 4), p=P)
    shares = np.bincount(samples.max(1), minlength=4) / len(samples)  # rewards rise with the number
    assert shares == pytest.approx(np.array(EXACT[4][0]), abs=4e-3)


def test_the_win_rate_is_at_most_that_of_continuous_rewards() -> None:
    assert [best_of_n_win_rate_bound(n) for n in (1, 2, 4)] == [0.5, pytest.approx(2 / 3), 0.8]
    # P(best of 2 > one more), ties half
    law, below = best_of_n_law(P, REWARDS, 2), np.cumsum([0, *P[:-1]])
    assert float(law @ (below + np.array(P) / 2)) < best_of_n_win_rate_bound(2)


def test_mistakes() -> None:
    for p, rewards, n in (([0.5, 0.4], [0, 1], 2), ([0.5, 0.5], [0], 2), ([1.0, 0.0], [0, 1], 2), ([1.0], [0], 0)):
        with pytest.raises(ValueError, match="expected positive probabilities with sum 1"):
            best_of_n_law(p, rewards, n)
    for bound in (best_of_n_kl_bound, best_of_n_win_rate_bound):
        with pytest.raises(ValueError, match="n of at least 1, got 0"):
            bound(0)
    assert math.isclose(best_of_n_kl_bound(1), 0.0)
