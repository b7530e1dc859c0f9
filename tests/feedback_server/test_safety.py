"""Who is let in, and what strangers, foreign pages and hostile texts cannot do."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from textgym.feedback.server.accounts import Accounts
from textgym.feedback.server.gate import MAX_BODY_BYTES, Gate, RateLimit
from textgym.feedback.server.serve import is_loopback
from textgym.feedback.server.sessions import Session, seal, unseal
from textgym.feedback.store.exports import PROJECT_FORMS
from textgym.feedback.types import Comparison, Question

TOKEN = "the-owners-token"
PASSWORD = "correct horse battery"


def enter(place: Any) -> Any:
    """Come in as the owner."""
    owner = place.visitor()
    assert owner.get(f"/enter?token={TOKEN}").status_code == 200
    return owner


def invited(place: Any, name: str) -> Any:
    """Make an account through an invitation."""
    owner, somebody = enter(place), place.visitor()
    page = owner.post("/people", data=owner.fields(owner.get("/people"), "/people"))
    link = re.findall(r'value="(http://localhost/join[^"]*)"', page.text)[0]
    form = somebody.fields(somebody.get(link), "/join")
    assert somebody.post("/join", data={**form, "name": name, "password": PASSWORD}).status_code == 200
    return somebody


@pytest.mark.parametrize("path", ["/", "/dashboard", "/people", "/?mode=rate"])
def test_a_closed_site_asks_strangers_who_they_are(closed: Any, path: str) -> None:
    closed.store.add([closed.question()])
    page = closed.visitor().get(path)
    assert page.url.path == "/login"
    assert "response a" not in page.text
    assert closed.store.assign("me") is not None


def test_a_closed_site_takes_no_votes_from_strangers(closed: Any) -> None:
    for path in ("/vote", "/report", "/undo", "/consent", "/people", "/name"):
        assert closed.visitor().post(path, data={"csrf": "x"}).url.path == "/login"
    for given in ("wrong", "", "the-owners-toke"):
        assert closed.visitor().get(f"/enter?token={given}").status_code == 403


def test_invitations_make_one_account(closed: Any) -> None:
    closed.store.add([closed.question()], overlap=3)
    ann = invited(closed, "ann")
    assert "prompt 0" in ann.get("/").text
    assert ann.get("/people").status_code == 403
    link = enter(closed).post("/people", data={"csrf": "stolen"})
    assert link.status_code == 403
    owner, bob = enter(closed), closed.visitor()
    page = owner.post("/people", data=owner.fields(owner.get("/people"), "/people"))
    invitation = re.findall(r"invitation=([^\"]*)\"", page.text)[0]
    form = {"invitation": invitation, "password": PASSWORD}
    for name in ("ann", " ANN ", "me", "", "a\u200bnn", "x" * 81):
        assert bob.post("/join", data={**form, "name": name}).status_code == 422
    assert bob.post("/join", data={**form, "name": "bob", "password": "short"}).status_code == 422
    assert Accounts(closed.store).is_invited(invitation, closed.now)
    assert Accounts(closed.store).join(invitation, "bob", PASSWORD, closed.now).name == "bob"
    assert not Accounts(closed.store).is_invited(invitation, closed.now)
    with pytest.raises(ValueError, match="ask for a new one"):
        Accounts(closed.store).join(invitation, "eve", PASSWORD, closed.now)


def test_invitations_end(closed: Any) -> None:
    accounts = Accounts(closed.store)
    code = accounts.invite(0.0)
    assert accounts.is_invited(code, 13 * 86_400.0)
    assert not accounts.is_invited(code, 15 * 86_400.0)
    assert not accounts.is_invited("", 0.0)


def link_for(owner: Any, name: str) -> str:
    """Return the link by which somebody who has an account gets a new password."""
    page = owner.post("/people", data={**owner.fields(owner.get("/people"), "/people"), "name": name})
    (link,) = re.findall(r'value="(http://localhost/password[^"]*)"', page.text)
    return unescape(link)


@pytest.mark.parametrize("name", ["ann", "Zoë & sons?", "東京"])
def test_a_new_password(closed: Any, name: str) -> None:
    closed.store.add([closed.question(n) for n in range(3)], overlap=3)
    before, after = invited(closed, name), closed.visitor()
    before.answer(choice="first")
    link = link_for(enter(closed), name)
    assert "prompt" in before.get("/").text  # the old one works until then
    form = {**after.fields(after.get(link), "/password"), "password": "short"}
    assert form["name"] == name
    assert after.post("/password", data=form).status_code == 422
    assert after.post("/password", data={**form, "name": "eve", "password": "another one"}).status_code == 403
    assert after.post("/password", data={**form, "password": "another one"}).url.path == "/"
    assert before.get("/").url.path == "/login"
    assert after.answer(choice="first").status_code == 200
    assert [vote.annotator for vote in closed.store.votes()] == [name] * 2
    assert after.get(link).status_code == 403
    for password, status in ((PASSWORD, 403), ("another one", 200)):
        assert closed.visitor().post("/login", data={"name": name, "password": password}).status_code == status


def test_links_are_good_for_what_they_were_made_for(closed: Any) -> None:
    invited(closed, "ann")
    accounts, stranger = closed.site.accounts, closed.visitor()
    invitation, renewal = accounts.invite(closed.now), accounts.offer_password("ann", closed.now)
    assert not accounts.is_invited(renewal, closed.now)
    assert accounts.may_renew(renewal, "ann", closed.now + 13 * 86_400)
    assert not accounts.may_renew(renewal, "ann", closed.now + 15 * 86_400)
    for name, code in (("", invitation), ("ann", invitation), ("", renewal), ("eve", renewal), ("Ann", renewal)):
        form = {"invitation": code, "name": name, "password": PASSWORD}
        assert not accounts.may_renew(code, name, closed.now)
        assert stranger.post("/password", data=form).status_code == 403
        with pytest.raises(ValueError, match="ask for a new one"):
            accounts.renew(code, name, PASSWORD, closed.now)
    with pytest.raises(ValueError, match="ask for a new one"):
        accounts.join(renewal, "bob", PASSWORD, closed.now)
    assert list(accounts.all()) == ["ann"]
    owner = enter(closed)
    form = {**owner.fields(owner.get("/people"), "/people"), "name": "nobody"}
    assert owner.post("/people", data=form).status_code == 422


def test_a_newer_link_voids_older_ones(closed: Any) -> None:
    invited(closed, "ann")
    accounts = closed.site.accounts
    older, newer = accounts.offer_password("ann", closed.now), accounts.offer_password("ann", closed.now)
    assert not accounts.may_renew(older, "ann", closed.now)
    accounts.renew(newer, "ann", "another one", closed.now)
    assert not accounts.may_renew(newer, "ann", closed.now)


def test_who_came_in_while_the_password_was_changed_is_out(closed: Any) -> None:
    """Whatever the clock says: a session belongs to the password that it began with."""
    invited(closed, "ann")
    accounts = closed.site.accounts
    code, before = accounts.offer_password("ann", closed.now), accounts.check("ann", PASSWORD)
    after = accounts.renew(code, "ann", "another one", closed.now)
    for account, path in ((before, "/login"), (after, "/")):
        visitor, session = closed.visitor(), Session.begin(account.name, False, closed.now + 9, account.mark)
        visitor.cookies.set(closed.site.cookie, seal(session, closed.site.secret))
        assert visitor.get("/").url.path == path
    assert before.name == after.name == "ann"


def test_an_open_site_has_no_accounts(place: Any) -> None:
    visitor = place.visitor()
    assert visitor.get("/people").status_code == 403
    form = visitor.fields(visitor.get("/"), "/name")
    assert visitor.post("/people", data=form).status_code == 403


def test_names_that_look_like_the_owners_cannot_be_taken(closed: Any) -> None:
    form = {"invitation": closed.site.accounts.invite(closed.now), "name": "\uff2d\uff25 ", "password": PASSWORD}
    assert closed.visitor().post("/join", data=form).status_code == 422


def test_passwords(closed: Any) -> None:
    invited(closed, "ann")
    for name, password, status in (("ann", "wrong password", 403), ("eve", PASSWORD, 403), ("ann", PASSWORD, 200)):
        assert closed.visitor().post("/login", data={"name": name, "password": password}).status_code == status
    kept = closed.store.path.read_bytes() + closed.store.path.with_name("project.db-wal").read_bytes()
    assert PASSWORD.encode() not in kept


def test_a_name_that_was_typed_is_still_there_after_a_mistake(closed: Any) -> None:
    visitor = closed.visitor()
    page = visitor.post("/login", data={"name": 'a"nn', "password": "wrong password"})
    assert 'name="name" value="a&#34;nn"' in page.text
    form = {"invitation": closed.site.accounts.invite(closed.now), "name": 'a"nn', "password": "short"}
    assert 'name="name" value="a&#34;nn"' in visitor.post("/join", data=form).text


def test_names_that_answers_are_from_cannot_be_taken(closed: Any) -> None:
    closed.store.add([closed.question()])
    closed.store.skip("v", "simulated", closed.store.assign("simulated").item)
    accounts = Accounts(closed.store)
    with pytest.raises(ValueError, match="There are answers of the name"):
        accounts.join(accounts.invite(0.0), "simulated", PASSWORD, 0.0)


def test_names_that_imported_answers_are_from_cannot_be_taken(closed: Any) -> None:
    closed.store.add_votes([("v", [Comparison("k", "p", "x", "y", "a", annotator="ann")])])
    accounts = closed.site.accounts
    with pytest.raises(ValueError, match="There are answers of the name"):
        accounts.join(accounts.invite(0.0), "ann", PASSWORD, 0.0)


def test_guessing_is_slowed_down(closed: Any) -> None:
    visitor = closed.visitor()
    found = [visitor.get(f"/enter?token=guess{number}").status_code for number in range(12)]
    assert found == [403] * 10 + [429] * 2
    refused = visitor.get("/enter?token=guess")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 301


def test_the_owner_comes_in_where_others_guessed(closed: Any) -> None:
    visitor = closed.visitor()
    wrong, right = ({"Authorization": f"Bearer {token}"} for token in ("wrong", TOKEN))
    found = [visitor.get("/api/status", headers=wrong).status_code for _ in range(11)]
    assert found == [401] * 10 + [429]
    assert visitor.get("/enter?token=wrong").status_code == 429
    assert visitor.get("/api/status", headers=right).status_code == 200
    assert visitor.get(f"/enter?token={TOKEN}").url.path == "/"


def test_the_rate_limit_ends() -> None:
    now = [0.0]
    limit = RateLimit(2, 10.0, lambda: now[0])
    for caller in ("a", "b", "a"):
        assert limit.wait(caller) == 0
        limit.note(caller)
    assert [limit.wait("a"), limit.wait("b"), limit.wait("c")] == [10, 0, 0]
    now[0] = 10.0
    assert limit.wait("a") == 0


def test_accounts_that_are_gone_are_not_let_in(closed: Any) -> None:
    ann = invited(closed, "ann")
    assert ann.get("/").url.path == "/"
    closed.store.update_setting("accounts", lambda _: {})
    assert ann.get("/").url.path == "/login"


def test_who_used_an_open_site_does_not_own_it_once_it_is_closed(place: Any, closed: Any) -> None:
    visitor = place.visitor()
    visitor.get("/")
    (value,) = visitor.cookies.values()
    stranger = closed.visitor()
    stranger.cookies.set(closed.site.cookie, value)
    assert stranger.get("/").url.path == "/login"


def test_a_new_token_ends_the_owners_old_sessions(closed: Any) -> None:
    owner, ann = enter(closed), invited(closed, "ann")
    restarted = closed.beside("project.db", "another-token-than-before")
    for somebody in (owner, ann):
        (value,) = somebody.cookies.values()
        again = restarted.visitor()
        again.cookies.set(restarted.site.cookie, value)
        assert again.get("/").url.path == "/login"
    assert restarted.visitor().post("/login", data={"name": "ann", "password": PASSWORD}).url.path == "/"
    same = closed.beside("project.db", TOKEN).visitor()
    same.cookies.update(owner.cookies)
    assert same.get("/people").status_code == 200


def test_sessions_end_and_cannot_be_changed() -> None:
    session = Session.begin("ann", False, 0.0)
    sealed = seal(session, b"key")
    assert unseal(sealed, b"key", 1.0) == session
    assert unseal(sealed, b"key", 40 * 86_400.0) is None
    payload, _, signature = sealed.rpartition(".")
    forged = seal(Session(session.key, "ann", True, session.until), b"other")
    for value in (
        f"{payload}x.{signature}",
        f"{payload}.",
        payload,
        "",
        ".",
        "é.é",
        forged,
        f"{forged.rpartition('.')[0]}.{signature}",
    ):
        assert unseal(value, b"key", 1.0) is None


def test_cookies_are_kept_from_scripts_and_other_sites(place: Any) -> None:
    (cookie,) = place.visitor().get("/").headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


@pytest.mark.parametrize("path", ["/vote", "/report", "/undo", "/consent", "/name"])
@pytest.mark.parametrize("token", ["", "0" * 64, "é", None])
def test_forms_of_others_are_refused(place: Any, path: str, token: str | None) -> None:
    place.store.add([place.question(number) for number in range(2)])
    visitor = place.visitor()
    form = {**visitor.fields(visitor.answer(choice="tie")), "choice": "tie", "name": "eve", "agree": "yes"}
    form = {**form, "csrf": token} if token is not None else {key: form[key] for key in form if key != "csrf"}
    assert visitor.post(path, data=form).status_code == 403
    assert len(place.store.votes()) == 1
    other = place.visitor("eve")
    assert other.post(path, data={**form, "csrf": visitor.fields(visitor.get("/"))["csrf"]}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_from_other_sites_are_refused(place: Any, headers: dict[str, str]) -> None:
    place.store.add([place.question()])
    visitor = place.visitor()
    form = {**visitor.fields(visitor.get("/")), "choice": "tie"}
    assert visitor.post("/vote", data=form, headers=headers).status_code == 403
    assert visitor.post("/vote", data=form, headers={"Origin": "http://localhost"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "[::1", "localhost@evil.example", "0x7f.1"]
)
def test_unknown_hosts_are_refused(place: Any, host: str) -> None:
    assert place.visitor().get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1:8765", "[::1]:8765", "192.168.0.7"])
def test_known_hosts_and_bare_addresses_are_served(place: Any, host: str) -> None:
    assert place.visitor().get("/", headers={"Host": host}).status_code == 200


def test_too_much_at_once_is_refused(place: Any) -> None:
    visitor = place.visitor()
    assert visitor.post("/vote", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
    assert visitor.post("/vote", content=(part for part in [b"x"])).status_code == 411


def test_a_body_that_is_too_large_is_read_to_its_end_before_the_reply() -> None:
    """A browser that is still sending would show a broken connection, and no reply."""
    parts = [{"type": "http.request", "body": b"x" * 9, "more_body": more} for more in (True, True, False)]
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        assert not parts
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", str(MAX_BODY_BYTES + 1).encode())]
    scope = {"type": "http", "method": "POST", "path": "/vote", "headers": headers}
    asyncio.run(Gate(lambda *_: None)(scope, receive, send))  # type: ignore[arg-type,return-value]
    assert sent[0]["status"] == 413


def test_every_reply_forbids_what_no_page_needs(place: Any) -> None:
    for path in ("/", "/nothing", "/static/page.css", "/static/vote.js", "/login"):
        headers = place.visitor().get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    for path in ("/", "/dashboard", "/login", "/export/records", "/api/records"):
        assert place.visitor().get(path).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/static/../site.py", "/static/%2e%2e/site.py", "/static/..%2fsite.py", "/static//etc/passwd"]
)
def test_no_other_files_are_served(place: Any, path: str) -> None:
    assert place.visitor().get(path).status_code in (404, 405)


def test_loopback() -> None:
    assert [
        is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "10.0.0.1", "no.such.host.invalid")
    ] == [
        *([True] * 3),
        *([False] * 3),
    ]


HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert&#40;1)</script>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>click</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<form action=//evil.example><button>Send</button></form>",
    "</form><form action=//evil.example>",
    "<input autofocus onfocus=alert(1)>",
    "<select onfocus=alert(1) autofocus>",
    "<textarea onfocus=alert(1) autofocus>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<style>@import '//evil.example/x.css';</style>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<!--><script>alert(1)</script>-->",
    "<?xml version='1.0'?><x/>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "` onclick=alert(1) `",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{{ session }}",
    "{% include '/etc/passwd' %}",
    "${7*7}#{7*7}",
    "<%= 7 * 7 %>",
    "\\x3cscript\\x3ealert(1)\\x3c/script\\x3e",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202egnp.exe\u202c <script>\u2066alert(1)\u2069</script>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "\ud800<img src=x onerror=alert(1)>\u200b",
    "<p style='position:fixed;inset:0;background:red'>covered</p>",
    "<dialog open><form method=dialog><button>OK",
]


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def skeleton(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the tags and names of attributes of a page, marks of hidden characters and differences left out."""
    elements = Elements(page).found
    kept = [(tag, attrs) for tag, attrs in elements if tag != "mark" and attrs.get("class") != "hidden-character"]
    return [(tag, tuple(attrs)) for tag, attrs in kept]


