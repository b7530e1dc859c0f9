"""The JSON interface, for notebooks: questions, assignments, votes, records, accuracies.

On a closed site every request carries ``Authorization: Bearer TOKEN``, or comes from the owner's browser.
"""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from textgym import values
from textgym.feedback.projects import project_concerns
from textgym.feedback.records.answers import (
    Behaviour,
    By,
    Expected,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
)
from textgym.feedback.records.parsing import question_to_json, record_to_json
from textgym.feedback.server.forms import LONGEST_TEXT, written_text
from textgym.feedback.server.site import LoginNeededError, RefusedError, SiteOf, check_csrf
from textgym.feedback.server.timing import capped_dwell, elapsed_seconds, seconds_taken
from textgym.feedback.statistics.agreement import Level, collect_answers, krippendorff_alpha, position_bias
from textgym.feedback.statistics.learning_curve import accuracy_curve, add_accuracy
from textgym.feedback.types import Comparison, Mode, Question, Ranking, Rating, Record
from textgym.types import Interval, JsonObject, Message, as_shown


def _let_in(request: Request, site: SiteOf) -> None:
    """Let in who has the token, or is the owner at a browser; an open site, whoever is no foreign form."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and not site.is_open:
        if not site.check_token(request, token):
            raise LoginNeededError
    elif not site.is_open:
        session = site.session(request)
        if session is None or not session.is_owner:
            raise LoginNeededError
        if request.method != "GET":
            check_csrf(site, session, request.headers.get("x-csrf-token", ""))
    if request.method != "GET" and request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RefusedError(415, "Expected Content-Type: application/json; send JSON.")


router = APIRouter(prefix="/api", dependencies=[Depends(_let_in)])
_MOST_CRITERIA = 20
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(max_length=200)]
Item = Annotated[int, Field(ge=1, le=2**53)]
Count = Annotated[int, Field(ge=1, le=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class MessageBody(BaseModel):
    """A message of a conversation, as :class:`~textgym.types.Message`."""

    role: Name
    content: Text


class QuestionBody(BaseModel):
    """A question, as :class:`~textgym.feedback.types.Question`."""

    task_key: Text
    prompt: Text | Annotated[list[MessageBody], Field(min_length=1)]
    responses: list[Text]
    mode: Mode = "compare"
    generators: list[Text] = []
    criteria: Annotated[list[Name], Field(max_length=_MOST_CRITERIA)] = []


class QuestionsBody(BaseModel):
    """Questions to add; those with an expected answer become attention checks."""

    questions: list[QuestionBody]
    overlap: Count = 1
    priority: Number = 0.0
    expected: list[object] | None = None


class AssignBody(BaseModel):
    """The annotator that is to answer a question."""

    annotator: Name
    mode: Mode | None = None


class VoteBody(BaseModel):
    """An answer: what it says depends on the mode; without one the question is skipped.

    ``{"choice": "a"}``, ``{"ranks": [2, 1, 3]}``, ``{"ratings": [4], "criteria": [{"faithful": 5}]}``,
    ``{"text": "...", "edited": 0, "choice": "a"}``, or ``{"behaviours": [{"position": 0, "clicked": true,
    "dwell_seconds": 2.5, "scrolled": 1.0, "copied": false}]}``; texts in the order in which the question lists them.
    """

    annotator: Name
    item: Item
    answer: JsonObject | None = None
    id: Name | None = None
    seconds: Seconds | None = None


class AccuracyBody(BaseModel):
    """The accuracy of a reward model after a number of labels."""

    labels: Annotated[int, Field(ge=0, le=2**53)]
    mean: Number
    low: Number
    high: Number


@router.get("/status")
def status(site: SiteOf) -> dict[str, object]:
    """Return how far the project is, and how far people agree."""
    records = site.store.records()
    levels: tuple[tuple[type[Comparison | Rating | Ranking], Level], ...] = (
        (Comparison, "nominal"),
        (Rating, "ordinal"),
        (Ranking, "ordinal"),
    )
    alphas = {
        kind.__name__: krippendorff_alpha(collect_answers(records, kind, level).values, level) for kind, level in levels
    }
    return {
        **site.store.progress()._asdict(),
        "alpha": alphas,
        "position_bias": position_bias(records)._asdict(),
        "rank_position_bias": position_bias(records, Ranking)._asdict(),
        "concerns": project_concerns(site.store, records),
        "attention": site.store.attention(),
        "left_out": site.store.left_out(),
        "accuracy": [{"labels": point.labels, **point.accuracy._asdict()} for point in accuracy_curve(site.store)],
    }


@router.get("/questions")
def questions(site: SiteOf) -> dict[int, dict[str, object]]:
    """Return all questions by their numbers."""
    return {item: question_to_json(question) for item, question in site.store.questions().items()}


@router.post("/questions")
def add_questions(site: SiteOf, body: QuestionsBody) -> dict[str, list[int]]:
    """Add questions."""
    made = [_question(each) for each in body.questions]
    if body.expected is None:
        return {"items": site.store.add(made, overlap=body.overlap, priority=body.priority)}
    if len(body.expected) != len(made):
        raise RefusedError(422, f"Expected one answer per check, got {len(body.expected)} for {len(made)}; add them.")
    return {"items": site.store.add_checks(made, [_expected(answer) for answer in body.expected])}


@router.post("/priorities")
def set_priorities(site: SiteOf, body: dict[Item, Number]) -> None:
    """Change which questions are asked first."""
    site.store.set_priorities(body)


@router.post("/assign")
def assign(site: SiteOf, body: AssignBody) -> dict[str, object]:
    """Return what to ask somebody, without its generators; ``{"item": null}`` if nothing is left."""
    found = site.store.assign(body.annotator, body.mode)
    if found is None:
        return {"item": None}
    question = question_to_json(found.question)
    del question["generators"]
    return {"item": found.item, "question": question, "started": found.started}


@router.post("/votes")
def vote(site: SiteOf, body: VoteBody) -> dict[str, object]:
    """Keep an answer; when the reply comes it is on the disk, and sending it again under its id changes nothing."""
    found = site.store.assignment(body.annotator, body.item)
    if found is None:
        raise RefusedError(409, "Expected an answer to a question that was asked, got another; POST /api/assign first.")
    now = site.clock()
    elapsed = elapsed_seconds(found.started, now)
    by = By(body.annotator, now, seconds_taken(body.seconds, elapsed))
    records = () if body.answer is None else _records(found.question, body.answer, by, elapsed)
    name = body.id or secrets.token_urlsafe(16)
    return {"id": name, "new": site.store.vote(name, body.annotator, body.item, records)}


@router.post("/undo")
def undo(site: SiteOf, body: AssignBody) -> dict[str, bool]:
    """Take somebody's last answer back."""
    last = site.store.last_vote(body.annotator)
    return {"undone": last is not None and site.store.undo(body.annotator, last.id)}


