"""The page that asks: one question after the other, in every mode; answers, skips, undo."""

from __future__ import annotations

import secrets
from functools import partial
from string import ascii_uppercase
from typing import Annotated, NamedTuple, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from textgym.feedback.records.answers import By
from textgym.feedback.server.forms import edited_response, read_form
from textgym.feedback.server.items import open_item, seal_item
from textgym.feedback.server.sessions import Session
from textgym.feedback.server.site import RefusedError, SignedForm, Site, SiteOf, Visitor, go_to
from textgym.feedback.server.text import Piece, differing_pieces, plain, visible_pieces, visible_text
from textgym.feedback.server.timing import elapsed_seconds, seconds_taken
from textgym.feedback.store.entries import Assignment, Vote
from textgym.feedback.store.project import VoteConflictError
from textgym.feedback.types import Comparison, Mode, Question, Ranking, Record, shown_order
from textgym.metrics.words import count_words
from textgym.types import JsonObject, Shown, shown_messages, shown_text

router = APIRouter()
DECLINED = "declined"
"""Setting that lists who declined to be recorded in natural use."""
_CONSENTS = "consents"
_NOTICES = {
    "known": "You have already answered that question; the first answer counts.",
}


class ShownResponse(NamedTuple):
    """A response as the page shows it; nothing here says who wrote it.

    Attributes:
        place: 0 is the first.
        label: Letter that the page calls the response by.
        text: Text of the response.
        pieces: The same, hidden characters made visible and differences marked.
        words: Number of words.
    """

    place: int
    label: str
    text: str
    pieces: list[Piece]
    words: int


def show_responses(question: Question) -> list[ShownResponse]:
    """Return the responses of a question in the order of its seed."""
    texts = [question.responses[index] for index in shown_order(len(question.responses), question.order_seed)]
    pieces = list(differing_pieces(*texts)) if len(texts) == 2 else list(map(visible_pieces, texts))
    return [
        ShownResponse(place, ascii_uppercase[place], plain(text), pieces[place], count_words(text))
        for place, text in enumerate(texts)
    ]


class ShownTurn(NamedTuple):
    """A turn of a prompt as the page shows it.

    Attributes:
        speaker: Name of the speaker; empty where the prompt is one text.
        pieces: Text of the turn.
        asks: Whether the user says it: the last such turn is what the responses answer.
    """

    speaker: str
    pieces: list[Piece]
    asks: bool = False


def show_turns(prompt: Shown) -> list[ShownTurn]:
    """Return the turns of a conversation; of a text, itself."""
    turns = shown_messages(prompt)
    spoken = [
        ShownTurn(visible_text(role.capitalize()), visible_pieces(content), role == "user") for role, content in turns
    ]
    return spoken or [ShownTurn("", visible_pieces(shown_text(prompt)))]