def without_drafts(page: str) -> str:
    """Leave out texts to be edited, which have to stay as they are."""
    return re.sub(r"<textarea.*?</textarea>", "", page, flags=re.DOTALL)


def fill(place: Any, text: str, n: int) -> None:
    """Put a text everywhere a stranger's text can get."""
    name = text.encode("utf-8", "replace").decode()
    for mode, count in (("compare", 2), ("rank", 3), ("rate", 2), ("edit", 1), ("edit", 2), ("natural", 2)):
        texts = tuple(f"{text}{'!' * index}" for index in range(count))
        generators = tuple(f"{name}{index}" for index in range(count))
        criteria = (name,) if mode == "rate" else ()
        place.store.add([Question(f"{name}{n}", f"{text}{n}", texts, mode, generators, None, criteria)])
    settings = {"title": name, "guidelines": name, "anchors": [name] * 5}
    place.store.update_setting("project", lambda _: settings)


def name_like(text: str) -> str:
    """Return as much of a text as can be the name of a person."""
    return "".join(char for char in text if char.isprintable())[:80].strip()


def pages(place: Any, text: str) -> dict[str, str]:
    """Return every page that annotators and owners see, with a text in all places."""
    fill(place, text, 1)
    fill(place, text, 2)
    name = name_like(text)
    visitor = place.visitor(name)
    found = {"consent": visitor.get("/?mode=natural").text}
    place.store.update_setting("consents", lambda _: [name])
    for mode in ("compare", "rank", "rate", "edit", "natural"):
        found[mode] = visitor.get(f"/?mode={mode}").text
    found["compared"] = visitor.answer("/?mode=compare", choice="first").text
    found["ranked"] = visitor.answer("/?mode=rank", **{f"rank-{place}": "1" for place in range(3)}).text
    grades = {f"rating-{place}{criterion}": "1" for place in range(2) for criterion in ("", "-0")}
    found["rated"] = visitor.answer("/?mode=rate", **grades).text
    found["edited"] = visitor.answer("/?mode=edit", text=text.encode("utf-8", "replace").decode()).text
    found["chosen"] = visitor.get("/?mode=edit&better=first").text
    rows = json.dumps([{"clicked": True, "seconds": 1, "scrolled": 1, "copied": True}] * 2)
    found["read"] = visitor.answer("/?mode=natural", behaviour=rows).text
    found["incomplete"] = visitor.answer("/?mode=compare", choice=text.encode("utf-8", "replace").decode()).text
    found["done"] = visitor.answer("/?mode=compare", choice="skip").text
    found["dashboard"] = visitor.get("/dashboard").text
    found["nothing"] = visitor.get(f"/{quote(text, errors='replace')}").text
    return found


