"""Several responses behind one copy of their prompt, in one row: pairs are compared at little more than half the cost.

::

    prompts and responses       a row each           one row
    p p p  + a a                [p p p a a]          [p p p a a b b]
           + b b         ->     [p p p b b]    or    a response sees the prompt and itself, and is numbered from there
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from textgym.models.batch import EpisodeBatch, pad_rows


class Branched(NamedTuple):
    """A prompt with one response or several, as ids.

    What is read of it are states (N, H): of each response, in order, the one that its first token follows from, and
    those after each of its tokens.
    """

    prompt: Sequence[int]
    responses: tuple[Sequence[int], ...]

    @property
    def width(self) -> int:
        """Tokens of a row with all of it."""
        return len(self.prompt) + sum(map(len, self.responses))


class _Packed(NamedTuple):
    """Texts with ``K`` responses each as rows of prompt, responses and padding.

    Attributes:
        input_ids: (B, T).
        position_ids: (B, T); every response is numbered from the end of the prompt.
        visible: (B, T, T), [row, reader, read]: a response sees the prompt and itself, not another response.
    """

    input_ids: Tensor
    position_ids: Tensor
    visible: Tensor


class Packing(Protocol):
    """A decoder-only model, which takes positions and masks of its own."""

    fill_id: int

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""

    def token_states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Last hidden states (B, T, H) of all tokens."""

    def attention_mask(self, visible: Tensor) -> Tensor:
        """Return the mask that :meth:`token_states` takes for "query q sees key k"."""


def one_each(texts: Sequence[Branched]) -> list[Branched]:
    """Return every response with a prompt of its own; their states are in the same order."""
    return [Branched(prompt, (response,)) for prompt, responses in texts for response in responses]


def read_rows(model: Packing, texts: Sequence[Branched]) -> Tensor:
    """States (N, H) of texts with one response each, a row each.

    Rows are padded on the right, which needs no mask: no token of a decoder sees what follows it.
    """
    ids, _ = pad_rows([[*prompt, *responses[0]] for prompt, responses in texts], model.fill_id, model.device)
    return _gather(model.token_states(ids), texts)


def read_packed(model: Packing, texts: Sequence[Branched]) -> Tensor:
    """States (N, H) of texts with the same number of responses each, all of one in one row."""
    packed = _pack(model, texts)
    states = model.token_states(packed.input_ids, model.attention_mask(packed.visible), packed.position_ids)
    return _gather(states, texts)


def as_episodes(texts: Sequence[Branched], fill_id: int, device: torch.device) -> EpisodeBatch:
    """Return texts with one response each as a batch, for models of any family."""
    ids, _ = pad_rows([[*prompt, *responses[0]] for prompt, responses in texts], fill_id, device)
    rows, columns = _places(texts, device)
    lengths = torch.tensor([len(prompt) for prompt, _ in texts], device=device)
    return EpisodeBatch(ids, lengths, rows, columns)


def _places(texts: Sequence[Branched], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where states are read from rows: (N,) rows and (N,) columns."""
    places: list[tuple[int, int]] = []
    for row, (prompt, responses) in enumerate(texts):
        begin = len(prompt)
        for response in responses:
            columns = [*([len(prompt) - 1] if prompt else []), *range(begin, begin + len(response))]
            places += [(row, column) for column in columns]
            begin += len(response)
    rows, columns_of = torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 2).unbind(1)
    return rows, columns_of


def _gather(states: Tensor, texts: Sequence[Branched]) -> Tensor:
    rows, columns = _places(texts, states.device)
    return states[rows, columns]


def _pack(model: Packing, texts: Sequence[Branched]) -> _Packed:
    rows = [[*prompt, *(token for response in responses for token in response)] for prompt, responses in texts]
    ids, _ = pad_rows(rows, model.fill_id, model.device)  # (B, T)
    sizes = [[len(prompt), *map(len, responses)] for prompt, responses in texts]
    borders = torch.tensor(sizes, device=ids.device).cumsum(1)  # (B, 1 + K): where responses and the padding begin
    columns = torch.arange(ids.shape[1], device=ids.device)  # (T,)
    segments = (columns >= borders[:, :, None]).sum(1)  # (B, T): 0 prompt, 1 to K responses, K + 1 padding
    skipped = torch.cat([torch.zeros_like(borders[:, :1]), borders[:, :-1] - borders[:, :1]], 1)  # (B, 1 + K)
    padding = segments == borders.shape[1]
    position_ids = columns - skipped.gather(1, segments.clamp(max=borders.shape[1] - 1))
    position_ids = torch.where(padding, 0, position_ids)
    visible = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    visible &= columns[None, :] <= columns[:, None]
    return _Packed(ids, position_ids, visible)
