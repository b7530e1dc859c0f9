"""Reviews that are continued: what is written, what it is worth, and reviews of your own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textgym.metrics.polarity import BLAME, PRAISE, polarity
from textgym.tasks import Continuation
from textgym.tasks.continuation.generator import GRUMBLES, LEVEL, RAMBLES
from textgym.tasks.continuation.grammar import opinions_of, read
from textgym.tasks.continuation.task import gold_of, polarity_reward, to_continue
from textgym.types import SPLITS, Episode, Example

HOTEL = Example(
    "a",
    "We stayed two nights at the Belton Hotel in Claywick in June. The staff were rude.",
    extra={"wanted": "positive", "amount": "two sentences", "sentences": 2, "kind": "hotel", "told": ["staff"]},
)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The room was bright and quiet. Luckily, the beds were soft.", 1 / 2),  # it is one bed
        ("The room was bright and quiet. Luckily, the bed was soft.", 1),
        ("I loved the breakfast. On the whole, the pool was anything but crowded.", 1),
        ("The room was bright. The bed was soft. The pool was warm.", 2 / 3),  # one too many
        ("The room was bright.", 1 / 2),  # one too few
        ("The room was bright. The bed was soft. It rained most of the time.", 2 / 3),
        ("The room was bright. The room was quiet.", 1 / 2),  # again
        ("The room was bright. The room was bright.", 1 / 2),
        ("The staff were friendly. I liked the staff.", 0),  # spoken of in the opening
        ("The room was dark. The bed was hard.", 0),  # not as wanted
        ("The room was dark. The room was bright.", 0),  # what is said first counts
        ("Sadly, the room was bright. The bed was soft.", 1 / 2),  # nothing to be sad about
        ("The battery was strong. The ending was moving.", 0),  # hotels have none
        ("The room was bright and dark. The bed was very soft and warm.", 0),
        ("The room was delicious. the bed was soft.", 0),
        ("The room was bright and bright. The bed were soft.", 0),
        ("The room was bright. The bed was so", 1 / 2),  # cut off
        ("Bright quiet soft lovely friendly clean warm tasty.", 0),
        ("good " * 30, 0),
        ("", 0),
        (HOTEL.text, 0),
        ("I loved the room. I loved the bed. I loved the view. I loved the pool. I loved the breakfast.", 2 / 5),
    ],
)
def test_gold(text: str, gold: float) -> None:
    assert gold_of(text, HOTEL) == pytest.approx(gold)
    task = Continuation(split="test")
    assert task.is_success(Episode.of(HOTEL, text)) is (gold == 1)


@pytest.mark.parametrize("level", LEVEL)
def test_references_are_right_and_drafts_have_their_faults(level: str) -> None:
    task = Continuation(split="test", difficulty=level)
    examples = [task.dataset[place] for place in range(300)]
    for number in range(2):
        episodes = [Episode.of(each, each.references[number]) for each in examples]
        found = task.gold(episodes)
        assert found is not None
        assert (found == 1).all()
        assert all(task.is_success(each) for each in episodes)
        assert (task.metrics["sentiment"](episodes) == 1).all()
        assert (task.metrics["grammatical"](episodes) == 1).all()
    assert (polarity_reward([""] * 300, [each.references[0] for each in examples], examples)).mean() > 0.9
    drafts = [each.demonstrations[0] for each in examples]
    assert 0.1 < np.mean([gold_of(*each) for each in zip(drafts, examples, strict=True)]) < 0.5
    for wanted, share in GRUMBLES.items():
        signs = [
            opinion.polarity
            for draft, each in zip(drafts, examples, strict=True)
            for opinion in opinions_of(draft, each.extra["kind"])
            if opinion and each.extra["wanted"] == wanted
        ]
        assert np.mean(np.array(signs) < 0) == pytest.approx(share, abs=0.1)
    rambling = [len(list(opinions_of(draft, "hotel"))) > LEVEL[level].sentences for draft in drafts]
    assert np.mean(rambling) == pytest.approx(RAMBLES, abs=0.1)


def test_no_two_splits_share_an_opening() -> None:
    tasks = {split: Continuation(split=split, difficulty="easy") for split in SPLITS}
    prompts = {split: {task.dataset[place].text for place in range(300)} for split, task in tasks.items()}
    assert all(prompts[one].isdisjoint(prompts[other]) for one in SPLITS for other in SPLITS if one < other)
    assert len(set.union(*prompts.values())) > 890


def test_the_prompt_names_what_is_wanted() -> None:
    task = Continuation([{"text": f"It is a review of {number} words or more."} for number in range(40)])
    prompt: Any = task.prompt(HOTEL)
    assert prompt.text.startswith("Sentiment: positive. Length: two sentences.\nReview: We stayed")
    assert "Continue it by two sentences. What you add must be positive" in prompt.for_chat.text
    wanted = Continuation(split="test", sentiment="negative", difficulty="hard")
    assert {wanted.dataset[place].extra["wanted"] for place in range(40)} == {"negative"}
    assert wanted.dataset.name == "reviews-hard-negative"


def test_the_grammar_reads_what_it_writes_only() -> None:
    assert read("I was pleased with the waiting room.", "dentist") == ("waiting room", 1)
    assert read("I was pleased with the waiting room.", "hotel") is None
    assert read("I pleased the bill.", "dentist") is None
    assert read("The bill was not at all fair.", "dentist") == ("bill", -1)
    assert read("The bill was never very fair.", "dentist") is None


def test_the_default_reward_is_paid_once_for_a_word() -> None:
    texts = [
        "The room was bright. The bed was soft.",
        "Great great great great great great.",
        "",
        "It rains. It snows.",
    ]
    texts += ["The room was dark. The bed was hard.", "Great. Great. Great. Great."]
    assert polarity_reward([""] * 6, texts, [HOTEL] * 6).tolist() == pytest.approx([1, 0.5, 0, 0.25, 0, 0.25])


def test_polarity_counts_words_of_its_own() -> None:
    assert not PRAISE & BLAME
    assert polarity("It was not good, and never rude.") == 0
    assert polarity("Great service, great food, rude waiters.") == 0
    assert polarity("Nothing here to like.") == -1


REVIEWS = [
    {"text": f"The {number} waiters of this place were very kind to all of us that night.", "sentiment": label}
    for number, label in enumerate(["positive", "negative", "ambivalent", "neutral"] * 20)
]


def test_reviews_of_your_own_are_cut_in_two() -> None:
    task = Continuation(REVIEWS, prompt_column="text")
    assert task.gold([Episode.of(task.dataset[0], "Good.")]) is None
    for place in range(len(task.dataset)):
        example = task.dataset[place]
        label, extra = example.extra["sentiment"], example.extra
        assert (len(example.text.split()), extra["sentences"], extra["amount"]) == (8, 1, "one sentence")
        assert extra["wanted"] == (label if label in ("positive", "negative") else extra["wanted"])
    both = {task.dataset[place].extra["sentiment"]: task.dataset[place] for place in range(len(task.dataset))}
    assert both["positive"].references == ("kind to all of us that night.",)
    assert both["neutral"].references == ()
    rows = [{"text": f"Number {number} is a review.", "sentiment": "mixed"} for number in range(200)]
    for split in SPLITS:  # each has both
        data = Continuation(rows, prompt_column="text", split=split).dataset
        assert {data[place].extra["wanted"] for place in range(len(data))} == {"positive", "negative"}
    wanted = Continuation(REVIEWS, prompt_column="text", sentiment="negative").dataset
    assert {bool(wanted[place].references) for place in range(len(wanted))} == {True, False}
    good, bad = (Episode.of(both["positive"], text) for text in ("so kind and helpful.", "so rude."))
    assert (task.is_success(good), task.is_success(bad)) == (True, False)
    assert task.metrics["sentiment"]([good, bad]).tolist() == [1, 0]
    assert polarity_reward(["", ""], [good.text, bad.text], [both["positive"]] * 2).tolist() == [1, 0]


def test_openings_of_your_own_stay_as_they_are() -> None:
    rows = [{"start": f"Room {number} had a bed.", "end": "It was fine.", "label": number % 2} for number in range(40)]
    data = Continuation(rows, prompt_column="start", reference_column="end").dataset
    assert data[0].text.endswith("had a bed.")
    assert {data[place].extra["wanted"] for place in range(len(data))} == {"positive", "negative"}
    assert to_continue(Example("a", "One"), "given", cut=True).text == "One"
