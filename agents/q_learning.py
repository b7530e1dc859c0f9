"""Q-learning: a table of action values that learns the best policy from whatever it tries."""

from __future__ import annotations

from textgym.agents.common.tabular import TabularAgent
from textgym.types import FloatArray, IntArray


class QLearning(TabularAgent):
    """Q-learning (Watkins and Dayan 1992, doi:10.1007/BF00992698) over texts.

    ``Q(s, a) <- Q(s, a) + alpha (r + gamma max_b Q(s', b) - Q(s, a))``: a value moves towards what the best next token
    is worth, whichever one exploration takes, so that it learns off-policy. Arguments are those of
    :class:`~textgym.agents.common.tabular.TabularAgent`.
    """

    kind = "textgym.QLearning"

    def values_after(self, values: FloatArray, actions: IntArray, probabilities: FloatArray) -> FloatArray:
        """Return ``max_b Q(s', b)``, (n,)."""
        best: FloatArray = values.max(axis=1)
        return best
