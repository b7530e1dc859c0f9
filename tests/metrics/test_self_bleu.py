"""Self-BLEU, against sacrebleu and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from textgym.metrics import self_bleu
from textgym.types import Example

A, B = Example("a", "p"), Example("b", "p")


def test_each_text_is_scored_against_all_others_as_sacrebleu_does() -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics")
    bleu = sacrebleu.BLEU(tokenize="none", effective_order=True)
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "mat", "and", "saw"]
    for _ in range(40):
        texts = [" ".join(rng.choice(words, rng.integers(1, 11))) for _ in range(rng.integers(2, 7))]
        others = [[*texts[:place], *texts[place + 1 :]] for place in range(len(texts))]
        expected = [bleu.sentence_score(text, rest).score / 100 for text, rest in zip(texts, others, strict=True)]
        assert self_bleu([""] * len(texts), texts, [A] * len(texts)) == pytest.approx(expected)


def test_copies_and_texts_without_a_common_word() -> None:
    assert self_bleu([""] * 2, ["a b c d e", "a b c d e"], [A] * 2) == pytest.approx([1.0, 1.0])
    assert self_bleu([""] * 3, ["a b c d", "e f g h", ""], [A] * 3).tolist() == [0.0] * 3
    assert self_bleu([""], ["a b c d"], [A]).tolist() == [0.0]


def test_a_run_counts_as_often_as_another_text_has_it() -> None:
    # "x x x" and "x x y": of three x two are matched, of two pairs "x x" one, no triple (half a match of one)
    scores = self_bleu([""] * 2, ["x x x", "x x y"], [A] * 2)
    assert scores == pytest.approx([(2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3)] * 2)


def test_within_a_prompt() -> None:
    texts, examples = ["a b c d", "a b c d", "a b c d"], [A, B, A]
    assert self_bleu([""] * 3, texts, examples, within="prompt") == pytest.approx([1.0, 0.0, 1.0])
    assert self_bleu([""] * 3, texts, examples) == pytest.approx([1.0] * 3)
    with pytest.raises(ValueError, match="'batch' or 'prompt', got 'example'"):
        self_bleu([""], ["a"], [A], within="example")
    with pytest.raises(ValueError, match="at least 1 word, got n=0"):
        self_bleu([""], ["a"], [A], n=0)
