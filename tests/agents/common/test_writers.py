"""One of several agents that write together: advantages of texts by hand, its loss, its budgets, its state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from textgym.agents.common.writers import Coefficients, Learning, Writer, text_advantages
from textgym.errors import ModelError
from textgym.models.loading import load_language_model
from textgym.types import Prompt

LEARNING = Learning(
    n_epochs=1, gae_lambda=0.95, vf_coef=0.1, max_grad_norm=1.0, batch_size=8, sqrt_kl_target=0.1, kl_target=0.01
)


def make(number: int = 0, **changes: int) -> Writer:
    budgets = {"prompt_tokens": 12, "new_tokens": 3, **changes}
    model = load_language_model("letters")
    return Writer(model, number, learning_rate=1e-2, coefficients=Coefficients(1.0, 1.0), seed=4, **budgets)


def test_advantages_of_two_texts_by_hand() -> None:
    values, rewards = np.array([0.5, 0.25, 0.75]), np.array([1.0, 0.0])  # texts of two tokens and of one
    last = 1.0 - 0.25
    first = (0.25 - 0.5) + 0.9 * last
    found = text_advantages(values, rewards, [2, 1], gae_lambda=0.9)
    assert found.tolist() == pytest.approx([first, last, -0.75])
    # With lambda 1, what a token is followed by minus its value.
    assert text_advantages(values, rewards, [2, 1], 1.0).tolist() == pytest.approx([0.5, 0.75, -0.75])


def test_agents_of_one_seed_write_different_texts_and_the_same_ones_again() -> None:
    asked = [Prompt("", word, "=") for word in ("abc", "dd", "a")]
    first, second, again = make(0), make(1), make(0)
    texts = [each.write(asked, False, each.generator).texts for each in (first, second, again)]
    assert texts[0] != texts[1]
    assert texts[0] == texts[2]
    greedy = first.write(asked, True, None)
    assert greedy == second.write(asked, True, None)
    assert greedy.prompts[1] == first.model.tokenizer.encode_prompts(asked, 12)[1].ids
    assert all(1 <= len(ids) <= 3 for ids in greedy.ids)


def test_an_update_raises_what_was_paid_and_adapts_its_coefficients() -> None:
    writer = make()
    asked = [Prompt("", "abc", "=")] * 128
    written = writer.write(asked, False, writer.generator)
    rewards = np.array([float(text.startswith("a")) for text in written.texts])
    assert 0.4 < rewards.mean() < 0.8
    before = writer.model.state_dict()["network.gpt_neox.final_layer_norm.weight"].clone()
    found = [writer.learn(written, rewards, LEARNING) for _ in range(5)]
    assert not torch.equal(before, writer.model.state_dict()["network.gpt_neox.final_layer_norm.weight"])
    again = writer.write(asked * 2, False, torch.Generator().manual_seed(0))
    assert np.mean([text.startswith("a") for text in again.texts]) > rewards.mean() + 0.2
    for numbers in found:
        assert numbers["step_kl"] >= 0
        assert numbers["sqrt_step_kl"] > 0
    kl, root = found[0]["step_kl"], found[0]["sqrt_step_kl"]
    assert found[0]["beta_kl"] == (2.0 if kl > 0.015 else 0.5 if kl < 0.01 / 1.5 else 1.0)
    assert found[0]["beta_sqrt"] == (2.0 if root > 0.15 else 0.5 if root < 0.1 / 1.5 else 1.0)


def test_its_state_is_all_of_it(tmp_path: Path) -> None:
    writer, twin = make(0), make(1)
    asked = [Prompt("", "abc", "=")] * 6
    written = writer.write(asked, False, writer.generator)
    writer.learn(written, np.linspace(0, 1, 6), LEARNING)
    twin.take({name: tensor.clone() for name, tensor in writer.tensors().items()}, writer.record(), tmp_path)
    for each in (writer, twin):
        each.learn(each.write(asked, False, each.generator), np.linspace(1, 0, 6), LEARNING)
    assert twin.record() == writer.record()
    left, right = writer.tensors(), twin.tensors()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_context_that_is_too_short_is_refused() -> None:
    with pytest.raises(ModelError, match="context"):
        make(prompt_tokens=100_000)
