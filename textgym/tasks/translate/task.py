"""The task of translating a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.source import BuiltIn
from textgym.metrics.rouge import reaches_rougeL, rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.translate.generator import DIRECTIONS, NAME, sentences
from textgym.tasks.translate.grammar import Sentence
from textgym.tasks.translate.scoring import score
from textgym.types import Data, Episode, FloatArray, Metric, NameOrPath, RewardFn, Split

_SUCCESS_ROUGE_L = 0.5
# Measures of files with references; chrF and BLEU belong here, and into the page below.
_OF_REFERENCES: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)}


def adequacy(episodes: Sequence[Episode]) -> FloatArray:
    """Measure how near each text is to a correct translation of a built-in sentence; shape ``(n,)``, in [0, 1]."""
    known = [(each.text, each.example.extra) for each in episodes]
    return np.array([score(text, Sentence.from_json(row["facts"]), row["target"]) for text, row in known])


class Translate(TextTask):
    r"""PAGE."""

    name = "translate"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS, "direction": DIRECTIONS}
    difficulty: str
    direction: str
    model = "tiny-translate"
    built_in: ClassVar[BuiltIn] = {NAME: sentences}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\n\nTranslation:"
    chat_prompt_template = (
        "Translate this text, into German if it is English and into English if it is German.\n\n{prompt}"
    )
    max_prompt_tokens = 64
    max_new_tokens = 48

    def __init__(
        self,
        data: Data = NAME,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
        prompt_template: str | None = None,
        **chosen: str,
    ) -> None:
        super().__init__(data, prompt_column, reference_column, split, prompt_template, **chosen)
        references = len(self.dataset) > 0 and bool(self.dataset[0].references)
        self.metrics = {**(_OF_REFERENCES if references else {}), **TEXT_METRICS}
        self.main_metric = "rougeL" if references else None
        self.reward: RewardFn | NameOrPath = "rouge" if references else "none"
        self.reward_reason = (
            "The default reward of TextTranslate is ROUGE-L against the references."
            if references
            else "Without references, TextTranslate has no default reward: every text gets 0."
        )

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the adequacy in [0, 1], shape ``(n,)``, on the built-in sentences; ``None`` on other data."""
        return adequacy(episodes) if self.data == NAME else None

    def is_success(self, episode: Episode) -> bool:
        """Return whether the translation is correct; on other data, whether ROUGE-L is at least 0.5."""
        if self.data == NAME:
            return bool(adequacy([episode])[0] == 1.0)
        return bool(episode.example.references) and reaches_rougeL(episode.text, episode.example, _SUCCESS_ROUGE_L)
