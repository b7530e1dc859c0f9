"""The task of answering a question about a passage in a few words, or of saying that it has no answer there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from textgym.data.source import BuiltIn, load_examples
from textgym.metrics.answers import UNANSWERABLE, abstention_precision, abstention_recall, exact_match, f1
from textgym.metrics.texts import ReferenceMetric, word_count
from textgym.tasks.answering.passages import NAME, passages
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.types import Data, Dataset, Episode, FloatArray, Metric, NameOrPath, RewardFn, Split


class Answering(TextTask):
    r"""Answer a question about a passage, or say that the passage does not answer it.

    SCORES
    """

    name = "answering"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS}
    difficulty: str
    model = "answers"
    built_in: ClassVar[BuiltIn] = {NAME: passages}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\nAnswer:"
    chat_prompt_template = (
        "Answer the question about the passage in a few words taken from it. If the passage does not say, write "
        f'"{UNANSWERABLE}".\n\n{{prompt}}'
    )
    max_prompt_tokens = 384
    max_new_tokens = 16
    reward: RewardFn | NameOrPath = "f1"
    reward_reason = "The default reward is F1 of the words against the best reference."
    metrics: Mapping[str, Metric] = {
        "exact_match": ReferenceMetric(exact_match),
        "f1": ReferenceMetric(f1),
        "abstention_precision": abstention_precision,
        "abstention_recall": abstention_recall,
        "words": word_count,
    }
    main_metric = "f1"

    def examples(self, split: Split) -> Dataset:
        """Load one split of the data; a question without an answer is to be abstained from."""
        built_in = {name: partial(load, **self.choices) for name, load in self.built_in.items()}
        columns = (self.prompt_column, self.reference_column)
        return load_examples(self.data, split, *columns, built_in=built_in, unanswered=UNANSWERABLE)

    def is_success(self, episode: Episode) -> bool:
        """Return whether the text is one of the answers, or abstains where there is none."""
        return bool(exact_match([""], [episode.text], [episode.example])[0])

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the F1 against the facts of the passage, in [0, 1], shape ``(n,)``; ``None`` on other data."""
        if self.data != NAME:
            return None
        return f1([""] * len(episodes), [each.text for each in episodes], [each.example for each in episodes])
