"""Texts as the rows of ids that a reward model reads, and batches that waste little padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from textgym.feedback.records.dialogues import as_conversation, is_dialogue
from textgym.text.batching import length_batches
from textgym.text.messages import as_prompt
from textgym.text.tokenizer import Tokenizer
from textgym.types import Prompt, Shown, shown_messages, shown_text

_CUE = 16
_UNCUT = 2**31


class EncodedText(NamedTuple):
    """One prompt with one response, as ids."""

    prompt: list[int]
    response: list[int]
    """Ends with EOS, where the score is read."""

    @property
    def length(self) -> int:
        """Number of ids."""
        return len(self.prompt) + len(self.response)


class TextEncoder:
    r"""Prompt ids + response ids + EOS, at most ``max_length`` of them.

    Prompts are framed as the tokenizer does it everywhere: by its BOS, or its chat template, where it has one; the
    template gets the messages of a conversation, and ends the response. (It gets those of published dialogues, which
    files hold as one text, as well: :func:`~textgym.feedback.records.dialogues.as_conversation`.)

    Texts that are too long are cut by these rules: a response keeps its head, and may use what the prompt leaves free,
    but always half of ``max_length``; a prompt keeps its head and its last 16 ids (the cue, such as ``"Summary:"``,
    behind which the response starts), and loses what lies between. Of a dialogue the last turns matter most: it keeps
    its first 16 ids and its end. The EOS is always there.
    White space around a response does not count, as in environments. Empty prompts and responses are legal.

    Args:
        tokenizer: The trunk's own tokenizer.
        max_length: Most ids in a row.

    Raises:
        ModelError: If the tokenizer has no EOS.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.max_length = max_length
        self._tokenizer = tokenizer
        tokenizer.require_eos()
        self._end = tokenizer.response_end  # its last id is where the score is read

    def __call__(self, prompts: Sequence[Shown], responses: Sequence[str]) -> list[EncodedText]:
        """Encode ``n`` texts; equal prompts are tokenised once.

        Raises:
            ValueError: If there are not as many prompts as responses.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"expected one prompt per response, got {len(prompts)} for {len(responses)}; repeat it")
        distinct = list(dict.fromkeys(prompts))
        encoded = self._tokenizer.encode_prompts([self._prompt(prompt) for prompt in distinct], _UNCUT)
        known = {prompt: item.ids for prompt, item in zip(distinct, encoded, strict=True)}
        tails = self._tokenizer.encode_response_batch([whole_characters(response.strip()) for response in responses])
        return [
            self._join(known[prompt], tail, is_dialogue=is_dialogue(prompt))
            for prompt, tail in zip(prompts, tails, strict=True)
        ]

    def _prompt(self, shown: Shown) -> Prompt:
        asked = as_conversation(shown) if self._tokenizer.has_chat_template else shown
        messages = shown_messages(asked)
        return as_prompt(messages) if messages else Prompt("", shown_text(asked), "")

    def _join(self, prompt: list[int], response: list[int], *, is_dialogue: bool) -> EncodedText:
        room = max(self.max_length - len(prompt), self.max_length // 2) - len(self._end)
        ending = [*response[:room], *self._end]
        return EncodedText(_cut_middle(prompt, self.max_length - len(ending), is_dialogue), ending)


def whole_characters(text: str) -> str:
    """Return a text with ``?`` for halves of surrogate pairs, which Python's strings hold and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _cut_middle(ids: list[int], room: int, is_dialogue: bool) -> list[int]:
    if len(ids) <= room:
        return ids
    short = min(_CUE, room // 2)
    head = short if is_dialogue else room - short
    return ids[:head] + ids[len(ids) - (room - head) :]


def batches_of_like_length(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle items into batches whose members have about one length.

    The items are shuffled, sorted by length within windows of 16 batches, cut into batches, and the batches shuffled:
    little padding, and yet another composition every epoch.

    Args:
        lengths: Length of each item.
        batch_size: Items per batch; the last batch may be smaller.
        generator: Source of the order.

    Returns:
        Lists of indices; every item is in exactly one.
    """
    order: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
    window = 16 * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        chunk = order[start : start + window]
        sorted_by_length = length_batches([lengths[i] for i in chunk], max_rows=batch_size, longest_first=False)
        batches += [[chunk[place] for place in batch] for batch in sorted_by_length]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
