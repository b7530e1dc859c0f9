"""METEOR: values of the official program (1.5, ``-l en -norm -m "exact stem synonym"``), its stages, its data."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest

from textgym.errors import DataError
from textgym.metrics.meteor import Meteor, _align, meteor_words
from textgym.metrics.wordnet import WordNet, find_wordnet
from textgym.types import Example

SETS = {
    "noun": {"car": "1 2", "auto": "1", "automobile": "1", "cat": "3", "mat": "4", "dog": "5", "go": "6", "house": "7"},
    "verb": {"purchase": "10", "buy": "10", "go": "11", "move": "11 12", "travel": "11", "hope": "13", "stop": "14"},
    "adj": {"large": "20", "big": "20"},
    "adv": {"quickly": "30", "rapidly": "30", "always": "31", "forever": "31"},
}
EXCEPTIONS = {"noun": "mice mouse\n", "verb": "went go\nbought buy\n"}


@pytest.fixture(scope="session")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few sets of synonyms in the format of WordNet."""
    folder = tmp_path_factory.mktemp("wordnet")
    for part, words in SETS.items():
        lines = ["  1 This stands for the licence, which begins every file.  "]
        for word, offsets in words.items():
            count = len(offsets.split())
            padded = " ".join(f"{int(offset):08}" for offset in offsets.split())
            lines.append(f"{word} {part[0]} {count} 2 @ ~ {count} 1 {padded}  ")
        (folder / f"index.{part}").write_text("\n".join(lines) + "\n")
        if part in EXCEPTIONS:
            (folder / f"{part}.exc").write_text(EXCEPTIONS[part])
    return folder


@pytest.fixture
def meteor(wordnet: Path) -> Meteor:
    return Meteor(wordnet=str(wordnet))


def score(meteor: Meteor, response: str, *references: str) -> float:
    return float(meteor([""], [response], [Example("k", "", references)])[0])


@pytest.mark.parametrize(
    ("response", "reference", "official"),
    [
        ("the automobile stopped quickly", "the car stopped quickly", 0.94),
        (
            "It is a guide to action which ensures that the military always obeys the commands of the party",
            "It is a guide to action that ensures that the military will forever heed Party commands",
            0.4122414329113501,
        ),
        ("the cats sat on the mats", "the cat sat on the mat", 0.8),
        ("automobiles xx", "car yy", 0.16),
        ("went xx", "go yy", 0.16),
        ("moved xx", "traveled yy", 0.16),
        ("purchased xx", "bought yy", 0.16),
        ("larger xx", "big yy", 0.16),
        ("rapidly xx", "quickly yy", 0.16),
        ("generously xx", "generous yy", 0.12),
        ("house xx", "house yy", 0.2),
        ("the xx", "the yy", 0.1),
        ("dog xx", "cat yy", 0.0),
        ("cats sat mats", "cat sat mat", 0.7333333333333333),
        ("the cats", "the cat", 0.7),
        ("cats the xx", "cat the yy", 0.19106786480893023),
        ("a the cats xx", "a the cat zz", 0.24621865489833428),
        ("dogs cats", "dog cats", 0.8),
    ],
)
def test_values_of_the_official_program(meteor: Meteor, response: str, reference: str, official: float) -> None:
    assert score(meteor, response, reference) == pytest.approx(official, abs=1e-12)


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        ("cats", "cat", 0.6),
        ("cats xx the", "cat zz the", (1 - 0.6) * (0.6 * 3 + 1) / (3 + 3 + 1)),
        ("dogs dog", "dog dogs", 0.6),  # one chunk of stems; the same words, crossed, are two
    ],
)
def test_what_is_aligned_by_the_paper_alone(meteor: Meteor, response: str, reference: str, expected: float) -> None:
    """Words with one stem and one set of synonyms: the program prefers exact matches, the paper most words."""
    assert score(meteor, response, reference) == pytest.approx(expected)


