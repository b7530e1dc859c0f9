"""Rewards on frozen embeddings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from textgym.errors import CheckpointError, DataError
from textgym.reward_models import EmbeddingRewardModel, TextEmbedder, load_reward
from textgym.reward_models.embedding import fit_head
from textgym.reward_models.evidence import A, Observation
from textgym.rewards import score
from textgym.testing import AWKWARD_TEXTS
from textgym.types import RewardFn

PROMPTS = ["document road\n\nSummary:"] * 3
TEXTS = ["good road", "", "bad bad"]


class CountingEncoder(torch.nn.Module):
    """Embeds a text as its numbers of "good" and "bad", and counts the texts it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(self, texts: list[str], **options: Any) -> np.ndarray:
        self.asked += texts
        return np.array([[text.count("good"), text.count("bad")] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def sentence_bert(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder, as one gets from the Hub."""
    folder = tmp_path_factory.mktemp("sentence-bert")
    transformer = Transformer(str(bert))
    width = transformer.get_embedding_dimension()
    SentenceTransformer(modules=[transformer, Pooling(width)], device="cpu").save_pretrained(str(folder))
    return folder


def test_every_text_is_embedded_once() -> None:
    embedder = TextEmbedder(CountingEncoder())
    assert embedder(["good", "bad", "good"]).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert embedder(["bad", "good bad"]).tolist() == [[0, 1], [1, 1]]
    assert embedder.network.asked == ["good", "bad", "good bad"]


def test_every_response_has_a_score(words: TextEmbedder) -> None:
    texts = [*AWKWARD_TEXTS, ";", "今" * 300, "\udfff", "\x1b[0m", "😀" * 30]
    assert np.isfinite(words(texts)).all()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.reward_models.embedding._REMEMBERED", 2)
    embedder = TextEmbedder(CountingEncoder())
    for text in ("a", "b", "c"):
        embedder([text])
    embedder(["b", "c"])
    embedder(["a"])
    assert embedder.network.asked == ["a", "b", "c", "a"]


def test_the_head_is_the_posterior_mode() -> None:
    """One feature, n choices for the text that has 1 of it: w / s^2 = n * sigmoid(-w)."""
    choice = Observation("comparison", "choice", "p", ("x", "y"), (A,), "ann")
    features = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    [weight] = fit_head(features, [choice] * 10, places=[[0, 1]] * 10, prior_std=2.0).weights
    assert weight / 4 == pytest.approx(10 / (1 + np.exp(weight)), rel=1e-4)
    anchor = torch.full((1,), 9.0, dtype=torch.float64)
    [weight] = fit_head(features, [choice] * 10, places=[[0, 1]] * 10, prior_std=2.0, anchor=anchor).weights
    assert (weight - 9) / 4 == pytest.approx(10 / (1 + np.exp(weight)), rel=1e-3)


def test_grades_are_not_learnt_by_heart() -> None:
    """There are more features than texts: a head that nothing held back would grade all of them without an error."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 300)) / np.sqrt(300)
    quality = features @ rng.normal(size=300) + 0.5 * rng.logistic(size=200)
    grades = 1 + np.searchsorted(np.quantile(quality, [0.2, 0.4, 0.6, 0.8]), quality)
    ratings = [
        Observation("rating", "rating", "p", (str(number),), (grade,), "ann")
        for number, grade in enumerate(grades.tolist())
    ]
    head = fit_head(torch.from_numpy(features), ratings, places=[[number] for number in range(200)], prior_std=1.0)
    assert 1 < head.loss < np.log(5)  # better than chance, and far from sure


def test_it_is_a_reward(world: Any, words: TextEmbedder) -> None:
    model = EmbeddingRewardModel(words)
    assert model(PROMPTS, TEXTS).tolist() == [0.0, 0.0, 0.0]  # nothing learnt yet
    model.fit([world.comparison() for _ in range(100)])
    model.normalise(PROMPTS, TEXTS)
    reward: RewardFn = model
    scores = reward(PROMPTS, TEXTS, [])
    assert (np.mean(scores), np.std(scores)) == pytest.approx((0, 1))
    assert scores[0] > scores[2]
    assert score(model, PROMPTS, TEXTS, []).parts["learned_raw"] == pytest.approx(model.raw(PROMPTS, TEXTS))
    assert model([], []).shape == (0,)
    with pytest.raises(ValueError, match="zip"):
        model.raw(PROMPTS, TEXTS[:2])


def test_the_same_records_give_the_same_model(world: Any, words: TextEmbedder) -> None:
    records = [world.comparison() for _ in range(60)]
    models = [EmbeddingRewardModel(words, replicas=2) for _ in range(2)]
    for model in models:
        model.fit(records)
    assert np.array_equal(models[0].raw_members(PROMPTS, TEXTS), models[1].raw_members(PROMPTS, TEXTS))
    models[1].fit(records, seed=1)
    assert not np.allclose(models[0].raw_members(PROMPTS, TEXTS), models[1].raw_members(PROMPTS, TEXTS))


def test_replicas_agree_where_there_is_data(world: Any, words: TextEmbedder) -> None:
    few, enough = EmbeddingRewardModel(words, replicas=6), EmbeddingRewardModel(words, replicas=6)
    records = [world.comparison() for _ in range(400)]
    few.fit(records[:10], validation_fraction=0.0)
    enough.fit(records, validation_fraction=0.0)
    texts = [world.text() for _ in range(100)]
    prompts = PROMPTS[:1] * 100
    relative = [model.spread(prompts, texts).mean() / model.raw(prompts, texts).std() for model in (few, enough)]
    assert relative[1] < 0.5 * relative[0]
    assert few.raw_members(prompts, texts).shape == (6, 100)


def test_saved_and_loaded(world: Any, sentence_bert: Path, tmp_path: Path) -> None:
    model = EmbeddingRewardModel(sentence_bert, prior_std=2.0, replicas=2)
    model.fit([world.comparison() for _ in range(80)])
    model.normalise(PROMPTS, TEXTS)
    model.save(tmp_path / "reward")
    loaded = load_reward(tmp_path / "reward", device="cpu")
    assert isinstance(loaded, EmbeddingRewardModel)
    assert loaded(PROMPTS, TEXTS) == pytest.approx(model(PROMPTS, TEXTS), abs=1e-6)
    assert loaded.spread(PROMPTS, TEXTS) == pytest.approx(model.spread(PROMPTS, TEXTS), abs=1e-6)
    assert (loaded.prior_std, loaded.replicas) == (2.0, 2)
    assert loaded.report is not None
    assert loaded.report.held_out == model.report.held_out  # type: ignore[union-attr]
    suffixes = {path.suffix for path in (tmp_path / "reward").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt"}


def test_damaged_folders_are_refused(world: Any, sentence_bert: Path, tmp_path: Path) -> None:
    model = EmbeddingRewardModel(sentence_bert)
    model.fit([world.comparison() for _ in range(20)])
    model.save(tmp_path / "reward")
    card = tmp_path / "reward" / "reward_model.json"
    text = card.read_text()
    for change, complaint in (({"replicas": 3}, "expected the tensors"), ({"prior_std": "x"}, "complete reward model")):
        card.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(CheckpointError, match=complaint):
            EmbeddingRewardModel.load(tmp_path / "reward")
    card.write_text(text)
    (tmp_path / "reward" / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="complete reward model"):
        load_reward(tmp_path / "reward")


def test_any_language_model_is_an_encoder(world: Any) -> None:
    embedder = TextEmbedder("tiny")
    assert embedder(["a road", "a bridge was closed"]).shape[0] == 2
    assert np.isfinite(embedder(["a road", ""])).all()


def test_texts_without_a_token_are_zeros() -> None:
    """The tokenizer of ``letters`` knows letters alone: no full stop, which stands for an empty text."""
    alone, among = TextEmbedder("letters"), TextEmbedder("letters")
    nothing = alone(["", "!"])
    assert not nothing.any()
    vectors = among(["cat", "!", "dog", " "])
    assert np.allclose(vectors[[0, 2]], alone(["cat", "dog"]), atol=1e-6)
    assert vectors[[0, 2]].any(axis=1).all()
    assert np.array_equal(vectors[[1, 3]], nothing)


def test_unreadable_encoders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(CheckpointError, match="sentence-transformers"):
        TextEmbedder(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        TextEmbedder(tmp_path / "nothing")


def test_settings_are_checked(words: TextEmbedder, world: Any) -> None:
    with pytest.raises(ValueError, match="got 0 and 1"):
        EmbeddingRewardModel(words, prior_std=0, replicas=1)
    with pytest.raises(DataError, match="got none"):
        EmbeddingRewardModel(words).fit([])
    with pytest.raises(DataError, match="at least two prompts"):
        EmbeddingRewardModel(words).fit([world.comparison()])
