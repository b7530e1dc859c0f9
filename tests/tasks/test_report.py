"""TextReport: what a report states, by hand-worked numbers, and the tables it is about."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.tasks import Report
from textgym.tasks.report.generator import FLATTERS, INVENTS, STATES, plain
from textgym.tasks.report.lexicon import INVENTIONS
from textgym.tasks.report.scoring import score
from textgym.types import SPLITS, Episode, Split

CAFE = {"name": "The Blue Kettle", "type": "cafe", "price": "low", "rating": "3", "near": "The Old Oak"}
LEVELS = ("easy", "medium", "hard")
COMPLETE = "The Blue Kettle is a cheap cafe near The Old Oak. It is rated 3 out of 5."


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (COMPLETE, 1.0),
        ("The Blue Kettle is a cafe with low prices close to The Old Oak rated 3 out of 5.", 1.0),
        ("The Blue Kettle is a cafe.", 2 / 5),
        (COMPLETE.replace("3 out", "5 out"), (4 - 1) / 5),  # four rows are right, and one value is invented
        (f"{COMPLETE} It has friendly staff.", (5 - 1) / 5),  # no row of any table
        (f"{COMPLETE} It serves Greek food.", (5 - 1) / 5),  # a row of other tables
        (f"{COMPLETE} It has low prices.", (5 - 1) / 5),  # said before
        (f"{COMPLETE} It has low prices. It is cheap and is cheap.", (5 - 3) / 5),
        (f"{COMPLETE} It is mid-priced and is expensive.", (5 - 2) / 5),  # whatever the price may be
        # Whose neighbour is whose: both names are wrong.
        ("The Old Oak is a cheap cafe near The Blue Kettle. It is rated 3 out of 5.", (3 - 2) / 5),
        # Two of eight pairs of neighbours ("is not", "not a") are none of the wordings; "cheap" is denied.
        ("The Blue Kettle is not a cheap cafe near The Old Oak.", (3 - 1) / 5 * (6 / 8 - 0.7) / 0.3),
        (COMPLETE.lower(), 0.9),
        (COMPLETE.rstrip("."), 0.9),
        (COMPLETE.replace("a cheap", "an cheap"), 0.9),
        ("The Blue Kettle, cheap, cafe, near The Old Oak, 3 out of 5", 0.0),  # no sentence
        ("", 0.0),
        ("It is. It is. It is.", 0.0),
        ("\n".join(f"{label}: {value}" for label, value in CAFE.items()), 0.0),  # the prompt
    ],
)
def test_gold(text: str, gold: float) -> None:
    found = score(text, CAFE)
    assert found.gold == pytest.approx(gold)
    assert found.complete == (gold >= 0.9)


def dataset(level: str, split: Split = "train") -> Any:
    return Report(split=split, difficulty=level).dataset


@pytest.mark.parametrize(("level", "least", "most"), [("easy", 3, 4), ("medium", 5, 6), ("hard", 4, 8)])
def test_references_are_perfect_and_drafts_are_not(level: str, least: int, most: int) -> None:
    examples = [dataset(level)[place] for place in range(300)]
    facts = [json.loads(json.dumps(example.extra["facts"])) for example in examples]
    assert {len(each) for each in facts} == set(range(least, most + 1))
    scores = [score(text, known) for example, known in zip(examples, facts, strict=True) for text in example.references]
    assert all(each.gold == 1.0 and each.complete for each in scores)
    drafts = [score(example.demonstrations[0], known) for example, known in zip(examples, facts, strict=True)]
    rows = sum(each.rows - 2 for each in drafts)
    assert 0.2 < sum(each.stated - 2 for each in drafts) / rows < STATES
    told = [any(plain(each) in example.demonstrations[0] for each in INVENTIONS) for example in examples]
    assert abs(sum(told) / len(told) - INVENTS) < 0.1
    flattered = [
        known["rating"] != "5" and "5 out of 5" in example.demonstrations[0]
        for example, known in zip(examples, facts, strict=True)
        if "out of 5" in example.demonstrations[0] and known["rating"] != "5"
    ]
    assert abs(sum(flattered) / max(len(flattered), 1) - FLATTERS) < 0.25


def test_unknown_rows_are_in_hard_tables_alone() -> None:
    unknown = {level: sum("unknown" in dataset(level)[place].text for place in range(100)) for level in LEVELS}
    assert unknown["hard"] > 30
    assert unknown["easy"] == unknown["medium"] == 0


@pytest.mark.parametrize("level", LEVELS)
def test_no_two_splits_share_a_table(level: str) -> None:
    tables = {
        split: {frozenset(dataset(level, split)[k].extra["facts"].items()) for k in range(400)} for split in SPLITS
    }
    assert all(tables[one].isdisjoint(tables[other]) for one in SPLITS for other in SPLITS if one < other)
    assert len(tables["train"]) > 390


def test_environment_measures_what_a_report_states() -> None:
    env: Any = gym.make("TextReportEpisode-v0")
    env.reset(seed=0)
    base = env.unwrapped
    example = base.task.dataset.find(env.reset(seed=1)[1]["task_key"])
    *_, info = env.step(example.references[0])
    assert (info["gold"], info["is_success"], info["rewards"]["total"]) == (1.0, True, 1.0)
    episodes = [Episode.of(example, example.references[0]), Episode.of(example, "")]
    measured = {name: metric(episodes).tolist() for name, metric in base.task.metrics.items()}
    assert measured["rows_stated"] == [1.0, 0.0]
    assert measured["truthful"] == [1.0, 1.0]


ROWS = [
    {"input": f"name: Mill {number}, food: Greek, familyFriendly: yes", "references": [f"Mill {number} is Greek."]}
    for number in range(40)
]


def test_own_tables() -> None:
    task = Report(ROWS)
    assert task.reward == "rouge"
    example = task.dataset[0]
    name = example.text.split(",")[0].removeprefix("name: ")
    episodes = [Episode.of(example, text) for text in (f"{name}: greek food!", f"{name}0 is Greek.", "")]
    assert task.gold(episodes) is None
    np.testing.assert_array_equal(task.metrics["values_stated"](episodes), [1.0, 0.5, 0.0])
    assert [task.is_success(episode) for episode in episodes] == [True, False, False]


def test_own_tables_without_references_are_rewarded_by_their_values() -> None:
    env: Any = gym.make("TextReportEpisode-v0", data=[{"prompt": row["input"]} for row in ROWS])
    env.reset(seed=0)
    *_, reward, _, _, _ = env.step("It is Greek.")
    assert reward == 0.5
