"""The dashboard: charts that say what the records say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from textgym.feedback import By, add_accuracy, answer_compare, answer_natural, answer_rank, answer_rate
from textgym.feedback.projects import project_status
from textgym.feedback.records.answers import Behaviour
from textgym.feedback.server import charts
from textgym.feedback.server.dashboard import (
    agreement_charts,
    annotators,
    generator_charts,
    pairwise_kappas,
    seconds_per_100_words,
)
from textgym.feedback.store.exports import PROJECT_FORMS
from textgym.feedback.types import Comparison
from textgym.types import Interval


def texts(chart: charts.Chart) -> list[str]:
    return [mark.text for mark in chart.marks if mark.tag == "text"]


def hints(chart: charts.Chart) -> list[str]:
    return [mark.hint for mark in chart.marks if mark.hint]


def test_ticks_are_round() -> None:
    assert charts.ticks(0, 47) == [0, 10, 20, 30, 40]
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert charts.ticks(-0.4, 1) == [0, 0.5, 1]


def test_lines_lie_where_the_values_are() -> None:
    chart = charts.line_chart("t", {"a": [(0, 0.0), (10, 1.0)]}, "x", (0.0, 1.0))
    (line,) = [mark for mark in chart.marks if mark.tag == "polyline"]
    (x1, y1), (x2, y2) = (tuple(map(float, point.split(","))) for point in str(line.attrs["points"]).split())
    assert (x1, x2) == (52, 506)
    assert (y1, y2) == (200, 12)


def test_bars_are_as_long_as_their_values() -> None:
    chart = charts.bar_chart("t", [("a", 10.0), ("b", 5.0), ("c", 0.0)])
    widths = [mark.attrs["width"] for mark in chart.marks if mark.tag == "rect"]
    assert widths == [300.0, 150.0, 1.0]
    assert "10" in texts(chart)


def test_histograms_count_everything_once() -> None:
    chart = charts.histogram_chart("t", [1.0] * 30 + [2.0] * 19 + [1000.0], "seconds")
    counts = [int(hint.split()[0]) for hint in hints(chart)]
    assert sum(counts) == 50
    assert counts[-1] == 20  # the far one lies in the last bin, with the highest of the others


@pytest.mark.parametrize("rows", [[], [("a", Interval(0.5, 0.0, 1.0))], [("a" * 60, Interval(3.0, -np.inf, np.inf))]])
def test_intervals_of_any_size_stay_inside(rows: list[tuple[str, Interval]]) -> None:
    chart = charts.interval_chart("t", rows, 0.0)
    places = [value for mark in chart.marks for name, value in mark.attrs.items() if name in ("x1", "x2", "cx", "x")]
    assert all(0 <= float(place) <= chart.width for place in places)


def vote(place: Any, annotator: str, choices: str, seconds: float = 4.0) -> None:
    for number, choice in enumerate(choices):
        item = place.store.add([place.question(number)], overlap=5)[0]
        question = replace(place.question(number), order_seed=number)
        name = {"t": "tie"}.get(choice, choice)
        records = answer_compare(question, name, By(annotator, 1.0, seconds))  # type: ignore[arg-type]
        place.store.vote(f"{annotator}-{number}", annotator, item, records)


def test_figures_of_known_votes(place: Any) -> None:
    vote(place, "ann", "aaab", 2.0)
    vote(place, "bob", "aaaa", 4.0)
    vote(place, "cy", "bbbb")
    records = place.store.records()
    people = annotators(place.store.votes(), place.store)
    assert [(person.name, person.votes, person.seconds) for person in people] == [
        ("ann", 4, 2.0),
        ("bob", 4, 4.0),
        ("cy", 4, 4.0),
    ]
    matrix, strengths = generator_charts(records)
    assert any(hint.startswith("model-a beats model-b: 58%") for hint in hints(matrix))
    assert texts(strengths).index("model-a") < texts(strengths).index("model-b")
    titles = [chart.title for chart in agreement_charts(records)]
    assert titles == [
        "Agreement (Krippendorff's alpha)",
        "Two people give the same answer",
        "The text shown first wins (0.5: no position bias)",
    ]
    assert pairwise_kappas(records)[0][2] == 0.0


def test_two_out_of_many_who_never_agree_are_found() -> None:
    by = {f"ann{number:02}": "ab" * 4 for number in range(34)} | {"zed": "ba" * 4}
    records = [
        Comparison(f"k{item}", "p", annotator=name, response_a="x", response_b="y", choice=choice)
        for name, said in by.items()
        for item, choice in enumerate(said)
    ]
    assert next(kappa for _, who, kappa in pairwise_kappas(records) if who == "zed") == -1.0


def test_position_bias_of_ranks_and_who_is_reversed_are_shown(place: Any) -> None:
    """Two of three say the opposite of the third, who alone passes the checks."""
    questions = [place.question(number, "rank", 3) for number in range(30)]
    items = place.store.add(questions, overlap=3)
    checks = [place.question(100 + number) for number in range(4)]
    check_items = place.store.add_checks(checks, ["a"] * 4)
    for name in ("ann", "bob", "cy"):
        honest = name == "ann"
        for question, item in zip(questions, items, strict=True):
            shown = replace(question, order_seed=4 if honest else None)
            place.store.vote(
                f"{name}{item}", name, item, answer_rank(shown, [1, 2, 3] if honest else [3, 2, 1], By(name))
            )
        for question, item in zip(checks, check_items, strict=True):
            place.store.vote(f"{name}{item}", name, item, answer_compare(question, "a" if honest else "b", By(name)))
    page = place.visitor().get("/dashboard").text
    assert "<figcaption>The text shown first is ranked before another (0.5: no position bias)</figcaption>" in page
    said = "bob, cy are reversed, answering systematically opposite to ann: are labels swapped?"
    assert said in page
    status = place.visitor().get("/api/status").json()
    assert said in status["concerns"][0]
    assert (
        "Position bias in rankings: the text shown first (top) is ranked before another one in 100 % of cases"
        in status["concerns"][1]
    )
    assert status["rank_position_bias"]["mean"] == 1.0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_numbers_of_the_matrix_can_be_read(share: float) -> None:
    """Ink on a cell over a card, in both colour schemes: 4.5 to 1 at least."""
    chart = charts.matrix_chart("t", ["x", "y"], {(0, 1): Interval(share, 0.0, 1.0)})
    (opacity,) = (mark.attrs["fill-opacity"] for mark in chart.marks if mark.tag == "rect")
    for ink, cell, card in (("1d2129", "2457c5", "ffffff"), ("e6e9ee", "7ea6ff", "1e232b")):
        ground = [
            float(opacity) * each + (1 - float(opacity)) * under
            for each, under in zip(rgb(cell), rgb(card), strict=True)
        ]
        light = sorted([luminance(rgb(ink)), luminance(ground)])
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5


def rgb(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]


def luminance(colour: list[float]) -> float:
    """Relative luminance by WCAG 2.2."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_chart_appears(place: Any) -> None:
    vote(place, "ann", "abta")
    vote(place, "bob", "abba")
    for name, grades in (("ann", "15"), ("bob", "25")):
        for number, grade in enumerate(grades):
            question = place.question(number, "rate", 1)
            (item,) = place.store.add([question], overlap=2)
            place.store.vote(f"r-{name}-{number}", name, item, answer_rate(question, [int(grade)], By(name, 1.0, 3.0)))
    question = place.question(0, "natural", 1)
    (item,) = place.store.add([question])
    place.store.vote("n", "ann", item, answer_natural(question, [Behaviour(0, True, 1.0)], By("ann")))
    place.store.add_checks([place.question(99)], ["a"])
    add_accuracy(place.store, 100, Interval(0.6, 0.5, 0.7))
    page = place.visitor().get("/dashboard").text
    assert re.findall("<figcaption>(.*)</figcaption>", page) == [
        "Votes over time",
        "Votes per annotator",
        "Agreement (Krippendorff&#39;s alpha)",
        "Two people give the same answer",
        "The text shown first wins (0.5: no position bias)",
        "Time per vote",
        "Natural use: time per 100 words, of texts that were opened",
        "How often the row beats the column",
        "Bradley-Terry strength, 95 %",
        "Held-out accuracy of the reward model, 95 %",
    ]
    assert "style=" not in page  # the policy would not allow it
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "nan" not in page.lower()


