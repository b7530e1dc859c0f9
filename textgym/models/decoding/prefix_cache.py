"""Rollouts at one token per step: keys and values of every row are kept between calls.

A row whose ids extend what is cached by one token costs one token; a new row is prefilled; everything else is computed
afresh. Rows match by their full ids, so repeats, resets, branches and foreign batches are never confused.

What is cached was computed with certain weights. Optimizer steps, version counters and addresses tell when they change.
Writes through ``parameter.data``, which none of those see, show in a few values of every parameter that are compared.
A write through ``.data`` that spares all of these is not seen: call ``drop`` (a policy's ``drop_caches``) after it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.weights import WeightsWatch, addresses


class Match(NamedTuple):
    """How rows relate to what is cached; both on the CPU.

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
        decoder: What computes for the model; made here if it is not given.
    """

    def __init__(self, model: CausalLM, rows: int, width: int, decoder: DecodingCopy | None = None) -> None:
        self.model, self.rows, self.width = model, rows, width
        self._keeps = model.caches(width)
        self._decoder = decoder or DecodingCopy(model)
        self._store: KeyValueStore | None = None
        self._watch: WeightsWatch | None = None  # of the weights that all that is known was computed with
        self._places: tuple[int, bool] | None = None

    @property
    def is_empty(self) -> bool:
        """Is nothing known that a row could match?"""
        return self._watch is None

    def drop(self) -> None:
        """Forget everything; recorded steps stay, for as long as the weights stay in their places."""
        self._watch = None  # it would keep replaced weights in memory
        if self._store is not None and not self._store.has_recordings:  # to record again costs more than the memory
            self._store = None

    def match(self, input_ids: Tensor, lengths: Tensor) -> Match:
        """Compare rows, (B, L) ids and (B,) lengths, with what is cached; nothing matches once the weights changed."""
        if self._watch is None or self._watch.sees_change():
            self.drop()
            nothing = torch.zeros(len(lengths), dtype=torch.bool)
            return Match(nothing, nothing)
        assert self._store is not None
        cached = self._store.lengths
        beyond = torch.arange(input_ids.shape[1], device=lengths.device)[None] >= cached[:, None]
        same = (torch.cat(self._watch.probes) == self._values).all()
        begins = ((input_ids == self._ids) | beyond).all(1) & same
        found = [begins & (lengths == cached + 1), begins & (lengths == cached), same.expand(len(lengths))]
        # One transfer for everything that Python has to know.
        extended, unchanged, is_same = torch.stack(found).cpu()
        if not is_same.all():
            self.drop()
        return Match(extended, unchanged)

    @torch.no_grad()
    def hidden(self, input_ids: Tensor, lengths: Tensor, match: Match | None = None) -> Tensor:
        """Hidden state of the last real token of every row.

        Args:
            input_ids: (B, L) right-padded ids.
            lengths: (B,) real lengths, at least 1.
            match: What :meth:`match` just said about them, if it was asked.

        Returns:
            (B, H); the caller must not write into it.
        """
        if not self._keeps:
            return last_hidden(self.model, input_ids, lengths)
        match = match or self.match(input_ids, lengths)
        if not bool(match.unchanged.all()):
            if self._watch is None:
                self._watch = self._begin()
                self._values = torch.cat(self._watch.probes)
            self._states = self._advance(input_ids, lengths, match.extended)
            self._ids = input_ids.clone()
        return self._states

    def _begin(self) -> WeightsWatch:
        """Take note of the weights that all that follows is computed with."""
        watch, decoder = WeightsWatch(self.model), self._decoder.refresh()
        places = addresses(decoder.parameters()), self.model.adapter_is_off
        if self._store is None or self._store.model is not decoder or self._places != places:
            self._store, self._places = KeyValueStore(decoder, self.rows, self.width), places
        return watch

    def _advance(self, input_ids: Tensor, lengths: Tensor, extended: Tensor) -> Tensor:
        assert self._store is not None
        store, rest = self._store, (~extended).nonzero()[:, 0]
        if len(rest) == len(lengths):
            return store.prefill(rest, input_ids, lengths)
        # Rows that are not extended take part with their last token; the prefill below replaces what that wrote.
        states = store.extend(input_ids.gather(1, lengths[:, None] - 1)[:, 0])
        if len(rest):
            index = rest.to(states.device)
            states[index] = store.prefill(rest, input_ids[index], lengths[index])
        return states


def last_hidden(model: CausalLM, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states (B, H) at the last real token of right-padded rows (B, L), without any cache."""
    states = model.hidden(input_ids[:, : int(lengths.max())])
    return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]
