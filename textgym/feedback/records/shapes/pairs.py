"""Rows with two responses, one of which is better: read as comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from textgym.feedback.records.preferences import from_preference_row
from textgym.feedback.records.shapes.cells import (
    OBJECTS,
    TEXT,
    Cells,
    UnusableError,
    chat,
    is_null,
    label,
    number,
    structure,
    texts,
)
from textgym.feedback.records.shapes.prompts import PROMPTS, dialogue_prompt, first_rounds, prompt_of, shared_prompt
from textgym.feedback.types import Choice, Comparison, Ranking
from textgym.text.messages import is_chat
from textgym.types import Message, Shown, as_shown, shown_messages, shown_text
from textgym.values import as_list, as_object, as_text

_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
)
BETTER_SCORE, WORSE_SCORE = ("|".join(names) for names in zip(*_SCORES, strict=True))
_MODELS = (("chosen_model", "rejected_model"), ("model_chosen", "model_rejected"))
_STRONGEST = 3
_NO_WINNER: dict[str, Choice] = {
    **dict.fromkeys(("tie", "equal", "both", "same", "draw", "both_good"), "tie"),
    **dict.fromkeys(("tie (bothbad)", "bothbad", "both_bad", "both bad", "neither", "none"), "both_bad"),
}
Two = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of the columns of two responses, each the first of its names that the row has."""


def chosen_rejected(cells: Cells) -> Comparison | Ranking:
    """Read a row that names the better response; equal scores beside it are a tie.

    Lists of texts are several better and several worse ones: a ranking with two places.
    """
    values = [_as_chat(cells.get(name)) for name in ("chosen", "rejected")]
    better, worse = (texts(value) if isinstance(value, list) else None for value in values)
    if better and worse:
        ranks = (1,) * len(better) + (2,) * len(worse)
        return Ranking(*cells.about(prompt_of(cells)), (*better, *worse), ranks, annotator=cells.annotator())
    if all(map(_is_conversation, values)):
        before, first, second = shared_prompt([cells.parsed(value, "chosen") for value in values], cells)
        record = _compare(cells, _after_prompt(cells, before), (first, second), "a")
    else:
        row = {"chosen": values[0], "rejected": values[1], "annotator": cells.annotator()}
        record = from_preference_row({**row, **_prompt_entry(cells)}, cells.place)
    key = cells.row.get("task_key", record.task_key)
    choice, generators = _choice_by_scores(cells), _generators(cells, _MODELS)
    same = (key, choice, generators) == (record.task_key, record.choice, record.generators)
    return (
        record
        if same
        else replace(record, task_key=cells.about(record.prompt)[0], choice=choice, generators=generators)
    )


def _is_conversation(value: object) -> bool:
    return is_chat(value) and len(as_list(value)) > 1


def _prompt_entry(cells: Cells) -> dict[str, object]:
    """Return the prompt as published rows have it; nothing where the responses begin with it."""
    if cells.find(*PROMPTS) is None:
        return {}
    prompt = prompt_of(cells)
    return {"prompt": [each._asdict() for each in shown_messages(prompt)] or shown_text(prompt)}


def _after_prompt(cells: Cells, before: tuple[Message, ...]) -> Shown:
    """Return what comes before the answers of two conversations; behind the prompt, where they begin with an answer."""
    begun = bool(before) and before[0].role == "assistant"
    if begun and cells.find("prompt") is not None:
        prompt = prompt_of(cells)
        return (*(shown_messages(prompt) or (Message("user", shown_text(prompt)),)), *before)
    cells.get("prompt")  # it is the beginning of both
    return as_shown(before)


def _as_chat(value: object) -> object:
    """Return a cell whose messages may stand in a text, or may be a single one."""
    match value:
        case dict():
            return [value]
    return chat(value) or value


def _choice_by_scores(cells: Cells) -> Choice:
    for names in _SCORES:
        if names[0] not in cells.row:
            continue
        better, worse = (number(cells.get(name)) for name in names)
        if better is None or worse is None:
            continue
        if better == worse:
            cells.tally.notes["rows of equal scores"] += 1
            return "tie"
        if better < worse:
            cells.tally.notes["rows whose chosen text has the lower score, read as chosen"] += 1
        return "a"
    return "a"


