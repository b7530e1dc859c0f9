"""Sharing of prompts: a common beginning of several texts is computed once.

Responses to one prompt, or texts after the same instruction or examples, repeat their beginning in every row. Keys and
values of the beginning are computed once and copied to its rows, through which gradients flow back and add up::

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
    return batch._replace(positions=places).gather(states)


def shared_prompts(batch: EpisodeBatch, fill_id: int = 0) -> Prompts | None:
    """Return the beginnings that are read once; ``None`` if too little is shared to gain by.

    They are the prompts before the texts' first actions, or what all of these begin with (the instruction, say), if
    that leaves less to be read.
    """
    if len(batch.rows) == 0:
        return None
    ids, rows = batch.input_ids.cpu().numpy(), batch.rows.cpu().numpy()
    ends = batch.positions.cpu().numpy() + 1
    lengths, totals = np.full(len(ids), ids.shape[1]), np.zeros(len(ids), dtype=np.int64)
    np.minimum.at(lengths, rows, ends)
    np.maximum.at(totals, rows, ends)
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(row[:size].tobytes(), len(seen)) for row, size in zip(ids, lengths, strict=True)])
    everywhere = np.full(len(ids), _common(ids[:, : int(lengths.min())]))
    choices = [choice for choice in ((which, lengths), (np.zeros_like(which), everywhere)) if choice[1].all()]
    costs = [_cost(totals, *choice) for choice in choices]
    if not costs or min(costs) > _WORTH_IT * ids.size:
        return None
    which, lengths = choices[costs.index(min(costs))]
    return _prompts(ids, which, lengths, int((totals - lengths).max()), fill_id, batch.input_ids.device)


def _common(ids: IntArray) -> int:
    """Return how many tokens all rows (E, T) begin with."""
    differs = (ids != ids[0]).any(0)
    return int(differs.argmax()) if differs.any() else len(differs)


def _cost(totals: IntArray, which: IntArray, lengths: IntArray) -> int:
    """Return the tokens that are read, padding included, of texts of ``totals`` (E,) tokens with such beginnings."""
    return int((which.max() + 1) * lengths.max() + len(lengths) * (totals - lengths).max())


def _prompts(
    ids: IntArray, which: IntArray, lengths: IntArray, rest: int, fill_id: int, device: torch.device
) -> Prompts:
    """Cut the first copy of every beginning out of ``ids`` (E, T)."""
    _, first = np.unique(which, return_index=True)
    width = int(lengths.max())
    padding = np.arange(width) >= lengths[first, None]
    cut = torch.from_numpy(np.where(padding, fill_id, ids[first, :width]))
    return Prompts(cut.to(device), torch.from_numpy(which).to(device), torch.from_numpy(lengths).to(device), rest)
