"""Evaluation of language models on a fixed list of prompts, with the same seeds for every model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgym.envs.choice import with_budgets
from textgym.evaluation.measures import Measures, fixed_examples, score_responses
from textgym.evaluation.sampling import Samples, Sampling, log_probs_of_texts, sample_texts
from textgym.models.text_model import TextModel
from textgym.types import Example, RewardFn, Task


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What models are asked and how they are judged; whoever sits it gets the same prompts and seeds.

    Attributes:
        task: Formats and knows.
        examples: What is asked.
        reward: Judges; ``None`` for none.
        sampling: Budgets, temperature, seed.
    """

    task: Task
    examples: Sequence[Example]
    reward: RewardFn | None
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of an eval_set: a text per example, its measures, and the seconds it took."""

    texts: list[str]
    measures: Measures
    seconds: float


def make_evaluation_set(
    task: Task,
    reward: RewardFn | None,
    prompts: int,
    seed: int,
    *,
    temperature: float = 1.0,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
) -> EvaluationSet:
    """Ask about the first ``prompts`` examples of the task's split; budgets that are ``None`` are the task's.

    Raises:
        ValueError: ``prompts`` is below 1, or the split is empty.
        RewardError: The reward cannot judge a text of this task. Models are loaded for it, so whatever is wrong with
            them is raised too.
    """
    task = with_budgets(task, max_prompt_tokens, max_new_tokens)
    examples = fixed_examples(task.dataset, prompts)
    score_responses(task, examples[:1], [""], reward)  # what cannot judge fails here, and not after minutes of sampling
    return EvaluationSet(
        task, examples, reward, Sampling(task.max_prompt_tokens, task.max_new_tokens, temperature, seed)
    )


def evaluate(eval_set: EvaluationSet, model: TextModel, title: str, reference: TextModel | None = None) -> Evaluation:
    """Sample one response per prompt and judge it.

    Args:
        eval_set: What is asked.
        model: Who writes.
        title: What the progress bar is called.
        reference: Start model that the KL is measured to; ``model`` itself (KL 0) or ``None`` (no KL) are fine. There
            is no KL either where its tokenizer is another one, or at temperature 0, where all probability is on one
            text.
    """
    start = time.perf_counter()
    samples = sample_texts(model, eval_set.task, eval_set.examples, eval_set.sampling, title)
    measures = score_responses(eval_set.task, eval_set.examples, samples.texts, eval_set.reward)
    values = {
        "length": np.array([len(ids) for ids in samples.ids], dtype=np.float64),
        "eos": np.array(samples.ended, dtype=np.float64),
    }
    kl = _kl(model, reference, samples, eval_set.sampling.temperature)
    measures = measures.with_values(values if kl is None else {**values, "kl": kl})
    return Evaluation(samples.texts, measures, time.perf_counter() - start)


def _kl(model: TextModel, reference: TextModel | None, samples: Samples, temperature: float) -> np.ndarray | None:
    """Log pi - log ref of every text, shape (n,), both at the temperature the texts were sampled at."""
    if reference is model:
        return np.zeros(len(samples.ids))
    if reference is None or reference.tokenizer.fingerprint != model.tokenizer.fingerprint or temperature == 0:
        return None
    return log_probs_of_texts(model, samples, temperature) - log_probs_of_texts(reference, samples, temperature)
