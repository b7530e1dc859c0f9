"""Measures by name, and the likelihood of texts under a language model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from textgym.envs.choice import EnvChoice
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.evaluation.metrics import named_metrics
from textgym.evaluation.perplexity import Likelihood, Perplexity
from textgym.models import load_language_model
from textgym.models.text_model import TextModel
from textgym.rewards import resolve_reward
from textgym.types import Example, Task, episodes_of

ITEM = Example("k", "the council met", ("the council met on monday",))


@pytest.fixture(scope="module")
def model() -> TextModel:
    return load_language_model("tiny")


@pytest.fixture(scope="module")
def task() -> Task:
    return EnvChoice("TextSumm-v0").make("test")


def by_hand(model: TextModel, prompt: str, text: str) -> float:
    """The mean log-likelihood per token by the network alone."""
    tokenizer = model.tokenizer
    start = [*(tokenizer.bos_ids or tokenizer.eos_ids[:1]), *tokenizer.encode(prompt)]
    ids = [*start, *tokenizer.encode_response(text), *tokenizer.response_end]
    with torch.inference_mode():
        log_probs = model.network(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(np.mean([float(log_probs[place - 1, ids[place]]) for place in range(len(start), len(ids))]))


def test_likelihood_and_perplexity_by_the_network(model: TextModel) -> None:
    prompts, texts = ["the council met", "prices"], ["The council met on Monday.", ""]
    expected = [by_hand(model, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    assert Likelihood(model)(prompts, texts, [ITEM] * 2) == pytest.approx(expected, rel=1e-4)
    assert Perplexity(model)(prompts, texts, [ITEM] * 2) == pytest.approx(np.exp(-np.array(expected)), rel=1e-4)
    alone = Likelihood(model, prompt=False)(prompts, texts, [ITEM] * 2)
    assert alone == pytest.approx([by_hand(model, "", text) for text in texts], rel=1e-4)


def test_texts_beyond_the_context_are_cut(model: TextModel) -> None:
    limit = model.context_length
    assert limit is not None
    long = "the council met on monday " * limit
    for prompt, text in ((long, "The council met."), ("a", long), (long, long)):
        (found,) = Likelihood(model)([prompt], [text], [ITEM])
        assert math.isfinite(found)
        assert found < 0


def test_likelihood_as_a_reward(task: Task) -> None:
    reward = resolve_reward("likelihood?model=tiny&prompt=false", task)
    fluent, broken = reward(["", ""], ["The council approved the plan.", "plan the the approved Council"], [ITEM] * 2)
    assert fluent > broken


def test_measures_of_which_lower_is_better_need_a_negative_weight(task: Task) -> None:
    with pytest.raises(ValueError, match=r"a negative weight of 'self_bleu'.*write '-1\.0\*self_bleu\?n=2'"):
        resolve_reward("self_bleu?n=2", task)
    reward = resolve_reward("2*length?target=3 + -0.5*self_bleu?n=2", task)
    same, other = reward(["", ""], ["a b c", "a b c"], [ITEM] * 2), reward(["", ""], ["a b c", "d e f"], [ITEM] * 2)
    assert np.asarray(other) - np.asarray(same) == pytest.approx([0.5, 0.5])


def test_named_measures(task: Task) -> None:
    found = named_metrics(["self_bleu", "repetition", "self_bleu?n=1", "rouge1"], task)
    assert list(found) == ["self_bleu", "repetition", "self_bleu?n=1", "rouge1"]
    episodes = episodes_of([ITEM] * 2, ["the council met", "the council sat"])
    assert found["self_bleu?n=1"](episodes) == pytest.approx([2 / 3, 2 / 3])
    assert found["repetition"](episodes).tolist() == [0.0, 0.0]
    assert named_metrics(["rouge"], task)["rouge"](episodes) == pytest.approx([0.75, 0.5])


def test_an_evaluation_has_them_behind_those_of_the_task(model: TextModel) -> None:
    asked = make_evaluation_set("TextSumm-v0", "rouge", prompts=3, max_new_tokens=8, metrics=["self_bleu", "length"])
    measures = evaluate(model, asked).measures
    assert {"rouge1", "self_bleu", "length"} <= set(measures.names())
