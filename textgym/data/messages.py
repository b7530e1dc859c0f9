"""Chat messages (``[{"role": ..., "content": ...}, ...]``) as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.types import Message

__all__ = ["Message", "MessageError", "flatten", "is_chat", "last_answer", "parse_flat", "parse_messages", "split_chat"]

_SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant", "model": "assistant"}


class MessageError(ValueError):
    """A list is not a chat, or it holds no text to answer."""


def is_chat(value: object) -> bool:
    """Whether ``value`` looks like a list of messages: a non-empty list or tuple that starts with a mapping."""
    return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], dict)


def parse_messages(value: object) -> list[Message]:
    """Check a list of ``{"role", "content"}`` objects and return it as messages.

    Raises:
        MessageError: If an item is not an object, or its role or content is not a string.
    """
    if not isinstance(value, list | tuple):
        raise MessageError(f"expected a list of messages, got {type(value).__name__}")
    return [_parse_message(item, turn) for turn, item in enumerate(value, start=1)]


def _parse_message(item: object, turn: int) -> Message:
    if not isinstance(item, dict):
        raise MessageError(f"message {turn}: expected an object with role and content, got {type(item).__name__}")
    for field in ("role", "content"):
        if not isinstance(item.get(field), str):
            raise MessageError(f"message {turn}: expected a string as {field!r}, got {type(item.get(field)).__name__}")
    return Message(item["role"].strip().lower(), item["content"])


def flatten(messages: Sequence[Message]) -> str:
    r"""Return a chat as one text.

    A single user message is its content, unchanged. Several turns become lines ``"User: ..."``, ``"Assistant: ..."``;
    system messages come first.

    >>> flatten([Message("user", "Hello")])
    'Hello'
    >>> flatten([Message("user", "Hello"), Message("system", "Be kind.")])
    'System: Be kind.\nUser: Hello'
    """
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    ordered = sorted(messages, key=lambda message: message.role != "system")
    return "\n".join(f"{message.role.capitalize()}: {message.content.strip()}" for message in ordered)


def split_chat(messages: Sequence[Message]) -> tuple[str, str | None]:
    """Return ``(prompt, reference)``: the last assistant turn is the reference if it ends the chat, else ``None``.

    Raises:
        MessageError: If nothing that someone else than the assistant said is left as the prompt.
    """
    answered = bool(messages) and messages[-1].role == "assistant"
    before = messages[:-1] if answered else messages
    if all(message.role == "assistant" or not message.content.strip() for message in before):
        raise MessageError("expected a turn with text before the answer, got none")
    return flatten(before), messages[-1].content if answered else None


def last_answer(messages: Sequence[Message]) -> str:
    """Return the content of the last assistant message of a completion.

    Raises:
        MessageError: If no assistant speaks.
    """
    answers = [message.content for message in messages if message.role == "assistant"]
    if not answers:
        raise MessageError("expected an assistant message, got none")
    return answers[-1]
