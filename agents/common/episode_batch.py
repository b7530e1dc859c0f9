"""Updates at one forward pass per episode: every prefix of a text is answered by the pass over its longest extension.

A causal model's output at position t does not depend on later tokens, so the transitions of one episode, which
Stable-Baselines3 hands over as separate observations, are positions of one row::

    observations          rows (E, T)      rows / positions (N,)
    [p q]                                  0 / 1
    [p q a]          ->   [p q a b]        0 / 2
    [p q a b]                              0 / 3
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class EpisodeBatch(NamedTuple):
    """``N`` transitions of ``E`` texts.

    Attributes:
        input_ids: (E, T) right-padded ids.
        rows: (N,) the text of each transition.
        positions: (N,) the position in it of the last observed token.
    """

    input_ids: Tensor
    rows: Tensor
    positions: Tensor

    def gather(self, states: Tensor) -> Tensor:
        """Pick each transition's entry: (E, T, H) -> (N, H)."""
        return states.flatten(0, 1).index_select(0, self.rows * states.shape[1] + self.positions)


def share_prefixes(input_ids: Tensor, lengths: Tensor) -> EpisodeBatch:
    """Find the texts that no other text of the batch extends, and every text's place in one of them.

    Args:
        input_ids: (N, L) right-padded ids.
        lengths: (N,) real lengths, at least 1.

    Returns:
        The texts and positions, in the order of the observations.
    """
    width = int(lengths.max())
    rows, sizes = input_ids[:, :width].cpu().numpy(), lengths.cpu().numpy()
    # Big-endian ids shifted by one, 0 as padding: the order of the bytes is the order of the ids, and a prefix sorts
    # directly before the texts that extend it.
    padding = np.arange(width) >= sizes[:, None]
    keys = np.where(padding, 0, rows + 1).astype(">u4")
    order = np.array(sorted(range(len(keys)), key=[key.tobytes() for key in keys].__getitem__))
    ordered = keys[order]
    # (N - 1,) does the next text in order begin with this one?
    continued = ((ordered[1:] == ordered[:-1]) | padding[order[:-1]]).all(1)
    leads = np.append(~continued, True)
    leader_of = np.empty(len(order), dtype=np.int64)
    # The leader of a text is the first one at or after it in order: count the leaders before it.
    leader_of[order] = np.cumsum(leads) - leads
    leaders = torch.from_numpy(order[leads]).to(input_ids.device)
    longest = int(lengths[leaders].max())
    return EpisodeBatch(input_ids[leaders, :longest], torch.from_numpy(leader_of).to(input_ids.device), lengths - 1)
