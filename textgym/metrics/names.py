"""Measures by name of which lower values are better; those of which higher ones are stand among the rewards."""

from __future__ import annotations

from collections.abc import Mapping

LOWER_IS_BETTER: Mapping[str, str] = {
    "ter": "textgym.metrics.ter:ter",
    "self_bleu": "textgym.metrics.self_bleu:self_bleu",
    "perplexity": "textgym.rewards.lazy:Perplexity",
}
"""Name -> where it is, as in ``textgym.rewards.NAMED_REWARDS``. They take part in a reward with a negative weight:
``"-0.5*ter"``."""
