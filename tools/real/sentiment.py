"""The study of sentiment: a reward model fitted to labels, the reward that it is, and a lexicon to compare with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from real.bench import Bench, Figures
from textgym.data.source import load_examples
from textgym.feedback.types import Rating
from textgym.metrics import proportion_interval
from textgym.metrics.polarity import polarity
from textgym.reward_models import EmbeddingRewardModel, TextEmbedder, load_reward
from textgym.security.consent import load_attribute
from textgym.types import Example, FloatArray, Split

ASKED = {"positive": "I love it.", "negative": "I hate it."}
"""Prompts of the reward model: a text is rated as an answer to each, high where its sentiment is the same."""
FOLDER = "rewards/sentiment"
REVIEWS = "reviews.en-de.jsonl"
_GOOD, _BAD = 4, 2
_PRIOR = 3.0
_FOLDS = 5

Truths = npt.NDArray[np.bool_]


class Sentiment:
    """The probability that a continuation has the wanted sentiment, by a head on frozen sentence embeddings.

    Args:
        model: Folder of the reward model that the study of sentiment fits.
    """

    name = "sentiment_head"

    def __init__(self, model: str) -> None:
        self._model: Any = load_reward(model)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        """Score ``n`` continuations by themselves, without their openings, in [0, 1]; an empty one gets 0."""
        positive = probability_of_positive(self._model, responses)
        wanted = np.array([example.extra["wanted"] == "positive" for example in examples])
        is_text = np.array([bool(response.strip()) for response in responses])
        return np.where(is_text, np.where(wanted, positive, 1 - positive), 0.0)


class Vader:
    """1 where VADER's compound score has the wanted sign, 0 where it has the other, 0.5 where it is 0.

    References:
        Hutto and Gilbert, "VADER: A parsimonious rule-based model for sentiment analysis" (2014).
    """

    name = "vader"

    @cached_property
    def _analyzer(self) -> Any:
        return load_attribute("vaderSentiment.vaderSentiment:SentimentIntensityAnalyzer")()

    def compound(self, texts: Sequence[str]) -> FloatArray:
        """Return the compound scores of ``n`` texts, in [-1, 1]."""
        return np.array([float(self._analyzer.polarity_scores(text)["compound"]) for text in texts])

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        """Score ``n`` continuations."""
        signs = np.array([1.0 if example.extra["wanted"] == "positive" else -1.0 for example in examples])
        return np.asarray(0.5 + 0.5 * np.sign(signs * self.compound(responses)))


def probability_of_positive(model: EmbeddingRewardModel, texts: Sequence[str]) -> FloatArray:
    """Return the probability that each of ``n`` texts is positive.

    A rating is high with probability sigmoid(score - threshold) for either prompt; the labels are opposite, so that the
    threshold cancels in half the difference.
    """
    if not len(texts):
        return np.zeros(0)
    love, hate = (model.raw([asked] * len(texts), texts) for asked in ASKED.values())
    return np.asarray(1 / (1 + np.exp((hate - love) / 2)))


def run(bench: Bench) -> Figures:
    """Fit the reward model to the labels of the training reviews, and measure it on the others."""
    start, encoder = time.perf_counter(), TextEmbedder(bench.encoder)
    trained, held_out = labelled(bench, ("train",)), labelled(bench, ("validation", "test"))
    model = fitted(encoder, trained)
    model.save(bench.home / FOLDER)
    seconds = time.perf_counter() - start
    everything = [*trained, *held_out]
    texts, labels = [each.text for each in everything], _labels(everything)
    own_lexicon = np.array([polarity(text) for text in texts])
    figures = {
        "trained_on": len(trained),
        "held_out": len(held_out),
        "head": _share((probability_of_positive(model, texts[len(trained) :]) > 0.5) == labels[len(trained) :]),
        "cross_validated": _share(_cross_validated(encoder, everything)),
        "labelled": len(everything),
        "more_frequent_label": _share(labels == (labels.mean() > 0.5)),
        "lexicon_of_textgym": _share(np.where(labels, own_lexicon > 0, own_lexicon < 0)),
        "seconds": seconds,
    }
    if bench.data is not None:  # VADER is installed in the environment of the studies
        compound = Vader().compound(texts)
        figures["vader"] = _share(np.where(labels, compound > 0, compound < 0))
        figures["vader_is_0"] = float((compound == 0).mean())
    return figures


def fitted(encoder: TextEmbedder, examples: Sequence[Example]) -> EmbeddingRewardModel:
    """Return a reward model fitted to the labels of some reviews."""
    model = EmbeddingRewardModel(encoder, prior_std=_PRIOR)
    model.fit([rating for example in examples for rating in _ratings(example)], validation_fraction=0.0)
    return model


def _cross_validated(encoder: TextEmbedder, examples: Sequence[Example]) -> Truths:
    """Return for each review whether a model that was fitted to four fifths of the others tells its sentiment."""
    right = np.zeros(len(examples), dtype=np.bool_)
    for fold in range(_FOLDS):
        others = [each for place, each in enumerate(examples) if place % _FOLDS != fold]
        asked = examples[fold::_FOLDS]
        found = probability_of_positive(fitted(encoder, others), [each.text for each in asked]) > 0.5
        right[fold::_FOLDS] = found == _labels(asked)
    return right


def labelled(bench: Bench, splits: Sequence[Split]) -> list[Example]:
    """Return the reviews that are positive or negative: of the user's file, or else built-in ones."""
    file = bench.file(REVIEWS)
    if file is None:
        return _built_in(splits, bench.size.rows)
    loaded = [load_examples(bench.home / file, split, "en") for split in splits]
    rows = [each[place] for each in loaded for place in range(len(each))]
    return [example for example in rows if example.extra["sentiment"] in ASKED][: bench.size.rows]


def _built_in(splits: Sequence[Split], most: int) -> list[Example]:
    """Make labelled reviews of the references of built-in ones."""
    import gymnasium as gym

    found: list[Example] = []
    for split in splits:
        dataset = gym.make("TextContinue-v0", split=split).unwrapped.task.dataset  # type: ignore[attr-defined]
        for place in range(min(most, 400, len(dataset))):
            example = dataset[place]
            found.append(Example(example.key, example.references[0], extra={"sentiment": example.extra["wanted"]}))
    return found


def _ratings(example: Example) -> list[Rating]:
    label = example.extra["sentiment"]
    grades = {sentiment: _GOOD if label == sentiment else _BAD for sentiment in ASKED}
    return [Rating(f"{example.key}-{name}", ASKED[name], example.text, grade) for name, grade in grades.items()]


def _labels(examples: Sequence[Example]) -> Truths:
    return np.array([example.extra["sentiment"] == "positive" for example in examples])


def _share(right: Truths) -> list[float]:
    return list(proportion_interval(float(right.sum()), len(right)))


def folder(bench: Bench) -> Path:
    """Return the folder of the fitted reward model; it is fitted first where there is none."""
    target = bench.home / FOLDER
    if not target.is_dir():
        run(bench)
    return target
