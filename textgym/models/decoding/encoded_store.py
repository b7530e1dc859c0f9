"""Encoded prompts, and keys and values of the responses to them: the next token of all rows is one computation.

A decoder that writes responses knows where a token stands by how far it is behind the others, or by a vector that is
added for its place. Rows are therefore aligned at their *last* tokens: distances are then right whatever the lengths,
and vectors for places are put in per row (:meth:`EncoderDecoder.decode`)::

    column      0 1 2 3 4 5 6 7
    row 0       . . s a b c d .    s: the tokens that a decoder starts with
    row 1       . . . . . s p .    a row that begins now takes the columns before the next one
                              ^
                              the next token of every row goes here

Only columns that some row uses take part in a step; they move to the left when the tensors are full. What the encoder
made of a prompt is computed once, for equal prompts of a batch together, and read by every step as keys and values.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from textgym.models.batch import TextBatch, unique_rows
from textgym.models.decoding.continuation import FilledLayer, filled_layers
from textgym.types import IntArray

_COLUMNS = 64  # to begin with


class Encoded(NamedTuple):
    """Prompts as an encoder gives them.

    Attributes:
        states: (B, P, H).
        visible: (B, P) whether there is a token of the prompt, no padding.
    """

    states: Tensor
    visible: Tensor

    def select(self, rows: Tensor) -> Self:
        """The prompts of ``rows`` (b,), in that order."""
        return self._replace(states=self.states[rows], visible=self.visible[rows])


class EncoderDecoder(Protocol):
    """A network that encodes prompts and decodes responses."""

    start_ids: tuple[int, ...]

    @property
    def hidden_size(self) -> int:
        """Width of the states."""

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""

    @property
    def precision(self) -> str:
        """The type that products are computed in, ``"fp32"`` or ``"bf16"``."""

    def encode_prompts(self, texts: TextBatch) -> Encoded:
        """Encode the prompts of texts, equal ones once."""

    def decoder_ids(self, texts: TextBatch) -> Tensor:
        """Return what the decoder reads (B, S + R): the ids that it starts with, and the responses so far."""

    def decode(
        self,
        input_ids: Tensor,
        encoded: Encoded,
        *,
        visible: Tensor | None = None,
        cache: Cache | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """States (B, T, H) of decoder inputs (B, T).

        Args:
            input_ids: (B, T) ids.
            encoded: The prompts, one for each row.
            visible: (B, T, K) which keys a query sees; by default, those up to its own.
            cache: Keys and values of what stands before the ids, which those of the ids are added to.
            places: (B, T, D) the vectors that are added for the places of tokens, where the decoder has such.
        """

    def place_vectors(self, tokens: int) -> Tensor | None:
        """The vectors (T, D) that are added for the places of so many tokens; ``None`` where none are."""


class _Layer(CacheLayerMixin):
    """Keys and values of the responses in one layer, (B, heads, columns, depth)."""

    keys: Tensor
    values: Tensor

    def __init__(self, store: EncodedStore) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A store that its own layers refer to would keep its tensors until Python next looks for cycles.
        self.store: EncodedStore = weakref.proxy(store)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: a prefill comes before the first step."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        first, last = self.store.first, self.store.next
        self.keys[:, :, last] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[:, :, last] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[:, :, first : last + 1], self.values[:, :, first : last + 1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.store.window, 0

    def get_seq_length(self) -> int:
        return self.store.window - 1

    def get_max_length(self) -> int:
        return self.store.columns


class EncodedStore:
    """A :class:`~textgym.models.decoding.cache.DecodingCache` of an encoder-decoder.

    Args:
        model: The language model.
        rows: Batch size.
        longest: Most tokens that the decoder can read; ``None`` if there is no end.

    Attributes:
        lengths: (B,) tokens of each text, prompt and response; 0 for an idle row.
        next, first: The column that the next tokens go to, and the first one that some row uses.
        columns: How many there are.
    """

    is_worth_keeping = is_recorded = False

    def __init__(self, model: EncoderDecoder, rows: int, longest: int | None = None) -> None:
        self.model, self.rows, self.longest = model, rows, longest
        self.next = self.first = self.columns = 0
        with torch.inference_mode(False):  # the next step may be one outside of it
            self.lengths = torch.zeros(rows, dtype=torch.long, device=model.device)
        self._begins = np.zeros(rows, dtype=np.int64)  # the column of each row's first token
        self._idle = np.ones(rows, dtype=bool)
        self._layers: list[_Layer] = []
        self._prompts: list[DynamicLayer] = []
        self._vectors: Tensor | None = None
        self._prompted: Tensor | None = None  # (B, P) where rows have tokens of their prompts

    @property
    def window(self) -> int:
        """Columns of the step under way, its own among them."""
        return self.next + 1 - self.first

    @torch.no_grad()
    def prefill(self, rows: Tensor, texts: TextBatch) -> Tensor:
        """Compute ``rows`` (b,) from scratch; (b, H) hidden states of the last real token of each text."""
        named = torch.cat([texts.prompt_lengths[:, None], texts.input_ids], 1)
        first, which = unique_rows(named, (texts.lengths + 1).tolist())
        distinct = texts.select(first)
        encoded, input_ids = self.model.encode_prompts(distinct), self.model.decoder_ids(distinct)
        fresh = EncoderDecoderCache(DynamicCache(), DynamicCache())
        states = self.model.decode(input_ids, encoded, cache=fresh)  # (u, T, H)
        counts = len(self.model.start_ids) + distinct.lengths - distinct.prompt_lengths  # (u,)
        index, sizes = rows.to(self.lengths.device), counts[which].cpu().numpy()
        with torch.inference_mode(False):
            self._make_room(int(sizes.max()), whole=len(rows) == self.rows)
            responses = filled_layers(fresh.self_attention_cache, input_ids.shape[1])
            self._write_responses(responses, index, which, counts)
            prompts = filled_layers(fresh.cross_attention_cache, encoded.visible.shape[1])
            self._write_prompts(prompts, index, which, encoded.visible, whole=len(rows) == self.rows)
            self.lengths[index] = texts.lengths
        places = rows.cpu().numpy()
        self._begins[places], self._idle[places] = self.next - sizes, False
        return states[torch.arange(len(counts), device=counts.device), counts - 1][which]

    @torch.no_grad()
    def extend(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; a row that is full loses its first one, whose states are of no use then.

        Args:
            tokens: (B,) ids.

        Returns:
            (B, H) hidden states of the new tokens.
        """
        with torch.inference_mode(False):
            self._make_room(0)
        begins = np.where(self._idle, self.next, self._begins)
        if self.longest is not None:
            begins = np.maximum(begins, self.next + 1 - self.longest)
        self._begins, self._idle, self.first = begins, np.zeros_like(self._idle), int(begins.min())
        device = self.lengths.device
        columns = torch.from_numpy(begins).to(device)  # (B,)
        seen = torch.arange(self.first, self.next + 1, device=device) >= columns[:, None]  # (B, K)
        cache = EncoderDecoderCache(Cache(layers=list(self._layers)), Cache(layers=list(self._prompts)))
        states = self.model.decode(
            tokens[:, None], self._encoded(), visible=seen[:, None], cache=cache, places=self._places(begins)
        )
        self.lengths += 1
        self.next += 1
        return states[:, -1]

    def retract(self) -> None:
        """Take back the token that the last :meth:`extend` appended to every row; no row may have been full."""
        self.lengths -= 1
        self.next -= 1

    def drop(self, rows: Tensor) -> None:
        """Let ``rows`` (b,) idle: they go on taking part, and what they hold is forgotten."""
        self.lengths[rows.to(self.lengths.device)] = 0
        self._idle[rows.cpu().numpy()] = True

    def select(self, rows: Tensor) -> None:
        """Continue with ``rows`` (b,) only, in that order."""
        index, places = rows.to(self.lengths.device), rows.cpu().numpy()
        with torch.inference_mode(False):
            held: list[FilledLayer] = [*self._layers, *cast("list[FilledLayer]", self._prompts)]
            for layer in held:
                layer.keys, layer.values = layer.keys[index], layer.values[index]
            self._prompted = None if self._prompted is None else self._prompted[index]
            self.lengths = self.lengths[index]
        self._begins, self._idle, self.rows = self._begins[places], self._idle[places], len(rows)

    # ----------------------------------------------------------------- columns
    def _make_room(self, before: int, *, whole: bool = False) -> None:
        """Have at least ``before`` columns left of the next one, and that one itself; ``whole``: nothing is kept."""
        used = self._begins[~self._idle]
        kept = 0 if whole or not len(used) else self.next - int(used.min())  # columns that hold something
        if not whole and before <= self.next < self.columns:
            return
        columns = self.columns
        while columns < 2 * max(kept, before) + 1:
            columns = max(_COLUMNS, 2 * columns)
        target = max(kept, before)
        for layer in self._layers:
            layer.keys, layer.values = (
                _moved(part, self.next, kept, target, columns) for part in (layer.keys, layer.values)
            )
        self._begins += target - self.next
        self.next, self.columns = target, columns

    def _write_responses(self, layers: list[FilledLayer], rows: Tensor, which: Tensor, counts: Tensor) -> None:
        """Put keys and values of distinct texts (u, heads, T, depth) into rows, their last tokens before the next."""
        tokens = layers[0].keys.shape[2]
        sources = torch.arange(tokens, device=counts.device) - (tokens - counts)[:, None]  # (u, T)
        if not self._layers:
            self._layers = [_Layer(self) for _ in layers]
            for layer, new in zip(self._layers, layers, strict=True):
                layer.keys, layer.values = (self._empty(part) for part in (new.keys, new.values))
                layer.is_initialized = True
        first = self.next - tokens
        for layer, new in zip(self._layers, layers, strict=True):
            for own, part in ((layer.keys, new.keys), (layer.values, new.values)):
                index = sources.clamp(min=0)[:, None, :, None].expand_as(part)
                aligned = part.gather(2, index)[which].to(own.dtype)
                own[rows, :, max(0, first) : self.next] = aligned[:, :, max(0, -first) :]

    def _empty(self, like: Tensor) -> Tensor:
        # Autocast multiplies in bf16 whatever it is given: cast once, not at every step.
        dtype = torch.bfloat16 if self.model.precision == "bf16" else like.dtype
        return torch.zeros(self.rows, like.shape[1], self.columns, like.shape[3], dtype=dtype, device=like.device)

    # ----------------------------------------------------------------- prompts
    def _write_prompts(
        self, layers: list[FilledLayer], rows: Tensor, which: Tensor, visible: Tensor, *, whole: bool
    ) -> None:
        """Put keys and values of distinct prompts (u, heads, P, depth) into rows."""
        width = visible.shape[1]
        if self._prompted is None or whole:
            self._prompted = torch.zeros(self.rows, width, dtype=torch.bool, device=visible.device)
            self._prompts = [DynamicLayer() for _ in layers]
            for layer, new in zip(self._prompts, layers, strict=True):
                for name, part in (("keys", new.keys), ("values", new.values)):
                    setattr(layer, name, part.new_zeros(self.rows, part.shape[1], width, part.shape[3]))
                layer.is_initialized = True
        held = self._prompted.shape[1]
        self._prompted = functional.pad(self._prompted, (0, max(0, width - held)))
        self._prompted[rows] = functional.pad(visible[which], (0, max(0, held - width)))
        for layer, new in zip(self._prompts, layers, strict=True):
            for name, part in (("keys", new.keys), ("values", new.values)):
                own = functional.pad(getattr(layer, name), (0, 0, 0, max(0, width - held)))
                own[rows, :, :width] = part[which]
                setattr(layer, name, own)

    def _encoded(self) -> Encoded:
        """The prompts of a step: their keys and values are known, so that of their states only the shape counts."""
        assert self._prompted is not None
        like = self.lengths.new_zeros(1, 1, 1).to(self._layers[0].keys.dtype)
        return Encoded(like.expand(*self._prompted.shape, self.model.hidden_size), self._prompted)

    def _places(self, begins: IntArray) -> Tensor | None:
        """Vectors (B, 1, D) that are added for the places of a step's tokens."""
        places = self.next - begins  # (B,)
        if self._vectors is None or len(self._vectors) <= places.max():
            wanted = max(_COLUMNS, 2 * int(places.max()))
            self._vectors = self.model.place_vectors(wanted if self.longest is None else min(wanted, self.longest))
        if self._vectors is None:
            return None
        return self._vectors[torch.from_numpy(places).to(self._vectors.device)][:, None]


def _moved(part: Tensor, end: int, kept: int, target: int, columns: int) -> Tensor:
    """Move the ``kept`` columns before ``end`` of (B, heads, columns, depth) to before ``target`` of a new tensor."""
    moved = part.new_zeros(part.shape[0], part.shape[1], columns, part.shape[3])
    moved[:, :, target - kept : target] = part[:, :, end - kept : end]
    return moved
