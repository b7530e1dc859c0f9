"""Rollouts at one token per step: keys and values of every row are kept between calls.

A row whose ids extend what is cached by one token costs one token; a new row is prefilled; everything else is computed
afresh. Rows match by their full ids, so repeats, resets, branches and foreign batches are never confused.

All rows share one write cursor. Row ``i`` owns the ``lengths[i]`` columns that end at the cursor, everything to the
left of them is masked, and positions are given explicitly, so rows of any length decode in one batch::

    column      0 1 2 3 4 5 6 7 | cursor = 8
    row 0       . . . a b c d e   length 5
    row 1       . . . . . . p q   length 2, reset a moment ago

What is cached was computed with certain weights. Optimizer steps, version counters and addresses tell when they change.
Writes through ``parameter.data``, which none of those see, show in a few values of every parameter that are compared.
A write through ``.data`` that spares all of these is not seen: call ``drop`` (a policy's ``drop_caches``) after it.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from textgym.models.language_model import LanguageModel

_SLACK = 64  # columns between two moves of the whole store to the left
_PROBED = 8  # values of each parameter that are compared
_optimizer_steps = 0


def _count_step(*_: Any) -> None:
    global _optimizer_steps
    _optimizer_steps += 1


# Fused optimizers change weights without bumping tensor versions, so versions alone would miss an update.
register_optimizer_step_post_hook(_count_step)


def weights_version(model: LanguageModel) -> tuple[int, ...]:
    """A value that changes when the weights of ``model`` are updated or replaced, or adapters switched.

    Writes through ``parameter.data`` leave it as it is.
    """
    parameters = list(model.parameters())
    return (
        _optimizer_steps,
        sum(parameter._version for parameter in parameters),
        hash(tuple(parameter.data_ptr() for parameter in parameters)),
        int(model.adapter_is_off),
    )


def _probes(model: LanguageModel) -> list[Tensor]:
    """Views, 1-D, of a few values in the middle of every parameter."""
    views, device = [], model.device
    for parameter in model.parameters():
        # Quantized and offloaded weights are left out: they cannot be joined with the others, nor change by training.
        joinable = parameter.is_floating_point() and parameter.itemsize > 1 and parameter.device == device
        if joinable and parameter.numel():
            row = parameter.detach().unsqueeze(0)
            while row.ndim > 1:
                row = row.select(0, len(row) // 2)
            middle = len(row) // 2
            views.append(row[middle : middle + _PROBED])
    return views


class Match(NamedTuple):
    """How rows relate to what is cached.

    Attributes:
        extended: (B,) the row is a cached one and one token more.
        unchanged: (B,) the row is cached.
    """

    extended: Tensor
    unchanged: Tensor


class _CursorLayer(CacheLayerMixin):
    """Keys and values of one layer, (B, heads, capacity, depth), written at the cursor of its store."""

    def __init__(self, store: KeyValueStore) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.store = store

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, capacity = self.store.rows, self.store.capacity
        self.keys = key_states.new_zeros(rows, key_states.shape[1], capacity, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], capacity, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        column, left = self.store.cursor, self.store.left
        self.keys[:, :, column : column + 1] = key_states
        self.values[:, :, column : column + 1] = value_states
        return self.keys[:, :, left : column + 1], self.values[:, :, left : column + 1]

    def write(self, rows: Tensor, columns: slice, keys: Tensor, values: Tensor) -> None:
        """Put prefilled keys and values (b, heads, n, depth) into ``columns`` of ``rows``."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None
        assert self.values is not None
        self.keys[rows, :, columns] = keys
        self.values[rows, :, columns] = values

    def select(self, rows: Tensor) -> None:
        """Keep ``rows`` only."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys, self.values = self.keys[rows], self.values[rows]

    def shift(self, columns: slice, distance: int) -> None:
        """Move ``columns`` to the left."""
        target = slice(columns.start - distance, columns.stop - distance)
        for tensor in (self.keys, self.values):
            assert tensor is not None
            tensor[:, :, target] = tensor[:, :, columns].clone()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.store.cursor + 1 - self.store.left, 0

    def get_seq_length(self) -> int:
        return self.store.cursor - self.store.left

    def get_max_length(self) -> int:
        return self.store.capacity


class KeyValueStore:
    """Keys and values of ``rows`` texts of up to ``width`` tokens, for one model.

    Args:
        model: The language model.
        rows: Batch size.
        width: Longest text, in tokens.
    """

    def __init__(self, model: LanguageModel, rows: int, width: int) -> None:
        self.model, self.rows, self.width = model, rows, width
        self.capacity = width + _SLACK
        self.cursor = width
        self.left = width
        self.lengths = torch.zeros(rows, dtype=torch.long, device=model.device)  # (B,)
        self._layers = [_CursorLayer(self) for _ in range(model.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))

    def prefill(self, rows: Tensor, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Compute ``rows`` from scratch.

        Args:
            rows: (b,) which rows.
            input_ids: (b, T) right-padded ids.
            lengths: (b,) real lengths, at least 1.

        Returns:
            (b, H) hidden states of the last real token.
        """
        width = int(lengths.max())
        first, which = _unique_rows(input_ids, lengths)
        fresh = DynamicCache(config=self.model.config)
        states = self.model.hidden(input_ids[first, :width], cache=fresh)  # (u, T, H)
        # Column c of the window [cursor - width, cursor) holds token c - (width - length) of the row.
        source = torch.arange(width, device=input_ids.device)[None] - (width - lengths)[:, None]  # (b, T)
        source = source.clamp(min=0)
        columns = slice(self.cursor - width, self.cursor)
        aligned = bool((lengths == width).all())
        for layer, new in zip(self._layers, fresh.layers, strict=True):
            assert isinstance(new, DynamicLayer)
            assert new.keys is not None
            assert new.values is not None
            keys, values = new.keys[which], new.values[which]
            if not aligned:
                index = source[:, None, :, None]
                keys, values = keys.take_along_dim(index, 2), values.take_along_dim(index, 2)
            # (b, heads, T, depth) -> advanced indexing puts the row dimension first, as here.
            layer.write(rows, columns, keys, values)
        self.lengths[rows] = lengths
        return states[which, lengths - 1]

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (b,) only, in that order."""
        self.rows = len(rows)
        self.lengths = self.lengths[rows]
        for layer in self._layers:
            layer.select(rows)

    def extend(self, tokens: Tensor) -> Tensor:
        """Append one token to every row.

        Args:
            tokens: (B,) ids.

        Returns:
            (B, H) hidden states of the new tokens.
        """
        longest = int(self.lengths.max())
        if self.cursor == self.capacity:
            for layer in self._layers:
                layer.shift(slice(self.cursor - longest, self.cursor), _SLACK)
            self.cursor -= _SLACK
        self.left = self.cursor - longest
        columns = torch.arange(longest + 1, device=tokens.device)
        visible = columns[None] >= (longest - self.lengths)[:, None]  # (B, K)
        # A row that is full takes part too (its result is not used); the model may have no position beyond the width.
        positions = self.lengths.clamp(max=self.width - 1)[:, None]
        states = self.model.hidden(tokens[:, None], _as_attention_mask(visible, self.model), positions, self._cache)
        self.cursor += 1
        self.lengths += 1
        return states[:, -1]


class PrefixCache:
    """Hidden state of the last token of every row, recomputing only what is new since the previous call.

    Args:
        model: The language model; when its weights change, everything is recomputed.
        rows: Batch size.
        width: Longest text, in tokens.
    """

    def __init__(self, model: LanguageModel, rows: int, width: int) -> None:
        self.model, self.rows, self.width = model, rows, width
        if not model.is_cacheable:
            warnings.warn(
                f"{model.config.model_type} cannot be continued from keys and values: every step re-encodes the text",
                stacklevel=2,
            )
        self._store: KeyValueStore | None = None
        self._version: tuple[int, ...] | None = None
        self._probes: list[Tensor] = []

    def drop(self) -> None:
        """Forget everything."""
        self._store = None
        self._probes = []  # views would keep replaced weights in memory

    def match(self, input_ids: Tensor, lengths: Tensor) -> Match:
        """Compare rows, (B, L) ids and (B,) lengths, with what is cached; nothing matches once the weights changed."""
        if self._store is None or self._version != weights_version(self.model) or input_ids.shape != self._ids.shape:
            self.drop()
            nothing = torch.zeros(len(lengths), dtype=torch.bool, device=lengths.device)
            return Match(nothing, nothing)
        cached = self._store.lengths
        beyond = torch.arange(input_ids.shape[1], device=lengths.device)[None] >= cached[:, None]
        # The comparison of the weights stays on their device, so that it costs no waiting for it.
        begins = ((input_ids == self._ids) | beyond).all(1) & (torch.cat(self._probes) == self._values).all()
        return Match(begins & (lengths == cached + 1), begins & (lengths == cached))

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
        if not self.model.is_cacheable:
            return last_hidden(self.model, input_ids, lengths)
        match = match or self.match(input_ids, lengths)
        if not bool(match.unchanged.all()):
            if self._store is None:
                self._version, self._probes = weights_version(self.model), _probes(self.model)
            self._values = torch.cat(self._probes)
            self._states = self._advance(input_ids, lengths, match.extended)
            self._ids = input_ids.clone()
        return self._states

    def _advance(self, input_ids: Tensor, lengths: Tensor, extended: Tensor) -> Tensor:
        if self._store is None:
            self._store = KeyValueStore(self.model, self.rows, self.width)
        store, rest = self._store, (~extended).nonzero()[:, 0]
        if len(rest) == len(lengths):
            return store.prefill(rest, input_ids, lengths)
        # Rows that are not extended take part with their last token; the prefill below replaces what that wrote.
        states = store.extend(input_ids.gather(1, lengths[:, None] - 1)[:, 0])
        if len(rest):
            states[rest] = store.prefill(rest, input_ids[rest], lengths[rest])
        return states


def last_hidden(model: LanguageModel, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states (B, H) at the last real token of right-padded rows (B, L), without any cache."""
    states = model.hidden(input_ids[:, : int(lengths.max())])
    return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]


def _unique_rows(input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the first copy of every distinct row (u,), and for every row (b,) which of those it is."""
    rows, sizes = input_ids.cpu().numpy(), lengths.tolist()
    seen: dict[bytes, int] = {}
    first: list[int] = []
    which: list[int] = []
    for i, size in enumerate(sizes):
        place = seen.setdefault(rows[i, :size].tobytes(), len(first))
        if place == len(first):
            first.append(i)
        which.append(place)
    return torch.tensor(first, device=input_ids.device), torch.tensor(which, device=input_ids.device)


def _as_attention_mask(visible: Tensor, model: LanguageModel) -> Tensor:
    """(B, K) -> (B, 1, 1, K): boolean for fused attention, additive for the eager kind."""
    mask = visible[:, None, None]
    if model.network.config._attn_implementation != "eager":
        return mask
    dtype = torch.bfloat16 if model.precision == "bf16" else next(model.network.parameters()).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