def test_dwell_is_normalised_by_length(place: Any) -> None:
    question = place.question(0, "natural", 1)  # "response a to 0": four words
    (record,) = answer_natural(question, [Behaviour(0, True, 2.0)], By("ann"))
    assert seconds_per_100_words(record) == 50.0


def test_an_empty_project_has_a_dashboard(place: Any) -> None:
    assert "Charts appear after the first votes" in place.visitor().get("/dashboard").text


@pytest.mark.parametrize("form", PROJECT_FORMS)
def test_downloads(place: Any, form: str) -> None:
    vote(place, "ann", "ab")
    visitor = place.visitor()
    assert f'href="/export/{form}"' in visitor.get("/dashboard").text
    sent = visitor.get(f"/export/{form}")
    assert sent.content.decode().startswith("\ufeff" if form == "csv" else "{")
    assert "attachment" in sent.headers["content-disposition"]
    if form != "csv":
        assert all(json.loads(line) for line in sent.text.splitlines())


@pytest.mark.parametrize("form", ["../../etc/passwd", "%2e%2e%2fpasswd", "xlsx", "", "records/../x"])
def test_downloads_name_no_files(place: Any, form: str) -> None:
    assert place.visitor().get(f"/export/{form}").status_code in (404, 405, 422)


def test_annotators_see_no_votes_of_others(closed: Any) -> None:
    closed.site.accounts.join(closed.site.accounts.invite(0.0), "ann", "a long password", 0.0)
    vote(closed, "bob", "ab")
    ann = closed.visitor("ann")
    for path in ("/dashboard", "/export/records", "/people"):
        refused = ann.get(path)
        assert refused.status_code == 403
        assert "bob" not in refused.text
    assert "bob" not in ann.get("/").text


def test_the_dashboard_says_what_the_status_says(place: Any) -> None:
    vote(place, "ann", "t" * 12)
    owner = place.visitor()
    page = owner.get("/dashboard")
    assert "ann gave the same answer 12 times" in page.text
    assert "<li>12 comparisons</li>" in page.text
    assert owner.get("/api/status").json()["concerns"] == project_status(place.store).concerns
    assert {"block", "exclude"} <= set(re.findall(r'name="action" value="(.*?)"', page.text))
    csrf = re.findall(r'name="csrf" value="(.*?)"', page.text)[-1]
    page = owner.post("/moderation", data={"csrf": csrf, "page": "dashboard", "action": "block", "name": "ann"})
    assert place.store.moderation.blocked() == {"ann"}
    assert "blocked" in page.text
