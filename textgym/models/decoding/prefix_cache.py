"""Rollouts at one token per step: keys and values of every row are kept between calls.

A row whose ids extend what is cached by one token costs one token; everything else is prefilled. Rows match by their
full ids, so repeats, resets, branches and foreign batches are never confused.

What is cached was computed with certain weights. Version counters and addresses tell when they change. Writes through
``parameter.data`` and steps of fused optimizers, which those do not see, show in a few values of every parameter.
A write through ``.data`` that spares all of these is not seen: call ``drop`` (a policy's ``drop_caches``) after it.

An environment nearly always appends the token that was chosen. Where steps are recorded, a GPU therefore reads the
texts with the chosen tokens while the host takes these to the environment::

    GPU     choose   read ahead ..............   choose   read ahead ..............
    host             fetch   step   observe               fetch   step   observe

Texts that come back otherwise are computed as if nothing had been read ahead: the results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from textgym.models.batch import TextBatch
from textgym.models.decoding.cache import DecodingCache
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.device import fetched
from textgym.models.text_model import TextModel
from textgym.models.weights import WeightsWatch, addresses

_ANY = -1  # in place of an id that matches every other


class Match(NamedTuple):
    """The match of rows with the cached ones; both tensors on the CPU.

    Attributes:
        extended: (B,) the row is a cached one and one token more.
        unchanged: (B,) the row is cached.
    """

    extended: Tensor
    unchanged: Tensor


class _Ahead(NamedTuple):
    """The tokens (B,) that were read ahead, one behind each text, and the states (B, H) after them."""

    tokens: Tensor
    states: Tensor


class _Known(NamedTuple):
    """Texts that were read, and their states.

    Attributes:
        watch: Tells whether the weights that it was read with have changed.
        texts: ``B`` texts, padded with :data:`_ANY`.
        states: (B, H) of their last tokens.
        ahead: Further contents of the cache; ``None`` if there are none.
    """

    watch: WeightsWatch
    texts: TextBatch
    states: Tensor
    ahead: _Ahead | None = None


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
        self._known: _Known | None = None  # nothing while the cache changes: an interrupt may leave it half-way
        self._made_for: tuple[TextModel, int, bool] | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is known that a row could match."""
        return self._known is None

    def drop(self) -> None:
        """Forget everything; recorded steps stay, for as long as the weights stay in their places."""
        self._known = None  # it would keep replaced weights in memory
        if self._cache is not None and not self._cache.is_worth_keeping:
            self._cache = None

    def match(self, texts: TextBatch) -> Match:
        """Compare ``B`` texts with what is cached; nothing matches once weights were seen to change."""
        known = self._known
        if known is None or known.watch.sees_change():
            self.drop()
            nothing = torch.zeros(len(texts.lengths), dtype=torch.bool)
            return Match(nothing, nothing)
        grown = _grown(texts, known.texts.to(texts.lengths.device)).cpu()
        return Match(grown == 1, grown == 0)

    @torch.no_grad()
    def hidden(self, texts: TextBatch, match: Match | None = None) -> Tensor:
        """Hidden state of the last real token of every row.

        Args:
            texts: ``B`` texts, on the host or where the model is.
            match: Result of :meth:`match` for these rows, if it was called.

        Returns:
            (B, H), where the model is; the caller must not write into it.
        """
        if not self._continues:
            return last_hidden(self.model, texts)
        if self._known is not None and bool(self._known.watch.probes_changed()):
            self.drop()
            match = None
        return self._read(texts, match or self.match(texts)).states

    @torch.no_grad()
    def act(
        self, texts: TextBatch, choose: Callable[[Tensor], Sequence[Tensor]], match: Match | None = None
    ) -> tuple[Tensor, ...]:
        """Let ``choose`` continue every row by a token; on a GPU, what probably comes next is read ahead.

        That happens where the host holds the texts: what is on the GPU has to wait for it anyway.

        Args:
            texts: ``B`` texts.
            choose: Takes hidden states (B, H); returns tokens (B,), and whatever else is wanted. It is called again
                with other states if weights turn out to have changed.
            match: Result of :meth:`match` for these rows, if it was called.

        Returns:
            What ``choose`` returned, where the texts are.
        """
        device = texts.lengths.device
        if not self._continues:
            return fetched(choose(last_hidden(self.model, texts)), device)()
        known = self._read(texts, match or self.match(texts))
        chosen = choose(known.states)
        # The values that tell of a change come with the choice: to wait for them first would let the GPU idle.
        collect = fetched((*chosen, known.watch.probes_changed()), device)
        ahead = self._read_ahead(texts, chosen[0])
        *results, has_changed = collect()
        if has_changed:
            self.drop()
            return self.act(texts, choose)
        if ahead is not None:
            known = known._replace(ahead=_Ahead(results[0].clone(), ahead))  # actions may be written into
        self._known = known
        return tuple(results)

    def _read(self, texts: TextBatch, match: Match) -> _Known:
        """Take in texts (B, L) that match so."""
        known, self._known = self._known, None
        if known is None or self._cache is None:
            watch, self._cache = self._begin()
            states = self._cache.prefill(torch.arange(len(texts.lengths)), texts.to(self.model.device))
            known = _Known(watch, _padded(texts), states)
        elif not bool(match.unchanged.all()):
            states = _advance(self._cache, texts, match.extended, known.ahead)
            held = _lengthened(known.texts, texts) if bool(match.extended.all()) else _padded(texts)
            known = _Known(known.watch, held, states)
        self._known = known
        return known

    def _read_ahead(self, texts: TextBatch, tokens: Tensor) -> Tensor | None:
        """Extend the texts that were just read by tokens (B,), where that pays; states (B, H)."""
        known, cache = self._known, self._cache
        if known is None or cache is None or not cache.is_recorded or not _has_room(texts):
            return None
        self._known = None
        if known.ahead is not None:
            cache.retract()
        return cache.extend(tokens)

    def _begin(self) -> tuple[WeightsWatch, DecodingCache]:
        """Take note of the weights that all that follows is computed with."""
        watch, decoder = WeightsWatch(self.model), self._decoder.refresh()
        made_for = decoder, addresses(decoder.parameters()), self.model.adapter_is_off
        if self._cache is not None and self._made_for == made_for:
            return watch, self._cache
        cache = decoder.new_cache(self.rows, self.width)
        self._made_for = made_for
        return watch, cache


