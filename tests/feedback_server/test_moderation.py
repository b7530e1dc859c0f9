"""Blocking, excluding and voiding from the owner's pages and by command."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from textgym.cli.app import app
from textgym.feedback.server import accounts as accounts_module

TOKEN = "the-owners-token"
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "_COSTS", {"n": 2, "r": 1, "p": 1})


def owner_of(place: Any) -> Any:
    owner = place.visitor()
    assert owner.get(f"/enter?token={TOKEN}").status_code == 200
    return owner


def account(place: Any, name: str) -> Any:
    place.site.accounts.join(place.site.accounts.invite(place.now), name, PASSWORD, place.now)
    return place.visitor(name)


def decide(owner: Any, action: str, page: str = "/people", **fields: str) -> Any:
    """Press a button of the page, if it is there."""
    shown = owner.get(page)
    forms = re.findall(r'<form method="post" action="/moderation".*?</form>', shown.text, re.DOTALL)
    for form in forms:
        hidden = {n: unescape(v) for n, v in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)}
        wanted = {"action": action, **{name: value for name, value in fields.items() if name != "reason"}}
        if wanted.items() <= hidden.items():
            return owner.post("/moderation", data={**hidden, **fields})
    raise AssertionError(f"no button for {action} {fields}")


def test_a_blocked_account_is_out_at_once_and_cannot_come_back(closed: Any) -> None:
    closed.store.add([closed.question()])
    ann, bob = account(closed, "ann"), account(closed, "bob")
    form = ann.fields(ann.get("/"))
    assert "prompt 0" not in bob.get("/").text  # ann is answering the only one
    owner = owner_of(closed)
    assert decide(owner, "block", name="ann", reason="answers for somebody else").url.path == "/people"
    assert ann.get("/").url.path == "/login"
    assert ann.post("/vote", data={**form, "choice": "first"}).url.path == "/login"
    assert closed.store.votes() == []
    assert "prompt 0" in bob.get("/").text  # given to somebody else at once
    page = closed.visitor().post("/login", data={"name": "ann", "password": PASSWORD})
    assert (page.status_code, "This account is blocked" in page.text) == (403, True)
    page = closed.visitor().post("/login", data={"name": "ann", "password": "wrong password"})
    assert "blocked" not in page.text  # said only to who knows the password
    shown = owner.get("/people").text
    assert "answers for somebody else" in shown
    assert "blocked" in shown
    decide(owner, "unblock", name="ann")
    assert closed.visitor().post("/login", data={"name": "ann", "password": PASSWORD}).url.path == "/"
    assert ann.get("/").url.path == "/"


def test_a_link_for_a_new_password_lets_nobody_in_who_is_blocked(closed: Any) -> None:
    owner = owner_of(closed)
    account(closed, "ann")
    code = closed.site.accounts.offer_password("ann", closed.now)
    decide(owner, "block", name="ann")
    assert closed.visitor().get(f"/password?invitation={code}&name=ann").status_code == 403


def test_an_open_invitation_is_made_void(closed: Any) -> None:
    owner, somebody = owner_of(closed), closed.visitor()
    account(closed, "ann")
    codes = [closed.site.accounts.invite(closed.now + number) for number in range(2)]
    renewal = closed.site.accounts.offer_password("ann", closed.now + 2)
    links = closed.site.accounts.open_links(closed.now)
    assert [link.purpose for link in links] == ["an invitation", "an invitation", "a new password of ann"]
    shown = owner.get("/people").text
    assert all(link.id in shown for link in links)
    assert not any(code in shown for code in (*codes, renewal))
    decide(owner, "void", link=links[0].id, reason="sent to the wrong list")
    decide(owner, "void", link=links[2].id)
    assert somebody.get(f"/join?invitation={codes[0]}").status_code == 403
    assert somebody.get(f"/password?invitation={renewal}&name=ann").status_code == 403
    assert somebody.get(f"/join?invitation={codes[1]}").status_code == 200
    assert closed.site.accounts.open_links(closed.now) == links[1:2]
    assert [(each.action, each.name) for each in closed.store.moderation.decisions()] == [
        ("void", f"an invitation ({links[0].id})"),
        ("void", f"a new password of ann ({links[2].id})"),
    ]
    form = {"csrf": owner.fields(owner.get("/people"), "/people")["csrf"], "action": "void", "link": links[0].id}
    assert owner.post("/moderation", data=form).status_code == 422


@pytest.mark.parametrize("kind", ["place", "closed"])
def test_a_spammers_answers_are_left_out_from_the_dashboard(request: pytest.FixtureRequest, kind: str) -> None:
    place = request.getfixturevalue(kind)
    place.store.add([place.question(number) for number in range(4)], overlap=3)
    for name in ("ann", "bob", "spammer"):
        if kind == "closed":
            account(place, name)
        visitor = place.visitor(name)
        for _ in range(4):
            visitor.answer(choice="first")
    owner = owner_of(place) if kind == "closed" else place.visitor("me")
    assert "<strong>12</strong> of 12 requested votes" in owner.get("/dashboard").text
    assert decide(owner, "exclude", "/dashboard", name="spammer", reason="one key only").url.path == "/dashboard"
    page = owner.get("/dashboard").text
    assert "<strong>8</strong> of 12 requested votes" in page
    assert "Left out: 4 answers of 1 excluded annotator." in page
    assert "spammer" not in owner.get("/export/records").text
    status = owner.get("/api/status").json()
    assert (status["left_out"], status["votes"]) == ({"spammer": 4}, 8)
    assert len(owner.get("/api/records").json()) == 8
    assert len(owner.get("/api/records?excluded=true").json()) == 12
    decide(owner, "include", "/dashboard", name="spammer")
    assert "<strong>12</strong> of 12 requested votes" in owner.get("/dashboard").text
    assert [each.reason for each in place.store.moderation.decisions()] == ["one key only", ""]


@pytest.mark.parametrize("action", ["block", "exclude", "include", "unblock", "void", "delete", ""])
def test_only_the_owners_own_forms_decide(closed: Any, action: str) -> None:
    owner, ann = owner_of(closed), account(closed, "ann")
    account(closed, "bob")
    link = closed.site.accounts.invite(closed.now) and closed.site.accounts.open_links(closed.now)[0].id
    form = {"action": action, "name": "bob", "link": link}
    csrf = {
        who: visitor.fields(visitor.get("/"), "/leave")["csrf"] for who, visitor in (("owner", owner), ("ann", ann))
    }
    assert closed.visitor().post("/moderation", data={**form, "csrf": csrf["owner"]}).url.path == "/login"
    assert ann.post("/moderation", data={**form, "csrf": csrf["ann"]}).status_code == 403
    for wrong in ("", "0" * 64, csrf["ann"]):
        assert owner.post("/moderation", data={**form, "csrf": wrong}).status_code == 403
    foreign = {"Origin": "https://evil.example"}
    assert owner.post("/moderation", data={**form, "csrf": csrf["owner"]}, headers=foreign).status_code == 403
    assert closed.store.moderation.decisions() == []
    assert closed.store.moderation.blocked() == closed.store.moderation.excluded() == frozenset()
    if action in ("delete", ""):
        assert owner.post("/moderation", data={**form, "csrf": csrf["owner"]}).status_code == 422


def test_an_api_client_cannot_answer_for_who_is_blocked(place: Any) -> None:
    place.store.add([place.question()])
    client = place.visitor()
    assert client.post("/api/assign", json={"annotator": "ann"}).status_code == 200
    place.store.moderation.block("ann", "owner")
    assert "who is blocked" in client.post("/api/assign", json={"annotator": "ann"}).json()["error"]


# By command


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["feedback", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return " ".join((result.output or "").split())


@pytest.fixture
def spammed(place: Any) -> str:
    place.store.add([place.question(number) for number in range(3)], overlap=2)
    for name in ("ann", "spammer"):
        for _ in range(3):
            place.visitor(name).answer(choice="first")
    return str(place.store.path)


def test_a_spammer_is_excluded_and_included_by_command(spammed: str, tmp_path: Path, place: Any) -> None:
    said = run("exclude", spammed, "spammer", "--reason", "one key only")
    assert said.startswith("spammer is excluded now. Left out: 3 answers of 1 excluded annotator.")
    assert "already; nothing was changed" in run("exclude", spammed, "spammer")
    out = tmp_path / "records.jsonl"
    said = run("export", spammed, str(out), "--form", "records")
    assert "3 records" in said
    assert "Left out: 3 answers of 1 excluded annotator. --excluded writes them too." in said
    assert {json.loads(line)["annotator"] for line in out.read_text().splitlines()} == {"ann"}
    said = run("export", spammed, str(out), "--form", "records", "--excluded")
    assert "6 records" in said
    assert "Left out" not in said
    said = run("status", spammed)
    assert "3 of 6 votes" in said
    assert "spammer (excluded)" in said
    assert "Left out: 3 answers" in said
    assert run("include", spammed, "spammer") == "spammer is included now."
    assert "6 of 6 votes" in run("status", spammed)
    said = run("people", spammed)
    assert "one key only" in said
    assert "counted" in said


def test_a_blocked_account_is_out_while_the_server_runs(closed: Any) -> None:
    ann = account(closed, "ann")
    assert ann.get("/").url.path == "/"
    assert run("block", str(closed.store.path), "ann", "--reason", "left the study") == "ann is blocked now."
    assert ann.get("/").url.path == "/login"
    assert run("unblock", str(closed.store.path), "ann") == "ann is unblocked now."
    assert ann.get("/").url.path == "/"


def test_an_invitation_is_made_void_by_command(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project, accounts = str(place.store.path), place.site.accounts
    assert run("people", project) == "Nobody has answered yet, and nobody is invited."
    monkeypatch.setattr("time.time", lambda: 9000.0)
    code = accounts.invite(9000.0)
    (link,) = accounts.open_links(9000.0)
    assert link.id in run("people", project)
    assert run("void", project, link.id, "--reason", "wrong list") == "Void: an invitation."
    assert not accounts.is_invited(code, 9000.0)
    assert "used or revoked before" in run("void", project, link.id)
    assert "no open link has it: it is mistyped, or" in run("void", project, "nolink")


def test_a_name_that_nobody_has_is_refused_with_a_suggestion(spammed: str) -> None:
    assert "Did you mean 'spammer'?" in run("exclude", spammed, "spamer")
    assert "expected a project" in run("exclude", f"{spammed}x", "spammer")
