"""Stories and poems with given words: what is written, what it is worth, and words of your own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textgym.tasks import Story
from textgym.tasks.story.generator import LEVEL, OMITS
from textgym.tasks.story.grammar import read, rhyme, scheme_pairs
from textgym.tasks.story.lexicon import CLASSES, GENRES, RHYMES
from textgym.tasks.story.scoring import score
from textgym.tasks.story.task import forms_of, words_reward
from textgym.types import SPLITS, Episode, Example


def asked(form: str, words: list[str], count: int, scheme: str = "") -> Example:
    extra = {"asked": "A text.", "form": form, "genre": "sea", "words": words, "count": count, "scheme": scheme}
    return Example("a", ", ".join(words), extra=extra)


STORY = asked("story", ["captain", "silver"], 3)
GOOD = "Once the captain found a silver key. Then an anchor slowly fell. At last the pirate slept beneath the tree."


@pytest.mark.parametrize(
    ("text", "parts"),  # words, fluent, form, gold
    [
        (GOOD, (1, 1, 1, 1)),
        (GOOD.replace("a silver key", "the key"), (1 / 2, 1, 1, 1 / 2)),
        (GOOD.replace("Then an", "An"), (1, 1, 2 / 3, 5 / 6)),
        (GOOD.replace("Then an", "Once an"), (1, 1, 2 / 3, 5 / 6)),
        (GOOD.replace("Then an", "Then a"), (1, 2 / 3, 2 / 3, 2 / 3)),
        (GOOD.replace("Then an anchor slowly fell. ", ""), (1, 2 / 3, 1 / 3, 1 / 2)),  # the second of two is no middle
        (f"{GOOD} Then the anchor fell.", (1, 3 / 4, 3 / 4, 3 / 4)),  # one too many
        ("Once the captain found a silver key. Then a captain found a silver key. At last a captain found it.", None),
        ("Once the captain found the driver. Then a silver badger slept.", (0, 0, 0, 0)),  # of other genres
        ("captain silver", (0, 0, 0, 0)),
        ("Captain. Silver. Captain silver.", (0, 0, 0, 0)),
        ("Once the key was old.", (0, 0, 0, 0)),  # nothing of the sea
        (GOOD.lower(), (0, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
        (STORY.text, (0, 0, 0, 0)),
        (GOOD.removesuffix("."), (1, 2 / 3, 2 / 3, 2 / 3)),  # cut off
    ],
)
def test_gold_of_a_story(text: str, parts: tuple[float, ...] | None) -> None:
    # The first sentence of three equal ones counts: fluent 1/3, form 1/3.
    assert score(text, STORY) == pytest.approx(parts or (1, 1 / 3, 1 / 3, 1 / 3))
    assert Story(split="test").is_success(Episode.of(STORY, text)) is (text == GOOD)


POEM = asked("poem", ["captain"], 2, "aa")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("The silver captain found the sea.\nThe anchor slept beneath the tree.", (1, 1, 1, 1)),
        ("The silver captain found the sea.\nThe anchor slept beneath the door.", (1, 1, 1 / 2, 2 / 3)),
        ("The silver captain found the sea.\nThe anchor slept beneath the sea.", (1, 1, 1 / 2, 2 / 3)),
        ("The captain found the sea.\nThe anchor slept beneath the tree.", (1, 1, 3 / 4, 5 / 6)),  # six syllables
        ("The captain found the silver sea.\nThe anchor slept beneath the tree.", (1, 1, 1, 1)),
        ("The captain found the old silver sea.\nThe anchor slept beneath the tree.", (0, 1 / 2, 1 / 2, 0)),
        ("The silver captain found the sea. The anchor slept beneath the tree.", (0, 0, 0, 0)),  # one line
        ("The silver captain found the sea.\n\nThe anchor slept beneath the tree.\nThe bee was free.", None),
        ("Captain sea\ncaptain tree", (0, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
    ],
)
def test_gold_of_a_poem(text: str, parts: tuple[float, ...] | None) -> None:
    assert score(text, POEM) == pytest.approx(parts or (1, 2 / 3, 2 / 3, 2 / 3))


def test_metre_and_rhyme() -> None:
    assert read("The captain and the anchor sang.", "sea").fluent is False
    lines = ["The lantern near the wall was bright.", "The pirate saw the island cold.", "A salty sailor softly fell."]
    assert all(read(line, "sea").metrical and read(line, "sea").fluent for line in lines)
    assert not read("Once the lantern near the wall was bright.", "sea").metrical
    assert (rhyme("bright", "night"), rhyme("night", "night"), rhyme("night", "day")) == (True, False, False)
    assert scheme_pairs("abba") == [(1, 2), (0, 3)]


def test_no_word_is_of_two_classes_or_of_two_rhymes() -> None:
    rhyming = [word for rhymes in RHYMES for part in rhymes for word in part]
    assert len(set(rhyming)) == len(rhyming)
    for name, genre in GENRES.items():
        assert len(set(genre.words)) == len(genre.words) == 26
        assert [CLASSES[name][word] for word in genre.words] == ["A"] * 8 + ["O"] * 10 + ["J"] * 8
        assert not set(genre.words) & set(rhyming)


@pytest.mark.parametrize("form", ["story", "poem"])
@pytest.mark.parametrize("level", LEVEL)
def test_references_are_right_and_drafts_have_their_faults(level: str, form: str) -> None:
    task = Story(split="test", difficulty=level, form=form)
    examples = [task.dataset[place] for place in range(300)]
    for number in range(2):
        episodes = [Episode.of(each, each.references[number]) for each in examples]
        found = task.gold(episodes)
        assert found is not None
        assert (found == 1).all()
        assert all(task.is_success(each) for each in episodes)
        assert all((task.metrics[name](episodes) == 1).all() for name in ("words_used", "fluency", "form"))
    drafts = np.array([score(each.demonstrations[0], each) for each in examples])
    assert drafts.mean(axis=0) == pytest.approx([1 - OMITS + 0.05, 0.87, 0.41, 0.27], abs=0.12)


def test_no_two_splits_share_a_request() -> None:
    prompts = {}
    for split in SPLITS:
        data = Story(split=split).dataset
        rows = [data[place] for place in range(300)]
        prompts[split] = {(row.extra["genre"], *sorted(row.extra["words"])) for row in rows}
    assert all(prompts[one].isdisjoint(prompts[other]) for one in SPLITS for other in SPLITS if one < other)


def test_what_is_asked() -> None:
    task = Story(split="test", form="poem", difficulty="hard")
    prompt: Any = task.prompt(task.dataset[0])
    genre, words = task.dataset[0].extra["genre"], ", ".join(task.dataset[0].extra["words"])
    assert prompt.text == f"A {genre} poem of four lines, abab.\nWords: {words}\nText:"
    assert prompt.for_chat.text.endswith(f"A {genre} poem of four lines, abab. Use all of these words: {words}")
    mixed = Story(split="test", form="any", difficulty="mixed").dataset
    assert {(mixed[place].extra["form"], mixed[place].extra["count"]) for place in range(60)} == {
        *(("story", count) for count in (2, 3, 4)),
        *(("poem", count) for count in (2, 4)),
    }


CONCEPTS = [{"input": f"dog{number} field run", "references": ["A dog runs in a field."]} for number in range(40)]


def test_words_of_your_own() -> None:
    task = Story(CONCEPTS)
    example = task.dataset[0]
    assert example.extra["words"] == example.text.split()
    assert task.gold([Episode.of(example, "Run.")]) is None
    assert list(task.metrics)[:2] == ["words_used", "rougeL"]
    text = f"The {example.extra['words'][0]} is running through fields."
    episodes = [Episode.of(example, each) for each in (text, f"{text} {text}", "Run.", "")]
    assert [task.is_success(each) for each in episodes] == [True, False, False, False]
    assert task.metrics["words_used"](episodes).tolist() == pytest.approx([1, 1, 1 / 3, 0])
    rewards = words_reward([""] * 4, [each.text for each in episodes], [example] * 4)
    assert rewards.tolist() == pytest.approx([1, 1 / 2 * 6 / 11, 1 / 3, 0])  # 6 of 11 pairs of words differ
    poem = Story(CONCEPTS, form="poem")
    assert poem.dataset[0].extra["count"] == 4
    assert "A poem of four lines." in poem.prompt(poem.dataset[0]).text  # type: ignore[union-attr]


def test_regular_forms_count_as_the_word() -> None:
    assert {"runs", "running", "runner", "run"} <= forms_of("run")
    assert {"tries", "tried", "trying", "try"} <= forms_of("try")
    assert {"baked", "baking", "baker", "bakes"} <= forms_of("bake")
    assert not {"ran", "runn", "tri", "bak"} & (forms_of("run") | forms_of("try") | forms_of("bake"))
