"""Hugging Face classifiers as rewards."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from textgym.errors import CheckpointError, ModelError
from textgym.reward_models import SequenceClassifierReward, load_reward
from textgym.types import FloatArray, RewardFn

PROMPTS = ["the council", "", "the mayor voted on the road", "document"]
TEXTS = ["good", "bad bridge", "", "the mayor opened the road in the document"]


def bare_logits(folder: Path, text: str, pair: str | None = None) -> FloatArray:
    tokens = AutoTokenizer.from_pretrained(folder)(text, pair, return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits
    return np.asarray(logits[0].double())


def test_logits_are_the_bare_models(bert: Path) -> None:
    """Checklist 1: prompt and response are scored together."""
    reward: RewardFn = SequenceClassifierReward(bert, label="POSITIVE")
    scores = np.asarray(reward(PROMPTS, TEXTS, []))
    expected = [bare_logits(bert, f"{p} {r}")[1] for p, r in zip(PROMPTS, TEXTS, strict=True)]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert scores.dtype == np.float64
    assert np.shape(reward([], [], [])) == (0,)


def test_text_pairs(bert: Path) -> None:
    reward = SequenceClassifierReward(bert, label=0, template=None)
    expected = [bare_logits(bert, p, r)[0] for p, r in zip(PROMPTS, TEXTS, strict=True)]
    assert reward(PROMPTS, TEXTS) == pytest.approx(expected, abs=1e-5)


def test_probabilities_add_up(bert: Path) -> None:
    columns = [SequenceClassifierReward(bert, label=i, output="probability")(PROMPTS, TEXTS) for i in (0, 1)]
    assert columns[0] + columns[1] == pytest.approx(np.ones(4))
    logits = bare_logits(bert, "the council good")
    assert columns[1][0] == pytest.approx(np.exp(logits[1]) / np.exp(logits).sum(), abs=1e-5)


def test_one_output_needs_no_label(bert_one_output: Path) -> None:
    logit = bare_logits(bert_one_output, "the council good")[0]
    assert SequenceClassifierReward(bert_one_output)(["the council"], ["good"])[0] == pytest.approx(logit, abs=1e-5)
    chance = SequenceClassifierReward(bert_one_output, output="probability")(["the council"], ["good"])[0]
    assert chance == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize("trunk", ["bert", "gpt2_classifier"])
def test_a_batch_scores_as_one_by_one(trunk: str, request: pytest.FixtureRequest) -> None:
    """Checklist 2 and 3: padding changes nothing, also for decoders without a pad token."""
    folder = request.getfixturevalue(trunk)
    reward = SequenceClassifierReward(folder, label=0, batch_size=3)
    texts = [*TEXTS[:2], "good road", TEXTS[3]]
    together = reward(PROMPTS, texts)
    assert together == pytest.approx([reward([p], [r])[0] for p, r in zip(PROMPTS, texts, strict=True)], abs=1e-5)
    assert np.ptp(together) > 0


def test_dropout_is_off_always(bert: Path) -> None:
    """Checklist 10."""
    reward = SequenceClassifierReward(bert, label=0)
    reward.train()
    assert np.array_equal(reward(PROMPTS, TEXTS), reward(PROMPTS, TEXTS))


def test_a_long_prompt_loses_its_end_and_the_response_stays(bert: Path) -> None:
    """Checklist 6: the response is what is scored, so the prompt is cut."""
    reward = SequenceClassifierReward(bert, label=0)
    assert reward.max_length == 48
    long = "the council " * 100
    good, bad = reward([long, long], ["good", "bad"])
    assert abs(good - bad) > 1e-3
    assert reward([long + "mayor"], ["good"])[0] == pytest.approx(good, abs=1e-5)
    assert abs(reward(["mayor " + long], ["good"])[0] - good) > 1e-3
    assert np.isfinite(reward([long], ["good " * 100])).all()
    pair = SequenceClassifierReward(bert, label=0, template=None)
    assert abs(pair([long], ["good"])[0] - pair([long], ["bad"])[0]) > 1e-3


def test_slots_inside_a_document_are_text(bert: Path) -> None:
    reward = SequenceClassifierReward(bert, label=0)
    expected = bare_logits(bert, "the {response} {prompt} road good")[0]
    assert reward(["the {response} {prompt} road"], ["good"])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("trunk", ["bert", "gpt2_classifier"])
def test_an_empty_text_has_a_score(trunk: str, request: pytest.FixtureRequest) -> None:
    """Special tokens are scored where the tokenizer adds some, else one EOS."""
    folder = request.getfixturevalue(trunk)
    reward = SequenceClassifierReward(folder, label=0, template="{response}")
    expected = bare_logits(folder, "" if trunk == "bert" else "<eos>")[0]
    assert reward(["p", "p", "p"], ["", "good", ""])[[0, 2]] == pytest.approx([expected] * 2, abs=1e-5)
    assert np.isfinite(SequenceClassifierReward(folder, label=0, template=None)([""], [""])).all()


def test_a_classifier_without_its_head_is_refused(gpt2: Path, tmp_path: Path) -> None:
    shutil.copytree(gpt2, tmp_path / "classifier")
    config = json.loads((gpt2 / "config.json").read_text())
    config |= {"architectures": ["GPT2ForSequenceClassification"], "id2label": {"0": "SCORE"}}
    (tmp_path / "classifier" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"score\.weight"):
        load_reward(tmp_path / "classifier")


def test_a_classifier_without_its_tokenizer_is_refused(bert_one_output: Path, tmp_path: Path) -> None:
    shutil.copytree(bert_one_output, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(CheckpointError, match="expected the classifier's tokenizer"):
        SequenceClassifierReward(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_reward(tmp_path / "bare")


def test_labels_are_checked(bert: Path) -> None:
    with pytest.raises(ModelError, match=r"got none; pass label= one of \['NEGATIVE', 'POSITIVE'\]"):
        SequenceClassifierReward(bert)
    with pytest.raises(ModelError, match="Did you mean 'POSITIVE'"):
        SequenceClassifierReward(bert, label="POSITIV")
    with pytest.raises(ModelError, match="below 2, got 2"):
        SequenceClassifierReward(bert, label=2)


def test_settings_are_checked(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"template with .response."):
        SequenceClassifierReward(bert, label=0, template="{prompt}")
    with pytest.raises(ValueError, match="got 'odds'"):
        SequenceClassifierReward(bert, label=0, output="odds")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 0 and None"):
        SequenceClassifierReward(bert, label=0, batch_size=0)
    with pytest.raises(ValueError, match="zip"):
        SequenceClassifierReward(bert, label=0)(["p"], ["a", "b"])


def test_a_folder_opens_by_name(bert: Path, bert_one_output: Path) -> None:
    assert isinstance(load_reward(bert_one_output), SequenceClassifierReward)
    with pytest.raises(ModelError, match="pass label="):
        load_reward(bert)