@router.get("/")
def ask(
    request: Request,
    site: SiteOf,
    visitor: Visitor,
    mode: Mode | None = None,
    better: Annotated[str | None, Query(max_length=10)] = None,
    notice: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """Show the question that is to be answered now."""
    declined = visitor.name in site.store.setting(DECLINED, [])
    assignment = _next_question(site, visitor, mode, declined)
    common: JsonObject = {
        "progress": site.store.annotator_progress(visitor.name),
        "last": _last_answer(site, visitor),
        "notice": _NOTICES.get(notice, ""),
        "mode": mode or "",
    }
    if assignment is None:
        is_empty = not site.store.questions()
        return site.page(request, "done.html", visitor, **common, declined=declined, is_empty=is_empty)
    question = assignment.question
    if question.mode == "natural" and not _has_agreed(site, visitor):
        return site.page(request, "consent.html", visitor, **common)
    return site.page(
        request,
        f"{question.mode}.html",
        visitor,
        **common,
        **_edited(question, better),
        item=seal_item(assignment.item, visitor.name, site.secret),
        vote=secrets.token_urlsafe(16),
        prompt=show_turns(question.prompt),
        responses=show_responses(question),
        criteria=question.criteria,
    )


@router.post("/vote")
def vote(site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """Keep an answer, or a skip; the reply is sent when it is on the disk."""
    assignment, records = _assignment(site, visitor, form), ()
    if form.get("choice") != "skip":
        records = _read(site, visitor, assignment, form)  # type: ignore[assignment]
    try:
        site.store.vote(form.get("vote", ""), visitor.name, assignment.item, records, revise=_is_natural(assignment))
    except VoteConflictError:
        return go_to(_next_page(form, "known"))
    return go_to(_next_page(form))


@router.post("/report")
def report(site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """Keep what somebody has done so far with the responses of a question of natural use; later reports replace it."""
    assignment = _assignment(site, visitor, form)
    if not (_is_natural(assignment) and _has_agreed(site, visitor)):
        raise RefusedError(409, "Reading is recorded only for people who agreed to it; reload the page.")
    records = _read(site, visitor, assignment, form)
    site.store.vote(form.get("vote", ""), visitor.name, assignment.item, records, revise=True)
    return Response(status_code=204)


@router.post("/undo")
def undo(site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """Take the answer back that the page named; pressing twice takes back one."""
    site.store.undo(visitor.name, form.get("vote", ""))
    return go_to(_next_page(form))


@router.post("/consent")
def consent(site: SiteOf, visitor: Visitor, form: SignedForm) -> Response:
    """Note that somebody agrees to be recorded, or declines; of whoever declines, that alone is kept."""
    agrees = form.get("agree") == "yes"
    _list_among(site, _CONSENTS, visitor.name, is_in=agrees)
    _list_among(site, DECLINED, visitor.name, is_in=not agrees)
    if not agrees:
        site.store.take_back(visitor.name, "natural")
    return go_to(_next_page(form))


def _list_among(site: Site, setting: str, name: str, *, is_in: bool) -> None:
    def change(known: list[str] | None) -> list[str]:
        others = [each for each in known or [] if each != name]
        return [*others, name] if is_in else others

    site.store.update_setting(setting, change)


def _next_question(site: Site, visitor: Session, mode: Mode | None, declined: bool) -> Assignment | None:
    """Return what to ask now; whoever declined natural use is asked questions of the other modes."""
    assign = partial(site.store.assign, visitor.name, reserve=not _is_owner(site, visitor))
    if not declined:
        return assign(mode)
    modes = [each for each in get_args(Mode) if each != "natural" and mode in (None, each)]
    return next(filter(None, map(assign, modes)), None)


def _is_owner(site: Site, visitor: Session) -> bool:
    """Return whether the owner looks: a glance at their own page keeps no question from the annotators."""
    return visitor.is_owner and visitor.name == site.name


def _assignment(site: Site, visitor: Session, form: dict[str, str]) -> Assignment:
    item = open_item(form.get("item", ""), visitor.name, site.secret)
    found = None if item is None else site.store.assignment(visitor.name, item)
    if found is None:
        raise RefusedError(409, "This question was not assigned to you; reload the page.")
    return found


def _read(site: Site, visitor: Session, assignment: Assignment, form: dict[str, str]) -> tuple[Record, ...]:
    """Return the records that a form stands for; no time in them is longer than the question has been there."""
    elapsed = elapsed_seconds(assignment.started, site.clock())
    return read_form(assignment.question, form, _by(site, visitor, assignment, form), elapsed)


def _by(site: Site, visitor: Session, assignment: Assignment, form: dict[str, str]) -> By:
    """Return who answers; the page's own clock, which stops while nobody is there, counts if it is not too fast."""
    now = site.clock()
    elapsed = elapsed_seconds(assignment.started, now)
    try:
        active = float(form.get("seconds", ""))
    except ValueError:
        active = elapsed
    return By(visitor.name, now, seconds_taken(active, elapsed))


def _edited(question: Question, better: str | None) -> JsonObject:
    """Return what the page of "edit" needs besides: which choice was made, and the text to begin from."""
    if question.mode != "edit":
        return {}
    if len(question.responses) == 1:
        return {"better": "only", "draft": plain(question.responses[0])}
    if better not in ("first", "second", "tie", "both_bad"):
        return {"better": None, "draft": ""}
    index = edited_response(question, better)
    return {"better": better, "draft": "" if index is None else plain(question.responses[index])}


def _last_answer(site: Site, visitor: Session) -> dict[str, str] | None:
    """Return what undo takes back, and who had written the texts: only what was answered is shown."""
    last = site.store.last_vote(visitor.name)
    if last is None:
        return None
    # Nobody wrote the texts of an attention check: where there are any, that would tell them from other questions.
    return {"vote": last.id, "said": _said(last, site.project().reveal and not site.store.has_checks())}


def _said(last: Vote, reveal: bool) -> str:
    """Say an answer in words, in the order in which the texts were shown."""
    if last.skipped:
        return "skipped"
    match last.records[0]:
        case Comparison(choice=choice, generators=generators, order_seed=seed):
            order = shown_order(2, seed)
            names = [generators[index] for index in order] if generators and reveal else []
            words = {"tie": "equally good", "both_bad": "both bad"}
            said = words.get(choice) or ("A is better" if "ab"[order[0]] == choice else "B is better")
            return said + (f" (A: {names[0]}, B: {names[1]})" if names else "")
        case Ranking(ranks=ranks, generators=generators):
            best = sorted(zip(ranks, generators, strict=False))
            return "ranked" + (f" ({', '.join(f'{rank}. {name}' for rank, name in best)})" if best and reveal else "")
        case other:
            sources = sorted({name for each in last.records for name in each.generators}) if reveal else []
            words = {"Rating": "rated", "Demonstration": "edited", "ImplicitFeedback": "read"}
            return words[type(other).__name__] + (f" ({', '.join(sources)})" if sources else "")


def _has_agreed(site: Site, visitor: Session) -> bool:
    return visitor.name in site.store.setting(_CONSENTS, [])


def _is_natural(assignment: Assignment) -> bool:
    return assignment.question.mode == "natural"


def _next_page(form: dict[str, str], notice: str = "") -> str:
    """Return where to go on; the mode that was asked for stays."""
    mode = form.get("mode", "")
    parts = [f"mode={mode}"] if mode in get_args(Mode) else []
    parts += [f"notice={notice}"] if notice else []
    return "/?" + "&".join(parts) if parts else "/"
