"""The state common to all pages: the store, the current visitor, and the rendering of pages."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from textgym.feedback.server.accounts import Account, Accounts, BusyError
from textgym.feedback.server.gate import RateLimit, network_of
from textgym.feedback.server.sessions import LIFETIME_SECONDS, EndedSessions, Session, matches, seal, unseal
from textgym.feedback.server.text import plain, visible_text
from textgym.feedback.store.project import FeedbackStore
from textgym.types import JsonObject

FOLDER = Path(__file__).parent
_LONGEST_FIELD = 1000
_LONG_FIELDS = ("text", "behaviour")  # their readers know how long they may be
ANCHORS = ("useless", "poor", "fair", "good", "excellent")


class RefusedError(Exception):
    """A request is refused; the reply says why.

    Args:
        status: The HTTP status.
        message: Expected thing, and the remedy.
        headers: Headers of the reply.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class LoginNeededError(Exception):
    """A page is for people who have said who they are."""


@dataclass(frozen=True, slots=True)
class Project:
    """The texts about a project that its pages show.

    Attributes:
        title: Title of the pages.
        guidelines: How to answer.
        anchors: Meanings of the grades 1 to 5.
        reveal: Whether to show after an answer which generator wrote which text.
        word_counts: Whether to show how many words a text has.
    """

    title: str = "Feedback"
    guidelines: str = ""
    anchors: tuple[str, ...] = ANCHORS
    reveal: bool = False
    word_counts: bool = False


@dataclass(frozen=True)
class Site:
    """Everything a page is made from.

    Attributes:
        store: Questions and votes.
        name: Name of the user of an open site, until they give another.
        token: Makes its bearer the owner; ``None`` opens the site to everybody who can reach it.
        clock: Returns seconds since 1970.
        limit: Counts wrong passwords.
        link_limit: Counts wrong tokens and links. Any page can make a browser follow a wrong link, so that these keep
            nobody from signing in; and right ones are let in however many wrong ones there were.
    """

    store: FeedbackStore
    name: str = "me"
    token: str | None = None
    clock: Callable[[], float] = time.time
    limit: RateLimit = field(default_factory=RateLimit)
    link_limit: RateLimit = field(default_factory=RateLimit)
    secret: bytes = field(init=False)
    accounts: Accounts = field(init=False)
    ended: EndedSessions = field(init=False)
    templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        secret = self.store.update_setting("secret", lambda known: known or secrets.token_hex(32))
        # Who was let in because the site was open, or by another token, is not let in once that has changed.
        kind = "open" if self.is_open else f"closed:{self.token}"
        object.__setattr__(self, "secret", hashlib.sha256(f"{kind}:{secret}".encode()).digest())
        object.__setattr__(self, "accounts", Accounts(self.store))
        object.__setattr__(self, "ended", EndedSessions(self.store))
        object.__setattr__(self, "templates", _environment())

    @property
    def is_open(self) -> bool:
        """Return whether everybody who reaches the site owns it."""
        return self.token is None

    @property
    def cookie(self) -> str:
        """Name of the cookie; sites on several ports of one machine do not share it."""
        return f"textgym-{hashlib.sha256(self.secret).hexdigest()[:8]}"

    def project(self) -> Project:
        """Return what the project says about itself."""
        found: JsonObject = self.store.setting("project", {})
        return Project(**{**found, "anchors": tuple(found.get("anchors", ANCHORS))})

    def session(self, request: Request) -> Session | None:
        """Return who sent a request, if that is known.

        Who left is not, nor who is blocked, nor who came in by a password that was changed since.
        """
        session = unseal(request.cookies.get(self.cookie, ""), self.secret, self.clock())
        if session is None or self.is_open:
            return session
        if self.ended.has(session):
            return None
        if session.is_owner:
            return session
        if session.name in self.store.moderation.blocked():
            return None
        return session if (session.name, session.mark) == self.accounts.all().get(session.name) else None

    def page(
        self, request: Request, template: str, session: Session | None = None, *, status: int = 200, **values: object
    ) -> HTMLResponse:
        """Make a page out of a template."""
        html = self.templates.get_template(template).render(
            project=self.project(),
            session=session,
            is_open=self.is_open,
            csrf="" if session is None else session.csrf(self.secret),
            **values,
        )
        response = HTMLResponse(plain(html), status)
        if session is not None and request.cookies.get(self.cookie) != seal(session, self.secret):
            self.remember(request, response, session)
        return response

    def remember(self, request: Request, response: Response, session: Session) -> None:
        """Let a browser keep a session."""
        response.set_cookie(
            self.cookie,
            seal(session, self.secret),
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )

    def check_token(self, request: Request, token: str) -> bool:
        """Return whether a token is the owner's.

        It is too long to be guessed: who guesses is slowed down, but cannot lock out the owner behind the same address.

        Raises:
            RefusedError: It is not, and its bearer has given too many wrong ones.
        """
        if self.token is not None and matches(token, self.token):
            return True
        self.count_wrong_link(request)
        return False

    def count_wrong_link(self, request: Request) -> None:
        """Count a wrong token or link.

        Raises:
            RefusedError: There were too many before.
        """
        _require_no_wait(self.link_limit.take(_caller(request)))

    def check_password(self, request: Request, name: str, password: str) -> Account | None:
        """Return the account if the password is right; a try counts before it is checked, and not if it was right.

        Raises:
            RefusedError: The caller gave too many wrong ones; this one was not checked.
            BusyError: Too many passwords are being checked.
        """
        caller = _caller(request)
        _require_no_wait(self.limit.take(caller))
        try:
            account = self.accounts.check(name, password)
        except BusyError:
            self.limit.give_back(caller)
            raise
        if account is not None:
            self.limit.give_back(caller)
        return account


