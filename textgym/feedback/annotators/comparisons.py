"""Comparisons of texts of a task by a simulated annotator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from textgym.feedback.annotators.by_reward import AnnotatorReward
from textgym.feedback.annotators.pairs import make_questions
from textgym.feedback.annotators.simulated import BradleyTerryAnnotator, reward_scorer
from textgym.feedback.types import Comparison, Question
from textgym.metrics.words import count_words, first_words
from textgym.tasks.base import shown_of
from textgym.types import Example, Message, Task

_MIX = (0.55, 0.15, 0.15, 0.15)  # second text of a pair: a sample, the reference, another's reference, the first words


def draw_examples(task: Task, n: int, rng: np.random.Generator) -> list[Example]:
    """Draw examples; none twice before all were drawn once."""
    size = len(task.dataset)
    rounds = [rng.permutation(size) if size <= n else rng.choice(size, n, replace=False) for _ in range(-(-n // size))]
    return [task.dataset[int(index)] for index in np.concatenate(rounds)[:n]]


def compare_samples(
    task: Task,
    examples: Sequence[Example],
    first: Sequence[str],
    second: Sequence[str],
    by: AnnotatorReward,
    rng: np.random.Generator,
    noise: float | None = None,
    turns: Sequence[Sequence[Message]] | None = None,
) -> list[Comparison]:
    """Let a simulated annotator compare two sampled texts about each of ``n`` examples.

    Where the annotator knows less than the true quality, some second texts are replaced by references and first words;
    not those behind a conversation, which these do not answer.

    Args:
        task: Formats the prompts.
        examples: The ``n`` examples.
        first, second: ``n`` texts each.
        by: Score that the annotator compares by.
        rng: Replaces texts, puts each pair in random order, and is the annotator's noise.
        noise: Difference at which the better text is preferred with probability 0.73; ``None`` is that of ``by``.
        turns: Messages before both texts, after each of the ``n`` prompts; none by default.
    """
    said = [()] * len(examples) if turns is None else turns
    if not by.is_gold and all(example.references for example in examples):
        mixed = _mixed(examples, second, rng)
        second = [text if before else other for text, other, before in zip(second, mixed, said, strict=True)]
    prompts = [shown_of(task, example, before) for example, before in zip(examples, said, strict=True)]
    keys = [example.key for example in examples]
    questions = _swapped(make_questions(prompts, keys, first, second), rng)
    scorer = reward_scorer(by.reward, {example.key: example for example in examples})
    temperature = by.noise if noise is None else noise
    return BradleyTerryAnnotator(scorer, temperature, rng, name=f"simulated-{by.name}").compare(questions)


def _mixed(examples: Sequence[Example], sampled: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Replace some second texts by others, so that the texts of a pair differ in quality.

    Two samples of a weak model overlap little with any reference: choices between them would teach almost nothing.
    """
    kinds = rng.choice(len(_MIX), size=len(examples), p=_MIX)
    others = rng.permutation(len(examples))
    texts = []
    for example, text, kind, other in zip(examples, sampled, kinds, others, strict=True):
        reference = example.references[0]
        beginning = first_words(example.text, count_words(reference))
        texts.append((text, reference, examples[other].references[0], beginning)[kind])
    return texts


def _swapped(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Put each pair in random order, so that the place of a text says nothing."""
    flips = rng.random(len(questions)) < 0.5
    return [
        replace(question, responses=question.responses[::-1]) if flip else question
        for question, flip in zip(questions, flips, strict=True)
    ]
