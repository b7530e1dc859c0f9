from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.data.generated import format_key, parse_key
from textgym.errors import DataError
from textgym.tasks.summarization.reports import Reports, facts, gold, gold_parts, is_success, lexicon
from textgym.tasks.summarization.reports.generator import FAULTS, GENRES, LENGTHS, Item, make_item
from textgym.tasks.summarization.reports.genre import Genre, fill, summary_parts, unfold
from textgym.tasks.summarization.reports.scoring import _scan, _tokens
from textgym.types import SPLITS, Example, Split

COUNT = 300
KEY = "reports/validation/10"
DOCUMENT = (
    "A new modern ferry pier is coming to Greenham, the council said this week. It will open on 7 April, and the "
    "building will cost $1.1 million. Neighbouring Pemmouth built a similar one two years ago. Some residents had "
    "wanted a public nursery instead. Talks about the plan began on 3 August."
)
GOOD = "Greenham will build a new modern ferry pier for $1.1 million, due to open on 7 April."


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    data = Reports("test")
    return [data[index] for index in range(COUNT)]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [make_item(0, "train", index) for index in range(1500)]


def test_one_item_in_full_stays_what_it_is() -> None:
    example = Reports("validation")[10]
    assert example == Example(
        KEY,
        DOCUMENT,
        (
            "Work on a new modern ferry pier in Greenham will cost $1.1 million, with the opening set for 7 April.",
            "Councillors in Greenham agreed to spend $1.1 million on a new modern ferry pier, which will open on "
            "7 April.",
        ),
        (
            "A town will build a new modern ferry pier for $1.1 million, due to open on 7 April. The future will tell "
            "what it means. As usual, there are different views about it.",
        ),
    )
    assert [fact.value for fact in facts(KEY).keys] == ["Greenham", "modern ferry pier", "$1.1 million", "7 April"]
    assert facts(example) == facts(KEY)


@pytest.mark.parametrize(
    ("response", "coverage", "invented", "score"),
    [
        (GOOD, 1.0, 0, 1.0),
        ("Greenham will build a new modern ferry pier for $1,100,000, due to open on April 7.", 1.0, 0, 1.0),
        ("Greenham will build a new pier, opening soon.", 0.25, 0, None),
        ("Greenham will build a new modern ferry pier, due to open on 7 April.", 0.75, 0, 0.75),
        ("A town will build a new modern ferry pier for $1.1 million, opening soon.", 0.5, 0, 0.5),
        ("Pemmouth will build a new modern ferry pier for $1.1 million, due to open on 7 April.", 0.75, 1, 0.5),
        ("Greenham will build a new modern ferry pier for $1.1 million, due to open on 3 August.", 0.75, 1, 0.5),
        ("Greenham will build a new public nursery for $250,000, due to open on 7 April.", 0.5, 2, 0.0),
        # No capital and no full stop: fluency 0.8 * 0.8 = 0.64, so 0.25 + 0.75 * 0.64.
        ("a new modern ferry pier is due to open in greenham on 7 april and will cost $1.1 million", 1.0, 0, 0.73),
        ("", 0.0, 0, 0.0),
        ("Greenham $1.1 million modern ferry pier 7 April", 1.0, 0, 0.25),
    ],
)
def test_scores_worked_out_by_hand(response: str, coverage: float, invented: int, score: float | None) -> None:
    parts = gold_parts(response, KEY)
    assert (parts.coverage, parts.invented) == (coverage, invented)
    if score is not None:
        assert parts.gold == pytest.approx(score)
    assert gold([response], [KEY])[0] == parts.gold
    assert is_success(response, KEY) == (coverage == 1.0 and invented == 0)


def test_brevity_falls_from_26_words_to_60() -> None:
    filler = " It is hard to say what will happen next."
    for repeats, words, brevity in ((1, 26, 1.0), (2, 35, 25 / 34), (5, 62, 0.0)):
        text = GOOD + filler * repeats
        assert len(text.split()) == words
        assert gold_parts(text, KEY).brevity == pytest.approx(brevity)
    assert gold_parts("% " * 43, KEY).brevity == pytest.approx(17 / 34)


