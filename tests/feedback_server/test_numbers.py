"""Numbers and lengths that clients send, or that a project holds already: none breaks a chart, a page or an export."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import replace
from typing import Any

import pytest

from textgym.feedback import Behaviour, By, accuracy_curve, add_accuracy, answer_compare, answer_natural
from textgym.feedback.server import charts
from textgym.feedback.server.forms import LONGEST_TEXT
from textgym.feedback.server.timing import seconds_taken
from textgym.feedback.store.exports import PROJECT_FORMS
from textgym.types import Interval

WILD = (math.inf, -math.inf, math.nan, 1e308, -1e308, 1.7e308, 5e-324, 1e-320, 0.0, -1.0, 2.5)


def reported(place: Any, seconds: object, passed: float) -> Any:
    """Report having read the first of two texts for some seconds, so many after the page was given out."""
    place.store.add([place.question(mode="natural", responses=2)])
    place.store.update_setting("consents", lambda _: ["me"])
    visitor = place.visitor()
    form = visitor.fields(visitor.get("/"))
    place.now = place.store.assignment("me", 1).started + passed
    rows = [{"clicked": True, "seconds": seconds, "scrolled": 1, "copied": False}] * 2
    return visitor.post("/report", data={**form, "behaviour": json.dumps(rows)})


@pytest.mark.parametrize(
    ("seconds", "kept"), [(1e308, 60.0), (10**30, 60.0), (61, 60.0), (60, 60.0), (2.5, 2.5), (0, 0.0), (1e-320, 1e-320)]
)
def test_a_report_counts_no_more_than_the_time_that_passed(place: Any, seconds: float, kept: float) -> None:
    assert reported(place, seconds, 60.0).status_code == 204
    assert [record.dwell_seconds for record in place.store.records()] == [kept, kept]
    assert place.visitor().get("/dashboard").status_code == 200


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1, -1e308, 10**400, "", None, [1]])
def test_a_report_of_no_time_is_refused(place: Any, seconds: object) -> None:
    assert reported(place, seconds, 60.0).status_code == 422
    assert place.store.votes() == []


@pytest.mark.parametrize("claimed", ["1e308", "inf", "-inf", "nan", "-5", "1e400", "1" * 400, "x", ""])
def test_an_answer_takes_no_longer_than_the_time_that_passed(place: Any, claimed: str) -> None:
    place.store.add([place.question()])
    visitor = place.visitor()
    form = {**visitor.fields(visitor.get("/")), "seconds": claimed, "choice": "tie"}
    place.now = place.store.assignment("me", 1).started + 60.0
    assert visitor.post("/vote", data=form).status_code == 200
    assert [record.seconds for record in place.store.records()] == [60.0]
    assert [seconds_taken(claimed, 60.0) for claimed in (1.0, 60.0, 61.0, math.nan, -1.0, None)] == [1.0, *[60.0] * 5]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"seconds": -1}, 422),
        ({"seconds": 1e308}, 200),
        ({"behaviours": [[0, 1e308, 0]] * 2}, 200),
        ({"behaviours": [[0, -1, 0]] * 2}, 422),
        ({"behaviours": [[10**30, 1, 0]] * 2}, 422),
        ({"behaviours": [[0, "x", 0]] * 2}, 422),
        ({"behaviours": [[0, 1, 1e308]] * 2}, 422),
    ],
)
def test_numbers_of_the_api(place: Any, more: dict[str, Any], status: int) -> None:
    place.store.add([place.question(mode="natural", responses=2)])
    started = place.store.assign("ann").started
    place.now = started + 60.0
    names = ("position", "dwell_seconds", "scrolled", "clicked")
    rows = [dict(zip(names, [*row, True], strict=True)) for row in more.pop("behaviours", [[0, 1, 0]] * 2)]
    body = {"annotator": "ann", "item": 1, "answer": {"behaviours": rows}, **more}
    visitor = place.visitor()
    assert visitor.post("/api/votes", json=body).status_code == status
    for record in place.store.records():
        assert (record.seconds, record.dwell_seconds) in ((60.0, 1.0), (60.0, 60.0))
    assert visitor.get("/dashboard").status_code == 200


def test_texts_and_fields_have_a_longest_length(place: Any) -> None:
    place.store.add([place.question(mode="edit", responses=1)], overlap=2)
    visitor = place.visitor()
    assert visitor.answer(text="x" * (LONGEST_TEXT + 1)).status_code == 422
    for name in ("vote", "choice", "mode", "seconds", "anything"):
        assert visitor.answer(**{"text": "better", name: "x" * 1001}).status_code == 422
    place.store.assign("ann")
    body = {"annotator": "ann", "item": 1, "answer": {"text": "x" * (LONGEST_TEXT + 1)}}
    assert visitor.post("/api/votes", json=body).status_code == 422
    question = {
        "task_key": "k",
        "prompt": "p",
        "responses": ["a"],
        "mode": "rate",
        "criteria": list("abcdefghijklmnopqrstu"),
    }
    assert visitor.post("/api/questions", json={"questions": [question]}).status_code == 422
    assert place.store.votes() == []
    assert visitor.answer(text="x" * LONGEST_TEXT).status_code == 200


def test_a_name_of_megabytes_is_not_normalised_nor_sent_back(closed: Any) -> None:
    reply = closed.visitor().post("/login", data={"name": "\ufdfa" * 100_000, "password": "x"})
    assert reply.status_code == 422
    assert len(reply.text) < 5000


def spoil(place: Any, seconds: object, received: float = 1000.0) -> None:
    """Write numbers into a project that nobody could send: an earlier version, or another program, kept them."""
    question, natural = place.question(), place.question(1, "natural", 2)
    for number, item in enumerate(place.store.add([question, natural], overlap=9)):
        for who in ("ann", "bob"):
            by = By(who, 1.0, 4.0)
            records = (
                answer_natural(natural, [Behaviour(0, True, 3.25), Behaviour(1, False, 3.25)], by)
                if number
                else answer_compare(replace(question, order_seed=1), "a", by)
            )
            place.store.vote(f"{who}{number}", who, item, records)
    with place.store._database.write() as db:
        for name, text in db.execute("SELECT id, records FROM votes").fetchall():
            text = text.replace("4.0", json.dumps(seconds)).replace("3.25", json.dumps(seconds))
            db.execute("UPDATE votes SET records = ?, received = ? WHERE id = ?", (text, received, name))


@pytest.mark.parametrize("seconds", WILD)
@pytest.mark.filterwarnings("ignore:read .* of an answer")
def test_the_dashboard_survives_any_number_in_a_project(place: Any, seconds: float) -> None:
    spoil(place, seconds)
    visitor = place.visitor()
    page = visitor.get("/dashboard")
    assert page.status_code == 200
    assert not re.search(r'"-?(nan|inf)|>-?(nan|inf)|\d{30}', page.text)
    for path in ("/api/status", "/api/records", *(f"/export/{form}" for form in PROJECT_FORMS)):
        reply = visitor.get(path)
        assert reply.status_code == 200
        assert "Infinity" not in reply.text
        assert "NaN" not in reply.text


@pytest.mark.parametrize("received", [math.inf, -math.inf, 1e308, -1e308, -1.0, 0.0])
def test_the_dashboard_survives_any_time_in_a_project(place: Any, received: float) -> None:
    spoil(place, 2.0, received)
    assert place.visitor().get("/dashboard").status_code == 200


def test_impossible_times_are_said_and_the_rest_is_read(place: Any) -> None:
    spoil(place, math.inf)
    with pytest.warns(UserWarning, match="read seconds of an answer as unknown"):
        records = place.store.records()
    assert [record.seconds for record in records] == [None] * 6
    assert [record.time for record in records] == [1.0] * 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spoil(place.beside("sound.db"), 2.0)


@pytest.mark.parametrize(
    "row", [[1, math.nan, 0, 1], [1, 0.5, 0.4, 1e308], [math.inf, 0.5, 0.4, 0.6], [1, 0.5], "x", [None] * 4]
)
def test_accuracies_that_no_fit_noted_are_left_out(place: Any, row: object) -> None:
    add_accuracy(place.store, 10, Interval(0.6, 0.5, 0.7))
    place.store.update_setting("accuracy", lambda rows: [*rows, row])
    assert [point.labels for point in accuracy_curve(place.store)] == [10]
    assert place.visitor().get("/dashboard").status_code == 200


@pytest.mark.parametrize("first", WILD)
@pytest.mark.parametrize("second", WILD)
def test_no_two_numbers_break_a_chart(first: float, second: float) -> None:
    drawn = [
        charts.histogram_chart("t", [first, second, 1.0], "x"),
        charts.histogram_chart("t", [first] * 60 + [second], "x"),
        charts.line_chart("t", {"a": [(first, second), (0.0, first)], "b": [(1.0, second)]}, "x"),
        charts.line_chart("t", {"a": [(0.0, first)]}, "x", (0.0, 1.0), [(second, Interval(first, second, first))]),
        charts.interval_chart("t", [("a", Interval(first, second, first)), ("b", Interval(0.5, 0.0, second))], 0.0),
        charts.bar_chart("t", [("a", first), ("b", second)]),
    ]
    for chart in drawn:
        places = [value for mark in chart.marks for value in mark.attrs.values() if isinstance(value, float)]
        assert all(math.isfinite(place) and -1 <= place <= 1e4 for place in places)
