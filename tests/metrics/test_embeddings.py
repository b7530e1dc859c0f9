"""BERTScore and MAUVE: what the packages are given, and what is said without them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textgym.errors import DataError, MissingExtraError, ModelError
from textgym.metrics import BertScore
from textgym.metrics.mauve import mauve
from textgym.types import Example, FloatArray


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT that knows a few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


def test_bertscore_of_equal_and_of_other_texts(encoder: Path) -> None:
    pytest.importorskip("bert_score")
    examples = [Example("k", "", ("a dog ran", "the cat sat on the mat"))] * 3
    same, other, empty = BertScore(str(encoder))([""] * 3, ["the cat sat on the mat", "ran ran", " "], examples)
    assert same == pytest.approx(1.0, abs=1e-5)
    assert other < 0.98
    assert empty == 0.0


def test_bertscore_is_the_greedy_match_of_hidden_states(encoder: Path) -> None:
    pytest.importorskip("bert_score")
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)

    def states(text: str) -> torch.Tensor:
        with torch.inference_mode():
            found = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[2][0]
        return torch.nn.functional.normalize(found, dim=-1)

    cosines = states("the dog ran") @ states("the cat sat on the mat").T
    # The marks of begin and end may be matched, and do not count themselves.
    precision, recall = float(cosines.amax(1)[1:-1].mean()), float(cosines.amax(0)[1:-1].mean())
    parts = {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}
    for part, expected in parts.items():
        score = BertScore(str(encoder), layer=2, part=part)
        found = score([""], ["the dog ran"], [Example("k", "", ("the cat sat on the mat",))])
        assert found == pytest.approx([expected], abs=1e-4)


def test_a_tokenizer_without_a_limit_is_refused(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"expected a model_max_length in .*tokenizer_config\.json.*, got none"):
        BertScore(str(folder))


def test_wrong_options_of_bertscore(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a layer from 1 to 3 of .*, got 4"):
        BertScore(str(encoder), layer=4)
    with pytest.raises(ModelError, match="expected a folder with a Hugging Face encoder"):
        BertScore(str(tmp_path))
    with pytest.raises(ValueError, match="precision, recall, f1 as part of BERTScore, got 'F'"):
        BertScore(str(encoder), part="F")


def embed(texts: Sequence[str]) -> FloatArray:
    """Vectors of a text "KIND-NUMBER": apart by kind, and a little by number."""
    kinds = {"a": (0.0, 0.0), "b": (50.0, 0.0), "c": (0.0, 50.0)}
    found = [kinds[text[0]] + np.random.default_rng(int(text[2:])).normal(0, 0.1, 2) for text in texts]
    return np.array(found, dtype=np.float64)


def test_mauve_of_equal_half_equal_and_disjoint_sets() -> None:
    pytest.importorskip("mauve")
    human = [f"{kind}-{number}" for number in range(30) for kind in "ab"]
    same = [f"{kind}-{number}" for number in range(100, 130) for kind in "ab"]
    half = [f"{kind}-{number}" for number in range(100, 130) for kind in "ac"]
    scores = [mauve(texts, human, embed, clusters=3) for texts in (same, half, [f"c-{n}" for n in range(60)])]
    assert scores[0] == pytest.approx(1.0, abs=1e-3)
    assert scores[0] > scores[1] > scores[2] > 0
    assert scores[2] < 0.05
    assert mauve(half, human, embed, clusters=3) == scores[1]


def test_mauve_needs_texts() -> None:
    with pytest.raises(DataError, match="at least 2 responses and 2 references for MAUVE, got 1 and 2"):
        mauve(["a-1"], ["a-1", "a-2"], embed)


def test_without_the_packages_the_commands_are_named(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bert_score", "mauve"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textgym\[bertscore\]'"):
        BertScore(str(encoder))([""], ["the cat"], [Example("k", "", ("the cat",))])
    with pytest.raises(MissingExtraError, match=r"pip install 'textgym\[mauve\]'"):
        mauve(["a-1", "a-2"], ["a-1", "a-2"], embed)
