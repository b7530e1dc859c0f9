"""The commands ``textgym feedback exclude``, ``block``, ``void``, ``people``: who answers, and whose answers count."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from textgym import console

if TYPE_CHECKING:
    from textgym.feedback.store.moderation import Action
    from textgym.feedback.store.roster import RosterRow

_Existing = Annotated[str, typer.Argument(metavar="PROJECT.db", help="The project.")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The annotator.")]
_Reason = Annotated[str, typer.Option("--reason", help="Kept with the decision.")]


def exclude(project: _Existing, name: _Name, reason: _Reason = "") -> None:
    """Leave an annotator's answers out of exports, fits and figures; others are asked instead."""
    _decide(project, "exclude", name, reason)


def include(project: _Existing, name: _Name, reason: _Reason = "") -> None:
    """Count an excluded annotator's answers again."""
    _decide(project, "include", name, reason)


def block(project: _Existing, name: _Name, reason: _Reason = "") -> None:
    """End an annotator's sessions and let them answer no more; what they answered stays."""
    _decide(project, "block", name, reason)


def unblock(project: _Existing, name: _Name, reason: _Reason = "") -> None:
    """Let a blocked annotator answer again."""
    _decide(project, "unblock", name, reason)


def void(
    project: _Existing,
    link: Annotated[str, typer.Argument(metavar="LINK", help="The id that textgym feedback people lists.")],
    reason: _Reason = "",
) -> None:
    """Make an invitation, or a link for a new password, void."""
    from textgym.feedback.projects import open_project
    from textgym.feedback.server.accounts import Accounts
    from textgym.feedback.server.requirements import user_name

    with open_project(project) as store:
        what = Accounts(store).void(link, user_name(), reason, time.time())
    console.say(f"Void: {what}.")


def people(project: _Existing) -> None:
    """List annotators, open links, and what was decided about them."""
    from textgym.feedback.projects import open_project
    from textgym.feedback.server.accounts import Accounts
    from textgym.feedback.store.roster import roster, shown_time

    with open_project(project) as store:
        links, rows = Accounts(store).open_links(time.time()), roster(store)
        decisions = store.moderation.decisions()
    if rows:
        console.print_rows(["annotator", "account", "answers", "checks passed", "state"], list(map(_cells, rows)))
    if links:
        cells = [[link.id, link.purpose, shown_time(link.made)] for link in links]
        console.print_rows(["open link", "for", "made"], cells)
    if decisions:
        cells = [[shown_time(each.time), *each[1:]] for each in decisions]
        console.print_rows(["when", "who", "decision", "about", "reason"], cells)
    if not (rows or links or decisions):
        console.say("Nobody has answered yet, and nobody is invited.")


def _decide(project: str, action: Action, name: str, reason: str) -> None:
    from textgym.feedback.projects import describe_left_out, open_project
    from textgym.feedback.server.requirements import user_name
    from textgym.feedback.store.moderation import decide

    with open_project(project) as store:
        changed = decide(store.moderation, action, name, user_name(), reason)
        if not changed:
            console.say(f"{name} is {_STATES[action]} already; nothing was changed.")
            return
        console.say(f"{name} is {_STATES[action]} now. {describe_left_out(store)}".rstrip())


_STATES: dict[Action, str] = {
    "exclude": "excluded",
    "include": "included",
    "block": "blocked",
    "unblock": "unblocked",
}


def _cells(row: RosterRow) -> list[str]:
    return [row.name, "yes" if row.has_account else "-", f"{row.answers:,}", row.passed, row.state]
