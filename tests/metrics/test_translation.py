"""BLEU, chrF and TER: the values that the README of sacrebleu states, and what a text alone is given."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from textgym.errors import DataError, MissingExtraError
from textgym.metrics import bleu, chrf, ter
from textgym.metrics.bleu import _scorer, corpus_bleu
from textgym.metrics.chrf import corpus_chrf
from textgym.metrics.ter import corpus_ter
from textgym.types import Example, RewardFn

pytest.importorskip("sacrebleu")

RESPONSES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
EXAMPLES = [
    Example("1", "", ("The dog bit the man.", "The dog had bit the man.")),
    Example("2", "", ("It was not unexpected.", "No one was surprised.")),
    Example("3", "", ("The man bit him first.", "The man had bitten the dog.")),
]


def test_the_example_of_sacrebleu() -> None:
    assert round(corpus_bleu(RESPONSES, EXAMPLES), 2) == 48.53
    assert round(corpus_chrf(RESPONSES, EXAMPLES), 2) == 59.73
    assert round(corpus_chrf(RESPONSES, EXAMPLES, word_order=2), 2) == 59.15
    assert round(corpus_ter(RESPONSES, EXAMPLES), 2) == 40.0


def test_examples_may_differ_in_their_number_of_references() -> None:
    fewer = [Example("1", "", EXAMPLES[0].references[:1]), *EXAMPLES[1:]]
    assert corpus_bleu(RESPONSES, fewer) == corpus_bleu(RESPONSES, EXAMPLES)  # the first one says it all


def test_bleu_of_one_text_by_hand() -> None:
    # 5 of 6 words, 4 of 5 pairs, 3 of 4 triples, 2 of 3 quadruples; as long as the reference
    example = Example("k", "", ("the cat sat on the mat",))
    assert bleu([""], ["the cat sat on the rug"], [example]) == pytest.approx([(5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25])


def test_ter_of_one_text_by_hand() -> None:
    example = Example("k", "", ("a b c d e f",))
    # one run of words is moved; one word is replaced and one is left out; everything is wrong, and too long
    moved, edited, wrong = ter([""] * 3, ["d e f a b c", "a x c d e", "u v w x y z q r s"], [example] * 3)
    assert (moved, edited, wrong) == pytest.approx((1 / 6, 2 / 6, 9 / 6))


@pytest.mark.parametrize(("measure", "perfect"), [(bleu, 1.0), (chrf, 1.0), (ter, 0.0)])
def test_perfect_and_empty_texts(measure: RewardFn, perfect: float) -> None:
    scores = np.asarray(measure([""] * 3, [RESPONSES[0], "", "xq zzj"], EXAMPLES[:1] * 3))
    assert scores.shape == (3,)
    assert scores[0] == pytest.approx(perfect)
    assert scores[1:] == pytest.approx([1.0 - perfect] * 2, abs=0.12)


def test_options_reach_the_package() -> None:
    example = Example("k", "", ("The Cat sat on the mat",))
    assert bleu([""], ["the cat sat on the mat"], [example])[0] < 0.99
    assert bleu([""], ["the cat sat on the mat"], [example], lowercase=True)[0] == pytest.approx(1.0)
    chinese = Example("k", "", ("今天天气很好",))
    by_word, by_character = (bleu([""], ["今天天气不好"], [chinese], tokenize=each)[0] for each in ("13a", "char"))
    assert by_word == 0.0 < by_character
    assert ter([""], ["the cat sat on the mat"], [example], case_sensitive=True) == pytest.approx([2 / 6])


@pytest.mark.parametrize("measure", [bleu, chrf, ter])
def test_no_references_names_the_example(measure: RewardFn) -> None:
    with pytest.raises(DataError, match="'item-1'"):
        measure([""], ["text"], [Example("item-1", "p")])


def test_without_sacrebleu_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    _scorer.cache_clear()
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'textgym\[metrics\]'"):
        bleu([""], ["a"], EXAMPLES[:1])