@router.get("/records")
def records(site: SiteOf, checks: bool = False, excluded: bool = False) -> list[dict[str, object]]:
    """Return all records; those of attention checks, and of excluded annotators, only on request."""
    return [record_to_json(record) for record in site.store.records(checks=checks, excluded=excluded)]


@router.post("/accuracy")
def accuracy(site: SiteOf, body: AccuracyBody) -> None:
    """Note how well a reward model does after so many labels, for the dashboard."""
    add_accuracy(site.store, body.labels, Interval(body.mean, body.low, body.high))


def _question(body: QuestionBody) -> Question:
    prompt, texts = body.prompt, tuple(body.responses)
    shown = prompt if isinstance(prompt, str) else as_shown([Message(each.role, each.content) for each in prompt])
    return Question(body.task_key, shown, texts, body.mode, tuple(body.generators), criteria=tuple(body.criteria))


def _expected(answer: object) -> Expected:
    match answer:
        case [*given] if len(grades := list(filter(values.is_whole, given))) == len(given):
            return grades
        case str():
            return answer  # type: ignore[return-value]  # the store checks it
    raise RefusedError(422, f"Expected a choice or a list of whole numbers, got {answer!r}; correct the check.")


def _records(question: Question, answer: JsonObject, by: By, elapsed: float) -> tuple[Record, ...]:
    try:
        if question.mode == "compare":
            return answer_compare(question, answer["choice"], by)
        if question.mode == "rank":
            return answer_rank(question, answer["ranks"], by)
        if question.mode == "rate":
            return answer_rate(question, answer["ratings"], by, answer.get("criteria", ()))
        if question.mode == "edit":
            edited = answer.get("edited", 0 if len(question.responses) == 1 else None)
            return answer_edit(question, written_text(answer["text"]), edited, answer.get("choice"), by)
        behaviours = [_behaviour(question, Behaviour(**row), elapsed) for row in answer["behaviours"]]
        return answer_natural(question, behaviours, by)
    except (KeyError, TypeError, IndexError) as error:
        raise RefusedError(422, f"Expected an answer to {question.mode}, got {dict(answer)!r} ({error}).") from error


def _behaviour(question: Question, seen: Behaviour, elapsed: float) -> Behaviour:
    if seen.position not in range(len(question.responses)):
        most = len(question.responses) - 1
        raise RefusedError(422, f"Expected a position from 0 to {most}, got {values.got(seen.position)}; correct it.")
    return seen._replace(dwell_seconds=capped_dwell(values.expect_number(seen.dwell_seconds), elapsed))