def test_repeated_phrases_and_unknown_words_cost_fluency() -> None:
    assert gold_parts(GOOD, KEY).fluency == 1.0
    assert gold_parts(f"{GOOD} {GOOD}", KEY).fluency == pytest.approx(0.6)
    assert 0.0 < gold_parts(GOOD.replace("build", "blorp"), KEY).fluency < 0.8


def test_short_forms_are_stated_and_wrong_long_forms_are_not() -> None:
    assert gold_parts("Greenham’s FERRY PIER will open in April.", KEY)[:2] == (0.75, 0)
    assert gold_parts("Greenham will build a new covered ferry pier.", KEY)[:2] == (0.25, 1)
    person = next(f"reports/train/{i}" for i in range(99) if facts(f"reports/train/{i}").genre == "court")
    name, _, term, _ = (fact.value for fact in facts(person).keys)
    first, last = name.split()
    assert gold_parts(f"{last} was jailed.", person)[:2] == (0.25, 0)
    assert gold_parts(f"{first} was jailed.", person)[:2] == (0.0, 0)
    assert gold_parts(f"{'Zoe' if first != 'Zoe' else 'Tom'} {last} was jailed.", person)[:2] == (0.0, 1)
    unit = "years" if term.endswith("months") else "months"
    assert gold_parts(f"{last} was jailed for {term}.", person)[:2] == (0.5, 0)
    assert gold_parts(f"{last} was jailed for {term.split()[0]} {unit}.", person)[:2] == (0.25, 1)


def test_editors_are_right_and_others_are_not(examples: list[Example]) -> None:
    rng = np.random.default_rng(0)
    shuffled = [" ".join(rng.permutation(example.references[0].split())) for example in examples]
    other = examples[1:] + examples[:1]
    for number in range(2):
        scores = gold([example.references[number] for example in examples], examples)
        assert scores.min() >= 0.9
        assert scores.mean() >= 0.97
    assert gold(shuffled, examples).max() <= 0.35
    assert gold([example.references[0] for example in other], examples).mean() <= 0.15
    assert gold([example.prompt for example in examples], examples).mean() <= 0.1
    assert not gold([""] * COUNT, examples).any()
    assert 0.5 <= gold([example.demonstrations[0] for example in examples], examples).mean() <= 0.62


def states_by_the_way(item: Item, stated: float) -> bool:
    """Whether a rambling sentence about the person named it after the draft had left the name out."""
    return item.faults >= {"omits", "rambles"} and stated == 1.0 and item.facts.genre == "race"


def test_drafts_have_the_faults_they_say(items: list[Item]) -> None:
    parts = [gold_parts(item.draft, format_key("reports", 0, "train", index)) for index, item in enumerate(items)]
    for fault, share in FAULTS["rambling"].items():
        assert np.mean([fault in item.faults for item in items]) == pytest.approx(share, abs=0.04)
    for item, part in zip(items, parts, strict=True):
        wrong = 0.25 if "slips" in item.faults else 0.0
        stated = part.coverage + wrong
        assert part.invented >= bool(wrong)
        assert "rambles" in item.faults or part.invented == bool(wrong)  # a side issue has values of its own
        assert stated in ((0.5, 0.75) if "omits" in item.faults else (1.0,)) or states_by_the_way(item, stated)
    assert min(part.gold for item, part in zip(items, parts, strict=True) if not item.faults) >= 0.9
    rambling = [len(item.draft.split()) for item in items if "rambles" in item.faults]
    assert np.mean(rambling) >= np.mean([len(item.draft.split()) for item in items if "rambles" not in item.faults]) + 8


