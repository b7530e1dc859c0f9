"""The data of supervised training: prompts with responses, as ids."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgym.data.columns import name_references
from textgym.errors import DataError
from textgym.naming import argument
from textgym.tasks.base import demonstrated, prompt_of
from textgym.text.tokenizer import Tokenizer
from textgym.text.turns import encode_turns
from textgym.types import Dataset, Example, Message, Prompt, Task

_MANY_LONG = 0.05
"""Share of responses longer than the budget from which on a warning is worth it."""


class TokenPair(NamedTuple):
    """A prompt and the response to imitate, as ids; the response ends with EOS, or as the chat template ends it."""

    prompt: list[int]
    response: list[int]


def encode_pairs(
    task: Task,
    dataset: Dataset,
    tokenizer: Tokenizer,
    limit: int | None = None,
    context_length: int | None = None,
    *,
    max_prompt_tokens: int | None = None,
    room: Callable[[int], float] | None = None,
) -> list[TokenPair]:
    """Encode what supervised training imitates: demonstrations, or else references; of a conversation, every turn.

    Args:
        task: Formats the prompts.
        dataset: The examples.
        tokenizer: Tokenizer of the model.
        limit: How many examples are used; ``None`` for all.
        context_length: Most tokens of prompt and response together. A prompt that leaves its response too little room
            is cut further, at the end of its document. A response is never cut: one that does not fit even without the
            document is left out, with a warning that counts them.
        max_prompt_tokens: Budget of a prompt; ``None`` is the task's.
        room: Most tokens of a prompt whose response has so many; by default what these leave of ``context_length``.

    Raises:
        DataError: If no example has either, or nothing fits.
        ModelError: If the tokenizer has no token that ends a text.
    """
    tokenizer.require_eos()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    examples = [dataset[i] for i in range(count)]
    asked = [prompt_of(task, example) for example in examples]
    budget = task.max_prompt_tokens if max_prompt_tokens is None else max_prompt_tokens
    prompts = [prompt.ids for prompt in tokenizer.encode_prompts(asked, budget)]
    pairs, too_long = [], 0
    for example, prompt, ids in zip(examples, asked, prompts, strict=True):
        for before, text in _imitated(task, example):
            response = [*tokenizer.encode_response(text), *tokenizer.response_end]
            said = (
                encode_turns(before, tokenizer, task.max_reply_tokens, ended=itertools.repeat(True)) if before else []
            )
            behind = len(said) + len(response)
            left = (context_length or math.inf) - behind if room is None else room(len(response)) - len(said)
            fitting = fit_prompt(prompt, tokenizer, ids, left)
            too_long += fitting is None
            if fitting is not None:
                pairs.append(TokenPair([*fitting, *said], response))
    if not pairs:
        wanted, remedy = "references to imitate", name_references(examples)
        if too_long:
            wanted = f"references of at most {context_length} tokens with their prompts"
            remedy = "shorten them or the prompt template, or use a model with a longer context"
        raise DataError(f"expected {wanted} in {dataset.name!r}, got none; {remedy}")
    if too_long:
        warnings.warn(
            f"left out {too_long} of {too_long + len(pairs)} references in {dataset.name!r}: with the shortest prompt "
            f"they do not fit the context of {context_length} tokens",
            stacklevel=2,
        )
    return pairs


def _imitated(task: Task, example: Example) -> Iterator[tuple[Sequence[Message], str]]:
    """Iterate over the turns to imitate, each with what was said between the prompt and it."""
    for conversation in demonstrated(task, example):
        for place, message in enumerate(conversation):
            if message.role == "assistant":
                yield conversation[:place], message.content


def warn_of_long_responses(pairs: Sequence[TokenPair], max_new_tokens: int) -> None:
    """Warn where the model learns responses that the environment cuts off before their end.

    Args:
        pairs: Pairs to imitate.
        max_new_tokens: Longest response that the environment lets the model write.
    """
    lengths = [len(pair.response) for pair in pairs]
    long = sum(length > max_new_tokens for length in lengths)
    if long > _MANY_LONG * len(pairs):
        warnings.warn(
            f"{long} of {len(pairs)} references have more than {max_new_tokens} tokens, the longest {max(lengths)}: "
            f"the model learns to write texts that the token budget cuts off; raise {argument('max_new_tokens')} to "
            f"{int(np.quantile(lengths, 1 - _MANY_LONG))} or more",
            stacklevel=3,
        )


def fit_prompt(prompt: Prompt, tokenizer: Tokenizer, ids: list[int], room: float) -> list[int] | None:
    """Return the prompt in at most ``room`` tokens; ``None`` if what stands around the document is longer already."""
    if len(ids) <= room:
        return ids
    if room < 1:
        return None
    try:
        return tokenizer.encode_prompts([prompt], int(room))[0].ids
    except ValueError:
        return None
