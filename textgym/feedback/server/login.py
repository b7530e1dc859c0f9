"""Coming in: the owner's link, invitations, names and passwords."""

from __future__ import annotations

from typing import Annotated, NoReturn

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from textgym.feedback.server.accounts import Account
from textgym.feedback.server.names import check_name, look_alike
from textgym.feedback.server.sessions import Session
from textgym.feedback.server.site import Form, RefusedError, SignedForm, Site, SiteOf, Visitor, go_to

router = APIRouter()
_Secret = Annotated[str, Query(max_length=200)]


@router.get("/enter")
def enter(request: Request, site: SiteOf, token: _Secret = "") -> Response:
    """Let the bearer of the token in, as the owner."""
    if not (site.is_open or site.check_token(request, token)):
        raise RefusedError(403, "This is not the link that the server printed when it started; use that one.")
    return _welcome(request, site, Session.begin(site.name, True, site.clock()))


@router.get("/login")
def login_page(request: Request, site: SiteOf) -> Response:
    """Ask for name and password."""
    return site.page(request, "login.html", problem="", name="")


@router.post("/login")
def login(request: Request, site: SiteOf, form: Form) -> Response:
    """Check name and password.

    The form needs no proof of where it is from: requests from other sites are refused before they get here.
    """
    name, password = form.get("name", ""), form.get("password", "")
    if not (name and password):  # nothing was tried, so no try is counted
        problem = "Enter your name and your password."
        return site.page(request, "login.html", problem=problem, name=name, status=422)
    account = site.check_password(request, name, password)
    if account is None or account.name in site.store.moderation.blocked():
        problem = "Wrong name or password."
        if account is not None:
            problem = "This account is blocked; the project's owner can unblock it."
        return site.page(request, "login.html", problem=problem, name=name, status=403)
    return _welcome_account(request, site, account)


@router.get("/join")
def join_page(request: Request, site: SiteOf, invitation: _Secret = "") -> Response:
    """Ask somebody who was invited for a name and a password."""
    _check_invitation(request, site, invitation)
    return site.page(request, "join.html", invitation=invitation, problem="", name="")


@router.post("/join")
def join(request: Request, site: SiteOf, form: Form) -> Response:
    """Make an account."""
    invitation = form.get("invitation", "")
    _check_invitation(request, site, invitation)
    try:
        if look_alike(form.get("name", ""), site.name):
            raise ValueError(f"The name {site.name!r} is taken; choose another.")
        account = site.accounts.join(invitation, form.get("name", ""), form.get("password", ""), site.clock())
    except ValueError as error:
        typed = form.get("name", "")
        return site.page(request, "join.html", invitation=invitation, problem=str(error), name=typed, status=422)
    return _welcome_account(request, site, account)


@router.get("/password")
def password_page(request: Request, site: SiteOf, invitation: _Secret = "", name: _Secret = "") -> Response:
    """Ask whoever was sent a link for it for a new password."""
    _check_renewal(request, site, invitation, name)
    return site.page(request, "password.html", invitation=invitation, problem="", name=name)


@router.post("/password")
def change_password(request: Request, site: SiteOf, form: Form) -> Response:
    """Change a password."""
    invitation, name = form.get("invitation", ""), form.get("name", "")
    _check_renewal(request, site, invitation, name)
    try:
        account = site.accounts.renew(invitation, name, form.get("password", ""), site.clock())
    except ValueError as error:
        return site.page(request, "password.html", invitation=invitation, problem=str(error), name=name, status=422)
    return _welcome_account(request, site, account)


@router.post("/leave")
def leave(site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """End the session, here and for whoever has a copy of its cookie."""
    if not site.is_open:
        site.ended.end(visitor, site.clock())
    response = go_to("/login")
    response.delete_cookie(site.cookie)
    return response


@router.post("/name")
def rename(request: Request, site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """Answer under another name, where names are taken on trust."""
    name = form.get("name", "").strip()
    if not site.is_open:
        raise RefusedError(403, "This site has accounts; ask its owner for an invitation.")
    try:
        check_name(name, {site.name, *site.store.annotators()})
    except ValueError as error:
        raise RefusedError(422, f"{error} Go back to do so.") from None
    return _welcome(request, site, Session.begin(name, True, site.clock()))


def _check_invitation(request: Request, site: Site, invitation: str) -> None:
    if not site.accounts.is_invited(invitation, site.clock()):
        _refuse_link(request, site)


def _check_renewal(request: Request, site: Site, invitation: str, name: str) -> None:
    if not site.accounts.may_renew(invitation, name, site.clock()):
        _refuse_link(request, site)


def _refuse_link(request: Request, site: Site) -> NoReturn:
    site.count_wrong_link(request)
    raise RefusedError(403, "This link was used already or revoked; ask for a new one.")


def _welcome_account(request: Request, site: Site, account: Account) -> Response:
    return _welcome(request, site, Session.begin(account.name, False, site.clock(), account.mark))


def _welcome(request: Request, site: Site, session: Session) -> Response:
    response = go_to("/")
    site.remember(request, response, session)
    return response
