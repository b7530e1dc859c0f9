"""Feedback of every kind, alone and mixed, through the reward models."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.feedback.types import Rating, Record
from textgym.reward_models import (
    EmbeddingRewardModel,
    LearnedReward,
    PreferenceRewardModel,
    TextEmbedder,
    learning_curve,
)
from textgym.rewards import score
from textgym.types import Example, Message, flatten, shown_text


@pytest.fixture(params=["embedding", "language model"])
def new_model(request: pytest.FixtureRequest, words: TextEmbedder, neox: Path) -> Callable[[], LearnedReward]:
    if request.param == "embedding":
        return lambda: EmbeddingRewardModel(words)
    return lambda: PreferenceRewardModel(neox, max_length=128)


def fit(model: LearnedReward, records: list[Record]) -> None:
    settings = {"epochs": 3, "learning_rate": 3e-3} if isinstance(model, PreferenceRewardModel) else {}
    model.fit(records, validation_fraction=0.2, **settings)


def follows_quality(model: LearnedReward, world: Any) -> float:
    """Correlation of scores and quality on new texts."""
    texts = [world.text() for _ in range(300)]
    quality = [world.quality(text) for text in texts]
    return float(np.corrcoef(model(["document road\n\nSummary:"] * 300, texts), quality)[0, 1])


def ratings_of_two(world: Any, n: int) -> list[Record]:
    """Of each prompt two ratings by a kind annotator and one by a harsh one."""
    prompts = [world.prompt() for _ in range(n)]
    people = (("kind", -1.0), ("kind", -1.0), ("harsh", 1.0))
    return [world.rating(name, bias, prompt) for prompt in prompts for name, bias in people]


@pytest.mark.parametrize("kind", ["comparison", "ranking", "rating", "demonstration", "implicit"])
def test_every_kind_alone_beats_chance_on_held_out_prompts(
    world: Any, new_model: Callable[[], LearnedReward], kind: str
) -> None:
    made: dict[str, Callable[[], list[Record]]] = {
        "comparison": lambda: [world.comparison() for _ in range(300)],
        "ranking": lambda: [world.ranking() for _ in range(150)],
        "rating": lambda: ratings_of_two(world, 150),
        "demonstration": lambda: [world.edit() for _ in range(150)],
        "implicit": lambda: [event for _ in range(300) for event in world.session()],
    }
    model = new_model()
    fit(model, made[kind]())
    assert model.report is not None
    assert model.report.accuracy.low > 0.5
    assert model.report.held_out is not None
    assert list(model.report.held_out.by_kind) == [kind]
    assert follows_quality(model, world) > 0.4
    if kind == "rating":
        assert model.report.severity["harsh"] > 0.5 > -0.5 > model.report.severity["kind"]
    if kind == "implicit":
        assert model.report.implicit_weight == pytest.approx(0.2)


def mixed(world: Any, n: int) -> list[Record]:
    records: list[Record] = []
    for _ in range(n):
        w = world
        records += [w.comparison(), w.ranking(), w.rating(), w.edit(), *w.session()]
    return records


def test_a_conversation_teaches_what_its_text_does(world: Any, new_model: Callable[[], LearnedReward]) -> None:
    """To models without a chat template: records of messages, and of the lines that these were until now."""
    opening = (Message("user", "road"), Message("assistant", "Yes?"))
    records = [world.comparison() for _ in range(40)]
    said = [(*opening, Message("user", shown_text(record.prompt))) for record in records]
    models = [new_model(), new_model()]
    models[0].fit([replace(record, prompt=turns) for record, turns in zip(records, said, strict=True)])
    models[1].fit([replace(record, prompt=flatten(turns)) for record, turns in zip(records, said, strict=True)])
    losses = [model.report.losses for model in models if model.report is not None]
    assert losses[0] == losses[1]
    example = Example("k", said[0])
    scores = [score(model, [said[0]], ["good road"], [example]) for model in models]
    assert scores[0].total == scores[1].total == models[0]([flatten(said[0])], ["good road"], [example])


def test_all_kinds_mixed(world: Any, new_model: Callable[[], LearnedReward]) -> None:
    model = new_model()
    fit(model, mixed(world, 60))
    assert model.report is not None
    assert model.report.accuracy.low > 0.6
    assert model.report.held_out is not None
    assert set(model.report.held_out.by_kind) == {"comparison", "ranking", "rating", "demonstration", "implicit"}
    assert follows_quality(model, world) > 0.7


def test_annotators_who_do_not_look_lose_weight(world: Any, new_model: Callable[[], LearnedReward]) -> None:
    """Two honest annotators, one who guesses and one who says the opposite; no question is asked twice."""
    people = {"ann": "honest", "bob": "honest", "coin": "random", "troll": "contrary"}
    records = [world.comparison(name, how) for _ in range(300) for name, how in people.items()]
    model = new_model()
    fit(model, records)
    assert model.report is not None
    reliability = model.report.reliability
    assert min(reliability["ann"], reliability["bob"]) > 0.9
    assert reliability["coin"] < 0.5
    assert reliability["troll"] < 0.1
    assert follows_quality(model, world) > 0.8


def test_one_spammer_among_honest_annotators(world: Any, words: TextEmbedder) -> None:
    """The same records with the annotators' names taken away are learnt worse."""
    people = {"ann": "honest", "bob": "honest", "troll": "contrary"}
    records: list[Record] = []
    for _ in range(40):
        prompt, (a, b) = world.prompt(), world.pair()
        records += [world.answer(prompt, a, b, name, how) for name, how in people.items()]
    known, unknown = EmbeddingRewardModel(words), EmbeddingRewardModel(words)
    known.fit(records, validation_fraction=0.0)
    unknown.fit([_anonymous(record) for record in records], validation_fraction=0.0)
    assert follows_quality(known, world) > follows_quality(unknown, world) + 0.05


