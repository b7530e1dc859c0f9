"""Prompts of rows: the column that holds them, messages, and what two conversations share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from textgym.feedback.records.dialogues import as_conversation
from textgym.feedback.records.shapes.cells import Cells, UnusableError
from textgym.text.messages import MessageError, last_answer
from textgym.types import Message, Shown, as_shown, shown_messages, shown_text

PROMPTS = ("prompt", "instruction", "question", "query", "input", "context", "conversations", "user_input", "history")
"""Columns that hold the prompt, in most shapes."""
_SYSTEM = ("system", "system_prompt")
_TURNS = {"<extra_id_1>User\n": "user", "<extra_id_1>Assistant\n": "assistant"}


def prompt_of(cells: Cells) -> Shown:
    """Return the prompt of a row: ``prompt``, or ``instruction`` with its ``input``, or the only other one there is.

    A system prompt in a column of its own comes before it.

    Raises:
        DataError: There is none, or there are several.
    """
    known = [name for name in PROMPTS if cells.find(name) is not None]
    if not known:
        raise cells.error(f"expected 'prompt', got only {', '.join(cells.row) or 'nothing'}; add it")
    if known[0] in ("prompt", "instruction"):
        shown = cells.shown(known[0])
        if known[:1] == ["instruction"] and (more := cells.get("input")):
            shown = f"{shown_text(shown)}\n\n{more}"
    elif len(known) > 1:
        raise cells.error(
            f"expected one column with the prompt, got {', '.join(known)}; rename the right one to prompt"
        )
    else:
        shown = cells.shown(known[0])
    return with_system(cells, shown)


def with_system(cells: Cells, shown: Shown) -> Shown:
    """Return a prompt behind the system prompt of its row, if there is one."""
    system = cells.get(*_SYSTEM)
    if not isinstance(system, str) or not system.strip():
        return shown
    asked = shown_messages(shown) or (Message("user", shown_text(shown)),)
    return asked if asked[0].role == "system" else (Message("system", system), *asked)


def dialogue_prompt(shown: Shown) -> Shown:
    r"""Return the messages of a prompt that marks its turns: ``"\n\nHuman: "``, or ``"<extra_id_1>User\n"``."""
    text = shown if isinstance(shown, str) else ""
    if any(mark in text for mark in _TURNS):
        return as_shown(_marked_turns(text))
    return as_conversation(shown)


def _marked_turns(text: str) -> list[Message]:
    messages, role = [], "user"
    while text:
        places = {mark: place for mark in _TURNS if (place := text.find(mark)) >= 0}
        mark = min(places, key=places.__getitem__, default="")
        content = text[: places[mark]] if mark else text
        if content.strip():
            messages.append(Message(role, content.strip()))
        text = text[places[mark] + len(mark) :] if mark else ""
        role = _TURNS.get(mark, role)
    return messages


def shared_prompt(conversations: Sequence[Sequence[Message]], cells: Cells) -> tuple[tuple[Message, ...], str, str]:
    """Return what comes before the last answer in two conversations, and both answers.

    Raises:
        DataError: No assistant speaks in one of them.
        UnusableError: They differ before.
    """
    try:
        first, second = map(last_answer, conversations)
    except MessageError as error:
        raise cells.error(f"{error}; correct the row") from error
    before, other = map(_before_last_answer, conversations)
    if before != other:
        raise UnusableError("rows whose two conversations differ before the last answer")
    return before, first, second


def first_rounds(messages: Sequence[Message], rounds: int) -> tuple[Message, ...]:
    """Return a conversation up to so many turns of the user, with the answers to them."""
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    return tuple(messages[: asked[rounds]]) if len(asked) > rounds > 0 else tuple(messages)


def _before_last_answer(messages: Sequence[Message]) -> tuple[Message, ...]:
    after = sum(1 for _ in takewhile(lambda message: message.role != "assistant", reversed(messages)))
    return tuple(messages[: len(messages) - after - 1])