def test_a_hurried_writer_is_wrong_more_often_than_not() -> None:
    items = [make_item(0, "train", index, writer="hurried") for index in range(600)]
    parts = [gold_parts(item.draft, format_key("reports", 0, "train", index)) for index, item in enumerate(items)]
    for fault, share in FAULTS["hurried"].items():
        assert np.mean([fault in item.faults for item in items]) == pytest.approx(share, abs=0.06)
    for item, part in zip(items, parts, strict=True):
        if item.faults == {"confuses"}:
            assert part.coverage == 0.75
        assert item.faults or part.gold >= 0.9
    confused = [part for item, part in zip(items, parts, strict=True) if item.faults == {"confuses"}]
    assert 0.4 < np.mean([part.invented == 1 for part in confused]) < 0.9  # an old figure; the others state none
    assert np.mean([part.gold for part in confused]) < 0.65
    assert [item.facts for item in items[:9]] == [make_item(0, "train", index).facts for index in range(9)]


@pytest.mark.parametrize(("level", "sentences"), [("easy", 5), ("medium", 6), ("hard", 7)])
def test_levels_of_difficulty(level: str, sentences: int) -> None:
    data = Reports("test", difficulty=level)
    examples = [data[index] for index in range(100)]
    words = [len(example.text.split()) for example in examples]
    assert LENGTHS[level].fewest_words <= min(words) <= max(words) <= LENGTHS[level].most_words
    assert LENGTHS[level].most_sentences == sentences
    assert gold([example.references[0] for example in examples], examples).mean() >= 0.97
    assert facts(examples[3]) == facts(Reports("test")[3])
    assert data.find(examples[3].key) == examples[3]


def test_documents_state_all_facts_and_have_the_promised_size(items: list[Item]) -> None:
    for index, item in enumerate(items):
        assert 45 <= len(item.document.split()) <= 75
        assert 3 <= len(re.findall(r"[.!?](?= [A-Z\"0-9$]|$)", item.document)) <= 7  # a quote may hold one more
        assert gold_parts(item.document, format_key("reports", 0, "train", index)).coverage == 1.0
        assert len([fact for fact in item.facts.rivals if fact.value in item.document]) >= 1
        assert item.references[0] != item.references[1]
        assert all(9 <= len(text.split()) <= 26 for text in item.references)


def test_texts_have_no_slips_of_grammar(items: list[Item]) -> None:
    for item in items:
        for text in (item.document, *item.references, item.draft):
            assert not re.search(
                r"\b([A-Za-z]+) \1\b|\b[Aa] [aeioAEIO]|\b[Aa]n [^aeiouAEIOU]|  | [,.]|[{}<>|()]", text
            ), text
            assert re.fullmatch(r"[A-Z\"0-9$].*[.]", text), text
            assert all(sentence[0].isupper() or sentence[0] in '"$0123456789' for sentence in text.split(". ")), text


PAIRS: tuple[tuple[Split, Split], ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))


def test_splits_share_no_document_and_no_combination_of_facts() -> None:
    sizes: dict[Split, int] = {"train": 4000, "validation": 2000, "test": 2000}
    made = {split: [make_item(0, split, index) for index in range(sizes[split])] for split in SPLITS}
    documents = {split: {item.document for item in made[split]} for split in SPLITS}
    combinations = {split: {tuple(f.value for f in item.facts.keys) for item in made[split]} for split in SPLITS}
    for one, two in PAIRS:
        assert not documents[one] & documents[two]
        assert not combinations[one] & combinations[two]
    assert all(len(documents[split]) == sizes[split] for split in SPLITS)


def test_items_depend_on_seed_split_and_index_alone() -> None:
    forward = [Reports("train")[index] for index in range(20)]
    assert [Reports("train")[index] for index in reversed(range(20))] == forward[::-1]
    assert Reports("train", seed=1)[0].prompt != Reports("train")[0].prompt
    assert Reports("train", seed=1)[0].key == "reports@1/train/0"
    assert facts("reports@1/train/0") == make_item(1, "train", 0).facts


def test_examples_hold_no_facts() -> None:
    fields = {"key", "prompt", "references", "demonstrations", "extra"}
    assert {field.name for field in dataclasses.fields(Example)} == fields
    assert Reports("train")[0].extra == {}


