"""The task of recommending from a catalogue to somebody whose ratings are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from textgym.data.dataset import InMemoryDataset
from textgym.data.ratings import load_ratings
from textgym.data.source import BuiltIn, report_reading
from textgym.metrics.ranking import ndcg, regret
from textgym.metrics.rouge import reaches_rougeL, rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.recommendation.generator import MIXED, NAME, NOTES, film_notes, films
from textgym.tasks.recommendation.histories import histories
from textgym.tasks.recommendation.population import visits_of
from textgym.tasks.recommendation.scoring import Answer, read
from textgym.types import Data, Dataset, Episode, Example, FloatArray, Metric, NameOrPath, RewardFn, Split

_SUCCESS_ROUGE_L = 0.5


def _measured(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _answer(episode: Episode) -> Answer:
    return read(episode.text, episode.example.extra)


def clicked(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the simulated visitors who click on something that each text recommends."""
    return _measured([float(visits_of(each.example, each.text).clicked.mean()) for each in episodes])


def ranked(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the nDCG of what each text recommends, of as many places as were asked for; gains begin with the worst."""
    return _measured([_ndcg(each) for each in episodes])


def _ndcg(episode: Episode) -> float:
    preferences, ranking = episode.example.extra["preferences"], _answer(episode).ranking
    least = min(preferences.values())
    gains = [preferences.get(title, least) - least for title in ranking]
    among = [preference - least for preference in preferences.values()]
    return ndcg(gains, k=episode.example.extra["count"], among=among, exponential=False)


def lost(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the regret of each recommendation: what it is worth less than the best one, from 0 to 1, the worst."""
    return regret([_answer(each).value for each in episodes], [1.0] * len(episodes))


def explained(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the mean worth of the reasons of each text: 1 where all are true and matter, 0 where none is true."""
    return _measured([_answer(each).explanation for each in episodes])


_MEASURES: Mapping[str, Metric] = {"ndcg": ranked, "regret": lost, "click_through": clicked, "explanation": explained}


class Recommendation(TextTask):
    r"""PAGE"""

    name = "recommendation"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": (*LEVELS, MIXED)}
    difficulty: str
    model = "tiny-rec"
    built_in: ClassVar[BuiltIn] = {NAME: films, NOTES: film_notes}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}{catalogue}\n\nAnswer:"
    chat_prompt_template = (
        "Somebody gave these stars, of 5:\n\n{prompt}{catalogue}\n\nAnswer with one sentence that recommends as many of "
        "the list as are asked for, the best first, by their titles, and says which of its attributes the person likes."
    )
    max_prompt_tokens = 128
    max_new_tokens = 24

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
        first = self.dataset[0]
        self.knows_preferences = "preferences" in first.extra
        measures: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)} if first.references else {}
        self.metrics = {**(_MEASURES if self.knows_preferences else measures), **TEXT_METRICS}
        self.main_metric = next(iter(self.metrics)) if self.knows_preferences or first.references else None
        self.reward, self.reward_reason = _default_reward(self.knows_preferences, bool(first.references))
        if not self._is_built_in:
            self.max_prompt_tokens, self.max_new_tokens = 384, 48

    @property
    def _is_built_in(self) -> bool:
        return self.data in (NAME, NOTES)

    def examples(self, split: Split) -> Dataset:
        """Load one split; users of a table of ratings become examples."""
        if self._is_built_in:
            return super().examples(split)
        table = load_ratings(self.data) if self.prompt_column is None else None
        if table is not None:
            made = histories(table, split)
            report_reading(made, str(self.data) if isinstance(self.data, str) else "")
            return made
        loaded = super().examples(split)
        rows = [_without_catalogue(loaded[place]) for place in range(len(loaded))]
        report = loaded.report if isinstance(loaded, InMemoryDataset) else None
        return InMemoryDataset(loaded.name, split, rows, report)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``; ``None`` on data without preferences."""
        if not self.knows_preferences:
            return None
        answers = map(_answer, episodes)
        return _measured([answer.gold if self._is_built_in else answer.value for answer in answers])

    def is_success(self, episode: Episode) -> bool:
        """Return whether the best item is recommended first; on data without preferences, ROUGE-L F1 of 0.5."""
        if not self.knows_preferences:
            return bool(episode.example.references) and reaches_rougeL(episode.text, episode.example, _SUCCESS_ROUGE_L)
        answer, preferences = _answer(episode), episode.example.extra["preferences"]
        return answer.value > 0 and preferences[answer.chosen[0]] == max(preferences.values())


def _without_catalogue(example: Example) -> Example:
    """Return an example whose prompt has the catalogue in it."""
    return example if "catalogue" in example.extra else replace(example, extra={**example.extra, "catalogue": ""})


def _default_reward(knows_preferences: bool, has_references: bool) -> tuple[RewardFn | NameOrPath, str]:
    if knows_preferences:
        return "clicks", "The default reward of TextRec is the clicks and the time of a simulated population."
    if has_references:
        return "rouge", "Without a table of ratings, the default reward of TextRec is ROUGE-L against the references."
    return "none", "Without ratings and references nothing tells what is good: give TextRec a reward."
