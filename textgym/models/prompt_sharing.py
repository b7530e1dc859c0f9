"""Sharing of prompts: a common beginning of several texts is computed once.

Responses to one prompt, or texts after the same examples, repeat their beginning in every row. Keys and values of the
beginning are computed once and copied to its rows, through which gradients flow back and add up::

    rows (E, T)              prompts (U, P)      the rest (E, R)
    [p p p p p a b c]        [p p p p p]         [a b c]
    [p p p p p d e]     ->                       [d e]
    [q q q f]                [q q q]             [f]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from textgym.models.batch import EpisodeBatch
from textgym.models.decoding.continuation import Decoder, Prompts, continued
from textgym.types import IntArray

_WORTH_IT = 0.75  # share of the tokens that may be left for two passes to be faster than one


def continued_states(model: Decoder, batch: EpisodeBatch, prompts: Prompts) -> Tensor:
    """Hidden states (N, H) of a batch by one pass over its prompts and one over what follows them."""
    states = continued(model, batch.input_ids, prompts)
    places = batch.positions - prompts.lengths[batch.rows] + 1  # 0 is the last token of the beginning
    return states[batch.rows, places]


def shared_prompts(batch: EpisodeBatch, fill_id: int = 0) -> Prompts | None:
    """Return the prompts before the texts' first actions; ``None`` if too little is shared to gain by."""
    if len(batch.rows) == 0:
        return None
    ids, rows = batch.input_ids.cpu().numpy(), batch.rows.cpu().numpy()
    ends = batch.positions.cpu().numpy() + 1
    lengths, totals = np.full(len(ids), ids.shape[1]), np.zeros(len(ids), dtype=np.int64)
    np.minimum.at(lengths, rows, ends)
    np.maximum.at(totals, rows, ends)
    seen: dict[bytes, int] = {}
    which = [seen.setdefault(row[:size].tobytes(), len(seen)) for row, size in zip(ids, lengths, strict=True)]
    width, rest = int(lengths.max()), int((totals - lengths).max())
    if len(seen) * width + len(ids) * rest > _WORTH_IT * ids.size:
        return None
    return _prompts(ids, np.array(which), lengths, rest, fill_id, batch.input_ids.device)


def _prompts(
    ids: IntArray, which: IntArray, lengths: IntArray, rest: int, fill_id: int, device: torch.device
) -> Prompts:
    """Cut the first copy of every beginning out of ``ids`` (E, T)."""
    _, first = np.unique(which, return_index=True)
    width = int(lengths.max())
    padding = np.arange(width) >= lengths[first, None]
    cut = torch.from_numpy(np.where(padding, fill_id, ids[first, :width]))
    return Prompts(cut.to(device), torch.from_numpy(which).to(device), torch.from_numpy(lengths).to(device), rest)
