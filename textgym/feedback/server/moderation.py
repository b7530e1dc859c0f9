"""The owner's page about people: links to send, accounts, whom to block or exclude, and who decided that."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from textgym.feedback.server.accounts import INVITATION_SECONDS
from textgym.feedback.server.site import Owner, RefusedError, SignedForm, Site, SiteOf, go_to
from textgym.feedback.store.moderation import Action, decide
from textgym.feedback.store.roster import roster, shown_time
from textgym.types import JsonObject

router = APIRouter()


@router.get("/people")
def people(request: Request, site: SiteOf, owner: Owner) -> Response:
    """List accounts and links."""
    _check_closed(site)
    return site.page(request, "people.html", owner, **_listed(site), link="", name="")


@router.post("/people")
def invite(request: Request, site: SiteOf, owner: Owner, form: SignedForm) -> Response:
    """Make an invitation, or a link by which somebody who has an account gets a new password."""
    _check_closed(site)
    name, now = form.get("name", ""), site.clock()
    if not name:
        link = request.url_for("join_page").include_query_params(invitation=site.accounts.invite(now))
    elif name in site.accounts.all():
        code = site.accounts.offer_password(name, now)
        link = request.url_for("password_page").include_query_params(name=name, invitation=code)
    else:
        raise RefusedError(422, "There is no account with that name; go back and choose one.")
    return site.page(request, "people.html", owner, **_listed(site), link=str(link), name=name)


@router.post("/moderation")
def moderate(site: SiteOf, owner: Owner, form: SignedForm) -> Response:
    """Exclude, include, block or unblock somebody, or make a link void; who decided, when and why is kept."""
    action, reason = form.get("action", ""), form.get("reason", "")
    if action == "void":
        site.accounts.void(form.get("link", ""), owner.name, reason, site.clock())
    elif action in get_args(Action):
        decide(site.store.moderation, action, form.get("name", ""), owner.name, reason)  # type: ignore[arg-type]
    else:
        raise RefusedError(422, "Expected exclude, include, block, unblock or void, got another; choose one.")
    return go_to("/people" if form.get("page") == "people" else "/dashboard")


def _listed(site: Site) -> JsonObject:
    """Return what the page lists: people, links that still work, decisions (the newest first)."""
    now = site.clock()
    links = [(link, shown_time(link.made + INVITATION_SECONDS)) for link in site.accounts.open_links(now)]
    decisions = [(each, shown_time(each.time)) for each in reversed(site.store.moderation.decisions())]
    return {"people": roster(site.store), "links": links, "decisions": decisions}


def _check_closed(site: Site) -> None:
    if site.is_open:
        raise RefusedError(403, "An open site has no accounts; start the server with --closed or --host.")
