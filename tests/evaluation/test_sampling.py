"""Sampling for tasks, and the log-probabilities behind the KL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from textgym.evaluation.core import evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.evaluation.sampling import Samples, Sampling, sample_texts
from textgym.models import log_probs
from textgym.models.causal_lm import CausalLM
from textgym.tasks import Summarization, prompt_text
from textgym.types import Episode, Example

TASK = Summarization(split="test")
EXAMPLES = [TASK.dataset[index] for index in range(6)]


@pytest.fixture
def model(lm: str) -> CausalLM:
    return load_model(lm, "cpu")


def test_same_seed_same_texts(model: CausalLM) -> None:
    settings = Sampling(64, 8, seed=3)
    first = sample_texts(model, TASK, EXAMPLES, settings)
    assert sample_texts(model, TASK, EXAMPLES, settings) == first
    assert sample_texts(model, TASK, EXAMPLES, Sampling(64, 8, seed=4)).ids != first.ids


def test_budgets_hold_and_eos_is_no_part_of_a_text(model: CausalLM) -> None:
    eos = model.tokenizer.eos_ids[0]
    with torch.no_grad():
        model.network.get_output_embeddings().weight[eos] *= 40  # now it ends some texts
    samples = sample_texts(model, TASK, EXAMPLES * 20, Sampling(40, 8))
    assert max(map(len, samples.prompts)) <= 40
    assert max(map(len, samples.ids)) <= 8
    assert [each.finish_reason for each in samples.episodes] == [
        "eos" if ids[-1] == eos else "length" for ids in samples.ids
    ]
    assert any(each.finish_reason == "eos" for each in samples.episodes)
    assert not any("<eos>" in text for text in samples.texts)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_are_those_of_the_bare_model(
    temperature: float, model: CausalLM, lm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_probs, "_TOKENS_PER_BATCH", 200)  # several padded batches
    samples = sample_texts(model, TASK, EXAMPLES, Sampling(64, 8))
    bare = AutoModelForCausalLM.from_pretrained(lm)
    expected = []
    for prompt, ids in zip(samples.prompts, samples.ids, strict=True):
        with torch.no_grad():
            scores = (bare(torch.tensor([prompt + ids])).logits[0] / temperature).log_softmax(-1)
        expected.append(sum(float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(ids)))
    assert samples.log_probs(model, temperature) == pytest.approx(expected, abs=1e-4)


def test_log_prob_of_nothing_is_zero(model: CausalLM) -> None:
    assert Samples([Episode.of(EXAMPLES[0], "")], [[5, 6]], [[]], [0]).log_probs(model).tolist() == [0]


def test_kl_to_itself_is_zero_and_to_a_sharper_model_is_not(model: CausalLM, lm: str) -> None:
    eval_set = make_evaluation_set(TASK, None, 6, 0, max_prompt_tokens=64, max_new_tokens=8)
    assert evaluate(model, eval_set, reference=model).measures.values["kl"].tolist() == [0] * 6
    assert np.abs(evaluate(model, eval_set, reference=load_model(lm, "cpu")).measures.values["kl"]).max() < 1e-4
    other = load_model(lm, "cpu")
    with torch.no_grad():
        other.network.get_output_embeddings().weight *= 3
    assert evaluate(other, eval_set, reference=model).measures.values["kl"].mean() > 0.1
    assert "kl" not in evaluate(model, eval_set, reference=None).measures.values


def test_a_result_is_shown_in_one_line(model: CausalLM) -> None:
    eval_set = make_evaluation_set(TASK, "rouge", 6, 0, max_prompt_tokens=64, max_new_tokens=8)
    found = evaluate(model, eval_set, reference=model)
    page = found._repr_html_()
    assert page.count("<table>") == 2
    assert page.count('<th scope="row">') == len(found.measures.names()) + 5
    shown = repr(found)
    assert shown.startswith(f"<Evaluation of {TASK.name}: 6 texts, reward ")
    assert "kl 0 [0, 0], length " in shown
    assert "\n" not in shown
    assert len(shown) < 200
    assert repr(eval_set).startswith(f"<EvaluationSet: 6 prompts of task {TASK.name} on ")


def test_stop_strings_end_texts_as_they_do_in_environments(model: CausalLM, lm: str) -> None:
    stop = ("e", " th")
    samples = sample_texts(model, TASK, EXAMPLES * 4, Sampling(64, 8, stop=stop))
    env: Any = gym.make("TextSumm-v0", split="test", model=lm, max_prompt_tokens=64, max_new_tokens=8, stop=stop)
    reasons = set()
    for episode, ids in zip(samples.episodes, samples.ids, strict=True):
        env.reset(options={"task_key": episode.example.key})
        ends = [env.step(np.int64(token)) for token in ids]
        assert [terminated for _, _, terminated, _, _ in ends] == [*[False] * (len(ids) - 1), True]
        assert (ends[-1][4]["text"], ends[-1][4]["finish_reason"]) == (episode.text, episode.finish_reason)
        reasons.add(episode.finish_reason)
    assert {"stop", "length"} <= reasons


def test_special_tokens_in_a_document_are_text(model: CausalLM) -> None:
    samples = sample_texts(model, TASK, [Example("x", "A literal <eos> here.")], Sampling(64, 2))
    assert not set(samples.prompts[0]) & set(model.tokenizer.eos_ids)


def test_an_evaluation_set_takes_data_and_a_template_beside_an_id(tmp_path: Path) -> None:
    rows = [{"ticket": f"Where is parcel {n}?", "tone": "kind"} for n in range(40)]
    file = tmp_path / "tickets.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = "As {tone}: {prompt}"
    about = {"data": str(file), "prompt_column": "ticket", "prompt_template": template}
    eval_set = make_evaluation_set("TextGen-v0", None, 2, **about)  # type: ignore[arg-type]
    assert {prompt_text(eval_set.task, example)[:23] for example in eval_set.examples} == {"As kind: Where is parce"}
    with pytest.raises(TypeError, match="expected data, prompt_column, prompt_template beside the id"):
        make_evaluation_set(eval_set.task, None, 2, **about)  # type: ignore[arg-type]
