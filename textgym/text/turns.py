"""Turns of a conversation as ids, as environments have them behind a prompt."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from textgym.text.tokenizer import Tokenizer
from textgym.types import Message


def encode_turns(
    turns: Sequence[Message],
    tokenizer: Tokenizer,
    max_reply_tokens: int,
    *,
    ended: Iterable[bool],
    max_new_tokens: int | None = None,
) -> list[int]:
    """Return the ids of what was said after a prompt.

    Args:
        turns: Messages after the prompt.
        tokenizer: Tokenizer of the model.
        max_reply_tokens: Budget of what the other side says between two turns.
        ended: Whether each of the agent's turns ended by itself, not by its budget.
        max_new_tokens: Budget of each of these, its end included; ``None`` is none.
    """
    ids, endings = list[int](), iter(ended)
    was_ended = False
    for is_agent, group in itertools.groupby(turns, key=lambda message: message.role == "assistant"):
        said = list(group)
        if is_agent:
            was_ended = next(endings)
            end = tokenizer.response_end if was_ended else ()
            text = tokenizer.encode_response(" ".join(message.content for message in said))
            ids += [*text[: None if max_new_tokens is None else max_new_tokens - len(end)], *end]
        else:
            ids += tokenizer.encode_reply(said, max_reply_tokens, ended=was_ended).ids
    return ids
