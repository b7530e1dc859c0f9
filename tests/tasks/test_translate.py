"""TextTranslate: the grammar of both languages, and adequacy by hand-worked numbers."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import pytest

from textgym.tasks import Translate
from textgym.tasks.translate.generator import DIRECTIONS, RIGHT
from textgym.tasks.translate.grammar import Phrase, Sentence, german_phrase, text_of, translations
from textgym.tasks.translate.scoring import constituents, score
from textgym.types import SPLITS, Episode, Split

LEVELS = ("easy", "medium", "hard")
MAN, BASKET, LAMPS = (
    Phrase("man", False, "the"),
    Phrase("basket", False, "a", "old"),
    Phrase("lamp", True, "two", "red"),
)
PAST = Sentence(MAN, "sell", "past", BASKET, "yesterday")


def texts(sentence: Sentence, language: str) -> set[str]:
    return {text_of(form) for form in translations(sentence, language)}


@pytest.mark.parametrize(
    ("phrase", "forms"),
    [
        (Phrase("man", False, "the", "old"), ("der alte Mann", "den alten Mann", "dem alten Mann")),
        (Phrase("man", False, "a", "old"), ("ein alter Mann", "einen alten Mann", "einem alten Mann")),
        (Phrase("woman", False, "this", "old"), ("diese alte Frau", "diese alte Frau", "dieser alten Frau")),
        (Phrase("woman", False, "my", "old"), ("meine alte Frau", "meine alte Frau", "meiner alten Frau")),
        (Phrase("child", False, "a", "small"), ("ein kleines Kind", "ein kleines Kind", "einem kleinen Kind")),
        (Phrase("child", False, "this"), ("dieses Kind", "dieses Kind", "diesem Kind")),
        (Phrase("child", True, "the", "small"), ("die kleinen Kinder", "die kleinen Kinder", "den kleinen Kindern")),
        (Phrase("child", True, "two", "small"), ("zwei kleine Kinder", "zwei kleine Kinder", "zwei kleinen Kindern")),
        (Phrase("child", True, "my"), ("meine Kinder", "meine Kinder", "meinen Kindern")),
    ],
)
def test_german_phrases_agree(phrase: Phrase, forms: tuple[str, str, str]) -> None:
    cases = ("nominative", "accusative", "dative")
    assert tuple(" ".join(german_phrase(phrase, case)) for case in cases) == forms


def test_every_correct_translation_of_a_past() -> None:
    perfect = {
        "Der Mann hat gestern einen alten Korb verkauft.",
        "Der Mann hat einen alten Korb gestern verkauft.",
        "Gestern hat der Mann einen alten Korb verkauft.",
        "Einen alten Korb hat der Mann gestern verkauft.",
    }
    preterite = {text.replace("hat", "verkaufte").replace(" verkauft.", ".") for text in perfect}
    assert texts(PAST, "German") == perfect | preterite
    assert texts(PAST, "English") == {"Yesterday the man sold an old basket.", "The man sold an old basket yesterday."}


def test_the_object_comes_first_where_nobody_takes_it_for_the_subject() -> None:
    lamp = Phrase("lamp", False, "the")
    woman = Phrase("woman", False, "the")
    assert texts(Sentence(woman, "see", "present", lamp), "German") == {"Die Frau sieht die Lampe."}
    assert "Die Lampe sieht der Mann." in texts(Sentence(MAN, "see", "present", lamp), "German")
    assert "Zwei rote Lampen sieht die Frau." in texts(Sentence(woman, "see", "present", LAMPS), "German")


def test_prepositions_modal_verbs_and_numbers() -> None:
    said = Sentence(
        Phrase("daughter", True, "my"),
        "find",
        "must",
        LAMPS,
        "tomorrow",
        "in front of",
        Phrase("mill", False, "this", "old"),
    )
    assert "Morgen müssen meine Töchter zwei rote Lampen vor dieser alten Mühle finden." in texts(said, "German")
    assert "In front of this old mill my daughters must find two red lamps tomorrow." in texts(said, "English")
    king = said._replace(preposition="for", companion=Phrase("king", False, "a"), time="", tense="present")
    assert "Meine Töchter finden für einen König zwei rote Lampen." in texts(king, "German")
    assert Sentence.from_json(json.loads(json.dumps(said.to_json()))) == said


def test_a_german_perfect_is_either_past_in_english() -> None:
    said = Sentence(MAN, "see", "perfect", BASKET)
    assert texts(said, "English") == {"The man saw an old basket.", "The man has seen an old basket."}
    assert texts(said._replace(tense="past"), "English") == {"The man saw an old basket."}
    assert texts(said._replace(time="yesterday"), "English") == texts(PAST._replace(verb="see"), "English")


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Gestern hat der Mann einen alten Korb verkauft.", 1.0),  # five constituents: T V S O I
        ("Gestern hat der Mann einen alten Korb verkauft", 0.9),
        ("Der Mann verkaufte gestern einen alten Korb.", 1.0),  # four: S V T O
        # An order that German does not have: four of the five stand as in "Der Mann hat gestern ...".
        ("Der Mann hat verkauft gestern einen alten Korb.", 4 / 5),
        # "ein" and "alter" are other forms of right words: the object is worth half of (1/2 + 1/2 + 1) / 3.
        ("Gestern hat der Mann ein alter Korb verkauft.", (4 + 0.5 * 2 / 3) / 5),
        ("Gestern hat der Mann einen Korb verkauft.", (4 + 0.5 * 2 / 3) / 5),  # no adjective: two of three words
        ("Gestern hat der Mann einen alten Stuhl verkauft.", 4 / 5),  # another noun
        ("Gestern haben der Mann einen alten Korb verkauft.", (4 + 0.5 * 0.5) / 5),
        ("Der Mann hat einen alten Korb verkauft.", 4 / 5),  # no time
        ("Gestern hat der mann einen alten korb verkauft.", (3 + 0.5 * 1.5 / 2 + 0.5 * 2.5 / 3) / 5),
        ("Gestern hat der Mann einen alten Korb einen alten Korb verkauft.", 5 / 6),
        ("Gestern hat der Mann einen alten Korb verkauft und so.", 5 / 7),  # two words that belong to nothing
        # Every form there is: nearest to "Einen alten Korb hat der Mann gestern verkauft.", of which it has parts.
        (
            "der die das ein einen alten alter Korb Mann gestern hat haben verkauft.",
            (0.5 * 2.5 / 8 + 0.5 / 2 + 1 + 1) / 6,
        ),
        ("Yesterday the man sold an old basket.", 0.0),  # the prompt
        ("", 0.0),
        (".", 0.0),
    ],
)
def test_adequacy(text: str, gold: float) -> None:
    assert score(text, PAST, "German") == pytest.approx(gold)


def test_constituents() -> None:
    found = constituents("Jeden Tag kauft meine alte Tante, xyz für die Frau", "German")
    assert found == (("Jeden", "Tag"), ("kauft",), ("meine", "alte", "Tante"), ("xyz",), ("für", "die", "Frau"))
    assert constituents("in front of the mill", "English") == (("in", "front", "of", "the", "mill"),)


def dataset(split: Split = "train", **chosen: str) -> Any:
    return Translate(split=split, **chosen).dataset


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_references_are_perfect_and_drafts_are_not(level: str, direction: str) -> None:
    examples = [dataset(difficulty=level, direction=direction)[place] for place in range(150)]
    facts = [Sentence.from_json(json.loads(json.dumps(example.extra["facts"]))) for example in examples]
    golds, drafts = [], []
    for example, said in zip(examples, facts, strict=True):
        golds += [score(text, said, example.extra["target"]) for text in example.references]
        drafts.append(score(example.demonstrations[0], said, example.extra["target"]))
        assert score(example.text, said, example.extra["target"]) == 0.0
    assert set(golds) == {1.0}
    assert sum(each == 1.0 for each in drafts) / len(drafts) < (0.6 if level == "easy" else RIGHT)
    targets = {example.extra["target"] for example in examples}
    assert targets == {"from_english": {"German"}, "to_english": {"English"}, "both": {"German", "English"}}[direction]


@pytest.mark.parametrize("direction", ["from_english", "to_english"])
def test_no_two_splits_share_a_sentence(direction: str) -> None:
    found = {split: {dataset(split, direction=direction)[place].text for place in range(300)} for split in SPLITS}
    assert all(found[one].isdisjoint(found[other]) for one in SPLITS for other in SPLITS if one < other)
    assert len(found["train"]) > 290


def test_environment_measures_adequacy() -> None:
    env: Any = gym.make("TextTranslateEpisode-v0", direction="to_english", difficulty="hard")
    _, info = env.reset(seed=1)
    example = env.unwrapped.task.dataset.find(info["task_key"])
    *_, info = env.step(example.references[0])
    assert (info["gold"], info["is_success"], info["rewards"]["total"]) == (1.0, True, 1.0)


def test_own_pairs() -> None:
    rows = [{"en": f"The room {number} is dirty.", "de": f"Das Zimmer {number} ist schmutzig."} for number in range(40)]
    task = Translate(rows, "en", "de")
    example = task.dataset[0]
    episodes = [Episode.of(example, text) for text in (example.references[0], "Nein.")]
    assert task.gold(episodes) is None
    assert [task.is_success(episode) for episode in episodes] == [True, False]
    assert task.metrics["rougeL"](episodes).tolist() == [1.0, 0.0]
    assert Translate([{"prompt": row["en"]} for row in rows]).reward == "none"
