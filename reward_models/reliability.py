"""Reliability of annotators: every answer is the annotator's preference, or a guess."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

PRIOR_SUCCESSES = 2.0  # the prior of a reliability is Beta(3, 1): without evidence, an annotator is trusted
START = 0.9
_ITERATIONS = 20
_CERTAIN = 1e-3


def start_log_odds(annotators: int) -> Tensor:
    """Log odds of the reliabilities to start from, shape (A,)."""
    return torch.full((annotators,), START).logit()


def mix_with_guesses(losses: Tensor, log_guess: Tensor, log_odds: Tensor) -> Tensor:
    r"""Negative log-likelihood of answers that are guesses with some probability.

    :math:`-\log(\rho p + (1 - \rho) q)`: with probability rho the annotator answers as the model says (p), else without
    looking (q). The gradient with respect to the model is that of :math:`-\log p`, times the probability that this
    answer was no guess, which is the weight that an EM algorithm would give it: an annotator who contradicts everybody,
    or answers at random, loses it. In the model of Chen et al. whoever contradicts is believed the opposite; here not.

    Args:
        losses: (N,) values of -log p.
        log_guess: (N,) values of log q.
        log_odds: (N,) log odds of the annotators' reliabilities.

    Returns:
        (N,) losses.

    References:
        Chen, Bennett, Collins-Thompson and Horvitz, "Pairwise ranking aggregation in a crowdsourced setting" (2013),
        WSDM; Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979).
    """
    return -torch.logaddexp(F.logsigmoid(log_odds) - losses, F.logsigmoid(-log_odds) + log_guess)


def reliability_penalty(log_odds: Tensor) -> Tensor:
    """Negative log of the prior Beta(3, 1) of all reliabilities, up to a constant; a scalar."""
    return -PRIOR_SUCCESSES * F.logsigmoid(log_odds).sum()


class RunningReliability:
    """Reliabilities while a network learns: after every step they fit the answers that were seen last.

    An incremental EM algorithm. The losses are those of when the answers were seen, by a network that had not yet
    learned from them (in the first epoch); with a small memory, what an untrained network thought is soon forgotten.

    Args:
        annotators: Number of annotators.
        memory: Number of answers that are remembered.

    References:
        Neal and Hinton, "A view of the EM algorithm that justifies incremental, sparse, and other variants" (1998).
    """

    def __init__(self, annotators: int, memory: int) -> None:
        self._annotators = annotators
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=max(1, memory))

    @property
    def seen(self) -> list[tuple[int, float, float]]:
        """The remembered answers, oldest first: annotator, loss and log guess of each."""
        return list(self._seen)

    def restore(self, seen: Iterable[tuple[int, float, float]]) -> None:
        """Remember what :attr:`seen` gave, and nothing else."""
        self._seen.clear()
        self._seen.extend((int(annotator), float(loss), float(guess)) for annotator, loss, guess in seen)

    def update(self, losses: Tensor, log_guess: Tensor, annotators: Tensor) -> Tensor:
        """Remember answers, and return the log odds of all reliabilities, (A,).

        Args:
            losses, log_guess: (N,) as :func:`mix_with_guesses`.
            annotators: (N,) whose they are; those below 0 are nobody's.
        """
        rows = zip(annotators.tolist(), losses.tolist(), log_guess.tolist(), strict=True)
        self._seen.extend(row for row in rows if row[0] >= 0)
        log_odds = start_log_odds(self._annotators)
        if not self._seen:
            return log_odds
        numbers, seen_losses, seen_guesses = map(torch.tensor, zip(*self._seen, strict=True))
        answers = torch.bincount(numbers, minlength=self._annotators)
        for _ in range(_ITERATIONS):
            meant = torch.sigmoid(log_odds[numbers] - seen_losses - seen_guesses)  # probability of no guess
            sums = torch.zeros(self._annotators).index_add(0, numbers, meant)
            shares = (sums + PRIOR_SUCCESSES) / (answers + PRIOR_SUCCESSES)
            log_odds = shares.clamp(_CERTAIN, 1 - _CERTAIN).logit()
        return log_odds
