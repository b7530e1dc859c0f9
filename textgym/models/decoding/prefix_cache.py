"""Rollouts at one token per step: keys and values of every row are kept between calls.

A row whose ids extend what is cached by one token costs one token; everything else is prefilled. Rows match by their
full ids, so repeats, resets, branches and foreign batches are never confused.

What is cached was computed with certain weights. Version counters and addresses tell when they change. Writes through
``parameter.data`` and steps of fused optimizers, which those do not see, show in a few values of every parameter.
A write through ``.data`` that spares all of these is not seen: call ``drop`` (a policy's ``drop_caches``) after it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from textgym.models.batch import TextBatch
from textgym.models.decoding.cache import DecodingCache
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.text_model import TextModel
from textgym.models.weights import WeightsWatch, addresses


class Match(NamedTuple):
    """The match of rows with the cached ones; both tensors on the CPU.

    Attributes:
        extended: (B,) the row is a cached one and one token more.
        unchanged: (B,) the row is cached.
    """

    extended: Tensor
    unchanged: Tensor


class PrefixCache:
    """Hidden state of the last token of every row, recomputing only what is new since the previous call.

    Args:
        model: The language model; when its weights change, everything is recomputed.
        rows: Batch size.
        width: Longest text, in tokens.
        decoder: Decoder of the model; made here if it is not given.
    """

    def __init__(self, model: TextModel, rows: int, width: int, decoder: DecodingCopy | None = None) -> None:
        self.model, self.rows, self.width = model, rows, width
        self._continues = model.caches(width)
        self._decoder = decoder or DecodingCopy(model)
        self._cache: DecodingCache | None = None
        self._watch: WeightsWatch | None = None  # of the weights that all that is known was computed with
        self._made_for: tuple[TextModel, int, bool] | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is known that a row could match."""
        return self._watch is None

    def drop(self) -> None:
        """Forget everything; recorded steps stay, for as long as the weights stay in their places."""
        self._watch = None  # it would keep replaced weights in memory
        if self._cache is not None and not self._cache.is_worth_keeping:
            self._cache = None

    def match(self, texts: TextBatch) -> Match:
        """Compare ``B`` texts with what is cached; nothing matches once the weights changed."""
        watch, cache = self._watch, self._cache
        if watch is not None and cache is not None and not watch.sees_change():
            # Few operations and one transfer: a GPU launches these at every token, and waits for the answer.
            grown = torch.cat([self._grown(texts, cache.lengths), watch.probes_changed()[None].long()]).cpu()
            if not grown[-1]:
                return Match(grown[:-1] == 1, grown[:-1] == 0)
        self.drop()
        nothing = torch.zeros(len(texts.lengths), dtype=torch.bool)
        return Match(nothing, nothing)

    def _grown(self, texts: TextBatch, cached: Tensor) -> Tensor:
        """Return by how many tokens each row (B,) is longer than the cached one it begins with; -1 for any other."""
        beyond = self._columns >= cached[:, None]
        begins = ((texts.input_ids == self._texts.input_ids) | beyond).all(1)
        begins &= texts.prompt_lengths == self._texts.prompt_lengths
        return torch.where(begins, texts.lengths - cached, -1)

    @torch.no_grad()
    def hidden(self, texts: TextBatch, match: Match | None = None) -> Tensor:
        """Hidden state of the last real token of every row.

        Args:
            texts: ``B`` texts.
            match: Result of :meth:`match` for these rows, if it was called.

        Returns:
            (B, H); the caller must not write into it.
        """
        if not self._continues:
            return last_hidden(self.model, texts)
        match = match or self.match(texts)
        if not bool(match.unchanged.all()):
            if self._watch is None or self._cache is None:
                self._watch, self._cache = self._begin()
            self._states = _advance(self._cache, texts, match.extended)
            self._texts = TextBatch(*(tensor.clone() for tensor in texts))  # observations may be written into
            self._columns = torch.arange(texts.input_ids.shape[1], device=self._states.device)[None]
        return self._states

    def _begin(self) -> tuple[WeightsWatch, DecodingCache]:
        """Take note of the weights that all that follows is computed with."""
        watch, decoder = WeightsWatch(self.model), self._decoder.refresh()
        made_for = decoder, addresses(decoder.parameters()), self.model.adapter_is_off
        if self._cache is not None and self._made_for == made_for:
            return watch, self._cache
        self._made_for = made_for
        return watch, decoder.new_cache(self.rows, self.width)


def _advance(cache: DecodingCache, texts: TextBatch, extended: Tensor) -> Tensor:
    """Put texts (B, L) into a cache, of which some extend by one token what their row holds; states (B, H)."""
    rest = (~extended).nonzero()[:, 0]
    if len(rest) == len(texts.lengths):
        return cache.prefill(rest, texts)
    # Rows that are not extended take part with their last token; the prefill below replaces what that wrote.
    states = cache.extend(texts.input_ids.gather(1, texts.lengths[:, None] - 1)[:, 0])
    if len(rest):
        index = rest.to(states.device)
        states[index] = cache.prefill(rest, texts.select(index))
    return states


def last_hidden(model: TextModel, texts: TextBatch) -> Tensor:
    """Hidden states (B, H) of the last real token of texts, without any cache."""
    return model.hidden(texts.last_tokens())
