"""Reward models on a model of another family than decoders: the protocol is all that they know."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests.models.test_encoder_decoder import Seq2Seq
from textgym.feedback.types import Comparison, Record
from textgym.models.branching import Branched
from textgym.models.loading import load_language_model
from textgym.reward_models import PreferenceRewardModel
from textgym.text.tokenizer import Tokenizer


def encoder_decoder(folder: Path) -> Seq2Seq:
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 3}
    sizes = {"vocab_size": Tokenizer.load(folder).vocab_size, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 64}
    config = T5Config(**sizes, **ids, num_layers=2, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
    return Seq2Seq(T5ForConditionalGeneration(config), source=str(folder))


def test_an_encoder_decoder_scores_by_its_likelihood(neox: Path) -> None:
    model = PreferenceRewardModel(encoder_decoder(neox), max_length=64)
    texts = model.encoder(["the council voted", "road"], ["good bridge", "bad"])
    expected = []
    for text in texts:
        written = torch.tensor([[3, *text.response[:-1]]])
        with torch.no_grad():
            logits = model.trunk.network(input_ids=torch.tensor([text.prompt]), decoder_input_ids=written).logits
        log_probs = logits[0].log_softmax(-1)[torch.arange(len(text.response)), text.response]
        expected.append(10.0 * math.exp(float(log_probs.mean())))
    assert model.raw(["the council voted", "road"], ["good bridge", "bad"]) == pytest.approx(expected, rel=1e-4)


def test_an_encoder_decoder_learns(neox: Path, world: Any) -> None:
    records: list[Record] = [world.comparison() for _ in range(48)]
    records += [world.ranking() for _ in range(8)]
    before, after = (PreferenceRewardModel(encoder_decoder(neox), max_length=64) for _ in range(2))
    after.fit(records, epochs=4, learning_rate=3e-3, validation_fraction=0)
    assert not after.shares_prompts
    comparisons = [record for record in records if isinstance(record, Comparison)]
    right = [
        np.mean((model.differences(comparisons) > 0) == [record.choice == "a" for record in comparisons])
        for model in (before, after)
    ]
    assert right[1] > 0.9 > right[0]


@pytest.mark.parametrize("empty", [False, True])
def test_three_responses_in_one_row_have_the_states_of_three_rows(neox: Path, empty: bool) -> None:
    model = load_language_model(neox)
    prompts = [[], [5]] if empty else [[5, 6, 7], [8]]
    texts = [
        Branched(prompts[0], ([9, 10], [11], [12, 13, 14])),
        Branched(prompts[1], ([9], [10, 11, 12, 13], [14])),
    ]
    assert model.branches(max(text.width for text in texts))
    states = model.branched_states(texts)
    alone = [
        model.branched_states([Branched(prompt, (response,))]) for prompt, responses in texts for response in responses
    ]
    torch.testing.assert_close(states, torch.cat(alone), rtol=1e-4, atol=1e-5)
