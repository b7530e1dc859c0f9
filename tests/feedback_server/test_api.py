"""The JSON interface."""

from __future__ import annotations

from typing import Any

import pytest

from textgym.feedback import accuracy_curve
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Question, Ranking, Rating
from textgym.types import Interval

TOKEN = "the-owners-token"
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "compare": (2, {"choice": "b"}),
    "rank": (3, {"ranks": [2, 1, 3]}),
    "rate": (1, {"ratings": [4], "criteria": [{"short": 5}]}),
    "edit": (2, {"text": "better", "edited": 1, "choice": "b"}),
    "natural": (
        1,
        {"behaviours": [{"position": 0, "clicked": True, "dwell_seconds": 2.5, "scrolled": 1.0, "copied": False}]},
    ),
}


def add(client: Any, mode: str, count: int, **more: Any) -> Any:
    question = {"task_key": "k", "prompt": "p", "responses": [f"r{n}" for n in range(count)], "mode": mode}
    question |= {"generators": [f"m{n}" for n in range(count)], "criteria": ["short"] if mode == "rate" else []}
    return client.post("/api/questions", json={"questions": [question], **more})


@pytest.mark.parametrize("mode", ANSWERS)
def test_every_mode_from_question_to_record(place: Any, mode: str) -> None:
    client = place.visitor()
    count, answer = ANSWERS[mode]
    assert add(client, mode, count).json() == {"items": [1]}
    asked = client.post("/api/assign", json={"annotator": "ann"}).json()
    assert "generators" not in asked["question"]
    vote = {"annotator": "ann", "item": asked["item"], "answer": answer, "id": "v1", "seconds": 3.5}
    assert [client.post("/api/votes", json=vote).json()["new"] for _ in range(2)] == [True, False]
    kind = {"compare": Comparison, "rank": Ranking, "rate": Rating, "edit": Demonstration, "natural": ImplicitFeedback}
    record = place.store.records()[-1]
    assert isinstance(record, kind[mode])
    assert (record.seconds, record.annotator) == (3.5, "ann")
    assert client.get("/api/records").json()[-1]["annotator"] == "ann"
    assert client.post("/api/undo", json={"annotator": "ann"}).json() == {"undone": True}
    assert client.get("/api/records").json() == []
    assert client.post("/api/undo", json={"annotator": "ann"}).json() == {"undone": False}


def test_a_conversation_stays_one(place: Any) -> None:
    client = place.visitor()
    turns = [{"role": "user", "content": "Guess."}, {"role": "assistant", "content": "Five."}]
    question = {"task_key": "k", "prompt": turns, "responses": ["r0", "r1"]}
    assert client.post("/api/questions", json={"questions": [question]}).json() == {"items": [1]}
    assert client.post("/api/assign", json={"annotator": "ann"}).json()["question"]["prompt"] == turns
    client.post("/api/votes", json={"annotator": "ann", "item": 1, "answer": {"choice": "a"}})
    assert client.get("/api/records").json()[0]["prompt"] == turns
    for wrong in ([], [{"role": "user"}], 3):
        body = {"questions": [question | {"prompt": wrong}]}
        assert client.post("/api/questions", json=body).status_code == 422


def test_ranks_mean_the_texts_as_listed(place: Any) -> None:
    client = place.visitor()
    add(client, "rank", 3)
    client.post("/api/assign", json={"annotator": "ann"})
    client.post("/api/votes", json={"annotator": "ann", "item": 1, "answer": {"ranks": [2, 1, 3]}})
    (record,) = place.store.records()
    assert (record.responses, record.ranks) == (("r0", "r1", "r2"), (2, 1, 3))


