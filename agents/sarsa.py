"""SARSA: a table of action values of the policy that explores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.common.exploration import expected_values
from textgym.agents.common.tabular import TabularAgent
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, truth
from textgym.types import FloatArray, IntArray


class SARSA(TabularAgent):
    """SARSA (Rummery and Niranjan 1994, CUED/F-INFENG/TR 166) over texts.

    ``Q(s, a) <- Q(s, a) + alpha (r + gamma Q(s', a') - Q(s, a))``, named after ``s, a, r, s', a'``: a value moves
    towards what the token that is really taken next is worth, so that it learns on-policy what the exploring policy
    gets. As exploration ends, that is the best policy.

    Args:
        env: Token-level text environment (``make_vec_env``) to learn in; without one it can only act.
        expected: Expected SARSA (van Seijen et al. 2009, doi:10.1109/ADPRL.2009.4927542): the mean over all next tokens
            of the policy, ``sum_b pi(b|s') Q(s', b)``, instead of the one that was drawn, which has less variance.
        options: Arguments of :class:`~textgym.agents.common.tabular.TabularAgent`.
    """

    kind = "textgym.SARSA"
    settings: ClassVar[Mapping[str, Check]] = {**TabularAgent.settings, "expected": truth}

    def __init__(self, env: VecEnv | None = None, *, expected: bool = False, **options: Any) -> None:
        refuse_unknown(options, type(self))
        self.expected = expected
        super().__init__(env, **options)

    def values_after(self, values: FloatArray, actions: IntArray, probabilities: FloatArray) -> FloatArray:
        """Return ``Q(s', a')``, or its mean over the policy, (n,)."""
        if self.expected:
            return expected_values(values, probabilities)
        taken: FloatArray = values[np.arange(len(actions)), actions]
        return taken
