"""Chat templates: what a model's own template makes of a conversation, to the letter."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import NamedTuple

from textgym.errors import CheckpointError, MissingExtraError
from textgym.types import Message

_QUESTION, _ANSWER = "918273645546372819", "364554637281918273"  # the same in upper case, in JSON, and without blanks
_JINJA = (3, 1, 6)  # older sandboxes have known holes


def _now() -> datetime.datetime:
    return datetime.datetime.now()


class Turn(NamedTuple):
    """The strings that a template writes around a turn of the assistant.

    Attributes:
        opening: String from the end of a user's text to the beginning of the assistant's turn.
        lead: String that follows it, before the assistant's text; usually empty.
        closing: String after the assistant's text, where the conversation ends.
        next: String after it, where the user speaks next; ``""`` if the template does not allow that.
    """

    opening: str
    lead: str
    closing: str
    next: str


@dataclass(frozen=True, eq=False)
class ChatTemplate:
    """A model's chat template, rendered as transformers' ``apply_chat_template`` renders it.

    Templates come with models, so they run in a sandbox with limits of time and size. ``strftime_now`` tells the time
    at which the template was loaded, so that the prompts of a process agree.

    Attributes:
        source: Jinja source, as in ``tokenizer_config.json`` or ``chat_template.jinja``.
        tokens: ``bos_token`` and the like: those that the tokenizer has.
        now: Time that ``strftime_now`` tells.
    """

    source: str
    tokens: Mapping[str, str]
    now: datetime.datetime = field(default_factory=lambda: _now())

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """Return the text of a conversation.

        Where the template refuses a role, or leaves out what it says, its messages become part of the first turn of the
        user, and neighbours of one role become one message.

        Args:
            messages: At least one.
            generation_prompt: Whether the beginning of the assistant's next turn follows.

        Raises:
            CheckpointError: The template fails or does more than it may.
            MissingExtraError: jinja2 is not installed, or too old to be safe.
        """
        return self._rendered(messages, generation_prompt)[1]

    def accepted(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages that :meth:`render` gives the template in place of these.

        Raises:
            CheckpointError, MissingExtraError: As of :meth:`render`.
        """
        return self._rendered(messages, True)[0]

    def _rendered(self, messages: Sequence[Message], generation_prompt: bool) -> tuple[list[Message], str]:
        """Return what the template is given, and what it makes of that."""
        merged = _merge_roles(messages)
        try:
            text = self._run(messages, generation_prompt)
        except CheckpointError as error:
            if merged == list(messages) or isinstance(error.__cause__, _sandbox().LimitError):
                raise
            return merged, self._run(merged, generation_prompt)
        if any(self._leaves_out(messages, place, text, generation_prompt) for place in range(len(messages))):
            return merged, self._run(merged, generation_prompt)
        return list(messages), text

    @cached_property
    def turn(self) -> Turn:
        """Return the strings around the assistant's text, found by rendering a short conversation.

        Raises:
            CheckpointError: The template does not write the user's text.
        """
        question, answer = Message("user", _QUESTION), Message("assistant", _ANSWER)
        prompt = self.render([question])
        _, found, opening = prompt.rpartition(_QUESTION)
        if not found:
            raise CheckpointError(
                "expected a chat template that writes the user's text, got one that leaves it out; correct the "
                "template, or remove it to prompt the model with plain text"
            )
        try:
            whole = self.render([question, answer], generation_prompt=False)
        except CheckpointError:  # some templates are for prompts only
            return Turn(opening, "", "", "")
        start, _, closing = whole.rpartition(_ANSWER)
        lead = start.removeprefix(prompt) if start.startswith(prompt) else ""
        try:
            following = self.render([question, answer, question], generation_prompt=False).rpartition(_ANSWER)[2]
        except CheckpointError:
            following = ""
        return Turn(opening, lead, closing, following.partition(_QUESTION)[0])

    def between(self, messages: Sequence[Message]) -> str:
        """Return what stands between two turns of the assistant: the end of one, messages, the start of the other.

        Raises:
            CheckpointError: The template writes no conversation of several turns.
        """
        turns = [Message("user", _QUESTION), Message("assistant", _ANSWER), *messages]
        _, found, following = self.render(turns).rpartition(_ANSWER)
        if not found:
            raise CheckpointError(
                "expected a chat template that writes the assistant's earlier turns, got one that leaves them out; "
                "correct the template, or choose a task of one turn"
            )
        return following

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    @cached_property
    def _compiled(self) -> object:
        sandbox = _sandbox()
        extra = {"raise_exception": _refuse, "strftime_now": self.now.strftime}
        try:
            return sandbox.compile_template(self.source, extra)
        except Exception as error:  # a template may be anything
            raise _failure(error) from error

    def _leaves_out(self, messages: Sequence[Message], place: int, text: str, generation_prompt: bool) -> bool:
        """Return whether the rendering ``text`` stays the same if a message of no usual role says something else."""
        role, content = messages[place]
        if role in ("user", "assistant") or content.strip() in text:
            return False
        changed = [*messages[:place], Message(role, content + _QUESTION), *messages[place + 1 :]]
        return self._run(changed, generation_prompt) == text

    def _run(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        """Render with the names that ``apply_chat_template`` gives a template."""
        variables = {
            "messages": [message._asdict() for message in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": generation_prompt,
            **self.tokens,
        }
        compiled, size = self._compiled, sum(len(message.content) for message in messages)
        try:
            return str(_sandbox().render_template(compiled, variables, size))
        except Exception as error:  # a template may raise anything
            raise _failure(error) from error


def _sandbox() -> ModuleType:
    """Return the module that runs templates; Jinja is imported only where there is one."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("models with a chat template need jinja2; pip install jinja2") from error
    version = tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdecimal())
    if version < _JINJA:
        raise MissingExtraError(
            f"chat templates need jinja2 3.1.6 or newer, got {jinja2.__version__}, whose sandbox has known holes; "
            "pip install --upgrade jinja2"
        )
    from textgym.text import chat_sandbox

    return chat_sandbox


def _failure(error: Exception) -> CheckpointError:
    """Return the error that users see for one of a template, which may be of any kind and length."""
    reason = f"{type(error).__name__}: {error}"[:300]
    return CheckpointError(
        f"expected a chat template that runs on a conversation, got {reason}; correct chat_template.jinja (or "
        "chat_template in tokenizer_config.json), or remove it to prompt the model with plain text"
    )


def _refuse(message: object) -> None:
    raise ValueError(f"the template refuses: {message}")


def _merge_roles(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation of user and assistant in turns, which begins with the user, and says all that was said."""
    merged: list[Message] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not merged and role == "assistant":
            merged.append(Message("user", ""))
        if merged and merged[-1].role == role:
            texts = [text for text in (merged[-1].content, message.content) if text]
            merged[-1] = Message(role, "\n\n".join(texts))
        else:
            merged.append(Message(role, message.content))
    return merged