def renewal(place: Any, name: str) -> str:
    return f"/password?invitation={place.site.accounts.offer_password(name, place.now)}&name={quote(name)}"


def entrance_pages(place: Any, text: str) -> dict[str, str]:
    """Return every page of a closed site that lets people in, with a text in all places."""
    fill(place, text, 1)
    name = name_like(text)
    place.store.update_setting("accounts", lambda _: {name: {"salt": "00", "hash": ""}})
    owner, stranger = enter(place), place.visitor()
    invitation = place.site.accounts.invite(place.now)
    form = {"invitation": invitation, "name": name, "password": PASSWORD}
    hostile = quote(text, errors="replace")
    return {
        "people": owner.get("/people").text,
        "invited": owner.post("/people", data=owner.fields(owner.get("/people"), "/people")).text,
        "renewed": owner.post("/people", data={**owner.fields(owner.get("/people"), "/people"), "name": name}).text,
        "login": stranger.get("/login").text,
        "password": stranger.get(renewal(place, name)).text,
        "join": stranger.get(f"/join?invitation={invitation}").text,
        "taken": stranger.post("/join", data=form).text,
        "wrong token": stranger.get(f"/enter?token={hostile}").text,
        "wrong invitation": stranger.get(f"/join?invitation={hostile}").text,
        "annotator": place.visitor(name).get("/").text,
    }