def _has_room(texts: TextBatch) -> bool:
    """Return whether the host holds texts (B, L), and none of them is as long as can be."""
    return texts.lengths.device.type == "cpu" and int(texts.lengths.max()) < texts.input_ids.shape[1]


@torch.inference_mode(False)  # the next call, which may write into it, may be one outside of it
def _padded(texts: TextBatch) -> TextBatch:
    """A copy of texts (B, L), with :data:`_ANY` behind their ends; observations may be written into."""
    columns = torch.arange(texts.input_ids.shape[1], device=texts.lengths.device)
    ids = texts.input_ids.masked_fill(columns >= texts.lengths[:, None], _ANY)
    return TextBatch(ids, texts.lengths.clone(), texts.prompt_lengths.clone())


def _lengthened(known: TextBatch, texts: TextBatch) -> TextBatch:
    """Return what :func:`_padded` does of texts that all extend known ones (B, L) by a token; writes into those."""
    last = texts.lengths[:, None] - 1
    ids = known.input_ids.to(last.device)
    return known._replace(input_ids=ids.scatter_(1, last, texts.input_ids.gather(1, last)), lengths=last[:, 0] + 1)


def _grown(texts: TextBatch, known: TextBatch) -> Tensor:
    """Return by how many tokens each row (B,) is longer than the known one it begins with; -1 for any other."""
    begins = ((texts.input_ids == known.input_ids) | (known.input_ids == _ANY)).all(1)
    begins &= texts.prompt_lengths == known.prompt_lengths
    return torch.where(begins, texts.lengths - known.lengths, -1)


def _advance(cache: DecodingCache, texts: TextBatch, extended: Tensor, ahead: _Ahead | None) -> Tensor:
    """Put texts (B, L) into a cache, of which some extend by one token what their row holds; states (B, H)."""
    device, rest = cache.lengths.device, (~extended).nonzero()[:, 0]
    if len(rest) == len(extended):
        return cache.prefill(rest, texts.to(device))
    # Rows that are not extended take part with their last token; the prefill below replaces what that wrote.
    tokens = texts.input_ids.gather(1, texts.lengths[:, None] - 1)[:, 0]
    if ahead is not None and not bool((tokens != ahead.tokens.to(tokens.device))[extended].any()):
        states = ahead.states
    else:
        if ahead is not None:
            cache.retract()
        states = cache.extend(tokens.to(device))
    if len(rest):
        new = cache.prefill(rest, texts.select(rest.to(tokens.device)).to(device))
        states = states.index_copy(0, rest.to(device), new.to(states.dtype))
    return states


def last_hidden(model: TextModel, texts: TextBatch) -> Tensor:
    """Hidden states (B, H) of the last real token of texts, without any cache."""
    return model.hidden(texts.to(model.device).last_tokens())
