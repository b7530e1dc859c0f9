"""Decisions of a policy for a batch of texts, and masks of what it may choose from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

ActionMasks = np.ndarray | Tensor | None
"""(N, V) whether an action may be taken; ``None``: any."""


class Decision(NamedTuple):
    """The actions, values and log-probabilities of a policy for ``B`` texts.

    Attributes:
        actions: (B,) next tokens.
        values: (B, 1); 0 where they were not wanted.
        log_probs: (B,) of the actions.
    """

    actions: Tensor
    values: Tensor
    log_probs: Tensor
