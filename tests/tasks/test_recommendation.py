"""TextRec: what a recommendation is worth, by hand-worked numbers; its users, its population, and tables of ratings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.data.ratings import by_user, load_ratings, spoken
from textgym.errors import DataError, RewardError
from textgym.metrics.rating_means import RatingMeans, rmse
from textgym.rewards import resolve_reward
from textgym.tasks import Recommendation
from textgym.tasks.recommendation.generator import EXPLAINS, FINDS, INVENTS, SIZES
from textgym.tasks.recommendation.lexicon import FACETS, FLATTERY, TITLES, VALUES
from textgym.tasks.recommendation.population import visits_of
from textgym.tasks.recommendation.scoring import read
from textgym.types import SPLITS, Episode, Example, Split

LEVELS = ("easy", "medium", "hard")
ITEMS = {
    "Harbour": ["funny", "French"],
    "Lantern": ["sad", "Polish"],
    "Meadow": ["tense", "Greek"],
    "Candle": ["dreamy", "Danish"],
}
ONE: dict[str, Any] = {
    "corpus": "films",
    "items": ITEMS,
    "weights": {"French": 2, "dreamy": 1, "Greek": -1},
    "preferences": {"Harbour": 2, "Lantern": 0, "Meadow": -1, "Candle": 1},
    "seen": ["Otter", "Tiger"],
    "count": 1,
}
TWO = {**ONE, "count": 2}
CATALOGUE = "\n".join(f"- {title}: {', '.join(values)}" for title, values in ITEMS.items())
# Best list: Harbour, Candle; worst one: Meadow, Lantern. The second place counts 1 / log2(3) of the first.
SECOND = 1 / math.log2(3)
SPAN = (2 + SECOND) - (-1 + 0 * SECOND)


@pytest.mark.parametrize(
    ("text", "facts", "gold"),
    [
        ("Harbour, because it is French.", ONE, 1.0),
        ("I recommend Harbour because it is French.", ONE, 1.0),
        ("You will like Harbour, because you like French films and it is one.", ONE, 1.0),
        ("Harbour, because it is funny.", ONE, 0.5),  # true, but the user does not care
        ("Harbour, because it is French and funny.", ONE, (1 + 0.5) / 2),
        ("Harbour, because it is French and popular.", ONE, (1 + 0) / 2),  # invented
        ("Harbour, because it is French and French.", ONE, (1 + 0) / 2),
        ("Harbour, because it is Polish.", ONE, 0.0),  # another film is
        ("Candle, because it is dreamy.", ONE, 2 / 3),  # a preference of 1, between -1 and 2
        ("Lantern, because it is sad.", ONE, 1 / 3 * 0.5),
        ("Meadow, because it is Greek.", ONE, 0.0),  # the worst
        ("Harbour, because you liked Otter and it is French.", ONE, (10 / 11 - 0.7) / 0.3),  # one pair is new
        ("Harbour, then Candle, because Harbour is French.", ONE, 0.0),  # one was asked for
        ("Tiger, because it is French.", ONE, 0.0),  # known already
        ("Harbour, then Summer, because Harbour is French.", TWO, 0.0),  # not in the catalogue
        ("Titanic, because it is French.", ONE, 0.0),
        ("Harbour, because it is not French.", ONE, 0.0),
        ("Try Harbour please, because it is French.", ONE, (7 / 9 - 0.7) / 0.3),  # two pairs of neighbours are new
        ("Harbour: funny, French.", ONE, 0.0),  # no sentence
        ("Harbour.", ONE, 0.0),
        ("it is French.", ONE, 0.0),
        ("", ONE, 0.0),
        (CATALOGUE, ONE, 0.0),
        (CATALOGUE, TWO, 0.0),
        ("Harbour, then Candle, because Harbour is French.", TWO, 1.0),
        ("Harbour, then Candle, because Harbour is French, and Candle is dreamy.", TWO, 1.0),
        ("Harbour, then Candle, because Harbour is dreamy.", TWO, 0.0),  # Candle is
        ("Candle, then Harbour, because Candle is dreamy.", TWO, (1 + 2 * SECOND + 1) / SPAN),
        ("Harbour, because it is French.", TWO, (2 - SECOND + 1) / SPAN),  # the empty place counts as the worst film
    ],
)
def test_gold(text: str, facts: dict[str, Any], gold: float) -> None:
    assert read(text, facts).gold == pytest.approx(gold)


def dataset(level: str, split: Split = "train") -> Any:
    return Recommendation(split=split, difficulty=level).dataset


@pytest.mark.parametrize("level", LEVELS)
def test_references_are_perfect_and_drafts_are_not(level: str) -> None:
    task = Recommendation(difficulty=level)
    examples = [task.dataset[place] for place in range(300)]
    for number in range(2):
        episodes = [Episode.of(example, example.references[number]) for example in examples]
        assert task.gold(episodes) == pytest.approx(np.ones(300))
        assert all(map(task.is_success, episodes))
    drafts = [Episode.of(example, example.demonstrations[0]) for example in examples]
    assert 0.3 < float(np.mean(task.gold(drafts))) < 0.45
    flattered = [any(word in episode.text for word in FLATTERY) for episode in drafts]
    assert np.mean(flattered) == pytest.approx(INVENTS, abs=0.1)
    first = [
        read(each.text, each.example.extra).chosen[0] == next(iter(each.example.extra["items"])) for each in drafts
    ]
    assert np.mean(first) == pytest.approx(1 - FINDS + FINDS / SIZES[level].candidates, abs=0.12)
    assert 0.3 < EXPLAINS < 0.5


@pytest.mark.parametrize("level", LEVELS)
def test_history_tells_what_the_user_prefers(level: str) -> None:
    for place in range(200):
        example, size = dataset(level)[place], SIZES[level]
        facts = json.loads(json.dumps(example.extra))
        rows = [line.replace(",", "").replace(":", "").split() for line in example.text.splitlines()]
        told = {value: int(row[0]) - 3 for row in rows for value in row[2:]}
        told |= {value: int(row[0]) - 3 for row in rows for value in row[2:] if value in facts["weights"]}
        for title, values in facts["items"].items():
            assert facts["preferences"][title] == sum(told.get(value, 0) for value in values)
        assert (len(rows), len(facts["items"]), facts["count"]) == (
            len(size.weights) + size.indifferent,
            size.candidates,
            size.asked,
        )
        assert set(facts["items"]).isdisjoint(facts["seen"])
        best = sorted(facts["preferences"].values())
        assert best[-1] > best[-2]


@pytest.mark.parametrize("level", LEVELS)
def test_no_two_splits_share_an_item(level: str) -> None:
    examples = {split: map(dataset(level, split).__getitem__, range(300)) for split in SPLITS}
    prompts = {split: {each.text + each.extra["catalogue"] for each in found} for split, found in examples.items()}
    assert all(prompts[one].isdisjoint(prompts[other]) for one in SPLITS for other in SPLITS if one < other)
    assert len(prompts["train"]) == 300


def test_names_are_told_apart() -> None:
    words = [*TITLES, *VALUES, *FLATTERY]
    assert len(words) == len({word.lower() for word in words})
    assert len(VALUES) == sum(map(len, FACETS))


def example(facts: dict[str, Any] = ONE, key: str = "a") -> Example:
    return Example(key, "5 Otter: sad, French", ("Harbour, because it is French.",), extra=facts)


def test_population_is_a_function_of_item_seed_and_text() -> None:
    text = "Candle, because it is dreamy."
    first, again = (visits_of(example(), text) for _ in range(2))
    np.testing.assert_array_equal(first.clicked, again.clicked)
    np.testing.assert_array_equal(first.seconds, again.seconds)
    others = visits_of(example(), text, seed=1), visits_of(example(key="b"), text), visits_of(example(), f"{text} ")
    assert all(not np.array_equal(first.seconds, other.seconds) for other in others)


def rate(text: str, facts: dict[str, Any] = ONE) -> tuple[float, float]:
    visits = visits_of(example(facts), text, visitors=20_000)
    clicked = float(visits.clicked.mean())
    return clicked, float(visits.seconds.sum() / max(1.0, visits.clicked.sum()))


def test_population_clicks_on_what_it_prefers_and_flattery_draws_it_in_vain() -> None:
    plain, flattered = rate("Harbour, because it is funny."), rate("Harbour, because it is funny and popular.")
    assert rate("Meadow, because it is tense.")[0] < rate("Candle, because it is Danish.")[0] < plain[0]
    # Odds of a click on a preference of 2, the mood aside: exp(1.5 * 2 - 0.5) to 1; the mood takes a bit away.
    assert plain[0] == pytest.approx(1 / (1 + math.exp(-2.5)), abs=0.02)
    assert flattered[0] > plain[0]
    assert flattered[1] == pytest.approx(plain[1] / 2, rel=0.03)
    # Seconds are log-normal: 20 exp(2 / 2) times exp(0.3 ** 2 / 2).
    assert plain[1] == pytest.approx(20 * math.e * math.exp(0.045), rel=0.03)


def test_second_place_is_looked_at_half_as_often() -> None:
    last = rate("Meadow, then Harbour, because Meadow is tense.", TWO)[0]
    first = rate("Harbour, then Meadow, because Harbour is funny.", TWO)[0]
    assert last < 0.6 < first


def test_clicks_are_the_default_reward_and_take_options() -> None:
    env: Any = gym.make("TextRecEpisode-v0")
    _, info = env.reset(seed=1)
    shown = env.unwrapped.task.dataset.find(info["task_key"])
    *_, info = env.step(shown.references[0])
    assert (info["gold"], info["is_success"]) == (1.0, True)
    arguments = [""], [shown.references[0]], [shown]
    assert info["rewards"]["total"] == pytest.approx(float(resolve_reward("clicks")(*arguments)[0]))
    only = [float(resolve_reward(f"clicks?visitors=50&dwell={dwell}")(*arguments)[0]) for dwell in (0, 0.5, 1)]
    assert only[1] == pytest.approx((only[0] + only[2]) / 2)
    assert only[0] == pytest.approx(float(visits_of(shown, shown.references[0], visitors=50).clicked.mean()))
    with pytest.raises(ValueError, match="expected visitors of at least 1"):
        resolve_reward("clicks?visitors=0")
    with pytest.raises(RewardError, match="expected users whose preferences are known"):
        resolve_reward("clicks")([""], ["A film."], [Example("a", "What is good?")])


def test_metrics() -> None:
    task = Recommendation()
    texts = [
        "Harbour, because it is French.",
        "Candle, because it is popular.",
        "Tiger, because it is French.",
        "Meadow, because it is tense.",
    ]
    episodes = [Episode.of(example(), text) for text in texts]
    measured = {name: metric(episodes).tolist() for name, metric in task.metrics.items()}
    assert measured["ndcg"] == pytest.approx([1.0, 2 / 3, 0.0, 0.0])
    assert measured["regret"] == pytest.approx([0.0, 1 / 3, 1.0, 1.0])
    assert measured["explanation"] == pytest.approx([1.0, 0.0, 0.0, 0.5])
    assert measured["click_through"][0] > measured["click_through"][3] > measured["click_through"][2] == 0.0
    assert [task.is_success(episode) for episode in episodes] == [True, False, False, False]


GENRES = ("Drama", "Comedy|Romance", "Action|Sci-Fi", "Horror")


def rows(users: int = 60, films: int = 24) -> list[dict[str, str]]:
    """Write a table as it comes out of a CSV file: everybody likes early films, and users differ in kindness."""
    return [
        {
            "userId": str(user),
            "movieId": str(film),
            "title": f"Night {film}, The",
            "genres": GENRES[film % 4],
            "rating": str(min(5.0, max(0.5, 4 - 3 * (film % 12) / 12 + user % 3 - 1))),
            "timestamp": str(1000 * user + film),
        }
        for user in range(users)
        for film in range(films)
    ]


def test_table_of_ratings_becomes_histories_and_catalogues(tmp_path: Path) -> None:
    table = tmp_path / "ratings.csv"
    lines = [",".join(rows()[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows())]
    table.write_text("\n".join(lines) + "\n")
    task = Recommendation(str(table))
    assert task.reward == "clicks"
    shown = next(each for each in task.dataset if each.extra["seen"][0] == "The Night 0" and each.extra["user"] == "3")
    # User 3 gives 4 - 3 f / 12 - 1 stars: 3, 2.75, ...; films 0 to 5 are the history, 6 to 9 are held out.
    assert shown.text.splitlines()[:2] == ["3 The Night 0: Drama", "2.75 The Night 1: Comedy, Romance"]
    assert list(shown.extra["items"]) == [f"The Night {film}" for film in (6, 7, 8, 9)]
    assert shown.extra["preferences"]["The Night 6"] == pytest.approx(1.5 - 3)
    texts = ["The Night 6, because you like Drama.", "The night 7", "The Night 6 and The Night 7.", "The Night 0", ""]
    episodes = [Episode.of(shown, text) for text in texts]
    np.testing.assert_allclose(task.gold(episodes), [1.0, 2 / 3, 0.0, 0.0, 0.0])
    assert [task.is_success(episode) for episode in episodes] == [True, False, False, False, False]
    users = {split: {each.extra["user"] for each in task.for_split(split).dataset} for split in SPLITS}
    assert sum(map(len, users.values())) == 60 == len(set.union(*users.values()))


def test_references_of_a_table_of_ratings_recommend_the_best() -> None:
    task = Recommendation(rows())
    episodes = [Episode.of(each, text) for each in task.dataset for text in each.references]
    assert task.gold(episodes) == pytest.approx(np.ones(len(episodes)))
    assert all(map(task.is_success, episodes))


def test_rows_without_a_rating_are_counted_and_later_ratings_replace_earlier_ones() -> None:
    given = [*rows(1, 3), {**rows(1, 3)[0], "rating": "1", "timestamp": "9"}, {**rows(1, 3)[1], "rating": "?"}]
    table = load_ratings(given)
    assert table is not None
    assert dict(table.report.skipped) == {"no rating": 1}
    assert [(each.title, each.stars) for each in by_user(table.ratings)["0"]] == [
        ("The Night 1", 2.75),
        ("The Night 2", 2.5),
        ("The Night 0", 1.0),
    ]
    assert load_ratings([{"prompt": "Which film?", "reference": "Night"}]) is None
    assert spoken("Night to Remember, A (1958)") == "A Night to Remember (1958)"
    with pytest.raises(DataError, match="expected users with 10 ratings"):
        Recommendation(rows(20, 9))


def test_prompts_of_your_own_are_rewarded_by_their_references() -> None:
    own = [{"prompt": f"I liked film {number}. What next?", "reference": f"Film {number + 1}."} for number in range(40)]
    task = Recommendation(own)
    assert (task.reward, task.gold([Episode.of(task.dataset[0], "Film 1.")])) == ("rouge", None)
    assert task.is_success(Episode.of(task.dataset[0], task.dataset[0].references[0]))
    assert "Recommend" not in task.dataset[0].extra["catalogue"]


def test_rating_means_by_hand() -> None:
    users, items, ratings = ["ann", "ann", "bob"], ["x", "y", "x"], [5.0, 3.0, 1.0]
    means = RatingMeans.fit(users, items, ratings, shrinkage=1, passes=1)
    # Mean 3; x adds (2 - 2) / 3 = 0, y adds 0 / 2; ann adds (2 + 0) / 3, bob adds -2 / 2.
    assert means.predict(["ann", "bob", "eve"], ["x", "y", "z"]) == pytest.approx([3 + 2 / 3, 2.0, 3.0])
    assert rmse([3.0, 3.0], [5.0, 3.0]) == pytest.approx(math.sqrt(2))
    with pytest.raises(ValueError, match="as many users and items as ratings"):
        RatingMeans.fit(users, items, [])


def test_users_and_films_predict_held_out_ratings_better_than_the_mean() -> None:
    table = load_ratings(rows())
    assert table is not None
    train = [each for user in by_user(table.ratings).values() for each in user[:-2]]
    held_out = [each for user in by_user(table.ratings).values() for each in user[-2:]]
    means = RatingMeans.fit([e.user for e in train], [e.title for e in train], [e.stars for e in train], shrinkage=0.0)
    true = [each.stars for each in held_out]
    of_mean = rmse([means.mean] * len(true), true)
    # No film was held out of another user's ratings only, so that films 22 and 23 are unknown: users alone help.
    assert rmse(means.predict([e.user for e in held_out], [e.title for e in held_out]), true) < 0.9 * of_mean
