"""Texts as batches of tensors, and updates at one forward pass per episode.

The transitions of one episode, which Stable-Baselines3 hands over as separate observations, are positions of one row:
what a model computes at position t does not depend on later tokens, so every prefix of a text is answered by the pass
over its longest extension::

    observations          rows (E, T)      rows / positions (N,)
    [p q]                                  0 / 1
    [p q a]          ->   [p q a b]        0 / 2
    [p q a b]                              0 / 3

Every text says how many of its first tokens were given, its prompt; the others are actions. A decoder-only model reads
both alike; an encoder-decoder encodes the first and decodes the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor


class EpisodeBatch(NamedTuple):
    """``N`` transitions of ``E`` texts.

    Attributes:
        input_ids: (E, T) right-padded ids.
        prompt_lengths: (E,) first tokens of each text that were given to the model.
        rows: (N,) the text of each transition.
        positions: (N,) the position in it of the last observed token.
    """

    input_ids: Tensor
    prompt_lengths: Tensor
    rows: Tensor
    positions: Tensor

    def gather(self, states: Tensor) -> Tensor:
        """Pick each transition's entry: (E, T, H) -> (N, H)."""
        return states.flatten(0, 1).index_select(0, self.rows * states.shape[1] + self.positions)


class TextBatch(NamedTuple):
    """``B`` texts, each observed as a whole.

    Attributes:
        input_ids: (B, L) right-padded ids.
        lengths: (B,) real lengths, at least 1.
        prompt_lengths: (B,) first tokens of each text that were given to the model.
    """

    input_ids: Tensor
    lengths: Tensor
    prompt_lengths: Tensor

    @classmethod
    def of_ids(cls, input_ids: Tensor, lengths: Tensor) -> Self:
        """Texts of which nothing says where their prompts end: the first token is taken to be all that was given."""
        return cls(input_ids, lengths, torch.ones_like(lengths))

    def select(self, rows: Tensor) -> Self:
        """The texts of ``rows`` (b,), in that order."""
        return self._replace(
            input_ids=self.input_ids[rows], lengths=self.lengths[rows], prompt_lengths=self.prompt_lengths[rows]
        )

    def to(self, device: torch.device) -> Self:
        """The same texts on a device."""
        ids, lengths, prompt_lengths = (tensor.to(device) for tensor in self)
        return self._replace(input_ids=ids, lengths=lengths, prompt_lengths=prompt_lengths)

    def last_tokens(self) -> EpisodeBatch:
        """The last token of every text as a transition, one text a row."""
        every = torch.arange(len(self.lengths), device=self.lengths.device)
        return EpisodeBatch(self.input_ids[:, : int(self.lengths.max())], self.prompt_lengths, every, self.lengths - 1)


def pad_rows(rows: Sequence[Sequence[int]], fill: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Right-pad lists of ids: ((B, T) ids, (B,) lengths)."""
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    padded = np.full((len(rows), int(lengths.max(initial=1))), fill, dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded).to(device), torch.from_numpy(lengths).to(device)


def unique_rows(input_ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Indices (u,) of the first copy of every distinct row of ids (b, L), and for every row (b,) which of those it is.

    Args:
        input_ids: (b, L) ids.
        lengths: How many ids of each row count.
    """
    rows = input_ids.cpu().numpy()
    seen: dict[bytes, int] = {}
    first: list[int] = []
    which: list[int] = []
    for i, size in enumerate(lengths):
        place = seen.setdefault(rows[i, :size].tobytes(), len(first))
        if place == len(first):
            first.append(i)
        which.append(place)
    return torch.tensor(first, device=input_ids.device), torch.tensor(which, device=input_ids.device)


def share_prefixes(texts: TextBatch) -> EpisodeBatch:
    """Find the texts that no other text of the batch extends, and every text's place in one of them.

    Args:
        texts: ``N`` observations. A text extends another one if it begins with it and has the same prompt.

    Returns:
        The texts and positions, in the order of the observations.
    """
    width = int(texts.lengths.max())
    observed = texts._replace(input_ids=texts.input_ids[:, :width])
    rows, sizes, prompts = (tensor.cpu().numpy() for tensor in observed)
    # Big-endian ids shifted by one, 0 as padding: the order of the bytes is the order of the ids, and a prefix sorts
    # directly before the texts that extend it.
    padding = np.arange(width) >= sizes[:, None]
    keys = np.where(padding, 0, rows + 1).astype(">u4")
    names = [key.tobytes() for key in keys]
    order = np.array(sorted(range(len(keys)), key=list(zip(prompts.tolist(), names, strict=True)).__getitem__))
    ordered, prompts = keys[order], prompts[order]
    # (N - 1,) does the next text in order begin with this one?
    continued = ((ordered[1:] == ordered[:-1]) | padding[order[:-1]]).all(1) & (prompts[1:] == prompts[:-1])
    leads = np.append(~continued, True)
    by_ids = np.array(sorted(range(int(leads.sum())), key=[names[i] for i in order[leads]].__getitem__))
    place_of, leader_of = np.empty(len(by_ids), dtype=np.int64), np.empty(len(order), dtype=np.int64)
    place_of[by_ids] = np.arange(len(by_ids))
    # The leader of a text is the first one at or after it in order: count the leaders before it.
    leader_of[order] = place_of[np.cumsum(leads) - leads]
    leaders = torch.from_numpy(order[leads][by_ids]).to(texts.lengths.device)
    longest = int(texts.lengths[leaders].max())
    return EpisodeBatch(
        texts.input_ids[leaders, :longest],
        texts.prompt_lengths[leaders],
        torch.from_numpy(leader_of).to(texts.lengths.device),
        texts.lengths - 1,
    )
