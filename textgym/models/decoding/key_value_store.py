"""Keys and values of many texts: the next token of all of them is one computation on the device.

Column ``c`` of a row holds its token ``c``. Positions are given explicitly and what lies behind a row's end is masked,
so rows of any length decode in one batch::

    column      0 1 2 3 4 5 6 7
    row 0       a b c d e . . .    length 5
    row 1       p q . . . . . .    length 2, begun a moment ago

A step attends to as many columns as the longest row needs. On a GPU, a step of a small model takes longer to launch
than to compute. The number of columns is rounded up there, so that a few different steps suffice; each is recorded once
(:mod:`textgym.models.decoding.cuda_graph`) and then replayed.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from textgym.models.batch import TextBatch, unique_rows
from textgym.models.decoding import cuda_graph
from textgym.models.decoding.continuation import Decoder, filled_layers
from textgym.models.decoding.cuda_graph import RecordedStep

_STRIDE = 64  # columns between two recorded steps


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, (B, heads, width, depth)."""

    def __init__(self, store: KeyValueStore) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A store that its own layers refer to would keep its tensors until Python next looks for cycles.
        self.store: KeyValueStore = weakref.proxy(store)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, width = self.store.rows, self.store.width
        # Autocast multiplies in bf16 whatever it is given: cast once, not at every step.
        dtype = torch.bfloat16 if self.store.model.precision == "bf16" else key_states.dtype
        with torch.inference_mode(False):
            self.keys, self.values = (
                torch.zeros(rows, new.shape[1], width, new.shape[3], dtype=dtype, device=new.device)
                for new in (key_states, value_states)
            )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        store = self.store
        self.keys[store.index, :, store.columns] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[store.index, :, store.columns] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[:, :, : store.window], self.values[:, :, : store.window]

    def write(self, rows: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put prefilled keys and values (b, heads, n, depth) at the beginning of ``rows``."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None
        assert self.values is not None
        self.keys[rows, :, : keys.shape[2]] = keys.to(self.keys.dtype)
        self.values[rows, :, : values.shape[2]] = values.to(self.values.dtype)

    def select(self, rows: Tensor) -> None:
        """Keep ``rows`` only."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.store.window, 0

    def get_seq_length(self) -> int:
        return self.store.window - 1

    def get_max_length(self) -> int:
        return self.store.width


class KeyValueStore:
    """Keys and values of ``rows`` texts of up to ``width`` tokens, for one model.

    Args:
        model: The language model.
        rows: Batch size.
        width: Longest text, in tokens.

    Attributes:
        lengths: (B,) tokens per row, on the model's device; 0 for an idle row.
        index, columns, window: Where the step under way writes, (B,) and (B,), and how many columns it attends to.
    """

    def __init__(self, model: Decoder, rows: int, width: int) -> None:
        self.model, self.rows, self.width, self.window = model, rows, width, 0
        self.is_recorded = cuda_graph.replays(model.device) and model.can_be_recorded
        self._layers = [_Layer(self) for _ in range(model.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        with torch.inference_mode(False):  # the next step may be one outside of it
            self._allocate(torch.zeros(rows, dtype=torch.long, device=model.device))

    @property
    def is_worth_keeping(self) -> bool:
        """Return whether there are recorded steps, which cost more to make again than the memory that is held."""
        return bool(self._steps)

    def _allocate(self, lengths: Tensor) -> None:
        """Set up the tensors that a step reads and writes, which stay where they are."""
        self.lengths, self._sizes = lengths, lengths.cpu().numpy().copy()  # the same numbers where Python sees them
        self.index = torch.arange(self.rows, device=lengths.device)
        self.columns, self._tokens = torch.zeros_like(lengths), torch.zeros_like(lengths)
        self._range = torch.arange(self.width, device=lengths.device)
        self._steps: dict[int, RecordedStep] = {}

    def prefill(self, rows: Tensor, texts: TextBatch) -> Tensor:
        """Compute ``rows`` (b,) from scratch; (b, H) hidden states of the last real token of each text."""
        input_ids, lengths, _ = texts
        sizes = lengths.cpu().numpy()
        first, which = unique_rows(input_ids, sizes.tolist())
        fresh, longest = DynamicCache(config=self.model.config), int(sizes.max())
        states = self.model.token_states(input_ids[first, :longest], cache=fresh)  # (u, T, H)
        index = rows.to(self.index.device)
        for layer, new in zip(self._layers, filled_layers(fresh, longest), strict=True):
            layer.write(index, new.keys[which], new.values[which])
        self.lengths[index], self._sizes[rows.cpu().numpy()] = lengths, sizes
        return states[which, lengths - 1]

    def extend(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; a row that is full writes its last column again.

        Args:
            tokens: (B,) ids.

        Returns:
            (B, H) hidden states of the new tokens.
        """
        columns = np.minimum(self._sizes, self.width - 1)
        self._sizes = columns + 1
        self._tokens.copy_(tokens)
        return self._step(int(self._sizes.max()))

    def retract(self) -> None:
        """Take back the token that the last :meth:`extend` appended to every row; no row may have been full."""
        self.lengths -= 1
        self._sizes = self._sizes - 1

    def drop(self, rows: Tensor) -> None:
        """Let ``rows`` (b,) idle: they go on taking part, and what they hold is forgotten."""
        self.lengths[rows.to(self.lengths.device)] = 0
        self._sizes[rows.cpu().numpy()] = 0

    def select(self, rows: Tensor) -> None:
        """Continue with ``rows`` (b,) only, in that order."""
        index = rows.to(self.lengths.device)
        for layer in self._layers:
            layer.select(index)
        self.rows = len(rows)
        self.is_recorded = False  # what continues with fewer rows ends soon
        self._allocate(self.lengths[index])

    def _step(self, window: int) -> Tensor:
        if not self.is_recorded:
            return self._compute(window)
        window = min(-(-window // _STRIDE) * _STRIDE, self.width)
        if window not in self._steps:
            step = cuda_graph.recorded(self.model, lambda: (self._compute(window),), self.lengths)
            if step is None:
                self.is_recorded = False
                return self._compute(window)
            self._steps[window] = step
        return self._steps[window]()[0]

    def _compute(self, window: int) -> Tensor:
        """Compute one token of every row. It looks at no value, so that a GPU can run it on its own."""
        self.window = window
        self.columns.copy_(self.lengths.clamp(max=self.width - 1))
        visible = self._range[:window] <= self.columns[:, None]  # (B, K)
        mask = self.model.attention_mask(visible[:, None])
        states = self.model.token_states(self._tokens[:, None], mask, self.columns[:, None], self._cache)
        self.lengths.copy_(self.columns + 1)
        return states[:, -1]