def test_lengths_and_lookups() -> None:
    assert [len(Reports(split)) for split in SPLITS] == [100_000, 2_000, 2_000]
    data = Reports("test")
    assert data[-1] == data[1999] == data.find("reports/test/1999")
    with pytest.raises(IndexError):
        data[2000]
    with pytest.raises(KeyError, match="load split 'train'"):
        data.find("reports/train/5")
    with pytest.raises(KeyError, match="below 2000"):
        data.find("reports/test/2000")
    with pytest.raises(KeyError, match="such as"):
        facts("my/file/1")
    with pytest.raises(KeyError, match="Did you mean 'test'"):
        facts("reports/tests/1")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(DataError, match="Did you mean 'train'"):
        Reports("trains")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 0"):
        Reports("train", seed=-1)
    with pytest.raises(ValueError, match="one item per response"):
        gold(["a"], [])


@given(st.integers(0, 10**6), st.sampled_from(SPLITS), st.integers(0, 1999))
def test_keys_round_trip(seed: int, split: Split, index: int) -> None:
    assert parse_key("reports", format_key("reports", seed, split, index)) == (seed, split, index)


@pytest.mark.parametrize(
    "text", [",", ";", ":", " ,;: ", ",,,", "...", "!", "\u2026", "\ud800", "7", "x", "😀", "\x00", " \n"]
)
def test_punctuation_alone_scores_nothing(text: str) -> None:
    assert gold_parts(text, KEY).gold == 0.0
    assert not is_success(text, KEY)


def test_characters_of_scripts_without_spaces_count_as_words() -> None:
    assert gold_parts(GOOD + " 今天天气很好" * 20, KEY).brevity == 0.0
    assert gold_parts(GOOD + "今" * 500, KEY).brevity == 0.0


@settings(max_examples=60)
@given(st.text(max_size=80) | st.lists(st.sampled_from([*GOOD.split(), "$", "7", "million", "May", "²"])).map(" ".join))
def test_any_text_has_a_score(text: str) -> None:
    parts = gold_parts(text, KEY)
    assert 0.0 <= parts.gold <= min(parts.coverage, parts.brevity) <= 1.0
    assert 0.0 <= parts.fluency <= 1.0


def test_lexicon_is_large_and_unambiguous() -> None:
    assert min(len(lexicon.FIRST_NAMES), len(lexicon.LAST_NAMES)) >= 150
    assert min(len(lexicon.TOWNS), len(lexicon.ORG_HEADS)) >= 200
    assert all(len(things.modifiers) * len(things.nouns) >= 60 for things in lexicon.THINGS.values())
    nouns = [noun for things in lexicon.THINGS.values() for noun in things.nouns]
    single = [*lexicon.FIRST_NAMES, *lexicon.LAST_NAMES, *lexicon.TOWNS, *lexicon.ORG_HEADS, *lexicon.MONTHS, *nouns]
    assert len(single) == len({word.lower() for word in single})


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.name)
def test_genres_have_many_wordings_and_four_keys(genre: Genre) -> None:
    for group in (genre.lead, genre.third, genre.fourth, genre.summaries):
        assert len(group) >= 5
    assert len(genre.summaries) >= 6
    for group in (genre.lead, genre.third, genre.fourth, genre.summaries, *genre.background):
        assert len({wording for frame in group for wording in unfold(frame)}) >= 6
    assert len({genre.slots[key] for key in genre.keys}) == 4
    for frame in genre.summaries:
        for wording in unfold(frame):
            parts = [part for part in summary_parts(wording) if part.key]
            assert sorted(part.key for part in parts) == sorted(genre.keys)


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.name)
def test_a_hurried_summary_mentions_nothing_but_what_it_states(genre: Genre) -> None:
    nothing = dict.fromkeys(genre.slots, "")
    for frame in genre.summaries:
        for wording in unfold(frame):
            text = fill("".join(part.without if part.key else part.text for part in summary_parts(wording)), nothing)
            assert _scan(_tokens(text))[0] == [], text


def test_unfold_gives_every_choice_once() -> None:
    assert unfold("(a|b) c (d|)") == ("a c d", "a c ", "b c d", "b c ")
    assert unfold("(a (b|c)|d)") == ("a b", "d", "a c", "d")