def _anonymous(record: Record) -> Record:

    return replace(record, annotator="anonymous")


def test_ties_and_both_bad_are_learnt_from(world: Any, new_model: Callable[[], LearnedReward]) -> None:

    records = []
    for _ in range(300):
        record = world.comparison()
        quality = [world.quality(text) for text in record.responses]
        if max(quality) < 0:
            record = replace(record, choice="both_bad")
        elif abs(quality[0] - quality[1]) < 1.5:
            record = replace(record, choice="tie")
        records.append(record)
    assert {record.choice for record in records} == {"a", "b", "tie", "both_bad"}
    model = new_model()
    fit(model, records)
    assert follows_quality(model, world) > 0.8


def by_criteria(world: Any, n: int) -> list[Rating]:
    """Ratings whose overall grade is the opposite of how helpful the text is."""
    ratings = [world.rating() for _ in range(n)]
    return [replace(each, rating=6 - each.rating, criteria={"helpful": each.rating}) for each in ratings]


def test_a_criterion_is_learnt_instead_of_the_overall_grade(world: Any, new_model: Callable[[], LearnedReward]) -> None:
    records = by_criteria(world, 300)
    helpful, overall = new_model(), new_model()
    settings = {"epochs": 3, "learning_rate": 3e-3} if isinstance(helpful, PreferenceRewardModel) else {}
    report = helpful.fit(records, criterion="helpful", validation_fraction=0.2, **settings)
    fit(overall, list(records))
    assert report.accuracy.low > 0.5
    assert helpful.accuracy_on(records, "helpful").mean > 0.6 > 0.4 > helpful.accuracy_on(records).mean
    assert follows_quality(helpful, world) > 0.4 > -0.4 > follows_quality(overall, world)


def test_a_learning_curve_rises(world: Any, words: TextEmbedder) -> None:
    records = [world.comparison() for _ in range(400)]
    points = learning_curve(lambda: EmbeddingRewardModel(words), records, shares=(0.02, 0.2, 1.0))
    assert [point.labels for point in points] == sorted(point.labels for point in points)
    assert len(points) == 3
    assert points[0].accuracy.mean < points[-1].accuracy.mean > 0.9


def test_refitting_after_a_few_votes_takes_less_than_a_second(world: Any, words: TextEmbedder) -> None:
    records = [world.comparison() for _ in range(1000)]
    model = EmbeddingRewardModel(words, replicas=4)
    model.fit(records)
    start = time.process_time()
    model.fit([*records, *(world.comparison() for _ in range(10))])
    assert time.process_time() - start < 1.0
