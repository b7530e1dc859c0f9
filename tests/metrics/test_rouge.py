"""ROUGE as a reward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from textgym.errors import DataError
from textgym.metrics import rouge1, rouge2, rougeL
from textgym.metrics.rouge import reaches_rougeL
from textgym.types import Example, RewardFn


def example(*references: str) -> Example:
    return Example("item-1", "a document", references)


@pytest.mark.parametrize(
    ("metric", "shared", "of_reference", "of_response"),
    [
        (rouge1, 5, 6, 5),  # on, the, mat, the, cat
        (rouge2, 3, 5, 4),  # on-the, the-mat, the-cat
        (rougeL, 3, 6, 5),  # on the mat
    ],
)
def test_f1_by_hand(metric: RewardFn, shared: int, of_reference: int, of_response: int) -> None:
    recall, precision = shared / of_reference, shared / of_response
    scores = metric(["p"], ["on the mat the cat"], [example("the cat sat on the mat")])
    assert scores == pytest.approx([2 * recall * precision / (recall + precision)])


@pytest.mark.parametrize("metric", [rouge1, rouge2, rougeL])
def test_shape_range_and_extremes(metric: RewardFn) -> None:
    responses = ["The council met.", "", "nothing alike here", "the COUNCIL meets"]
    scores = np.asarray(metric(["p"] * 4, responses, [example("the council met")] * 4))
    assert scores.shape == (4,)
    assert scores.dtype == np.float64
    assert (scores[0], scores[1], scores[2]) == (1.0, 0.0, 0.0)
    assert 0 < scores[3] < 1


def test_best_reference_counts() -> None:
    assert rouge1(["p"], ["a b"], [example("x y", "a b")])[0] == 1.0


def test_words_are_stemmed() -> None:
    assert rouge1(["p"], ["voters voted"], [example("voter voting")])[0] == 1.0


def test_other_scripts_are_compared_too() -> None:
    assert rouge1(["p"], ["Совет закрыл мост"], [example("совет закрыл дорогу")])[0] == pytest.approx(2 / 3)


def test_no_references_names_the_example() -> None:
    with pytest.raises(DataError, match="'item-1'"):
        rouge1(["p"], ["text"], [example()])


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="zip"):
        rouge1(["p"], ["text", "more"], [example("text")])


@given(st.text(st.characters(max_codepoint=127)), st.text(st.characters(max_codepoint=127), min_size=1))
def test_ascii_scores_are_the_packages_own(response: str, reference: str) -> None:
    packaged = RougeScorer(["rougeL"], use_stemmer=True).score(reference, response)["rougeL"].fmeasure
    assert rougeL(["p"], [response], [example(reference)])[0] == packaged


@pytest.mark.parametrize(
    ("response", "reference", "score"),
    [
        ("की", "का", 0.0),  # only the vowel sign differs: "of" in two genders
        ("किताब", "कतब", 0.0),
        ("पूर्व प्रधानमन्त्री की हत्या", "पूर्व प्रधानमन्त्री की हत्या", 1.0),
        ("今天天气很好", "今天天气不好", 5 / 6),
        ("女の子は学校へ行きました", "女の子は家へ行きました", 20 / 23),  # 10 shared of 12 and 11
        ("สวัสดีครับ", "สวัสดีค่ะ", 8 / 13),  # 4 shared of 7 and 6: ส, วั, ส, ดี
        ("오늘 날씨가 좋다", "오늘 날씨가 나쁘다", 2 / 3),
        ("Köln ist schön", "Ko\u0308ln ist scho\u0308n", 1.0),
        ("İstanbul güzel", "istanbul güzel", 1.0),
        ("السلام عليكم يا صديقي", "السلام عليكم", 2 / 3),
        ("don't go", "don't go, Zoë", 6 / 7),  # an ASCII text is split as beside other letters
        ("😀", "🎉", 0.0),
    ],
)
def test_scripts_without_spaces_and_with_marks(response: str, reference: str, score: float) -> None:
    assert rouge1(["p"], [response], [example(reference)])[0] == pytest.approx(score)
    assert rouge1(["p"], [reference], [example(response)])[0] == pytest.approx(score)


def test_three_thousand_random_ascii_pairs_score_exactly_as_the_package() -> None:
    kinds = ("rouge1", "rouge2", "rougeL")
    packaged = RougeScorer(list(kinds), use_stemmer=True)
    rng = np.random.default_rng(0)
    pieces = [
        "the",
        "Council's",
        "voted",
        "running",
        "x_y",
        "3,000.5",
        "-",
        "\n",
        "A.B.",
        "ponies",
        "(sky)",
        "don't",
        "",
    ]
    for _ in range(1000):
        response, reference = (" ".join(rng.choice(pieces, rng.integers(1, 15))) for _ in range(2))
        expected = packaged.score(reference, response)
        for kind, metric in zip(kinds, (rouge1, rouge2, rougeL), strict=True):
            assert metric(["p"], [response], [example(reference)])[0] == expected[kind].fmeasure


def test_reaching_a_threshold_exactly() -> None:
    words = [f"word{number}" for number in range(18)]
    assert rougeL(["p"], [" ".join(words[:7])], [example(" ".join(words))])[0] == pytest.approx(0.56)
    score = float(rougeL(["p"], [" ".join(words[:7])], [example(" ".join(words))])[0])
    assert reaches_rougeL(" ".join(words[:7]), example(" ".join(words)), score)


def test_reaching_a_threshold_equals_computing_the_score() -> None:
    rng = np.random.default_rng(0)
    words = ["the", "cats", "running", "a", "mat", "Ünïcode", "今天", "की", "x_y", "3,000"]
    for _ in range(300):
        response, reference, other = (" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(3))
        example = Example("k", "p", (reference, other))
        for threshold in (0.2, 0.5, 0.56, 2 / 3, 0.8, 1.0):
            expected = rougeL(["p"], [response], [example])[0] >= threshold
            assert reaches_rougeL(response, example, threshold) == expected
