"""Rewards of spelling, paid letter by letter: one that leads to the word, and one that leads away from it."""

from __future__ import annotations

from textgym.metrics.letters import decoy, letters
from textgym.rewards.shaping import Shaped

letter_by_letter = Shaped(letters)
"""The share of letters in their place, each paid when it is written."""
decoy_by_letter = Shaped(decoy)
"""The deceptive reward, each wrong letter paid when it is written."""