def test_the_alignment_covers_most_words_in_fewest_chunks_at_the_least_distance() -> None:
    """Against all alignments of short texts, of words that are equal or have one stem."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        response, reference = (rng.choice(["cat", "cats", "dog", "x"], size=rng.integers(1, 6)) for _ in range(2))
        options = Meteor(stages="exact,stem")._options(response.tolist(), reference.tolist())
        ways = [
            sorted((match.target, match.place) for match in way if match)
            for way in itertools.product(*[[None, *of_word] for of_word in options])
            if len({match.place for match in way if match}) == sum(match is not None for match in way)
        ]
        found = sorted((match.target, match.place) for match in _align(options))
        assert found in ways
        assert cost(found) == min(map(cost, ways))


def cost(pairs: list[tuple[int, int]]) -> tuple[int, int, int]:
    """What an alignment is chosen by: words that are covered (negative), chunks, distance."""
    chunks = sum((target - 1, place - 1) not in pairs for target, place in pairs)
    return -len(pairs), chunks, sum(abs(target - place) for target, place in pairs)


def test_words_of_closed_classes_and_punctuation_count_a_third(meteor: Meteor) -> None:
    for word in ("which", "whatever", "upon", "'s", "...", "€"):
        assert meteor.of_words([word, "xx"], [word, "yy"]) == pytest.approx(1 / 4 * 0.4)
    for word in ("said", "people", "year", "forever", "3"):
        assert meteor.of_words([word, "xx"], [word, "yy"]) == pytest.approx(1 / 2 * 0.4)


def test_the_score_by_hand(meteor: Meteor) -> None:
    # matched: the (twice), cat, sat; function words count a third of others, the two chunks are "sat the cat" and "the"
    precision = recall = (3 + 3 + 1 + 1) / (3 + 3 + 3 + 1 + 1)  # xx and yy are not matched
    penalty = 0.6 * (2 / 4) ** 0.2
    expected = (1 - penalty) * precision * recall / (0.85 * precision + 0.15 * recall)
    assert score(meteor, "the xx sat the cat", "sat the cat yy the") == pytest.approx(expected)


def test_best_reference_counts_and_extremes(meteor: Meteor) -> None:
    assert score(meteor, "the cat sat", "a dog ran", "The cat sat") == 1.0
    assert score(meteor, "", "the cat") == score(meteor, "dog", "") == score(meteor, "dog", "house") == 0.0


def test_stages_can_be_chosen(wordnet: Path) -> None:
    words, scores = ("car", "auto", "cars"), []
    for stages in ("exact", "exact,stem", "exact, synonym"):
        meteor = Meteor(stages=stages, wordnet=str(wordnet))
        scores.append([score(meteor, f"{word} xx", "cars yy") for word in words])
    assert scores == [[0.0, 0.0, 0.2], [pytest.approx(0.12), 0.0, 0.2], [pytest.approx(0.16)] * 2 + [0.2]]
    with pytest.raises(ValueError, match="exact, stem, synonym, got 'exact,paraphrase'"):
        Meteor(stages="exact,paraphrase")


def test_without_wordnet_it_says_so_and_which_stages_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.metrics.meteor.find_wordnet", lambda _: None)
    with pytest.warns(UserWarning, match=r"without synonyms \(stages: exact, stem\), .*nltk.downloader wordnet"):
        meteor = Meteor()
    assert meteor.stages == ("exact", "stem")
    assert score(meteor, "the cats", "the cat") == pytest.approx((0.6 * 0.75 + 0.25) / 1.0)
    with pytest.raises(ValueError, match="expected WordNet for the stages 'exact,synonym'"):
        Meteor(stages="exact,synonym")


def test_wordnet_is_found_as_a_folder_and_as_the_archive_that_nltk_downloads(
    wordnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WNHOME", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(wordnet))
    assert find_wordnet() == wordnet
    monkeypatch.delenv("WNSEARCHDIR")
    (tmp_path / "corpora").mkdir()
    with zipfile.ZipFile(tmp_path / "corpora" / "wordnet.zip", "w") as packed:
        for file in wordnet.iterdir():
            packed.write(file, f"wordnet/{file.name}")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    found = find_wordnet()
    assert found is not None
    assert WordNet(found).synsets("automobiles") == WordNet(wordnet).synsets("auto") == {"noun:00000001"}
    with pytest.raises(DataError, match=r"index\.noun"):
        find_wordnet(tmp_path)


def test_base_forms(wordnet: Path) -> None:
    synsets = WordNet(wordnet).synsets
    assert synsets("went") == synsets("go") == {"noun:00000006", "verb:00000011"}
    assert synsets("hoping") == synsets("hope")  # -ing is replaced by -e
    assert synsets("larger") == synsets("big") != frozenset()
    assert synsets("is") == synsets("glass") == synsets("") == frozenset()


def test_words_are_those_of_the_program() -> None:
    text = "The ex-chief of Sainsbury's & M&S paid $1.27bn (£857m). “It's 31.3% in July,” Mr. Smith of the U.S. said..."
    expected = "the ex chief of sainsbury 's & m & s paid $ 1.27bn ( £ 857m ) . "
    expected += '" it \'s 31.3 % in july , " mr. smith of the us said ...'
    assert " ".join(meteor_words(text)) == expected
