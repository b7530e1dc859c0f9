"""Chat messages: read from ``[{"role": ..., "content": ...}, ...]``, and as plain text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from textgym.types import Message, Prompt, flatten

_FORMS = (("role", "content"), ("from", "value"))  # the names of the two fields, in the two forms in use
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
_UNKNOWN = ("tool_calls", "tool_call_id", "function_call")
_LINE = re.compile(r"^(System|User|Assistant): ?", re.MULTILINE)
_DIALOGUE = re.compile(r"\n\n(Human|Assistant):")


class MessageError(ValueError):
    """A list is not a chat, or it holds no text to answer."""


def is_chat(value: object) -> bool:
    """Return whether ``value`` looks like a list of messages: a non-empty list or tuple that starts with a mapping."""
    match value:
        case [dict(), *_]:
            return True
    return False


def parse_messages(value: object) -> list[Message]:
    """Check a list of ``{"role", "content"}`` or ``{"from", "value"}`` objects and return it as messages.

    Roles are compared in lower case; "human" is the user, and "gpt" the assistant. A content that is a list of parts,
    ``{"type": "text", "text": ...}``, is their texts.

    Raises:
        MessageError: If an item is not an object, its role or content is not text, or it calls a tool.
    """
    if not isinstance(value, list | tuple):
        raise MessageError(f"expected a list of messages, got {type(value).__name__}")
    return [_parse_message(item, turn) for turn, item in enumerate(value, start=1)]


def _parse_message(item: object, turn: int) -> Message:
    if not isinstance(item, dict):
        raise MessageError(f"message {turn}: expected an object with role and content, got {type(item).__name__}")
    role_name, content_name = next((names for names in _FORMS if all(name in item for name in names)), _FORMS[0])
    role, content = _text_of(item, role_name, turn), _text_of(item, content_name, turn)
    called = next((name for name in _UNKNOWN if item.get(name)), None)
    if called is not None:
        raise MessageError(f"message {turn}: expected text only, got {called!r}; calls of tools are not supported")
    name = role.strip().lower()
    return Message(_ROLES.get(name, name), content)


def _text_of(item: dict[str, object], name: str, turn: int) -> str:
    """Return a field of a message, which is a string or a list of parts."""
    match item.get(name):
        case str(text):
            return text
        case list(parts) if (joined := _joined_parts(parts)) is not None:
            return joined
        case value:
            raise MessageError(f"message {turn}: expected a string as {name!r}, got {type(value).__name__}")


def _joined_parts(parts: list[object]) -> str | None:
    """Return the text of a content given in parts; ``None`` if one of them is not text."""
    texts = []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                return None
    return "".join(texts)


def unflatten(text: str) -> tuple[Message, ...]:
    r"""Return the messages of a text that :func:`~textgym.types.flatten` made, or of a dialogue; else none.

    A dialogue is ``"\n\nHuman: ...\n\nAssistant: ..."``; the beginning of the assistant's next turn at its end is no
    message. This is for texts whose messages are not at hand: a message with a line that begins like another one comes
    back as two.

    >>> unflatten("System: Be kind.\nUser: Hello")
    (Message(role='system', content='Be kind.'), Message(role='user', content='Hello'))
    >>> unflatten("\n\nHuman: Hello\n\nAssistant:")
    (Message(role='user', content='Hello'),)
    >>> unflatten("Hello")
    ()
    """
    pattern = _DIALOGUE if text.startswith("\n\n") else _LINE
    first, *pieces = pattern.split(text)
    if first or not pieces:
        return ()
    messages = [
        Message("user" if speaker == "Human" else speaker.lower(), content.strip())
        for speaker, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    if pattern is _DIALOGUE and messages[-1] == Message("assistant", ""):
        messages.pop()
    return tuple(messages) if any(message.role == "user" for message in messages) else ()


def split_chat(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str | None]:
    """Return ``(prompt, reference)``: the last assistant turn is the reference if it ends the chat, else ``None``.

    Raises:
        MessageError: If nothing that someone else than the assistant said is left as the prompt.
    """
    answered = bool(messages) and messages[-1].role == "assistant"
    before = tuple(messages[:-1] if answered else messages)
    if all(message.role == "assistant" or not message.content.strip() for message in before):
        raise MessageError("expected a turn with text before the answer, got none")
    return before, messages[-1].content if answered else None


def last_answer(messages: Sequence[Message]) -> str:
    """Return the content of the last assistant message of a completion.

    Raises:
        MessageError: If no assistant speaks.
    """
    answers = [message.content for message in messages if message.role == "assistant"]
    if not answers:
        raise MessageError("expected an assistant message, got none")
    return answers[-1]


def as_prompt(value: Prompt | Sequence[Message] | str) -> Prompt:
    """Return a text or messages as a prompt.

    Its body is the text, or the user's last message (else anybody's but the assistant's).
    """
    match value:
        case Prompt():
            return value
        case str():
            return Prompt("", value, "")
    messages = tuple(value)
    asked = [place for place, message in enumerate(messages) if message.role != "assistant"]
    if not asked:
        return Prompt("", flatten(messages), "")
    place = next((place for place in reversed(asked) if messages[place].role == "user"), asked[-1])
    return Prompt("", messages[place].content, "", messages[:place], messages[place + 1 :])


def conversation_text(prompt: Prompt, turns: Sequence[Message]) -> str:
    r"""Return a prompt and what was said after it as one text.

    The agent's first turn follows the prompt; what is said to it comes as a line ``"User: ..."``, and the line of its
    next turn begins with ``"Assistant:"``. Where the other side spoke last, that is the end of the text.

    >>> prompt = Prompt("", "Guess.", "")
    >>> conversation_text(prompt, [Message("assistant", "Five."), Message("user", "No.")])
    'Guess. Five.\nUser: No.\nAssistant:'
    """
    text = prompt.text
    for is_agent, group in itertools.groupby(turns, key=lambda message: message.role == "assistant"):
        said = list(group)
        text += "".join(f" {message.content}" for message in said if message.content) if is_agent else reply_text(said)
    return text


def reply_text(messages: Sequence[Message]) -> str:
    r"""Return what the other side says between two turns of the agent, as models without a chat template read it.

    >>> reply_text([Message("user", "Colder.")])
    '\nUser: Colder.\nAssistant:'
    """
    return "".join(f"\n{role.capitalize()}: {content.strip()}" for role, content in messages) + "\nAssistant:"
