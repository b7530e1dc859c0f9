"""The task of recommending from a catalogue to somebody whose ratings are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.source import BuiltIn
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.recommendation.generator import MIXED, NAME, films
from textgym.tasks.recommendation.scoring import read
from textgym.types import Data, Episode, FloatArray


class Recommendation(TextTask):
    """Recommend."""

    name = "recommendation"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": (*LEVELS, MIXED)}
    difficulty: str
    built_in: ClassVar[BuiltIn] = {NAME: films}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}{catalogue}\n\nAnswer:"
    max_prompt_tokens = 128
    max_new_tokens = 24

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return gold."""
        return np.array([read(e.text, e.example.extra, built_in=True).gold for e in episodes], dtype=np.float64)

    def is_success(self, episode: Episode) -> bool:
        """Return success."""
        return read(episode.text, episode.example.extra, built_in=True).value == 1
