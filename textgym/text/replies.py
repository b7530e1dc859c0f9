"""Replies of the other side between two turns of an agent, as ids that continue the agent's."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.text.chat import ChatTemplate
from textgym.text.encoding import TextEncoding
from textgym.text.messages import reply_text
from textgym.text.prompts import EncodedPrompt, cut_to_fit
from textgym.types import Message


class ReplyEncoder:
    r"""Encodes replies for one tokenizer.

    They are what the model's chat template writes from the end of the agent's text to the beginning of its next turn;
    without a template, lines such as ``"\nUser: ...\nAssistant:"``.

    Args:
        encoding: Encodes texts.
        template: The model's chat template, if it has one.
        response_end: Ids with which a template ends a turn of the agent.
        prompt_end: Ids behind what no template writes.
    """

    def __init__(
        self,
        encoding: TextEncoding,
        template: ChatTemplate | None,
        response_end: Sequence[int],
        prompt_end: Sequence[int] = (),
    ) -> None:
        self._encoding, self._template, self._end = encoding, template, list(response_end)
        self._prompt_end = list(prompt_end)

    def __call__(self, messages: Sequence[Message], budget: int, *, ended: bool) -> EncodedPrompt:
        """Encode one reply of at most ``budget`` ids; its last message loses what does not fit, at its end.

        Args:
            messages: Messages of the reply; at least one.
            budget: Most ids.
            ended: Whether the agent ended its turn itself, so that the template's terminator is there already.

        Raises:
            ValueError: The budget is too small even for an empty last message.
        """
        ids = self._ids(messages, ended)
        if len(ids) <= budget:
            return EncodedPrompt(ids, False)
        *others, last = messages
        spans = self._encoding.plain([last.content])[0].offsets
        ids, _ = cut_to_fit(
            lambda text: self._ids([*others, last._replace(content=text)], ended), last.content, spans, budget
        )
        if len(ids) > budget:
            raise ValueError(
                f"expected a budget of at least {len(ids)} tokens for a reply of {len(messages)} messages, got "
                f"{budget}; raise max_reply_tokens of the task"
            )
        return EncodedPrompt(ids, True)

    def _ids(self, messages: Sequence[Message], ended: bool) -> list[int]:
        if self._template is None:
            return [*self._encoding.plain([reply_text(messages)])[0].ids, *self._prompt_end]
        quoted = [Message(role, self._encoding.quote(content)) for role, content in messages]
        start = self._template.turn.opening + self._template.turn.lead + "x"
        (ids,) = self._encoding.after(start, [self._template.between(quoted)])
        return ids[len(self._end) :] if ended and ids[: len(self._end)] == self._end else ids
