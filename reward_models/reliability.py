"""Whose answers can be trusted: every answer is the annotator's judgement, or a guess."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PRIOR_SUCCESSES = 8.0  # the prior of a reliability is Beta(9, 1): without evidence, an annotator is trusted
START = 0.9


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
    """Negative log of the prior Beta(9, 1) of all reliabilities, up to a constant; a scalar."""
    return -PRIOR_SUCCESSES * F.logsigmoid(log_odds).sum()