def _generators(cells: Cells, names: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the models of two responses, where the row names both."""
    for first, second in names:
        found = as_text(cells.get(first)), as_text(cells.get(second))
        if all(found):
            return found
    return ()


def _compare(cells: Cells, prompt: Shown, responses: tuple[str, str], choice: Choice) -> Comparison:
    return Comparison(*cells.about(prompt), *responses, choice, annotator=cells.annotator())


def signed_preference(cells: Cells, two: Two) -> Comparison:
    """Read a preference from -3 (the first is much better) over 0 (neither) to 3 (the second)."""
    cells.answer("a preference", "overall_preference", "preference_strength")
    strength = cells.number_of("overall_preference", "preference_strength")
    if abs(strength) > _STRONGEST:
        raise UnusableError("rows without a valid preference")
    choice: Choice = "a" if strength < 0 else "b" if strength > 0 else "tie"
    prompt = dialogue_prompt(prompt_of(cells))
    return _compare(cells, prompt, (cells.text(*two[0]), cells.text(*two[1])), choice)


def two_scores(cells: Cells) -> Comparison:
    """Read a question with two answers and the score of each; equal scores are a tie."""
    question = structure(cells.get("question"))
    prompt = as_text(as_object(question).get("full_text")) or prompt_of(cells)
    first, second = cells.number_of("score_0"), cells.number_of("score_1")
    choice: Choice = "tie" if first == second else "a" if first > second else "b"
    return _compare(cells, prompt, (cells.text("answer_0"), cells.text("answer_1")), choice)


def upvoted(cells: Cells) -> Comparison:
    """Read two answers, of which the first is preferred where ``labels`` is 1."""
    first_is_better = label(cells.get("labels"))
    if first_is_better is None:
        raise cells.error(f"expected 1 or 0 as 'labels', got {cells.row.get('labels')!r}; correct the row")
    texts = cells.text("human_ref_A"), cells.text("human_ref_B")
    return _compare(cells, cells.shown("history"), texts, "a" if first_is_better else "b")


def summaries(cells: Cells) -> Comparison:
    """Read two summaries of a post or an article, and the number of the better one."""
    info, (first, second) = as_object(structure(cells.get("info"))), _two_summaries(cells)
    body = as_text(info.get("post")) or as_text(info.get("article"))
    if not body:
        raise cells.error(f"expected 'post' or 'article' in 'info', got only {', '.join(info)}; add it")
    title = as_text(info.get("title"))
    prompt = f"{title}\n\n{body}" if title and as_text(info.get("post")) else body
    record = _compare(
        cells, prompt, (first["text"].strip(), second["text"].strip()), _side(cells, ("0", "1"), "choice")
    )
    models = as_text(first.get("policy")), as_text(second.get("policy"))
    return replace(record, generators=models if all(models) else ())


def _two_summaries(cells: Cells) -> list[dict[str, str]]:
    given = cells.read(OBJECTS, "summaries")
    match given:
        case [{"text": str()}, {"text": str()}]:
            return [*given]
    raise cells.error("expected two summaries, each with a text, got others; correct the row")


def battle(cells: Cells) -> Comparison:
    """Read two conversations and the side that won."""
    conversations = [cells.messages(name) for name in ("conversation_a", "conversation_b")]
    judged = number(cells.get("turn"))
    if judged is not None:
        conversations = [first_rounds(messages, int(judged)) for messages in conversations]
    before, *answers = shared_prompt(conversations, cells)
    choice = _side(cells, ("a", "b"), "winner")
    record = _compare(cells, as_shown(before), (answers[0], answers[1]), choice)
    return replace(record, generators=_generators(cells, [("model_a", "model_b")]))


def battle_table(cells: Cells) -> Comparison:
    """Read turns as lists of texts, and the side that won as one column for each outcome."""
    asked, first, second = (_turns(cells, name) for name in ("prompt", "response_a", "response_b"))
    if not len(asked) == len(first) == len(second):
        raise cells.error("expected as many responses as turns of the user, got others; correct the row")
    conversations = [
        [message for turn in zip(asked, own, strict=True) for message in map(Message, ("user", "assistant"), turn)]
        for own in (first, second)
    ]
    before, *answers = shared_prompt(conversations, cells)
    won = [label(cells.get(name)) for name in ("winner_model_a", "winner_model_b")]
    cells.get("winner_tie")
    choice: Choice = "a" if won[0] else "b" if won[1] else "tie"
    record = _compare(cells, as_shown(before), (answers[0], answers[1]), choice)
    return replace(record, generators=_generators(cells, [("model_a", "model_b")]))


def _turns(cells: Cells, name: str) -> list[str]:
    """Return the turns that a cell holds as a list; a text is the only one."""
    value = structure(cells.get(name))
    return [as_text(turn) for turn in value] if isinstance(value, list | tuple) else [cells.text(name)]


def winner(cells: Cells, names: tuple[str, str], by: Sequence[str]) -> Comparison:
    """Read two responses, whose columns end with their side, and the side that is better."""
    sides = names[0].rsplit("_", 1)[1], names[1].rsplit("_", 1)[1]
    choice = _side(cells, sides, *by)
    record = _compare(cells, dialogue_prompt(prompt_of(cells)), (cells.text(names[0]), cells.text(names[1])), choice)
    models = [(f"model_{sides[0]}", f"model_{sides[1]}"), (f"generator_{sides[0]}", f"generator_{sides[1]}")]
    return replace(record, generators=_generators(cells, models))


def winner_of(first: str, second: str, *by: str) -> Callable[[Cells], Comparison]:
    """Return :func:`winner` for two columns, and the columns that may name the better one."""
    return partial(winner, names=(first, second), by=by)


def _side(cells: Cells, sides: Sequence[str], *names: str) -> Choice:
    """Return the choice that a cell says: a side, alone or behind the word for a model or a response, or neither."""
    name, value = cells.answer("a choice", *names)
    said = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if said in _NO_WINNER:
        return _NO_WINNER[said]
    side = said.replace("-", "_").replace(" ", "_").rsplit("_", 1)[-1].removesuffix(".0")
    if side not in sides:
        got = "nothing" if is_null(value) else repr(value)
        raise cells.error(f"expected {sides[0]}, {sides[1]}, tie or both_bad as {name!r}, got {got}; correct the row")
    return "a" if side == sides[0] else "b"


def better_worse(cells: Cells, better: str, worse: str) -> Comparison:
    """Read two columns, the first of which holds the better response."""
    return _compare(cells, prompt_of(cells), (cells.read(TEXT, better), cells.read(TEXT, worse)), "a")


def preferred_output(cells: Cells) -> Comparison:
    """Read a request with its messages, the preferred output and the other one."""
    request = as_object(structure(cells.get("input")))
    prompt = cells.as_shown(request.get("messages"), "input")
    answers = [cells.messages(name)[-1].content for name in ("preferred_output", "non_preferred_output")]
    return _compare(cells, prompt, (answers[0], answers[1]), "a")
