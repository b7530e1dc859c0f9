"""The cache of decoding between two tokens, for models of any family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from textgym.models.batch import EpisodeBatch, TextBatch


class DecodingCache(Protocol):
    """Texts in the rows of a batch, which grow one token at a time.

    :meth:`~textgym.models.text_model.TextModel.new_cache` makes one. Keys and values of a decoder, and the encoded
    prompts of an encoder-decoder, are its own affair. Nothing carries gradients.
    """

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, (B,), on the model's device; 0 for a row that was dropped or not filled yet."""

    @property
    def is_worth_keeping(self) -> bool:
        """Return whether to make another one would cost more than the memory that this one holds."""

    @property
    def is_recorded(self) -> bool:
        """Return whether a GPU extends texts on its own, while Python does something else."""

    def prefill(self, rows: Tensor, texts: TextBatch) -> Tensor:
        """Put ``b`` texts into ``rows`` (b,), in place of what they held; states (b, H) of their last tokens."""

    def extend(self, tokens: Tensor) -> Tensor:
        """Append one of ``tokens`` (B,) to every row; states (B, H) of the new tokens.

        A row that is full gets its last token replaced. A row that was dropped may have any state.
        """

    def retract(self) -> None:
        """Take back the token that the last :meth:`extend` appended to every row; no row may have been full."""

    def drop(self, rows: Tensor) -> None:
        """Forget what ``rows`` (b,) hold; they stay, idle."""

    def select(self, rows: Tensor) -> None:
        """Continue with ``rows`` (b,) only, in that order."""


class RecomputingCache:
    """The cache of models that are not continued from anything: it remembers texts, and each token reads them again.

    Args:
        hidden: :meth:`~textgym.models.text_model.TextModel.hidden` of the model.
        rows, width: Batch size, and the longest text in tokens.
        fill_id: Padding.
        device: Where the model is.
    """

    is_worth_keeping = is_recorded = False

    def __init__(
        self, hidden: Callable[[EpisodeBatch], Tensor], rows: int, width: int, fill_id: int, device: torch.device
    ) -> None:
        self._hidden, self._fill_id = hidden, fill_id
        ids = torch.full((rows, width), fill_id, device=device)
        lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._texts = TextBatch(ids, lengths, torch.ones_like(lengths))

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, (B,)."""
        return self._texts.lengths

    @torch.no_grad()
    def prefill(self, rows: Tensor, texts: TextBatch) -> Tensor:
        """Put texts into rows; their last states (b, H)."""
        index = rows.to(self.lengths.device)
        ids, lengths, prompt_lengths = self._texts
        width = min(texts.input_ids.shape[1], ids.shape[1])
        ids[index] = self._fill_id
        ids[index, :width] = texts.input_ids[:, :width]
        lengths[index], prompt_lengths[index] = texts.lengths, texts.prompt_lengths
        return self._hidden(texts.last_tokens())

    @torch.no_grad()
    def extend(self, tokens: Tensor) -> Tensor:
        """Append a token to every row that holds a text; the new last states (B, H), 0 for the other rows."""
        ids, lengths, _ = self._texts
        held = lengths.nonzero()[:, 0]
        columns = lengths[held].clamp(max=ids.shape[1] - 1)
        ids[held, columns] = tokens[held]
        lengths[held] = columns + 1
        states = self._hidden(self._texts.select(held).last_tokens())
        return states.new_zeros(len(lengths), states.shape[1]).index_copy(0, held, states)

    def retract(self) -> None:
        """Take back the last token of every row that holds a text."""
        self.lengths.sub_(1).clamp_(min=0)

    def drop(self, rows: Tensor) -> None:
        """Forget what rows hold."""
        self.lengths[rows.to(self.lengths.device)] = 0

    def select(self, rows: Tensor) -> None:
        """Continue with some rows."""
        self._texts = self._texts.select(rows.to(self.lengths.device))
