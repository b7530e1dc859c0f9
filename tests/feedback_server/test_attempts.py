"""Wrong passwords and links, however many at once; sessions that were left."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from textgym.feedback.server import accounts as accounts_module
from textgym.feedback.server.accounts import BusyError
from textgym.feedback.server.gate import _MOST_CALLERS, RateLimit, network_of
from textgym.feedback.server.sessions import _MOST_ENDED, EndedSessions, Session

TOKEN = "the-owners-token"
PASSWORD = "correct horse battery"
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at once: what is tested here is how often."""
    monkeypatch.setattr(accounts_module, "_COSTS", {"n": 2, "r": 1, "p": 1})


def account(place: Any, name: str = "ann") -> None:
    place.site.accounts.join(place.site.accounts.invite(place.now), name, PASSWORD, place.now)


def log_in(visitor: Any, password: str, name: str = "ann") -> Any:
    return visitor.post("/login", data={"name": name, "password": password}, follow_redirects=False)


def test_sixty_wrong_passwords_at_once_are_not_checked_more_often_than_ten(
    closed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are checked wait until each of the sixty was either refused or is being checked."""
    account(closed)
    done, hashed, refused = threading.Condition(), [], []

    def check(name: str, password: str) -> None:
        with done:
            hashed.append(password)
            done.notify_all()
            assert done.wait_for(lambda: len(hashed) + len(refused) == 60, timeout=60)

    def wrong(number: int) -> int:
        status: int = log_in(closed.visitor(), f"wrong password {number}").status_code
        if status == 429:
            with done:
                refused.append(number)
                done.notify_all()
        return status

    monkeypatch.setattr(closed.site.accounts, "check", check)
    with ThreadPoolExecutor(60) as pool:
        found = sorted(pool.map(wrong, range(60)))
    assert len(hashed) == 10
    assert found == [403] * 10 + [429] * 50


def test_right_passwords_are_no_mistakes(closed: Any) -> None:
    account(closed)
    found = [log_in(closed.visitor(), PASSWORD if turn % 2 else "wrong password").status_code for turn in range(22)]
    assert found == [403, 303] * 9 + [403, 429, 429, 429]


def test_forms_without_a_password_are_no_tries(closed: Any) -> None:
    account(closed)
    visitor = closed.visitor()
    for content in ("", "name=ann&password=x"):  # without a Content-Type, neither is a form
        for _ in range(11):
            reply = visitor.post("/login", content=content)
            assert reply.status_code == 422
    assert "Enter your name and your password." in reply.text
    assert log_in(visitor, "").status_code == 422
    assert log_in(visitor, PASSWORD).status_code == 303


def test_no_more_passwords_wait_than_there_are_places(closed: Any) -> None:
    account(closed)
    places = [accounts_module._PLACES.acquire(blocking=False) for _ in range(20)]
    try:
        assert 0 < places.count(True) < 20
        with pytest.raises(BusyError, match="wait a moment"):
            closed.site.accounts.check("ann", PASSWORD)
        assert [log_in(closed.visitor(), "wrong").status_code for _ in range(12)] == [503] * 12  # nothing was checked
        assert closed.visitor().get("/login").status_code == 200
    finally:
        for _ in range(places.count(True)):
            accounts_module._PLACES.release()
    assert log_in(closed.visitor(), PASSWORD).status_code == 303


@pytest.mark.parametrize("path", ["/join?invitation=x", "/password?invitation=x&name=ann", "/enter?token=x"])
@pytest.mark.parametrize("headers", [FOREIGN, {"Sec-Fetch-Site": "same-site"}, {}])
def test_wrong_links_that_a_page_makes_a_browser_follow_lock_nobody_out(
    closed: Any, path: str, headers: dict[str, str]
) -> None:
    """Over plain HTTP browsers do not say which site a request is from: no headers is what an attack looks like too."""
    account(closed)
    victim = closed.visitor()
    statuses = {victim.get(path, headers=headers).status_code for _ in range(30)}
    assert statuses <= {403, 429}
    assert log_in(victim, PASSWORD).status_code == 303
    invitation = closed.site.accounts.invite(closed.now)
    assert victim.get(f"/join?invitation={invitation}").status_code == 200
    form = {"invitation": invitation, "name": "bob", "password": PASSWORD}
    assert victim.post("/join", data=form, follow_redirects=False).status_code == 303
    renewal = closed.site.accounts.offer_password("ann", closed.now)
    assert victim.get(f"/password?invitation={renewal}&name=ann").status_code == 200
    assert victim.get(f"/enter?token={TOKEN}").status_code == 200


@pytest.mark.parametrize("headers", [FOREIGN, {"Origin": "null"}, {"Origin": "https://evil.example"}])
def test_forms_of_other_sites_are_no_attempts(closed: Any, headers: dict[str, str]) -> None:
    account(closed)
    victim = closed.visitor()
    for _ in range(30):
        assert victim.post("/login", data={"name": "ann", "password": "x"}, headers=headers).status_code == 403
    assert log_in(victim, PASSWORD).status_code == 303


def test_wrong_passwords_do_not_keep_the_owner_out(closed: Any) -> None:
    visitor = closed.visitor()
    assert [log_in(visitor, "wrong").status_code for _ in range(11)] == [403] * 10 + [429]
    assert int(log_in(visitor, "wrong").headers["retry-after"]) <= 301
    assert visitor.get(f"/enter?token={TOKEN}").status_code == 200


def test_callers_of_one_network_are_one() -> None:
    limit = RateLimit(2, 10.0, lambda: 0.0)
    waits = [limit.take(network_of(f"2001:db8:1:2::{number:x}")) for number in range(4)]
    assert waits == [0, 0, 10, 10]
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("::ffff:192.0.2.7") == network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("testclient") == "testclient"


def test_many_callers_do_not_make_the_limit_forget_who_guesses_now() -> None:
    limit = RateLimit(2, 10.0, lambda: 0.0)
    for caller in range(3 * _MOST_CALLERS):
        limit.take(str(caller))
        if caller % 1000 == 0:
            limit.note("guesser")
    assert limit.wait("guesser") == 10
    assert len(limit._times) == _MOST_CALLERS


def test_who_left_is_out_with_every_copy_of_the_cookie(closed: Any) -> None:
    closed.store.add([closed.question()], overlap=3)
    account(closed)
    here, elsewhere, copy = closed.visitor(), closed.visitor(), closed.visitor()
    for visitor in (here, elsewhere):
        assert log_in(visitor, PASSWORD).status_code == 303
    copy.cookies.update(here.cookies)
    form = copy.fields(copy.get("/"), "/leave")
    vote = copy.fields(copy.get("/"))
    assert here.post("/leave", data=form).url.path == "/login"
    assert copy.get("/").url.path == "/login"
    assert copy.post("/vote", data={**vote, "choice": "tie"}).url.path == "/login"
    assert closed.store.votes() == []
    assert elsewhere.get("/").url.path == "/"
    assert log_in(here, PASSWORD).status_code == 303
    assert here.get("/").url.path == "/"
    restarted = closed.beside("project.db", TOKEN).visitor()
    restarted.cookies.update(copy.cookies)
    assert restarted.get("/").url.path == "/login"


def test_an_owner_who_left_is_out(closed: Any) -> None:
    owner, copy = closed.visitor(), closed.visitor()
    owner.get(f"/enter?token={TOKEN}")
    copy.cookies.update(owner.cookies)
    owner.post("/leave", data=owner.fields(owner.get("/people"), "/leave"))
    assert copy.get("/dashboard").url.path == "/login"
    assert copy.get("/api/status").status_code == 401


def test_ended_sessions_are_forgotten_when_they_would_have_ended(closed: Any) -> None:
    ended = EndedSessions(closed.store)
    first, second = (Session.begin(name, False, 0.0) for name in ("ann", "bob"))
    ended.end(first, 0.0)
    ended.end(second, 40 * 86_400.0)
    assert (ended.has(first), ended.has(second)) == (False, True)
    assert list(closed.store.setting("ended_sessions")) == ["bob"]


def test_who_leaves_often_fills_no_memory(closed: Any) -> None:
    ended = EndedSessions(closed.store)
    sessions = [Session.begin("ann", False, float(number)) for number in range(_MOST_ENDED + 1)]
    other, later = Session.begin("bob", False, 0.0), Session.begin("ann", False, 1000.0)
    for session in sessions:
        ended.end(session, 60.0)
    assert all(map(ended.has, sessions))
    assert not ended.has(other)
    assert not ended.has(later)
    assert len(closed.store.setting("ended_sessions")["ann"]["keys"]) == 0
