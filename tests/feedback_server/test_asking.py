"""Asking without scripts: every mode is answered, skipped and undone by forms alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from textgym.feedback import export_questions, import_questions, read_records, shown_order
from textgym.feedback.records.export import export_records
from textgym.feedback.server.items import seal_item
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Mode, Question, Ranking, Rating
from textgym.types import Message

TURNS = (Message("system", "Be brief."), Message("user", "Guess <one>."), Message("assistant", "Five."),
         Message("user", "Lower."))  # fmt: skip


def texts_of(page: str) -> list[str]:
    """Return the responses that a page shows, in its order."""
    shown = re.findall(r'<div class="text" dir="auto">(.*?)</div>', page, re.DOTALL)
    return [text for text in (re.sub("</?mark>", "", each) for each in shown) if text.startswith("response")]


@pytest.mark.parametrize(("choice", "place_of_winner"), [("first", 0), ("second", 1)])
def test_the_text_that_was_chosen_wins(place: Any, choice: str, place_of_winner: int) -> None:
    place.store.add([place.question(number) for number in range(12)])
    visitor = place.visitor()
    shown = []
    for _ in range(12):
        page = visitor.get("/")
        shown.append(texts_of(page.text)[place_of_winner])
        assert visitor.post("/vote", data={**visitor.fields(page), "choice": choice}).status_code == 200
    records = place.store.records()
    assert [record.chosen for record in records if isinstance(record, Comparison)] == shown
    assert {record.choice for record in records if isinstance(record, Comparison)} == {"a", "b"}  # both orders came up
    assert all(record.order_seed is not None and record.seconds is not None for record in records)


@pytest.mark.parametrize("choice", ["tie", "both_bad"])
def test_neither_is_better(place: Any, choice: str) -> None:
    place.store.add([place.question()])
    place.visitor("ann").answer(choice=choice)
    (record,) = place.store.records()
    assert isinstance(record, Comparison)
    assert (record.choice, record.annotator) == (choice, "ann")


def test_a_skip_is_no_answer_and_asks_on(place: Any) -> None:
    place.store.add([place.question(number) for number in range(2)])
    page = place.visitor().answer(choice="skip")
    assert "prompt 1" in page.text
    assert "1 of 2" in page.text
    assert place.store.records() == []
    assert place.store.votes()[0].skipped


def test_undo_asks_again_and_pressing_twice_takes_back_one(place: Any) -> None:
    place.store.add([place.question(number) for number in range(3)])
    visitor = place.visitor()
    visitor.answer(choice="first")
    page = visitor.answer(choice="second")
    assert "prompt 2" in page.text
    fields = visitor.fields(page, "/undo")
    for _ in range(2):
        assert "prompt 1" in visitor.post("/undo", data=fields).text
    assert [vote.item for vote in place.store.votes()] == [1]


def test_a_form_that_is_sent_twice_is_one_vote(place: Any) -> None:
    place.store.add([place.question(number) for number in range(2)])
    visitor = place.visitor()
    form = {**visitor.fields(visitor.get("/")), "choice": "first"}
    for _ in range(3):
        assert "prompt 1" in visitor.post("/vote", data=form).text
    assert len(place.store.votes()) == 1


def test_a_second_answer_does_not_count(place: Any) -> None:
    place.store.add([place.question(number) for number in range(2)])
    visitor = place.visitor()
    pages = [visitor.get("/"), visitor.get("/")]
    visitor.post("/vote", data={**visitor.fields(pages[0]), "choice": "tie"})
    page = visitor.post("/vote", data={**visitor.fields(pages[1]), "choice": "both_bad"})
    assert "the first answer counts" in page.text
    (record,) = place.store.records()
    assert isinstance(record, Comparison)
    assert record.choice == "tie"


def tell_writers(place: Any) -> None:
    place.store.update_setting("project", lambda _: {"reveal": True})


def test_generators_are_told_after_the_vote_only_if_the_project_says_so(place: Any) -> None:
    place.store.add([place.question(number) for number in range(2)])
    visitor = place.visitor()
    tell_writers(place)
    assert "model-" not in visitor.get("/").text
    page = visitor.answer(choice="first").text
    assert re.search(r"A is better \(A: model-[ab], B: model-[ab]\)", page)
    place.store.update_setting("project", lambda _: {"reveal": False})
    assert "model-" not in visitor.get("/").text


@pytest.mark.parametrize(("mode", "values"), [
    ("compare", {"choice": "first"}), ("rank", {"rank-0": "1", "rank-1": "2"}),
    ("rate", {"rating-0": "3", "rating-1": "2"}), ("edit", {"text": "mine", "choice": "first"}),
])  # fmt: skip
def test_nobody_is_told_who_wrote_a_text_by_default(place: Any, mode: Mode, values: dict[str, str]) -> None:
    place.store.add([place.question(mode=mode)])
    page = place.visitor().answer("/?better=first", **values).text
    assert "Last answer" in page
    assert "model-" not in page


@pytest.mark.parametrize("mode", ["compare", "rate", "edit"])
def test_words_are_counted_if_the_project_says_so(place: Any, mode: Mode) -> None:
    place.store.add([place.question(mode=mode)])
    visitor = place.visitor()
    assert not re.search(r"\d words", visitor.get("/").text)
    place.store.update_setting("project", lambda _: {"word_counts": True})
    assert visitor.get("/").text.count("<small>4 words</small>") == 2


def without_texts(page: str) -> str:
    """Return a page without what differs between any two questions."""
    page = re.sub(r'(name="(?:csrf|item|vote)" value=")[^"]*', r"\1", page)
    page = re.sub(r"<progress .*?</div>", "", page, flags=re.DOTALL)
    return re.sub(r"</?mark>|(?:response|prompt) .*?(?=</div>)", "", page)


@pytest.mark.parametrize(("mode", "expected", "values"), [
    ("compare", "a", {"choice": "first"}), ("rate", [1, 2], {"rating-0": "5", "rating-1": "5"}),
])  # fmt: skip
@pytest.mark.parametrize("reveal", [False, True])
def test_nothing_tells_a_check_from_another_question(
    place: Any, mode: Mode, expected: Any, values: dict[str, str], reveal: bool
) -> None:
    """Neither the page that asks it, nor the one after the answer, nor its number."""
    place.store.update_setting("project", lambda _: {"reveal": reveal})
    place.store.add([place.question(number, mode) for number in range(30)])
    place.store.add_checks([Question(f"c{n}", f"prompt c{n}", ("response x", "response y"), mode) for n in range(3)],
                           [expected] * 3)  # fmt: skip
    visitor = place.visitor()
    pages, items = [visitor.get("/")], []
    while "All done" not in pages[-1].text:
        items.append(visitor.fields(pages[-1])["item"])
        pages.append(visitor.post("/vote", data={**visitor.fields(pages[-1]), **values}))
    assert sum("prompt c" in page.text for page in pages) == 3
    assert len({without_texts(page.text) for page in pages[1:-1]}) == 1
    assert len(set(items)) == len(items)
    assert {len(item) for item in items} == {22}
    assert not any(item.isdecimal() for item in items)


def test_what_was_said_is_shown_in_the_shown_order(place: Any) -> None:
    place.store.add([place.question()])
    tell_writers(place)
    visitor = place.visitor()
    first = texts_of(visitor.get("/").text)[0].split()[1]
    assert f"A is better (A: model-{first}, " in visitor.answer(choice="first").text


def test_rank(place: Any) -> None:
    place.store.add([place.question(mode="rank", responses=4)])
    tell_writers(place)
    visitor = place.visitor()
    shown = texts_of(visitor.get("/").text)
    page = visitor.answer(**{"rank-0": "2", "rank-1": "4", "rank-2": "2", "rank-3": "1"})
    assert "ranked (1. model-" in page.text
    (record,) = place.store.records()
    assert isinstance(record, Ranking)
    by_text = dict(zip(record.responses, record.ranks, strict=True))
    assert [by_text[text] for text in shown] == [2, 4, 2, 1]


def test_ranks_with_gaps_are_closed(place: Any) -> None:
    place.store.add([place.question(mode="rank", responses=3)])
    place.visitor().answer(**{"rank-0": "3", "rank-1": "3", "rank-2": "3"})
    (record,) = place.store.records()
    assert isinstance(record, Ranking)
    assert record.ranks == (1, 1, 1)


def test_rate_with_criteria(place: Any) -> None:
    place.store.add([place.question(mode="rate", responses=2, criteria=("faithful", "short"))])
    visitor = place.visitor()
    page = visitor.get("/").text
    assert "useless" in page
    assert "excellent" in page
    shown = texts_of(page)
    grades = {
        "rating-0": "5",
        "rating-0-0": "4",
        "rating-0-1": "3",
        "rating-1": "1",
        "rating-1-0": "2",
        "rating-1-1": "1",
    }
    visitor.answer(**grades)
    found = {record.response: record for record in place.store.records() if isinstance(record, Rating)}
    assert (found[shown[0]].rating, found[shown[0]].criteria) == (5, {"faithful": 4, "short": 3})
    assert (found[shown[1]].rating, found[shown[1]].criteria) == (1, {"faithful": 2, "short": 1})


def test_edit_one(place: Any) -> None:
    place.store.add([place.question(mode="edit", responses=1)])
    visitor = place.visitor()
    assert "<textarea" in visitor.get("/").text
    visitor.answer(text="a better\r\ntext")
    (record,) = place.store.records()
    assert isinstance(record, Demonstration)
    assert (record.response, record.edited_from) == ("a better\ntext", "response a to 0")


@pytest.mark.parametrize("better", ["first", "second", "tie", "both_bad"])
def test_edit_the_better_one_of_two(place: Any, better: str) -> None:
    place.store.add([place.question(mode="edit")])
    visitor = place.visitor()
    page = visitor.get("/")
    assert "<textarea" not in page.text
    shown = texts_of(page.text)
    path = f"/?mode=edit&better={better}"
    draft = re.findall(r"<textarea[^>]*>\n(.*)</textarea>", visitor.get(path).text)
    source = {"first": shown[0], "second": shown[1], "tie": shown[0], "both_bad": None}[better]
    assert draft == [source or ""]
    visitor.answer(path, text="better still")
    comparison, demonstration = place.store.records()
    assert isinstance(comparison, Comparison)
    assert isinstance(demonstration, Demonstration)
    assert demonstration.edited_from == source
    if better in ("first", "second"):
        assert comparison.chosen == source
    else:
        assert comparison.choice == better


def agree(place: Any) -> tuple[Any, dict[str, str]]:
    place.store.add([place.question(mode="natural", responses=3)])
    visitor = place.visitor()
    page = visitor.get("/")
    assert "response a" not in page.text
    page = visitor.post("/consent", data={**visitor.fields(page, "/consent"), "agree": "yes"})
    assert "Recording, as you agreed" in page.text
    return visitor, visitor.fields(page)


def behaviour(*seconds: float) -> str:
    rows = [{"clicked": bool(each), "seconds": each, "scrolled": 1.5, "copied": False} for each in seconds]
    return json.dumps(rows)


def test_natural_use_is_recorded_after_consent_and_grows(place: Any) -> None:
    visitor, form = agree(place)
    for seconds in (0.0, 2.5):
        sent = visitor.post("/report", data={**form, "behaviour": behaviour(0.0, seconds, 0.0)})
        assert sent.status_code == 204
    assert len(place.store.votes()) == 1
    found = {record.position: record for record in place.store.records() if isinstance(record, ImplicitFeedback)}
    assert [found[position].dwell_seconds for position in range(3)] == [0.0, 2.5, 0.0]
    assert [found[position].clicked for position in range(3)] == [False, True, False]
    assert found[0].scrolled == 1.0
    order = shown_order(3, found[0].order_seed)
    assert found[1].response == place.question(mode="natural", responses=3).responses[order[1]]


def test_nothing_is_recorded_after_consent_was_taken_back(place: Any) -> None:
    visitor, form = agree(place)
    visitor.post("/consent", data={**form, "agree": "no"})
    refused = visitor.post("/report", data={**form, "behaviour": behaviour(1, 1, 1)})
    assert refused.status_code == 409
    assert place.store.votes() == []


def decline(place: Any, visitor: Any) -> Any:
    return visitor.post("/consent", data={**visitor.fields(visitor.get("/"), "/consent"), "agree": "no"})


def test_whoever_declines_is_noted_as_that_and_nothing_else(place: Any) -> None:
    place.store.add([place.question(mode="natural", responses=3)])
    ann, bob = place.visitor("ann"), place.visitor("bob")
    assert '<button name="agree" value="no"' in ann.get("/").text
    page = decline(place, ann)
    assert "You declined to be recorded" in page.text
    assert "response a" not in page.text
    assert "You declined" in ann.get("/").text
    assert place.store.setting("declined") == ["ann"]
    assert place.store.setting("consents") == []
    assert place.store.votes() == []
    assert place.store.assignment("ann", 1) is None  # and the question is free
    assert "1 declined" in ann.get("/dashboard").text
    assert "I agree" in bob.get("/").text


def test_whoever_declined_is_asked_questions_of_other_kinds_and_may_change_their_mind(place: Any) -> None:
    place.store.add([place.question(mode="natural", responses=3)], priority=1.0)
    place.store.add([place.question(1), place.question(2, "rate", 1)])
    visitor = place.visitor()
    assert "prompt 1" in decline(place, visitor).text
    assert "You declined" in visitor.get("/?mode=natural").text
    assert "prompt 2" in visitor.answer(choice="first").text
    page = visitor.answer(**{"rating-0": "3"})
    assert "You declined" in page.text
    again = visitor.post("/consent", data={**visitor.fields(page, "/consent"), "agree": "yes"})
    assert "Recording, as you agreed" in again.text
    assert place.store.setting("declined") == []


@pytest.mark.parametrize(
    ("mode", "responses", "values"),
    [
        ("compare", 2, {}),
        ("compare", 2, {"choice": "a"}),
        ("compare", 2, {"choice": "third"}),
        ("rank", 3, {"rank-0": "1", "rank-1": "2"}),
        ("rank", 3, {"rank-0": "", "rank-1": "", "rank-2": ""}),
        ("rank", 3, {"rank-0": "1", "rank-1": "2", "rank-2": "x"}),
        ("rate", 1, {}),
        ("rate", 1, {"rating-0": "6"}),
        ("rate", 1, {"rating-0": "٣"}),  # an Arabic three
        ("edit", 1, {"text": "  "}),
        ("edit", 2, {"text": "x", "choice": ""}),
        ("natural", 2, {"behaviour": "[]"}),
        ("natural", 2, {"behaviour": '[{"clicked": 1}, 3]'}),
        ("natural", 2, {"behaviour": "{"}),
        ("natural", 2, {"behaviour": "null"}),
        ("natural", 2, {"behaviour": behaviour(1, float("nan"))}),
        ("natural", 2, {"behaviour": behaviour(1, -1)}),
        ("natural", 2, {"behaviour": behaviour(1, 10**400)}),
        ("natural", 2, {"behaviour": "[" * 100_000}),
    ],
)
def test_incomplete_answers_are_refused(place: Any, mode: str, responses: int, values: dict[str, str]) -> None:
    place.store.add([place.question(mode=mode, responses=responses)])
    place.store.update_setting("consents", lambda _: ["me"])
    better = "?better=first" if mode == "edit" else ""
    refused = place.visitor().answer(f"/{better}", **values)
    assert refused.status_code == 422
    assert "answer all of it" in refused.text
    assert not re.search("invalid literal|object|NoneType|subscript|'[a-z]+'\\)", refused.text)
    assert place.store.votes() == []


def test_answers_to_questions_of_others_are_refused(place: Any) -> None:
    place.store.add([place.question(number) for number in range(2)])
    visitor = place.visitor("ann")
    form = visitor.fields(visitor.get("/"))
    secret = place.site.secret
    foreign = [seal_item(1, "bob", secret), seal_item(2, "ann", secret), seal_item(1, "ann", b"other")]
    for item in ("1", "2", "99", "x", "-1", "", "9" * 40, "A" * 22, "é", *foreign):
        assert visitor.post("/vote", data={**form, "item": item, "choice": "tie"}).status_code == 409
    assert place.store.votes() == []


def test_people_see_their_own_last_answer_only(place: Any) -> None:
    place.store.add([place.question()], overlap=2)
    first = place.visitor("ann")
    voted = first.answer(choice="both_bad")
    assert "both bad" in voted.text
    second = place.visitor("bob")
    assert "both bad" not in second.get("/").text.replace("<kbd>B</kbd> Both bad", "")
    stolen = {**second.fields(second.get("/")), "vote": first.fields(voted, "/undo")["vote"]}
    assert second.post("/undo", data=stolen).status_code == 422
    assert len(place.store.votes()) == 1


@pytest.mark.parametrize("mode", ["compare", "rank", "natural"])
@pytest.mark.parametrize("blank", ["", " \n "])
def test_texts_without_characters_are_seen(place: Any, mode: Mode, blank: str) -> None:
    place.store.update_setting("consents", lambda _: ["me"])
    place.store.add([Question("k", "p", (blank, "some"), mode)])
    page = place.visitor().get("/").text
    mark = '<span class="hidden-character">no text</span>'
    assert page.count(mark) == (2 if mode == "natural" else 1)  # closed and open
    place.store.add([Question("k", "", ("some", "more"), mode)], priority=1.0)
    assert place.visitor("ann").get("/").text.count(mark) == (0 if mode == "natural" else 1)


def test_a_mode_can_be_asked_for(place: Any) -> None:
    place.store.add([place.question(), place.question(mode="rate", responses=1)])
    visitor = place.visitor()
    assert "How good is the response" in visitor.get("/?mode=rate").text
    assert "No more questions to rate" in visitor.answer("/?mode=rate", **{"rating-0": "3"}).text
    assert visitor.get("/?mode=guess").status_code == 422


def test_time_counts_what_the_page_saw_unless_it_is_too_much(place: Any) -> None:
    place.store.add([place.question(number) for number in range(3)])
    visitor = place.visitor()
    for seconds in ("2.5", "1e9", "nan"):
        form = {**visitor.fields(visitor.get("/")), "seconds": seconds, "choice": "tie"}
        place.now = 10_000.0
        visitor.post("/vote", data=form)
    times = [record.seconds for record in place.store.records()]
    assert times[0] == 2.5
    assert all(time is not None and 8000 < time < 9000 for time in times[1:])


def test_a_look_of_the_owner_keeps_no_question_from_the_annotators(place: Any, closed: Any) -> None:
    place.store.add([place.question()])
    owner = closed.visitor()
    owner.get(f"/enter?token={closed.site.token}")
    for looking in (owner, place.visitor()):
        assert "prompt 0" in looking.get("/").text
    annotators = [place.visitor("ann"), place.visitor("bob")]
    assert ["prompt 0" in each.get("/").text for each in annotators] == [True, False]  # who answers holds it
    assert owner.answer(choice="tie").status_code == 200  # the owner may answer all the same
    assert len(place.store.records()) == 1


def test_an_empty_project_says_how_to_fill_it(place: Any) -> None:
    assert "textgym feedback sample" in place.visitor().get("/").text


def test_the_project_says_what_it_wants(place: Any) -> None:
    place.store.add([place.question(mode="rate", responses=1)])
    settings = {"title": "Notes & news", "guidelines": "Be <kind>.", "anchors": ["1st", "2nd", "3rd", "4th", "5th"]}
    place.store.update_setting("project", lambda _: settings)
    page = place.visitor().get("/").text
    assert "Notes &amp; news" in page
    assert "Be &lt;kind&gt;." in page
    assert "3rd" in page
    assert "excellent" not in page


def test_a_vote_on_a_conversation_keeps_its_turns(place: Any, tmp_path: Path) -> None:
    """From a file of questions to the page, the store, and a file of records."""
    with place.beside("asked.db").store as asked:
        asked.add([Question("k", TURNS, ("response a", "response b"))])
        export_questions(asked, tmp_path / "questions.jsonl")
    assert import_questions(place.store, tmp_path / "questions.jsonl") == 1
    assert place.store.add([Question("k", TURNS, ("response a", "response b"))]) == [1]  # it is the same question
    visitor = place.visitor()
    page = visitor.get("/")
    card = re.search(r'<details class="card prompt" open>(.*?)</details>', page.text, re.DOTALL)
    assert card is not None
    said = re.findall(r'<h3 class="speaker">(.*?)</h3>\s*<div class="text" dir="auto">(.*?)</div>', card[1], re.DOTALL)
    assert said == [("System", "Be brief."), ("User", "Guess &lt;one&gt;."), ("Assistant", "Five."), ("User", "Lower.")]
    visitor.post("/vote", data={**visitor.fields(page), "choice": "first"})
    export_records(place.store.records(), tmp_path / "records.jsonl")
    for record in (*place.store.records(), *read_records(tmp_path / "records.jsonl")):
        assert record.prompt == TURNS


def test_a_text_is_shown_without_speakers(place: Any) -> None:
    place.store.add([place.question()])
    assert "speaker" not in place.visitor().get("/").text


def test_addresses_and_links_that_are_wrong_are_told_in_plain_words(closed: Any) -> None:
    visitor = closed.visitor()
    for page, said in (
        (visitor.get("/nothing"), "There is no page at this address; check the link."),
        (visitor.get("/vote"), "This address cannot be used in that way"),
        (visitor.get(f"/join?invitation={'x' * 201}"), "This link is not as it was sent"),
    ):
        assert page.status_code in (404, 405, 422)
        assert said in page.text