def _require_no_wait(wait: float) -> None:
    if wait:
        retry = {"Retry-After": str(int(wait) + 1)}
        raise RefusedError(429, f"Too many failed attempts; wait {int(wait) + 1} seconds and try again.", retry)


def _caller(request: Request) -> str:
    return network_of(request.client.host) if request.client else ""


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = visible_text
    return environment


def _site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


SiteOf = Annotated[Site, Depends(_site)]


def _visitor(request: Request, site: SiteOf) -> Session:
    session = site.session(request)
    if session is None and not site.is_open:
        raise LoginNeededError
    return session or Session.begin(site.name, True, site.clock())


Visitor = Annotated[Session, Depends(_visitor)]
"""Who asks for a page."""


def _owner(visitor: Visitor, site: SiteOf) -> Session:
    if not (visitor.is_owner or site.is_open):
        raise RefusedError(403, "This page is for the project's owner.")
    return visitor


Owner = Annotated[Session, Depends(_owner)]


async def _form(request: Request) -> dict[str, str]:
    form = await request.form(max_files=0, max_fields=500)
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    for name, value in fields.items():
        if len(value) > _LONGEST_FIELD and name not in _LONG_FIELDS:
            raise RefusedError(422, f"Expected at most {_LONGEST_FIELD:,} characters in {name[:40]!r}, got more.")
    return fields


Form = Annotated[dict[str, str], Depends(_form)]


def _signed_form(visitor: Visitor, site: SiteOf, form: Form) -> dict[str, str]:
    """Return the fields of a form that this session was given."""
    check_csrf(site, visitor, form.get("csrf", ""))
    return form


SignedForm = Annotated[dict[str, str], Depends(_signed_form)]


def check_csrf(site: Site, session: Session, given: str) -> None:
    """Refuse what was not sent by one of the site's own pages.

    Raises:
        RefusedError: So it was.
    """
    if not matches(given, session.csrf(site.secret)):
        raise RefusedError(403, "This page has expired; go back, reload it and try again.")


def go_to(path: str) -> RedirectResponse:
    """Send the browser to a page of this site after a form."""
    return RedirectResponse(path, 303)