@pytest.mark.parametrize("texts", [HOSTILE[::6], pytest.param(HOSTILE, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("make", [pages, entrance_pages])
def test_hostile_texts_add_nothing_to_any_page(
    place: Any, make: Callable[[Any, str], dict[str, str]], texts: Sequence[str]
) -> None:
    token = TOKEN if make is entrance_pages else None
    expected = make(place.beside("harmless.db", token), "harmless")
    for number, text in enumerate(texts):
        shown = make(place.beside(f"{number}.db", token), text)
        for name, harmless in expected.items():
            kind = set if name == "dashboard" else list  # its charts have as many lines as the answers want
            assert kind(skeleton(shown[name])) == kind(skeleton(harmless)), (name, text)
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00]", without_drafts(shown[name])), (name, text)


@pytest.mark.parametrize("form", PROJECT_FORMS)
def test_hostile_texts_in_downloads_stay_data(place: Any, form: str) -> None:
    texts = [*HOSTILE, "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1"]
    for number, text in enumerate(texts):
        fill(place, text, number)
    visitor = place.visitor()
    for _ in texts:
        visitor.answer("/?mode=compare", choice="first")
    reply = visitor.get(f"/export/{form}")
    assert reply.headers["content-type"].partition(";")[0] in ("text/csv", "application/x-ndjson")
    assert reply.headers["content-disposition"].startswith("attachment; ")
    assert reply.headers["x-content-type-options"] == "nosniff"
    if form == "csv":
        rows = list(csv.reader(io.StringIO(reply.content.decode("utf-8-sig"))))
        assert len(rows) == len(texts) + 1
        assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@")]
    else:
        rows = [json.loads(line) for line in reply.content.splitlines()]
        assert len(rows) == len(texts) * {"labels": 2, "questions": 6}.get(form, 1)


def test_hostile_texts_in_json_are_no_page(place: Any) -> None:
    for number, text in enumerate(HOSTILE):
        fill(place, text, number)
    for path in ("/api/questions", "/api/records", "/api/status", "/api/nothing"):
        assert place.visitor().get(path).headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["ann (excluded)", "ann (Blocked)", "ann \uff08excluded\uff09"])
def test_no_name_reads_like_a_mark_of_the_owners_tables(closed: Any, name: str) -> None:
    accounts = closed.site.accounts
    with pytest.raises(ValueError, match="A name cannot end with"):
        accounts.join(accounts.invite(closed.now), name, PASSWORD, closed.now)


def test_people_are_told_in_plain_words(closed: Any) -> None:
    accounts = closed.site.accounts
    code = accounts.invite(closed.now)
    with pytest.raises(ValueError, match=r"The password needs 10 to 200 characters; this one has 2\."):
        accounts.join(code, "ann", "ab", closed.now)
    accounts.join(code, "ann", PASSWORD, closed.now)
    with pytest.raises(ValueError, match=r"The name 'ann' is taken; choose another\."):
        accounts.join(accounts.invite(closed.now), "ann", PASSWORD, closed.now)
    with pytest.raises(ValueError, match=r"This link was used already or revoked; ask for a new one\."):
        accounts.join(code, "eve", PASSWORD, closed.now)