@pytest.mark.parametrize(
    "answer",
    [
        ("rank", {"ranks": [1, 1.5, 2]}),
        ("rank", {"ranks": [True, 2, 3]}),
        ("rate", {"ratings": [4.0]}),
        ("rate", {"ratings": [4], "criteria": [{"another": 3}]}),
        ("edit", {"text": "better", "edited": -1, "choice": "b"}),
        ("edit", {"text": "better", "edited": 2, "choice": "b"}),
    ],
)
def test_what_could_not_be_read_again_is_refused(place: Any, answer: tuple[str, dict[str, Any]]) -> None:
    client, (mode, said) = place.visitor(), answer
    add(client, mode, ANSWERS[mode][0])
    client.post("/api/assign", json={"annotator": "ann"})
    vote = {"annotator": "ann", "item": 1, "answer": said}
    assert client.post("/api/votes", json=vote).status_code == 422
    assert client.get("/api/status").json()["votes"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("votes", '{"annotator": "ann", "item": 1' + "0" * 30 + "}"),
        ("questions", '{"questions": [], "overlap": 1' + "0" * 30 + "}"),
        ("questions", '{"questions": [], "priority": NaN}'),
        ("priorities", '{"1": NaN}'),
        ("priorities", '{"1' + "0" * 30 + '": 1.0}'),
        ("accuracy", '{"labels": 1' + "0" * 30 + ', "mean": 0.5, "low": 0.4, "high": 0.6}'),
    ],
)
def test_numbers_out_of_range_are_refused(place: Any, path: str, body: str) -> None:
    reply = place.visitor().post(f"/api/{path}", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422


def test_checks_priorities_and_status(place: Any) -> None:
    client = place.visitor()
    add(client, "compare", 2, overlap=2)
    client.post("/api/questions", json={"questions": [{"task_key": "z", "prompt": "z", "responses": ["a", "b"]}]})
    assert client.post("/api/priorities", json={"2": 5.0}).status_code == 200
    assert client.post("/api/assign", json={"annotator": "ann"}).json()["item"] == 2
    add(client, "compare", 2, expected=["a"])
    found = client.get("/api/status").json()
    assert (found["items"], found["wanted"], found["votes"]) == (2, 3, 0)
    assert client.get("/api/questions").json()["3"]["prompt"] == "p"


def test_priorities_of_questions_that_are_not_there_are_refused(place: Any) -> None:
    place.store.add([Question("k", "p", ("x", "y"))])
    reply = place.visitor().post("/api/priorities", json={"1": 5.0, "9": 1.0})
    assert (reply.status_code, place.store.plan()[0].priority) == (422, 0.0)
    assert "got 9" in reply.json()["error"]


def test_questions_that_are_added_again_are_asked_of_more_people(place: Any) -> None:
    client = place.visitor()
    for overlap in (1, 3, 2):
        assert add(client, "compare", 2, overlap=overlap).json() == {"items": [1]}
    assert client.get("/api/status").json()["wanted"] == 3


def test_accuracies_are_kept_for_the_dashboard(place: Any) -> None:
    client = place.visitor()
    for labels, mean in ((200, 0.7), (100, 0.6), (200, 0.75)):
        point = {"labels": labels, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        assert client.post("/api/accuracy", json=point).status_code == 200
    curve = accuracy_curve(place.store)
    assert [point.labels for point in curve] == [100, 200]
    assert curve[1].accuracy == Interval(0.75, 0.65, 0.85)
    assert client.post("/api/accuracy", json={"labels": 1, "mean": 2, "low": 0, "high": 1}).status_code == 422
    assert "Held-out accuracy" in client.get("/dashboard").text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/questions", {"questions": [{"task_key": "k", "prompt": "p", "responses": ["a"]}]}, 422),
        ("/api/questions", {"questions": [{"task_key": "k", "prompt": "p", "responses": ["a", "a"]}]}, 422),
        ("/api/questions", {"questions": "x"}, 422),
        ("/api/questions", {"questions": [], "overlap": 0}, 422),
        ("/api/questions", {"questions": [], "expected": ["a"]}, 422),
        ("/api/assign", {"annotator": ""}, 422),
        ("/api/assign", {}, 422),
        ("/api/votes", {"annotator": "ann", "item": 99, "answer": {"choice": "a"}}, 409),
        ("/api/votes", {"annotator": "ann", "item": 1, "answer": {"choice": "c"}}, 422),
        ("/api/votes", {"annotator": "ann", "item": 1, "answer": {"ranks": [1, 2]}}, 422),
        ("/api/nothing", {}, 404),
    ],
)
def test_mistakes_are_told_in_json(place: Any, path: str, body: dict[str, Any], status: int) -> None:
    client = place.visitor()
    add(client, "compare", 2)
    client.post("/api/assign", json={"annotator": "ann"})
    refused = client.post(path, json=body)
    assert refused.status_code == status
    assert refused.json()["error"]
    assert place.store.votes() == []


def test_forms_of_foreign_pages_do_not_reach_it(place: Any) -> None:
    refused = place.visitor().post("/api/assign", content='{"annotator": "x"}', headers={"Content-Type": "text/plain"})
    assert refused.status_code == 415


def test_a_closed_site_wants_the_token(closed: Any) -> None:
    closed.store.add([closed.question()])
    stranger = closed.visitor()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        assert stranger.get("/api/records", headers=headers).status_code == 401
        assert stranger.post("/api/assign", json={"annotator": "ann"}, headers=headers).status_code == 401
    assert stranger.get("/api/status", headers=bearer).json()["items"] == 1
    assert stranger.post("/api/assign", json={"annotator": "ann"}, headers=bearer).json()["item"] == 1
    owner = closed.visitor()
    owner.get(f"/enter?token={TOKEN}")
    assert owner.get("/api/records").json() == []
    assert owner.post("/api/assign", json={"annotator": "ann"}).status_code == 403
    csrf = {"X-CSRF-Token": owner.fields(owner.get("/people"), "/people")["csrf"]}
    assert owner.post("/api/assign", json={"annotator": "ann"}, headers=csrf).status_code == 200
    closed.site.accounts.join(closed.site.accounts.invite(0.0), "bob", "a long password", 0.0)
    assert closed.visitor("bob").get("/api/records").status_code == 401
