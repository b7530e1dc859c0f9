"""A language model that scores texts: the network of a learned reward."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from textgym.models.causal_lm import CausalLM
from textgym.models.log_probs import log_probs_by_sum
from textgym.reward_models.encoding import EncodedText
from textgym.text.batching import length_batches
from textgym.types import FloatArray

Precision = Literal["auto", "fp32", "bf16"]
Pair = tuple[EncodedText, EncodedText]
_TOKENS_PER_BATCH = 8192
_LIKELIHOOD_SCALE = 10.0  # mean probabilities of texts differ by tenths, scores by ones


class PackedPairs(NamedTuple):
    """Pairs of responses to one prompt, one row each: prompt, response a, response b, padding.

    Attributes:
        input_ids: (B, T).
        position_ids: (B, T); both responses are numbered from the end of the prompt.
        mask: (B, 1, T, T), added to attention scores: a response sees the prompt and itself, not the other response.
        ends: (B, 2), where the last tokens of a and b are.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    ends: Tensor


class Readout(NamedTuple):
    """Where the scores of ``B`` rows with ``K`` texts each are read from.

    Attributes:
        ends: (B, K) column of each text's last token.
        rows, columns: (N,) the states that predict the tokens of the responses.
        targets: (N,) those tokens.
        owners: (N,) the text of each, numbered ``row * K + k``.
    """

    ends: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    owners: Tensor


class ResponseScorer(nn.Module):
    """A language model that scores responses: ``head(last hidden state) + weight * p``.

    ``p`` is the geometric mean of the probabilities of the response's tokens, given the prompt.

    The head alone has to learn from comparisons what a language model knows already, how well a response fits its
    prompt; on the built-in reports 4,000 comparisons taught it less than the likelihood says from the start. The weight
    of the likelihood is learned with the rest and may become 0 or negative.

    It is always in evaluation mode: there is no dropout, in training either. The head starts at zero and has no bias,
    because adding a constant to all scores changes no preference.

    Args:
        trunk: The language model.
    """

    def __init__(self, trunk: CausalLM) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.hidden_size, 1, bias=False, device=trunk.device)
        nn.init.zeros_(self.head.weight)
        self.likelihood_weight = nn.Parameter(torch.ones(1, device=trunk.device))
        self.shares_prompts = False
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever is asked."""
        return super().train(False)

    @property
    def context(self) -> int:
        """The most positions the trunk knows."""
        return 2**31 if self.trunk.context_length is None else self.trunk.context_length

    def score_texts(self, texts: Sequence[EncodedText]) -> Tensor:
        """Scores of ``B`` texts, (B,) fp32.

        Rows are padded on the right and ends are found by length, so neither needs a mask: no token of a causal model
        sees what follows it.
        """
        ids = self._padded([[*text.prompt, *text.response] for text in texts])  # (B, T)
        return self._read(self.trunk.token_states(ids), self._readout([[(text, 0)] for text in texts]))[:, 0]

    def score_pairs(self, pairs: Sequence[Pair]) -> Tensor:
        """Scores of the responses a and b of ``B`` pairs, (B, 2) fp32; a shared prompt is read once where possible."""
        if self.shares_prompts and all(a.prompt == b.prompt for a, b in pairs):
            packed = self._pack(pairs)
            if packed.input_ids.shape[1] <= self.context and self.trunk.caches(packed.input_ids.shape[1]):
                states = self.trunk.token_states(packed.input_ids, packed.mask, packed.position_ids)
                return self._read(states, self._readout([[(a, 0), (b, len(a.response))] for a, b in pairs]))
        return self.score_texts([a for a, _ in pairs] + [b for _, b in pairs]).reshape(2, -1).T

    def score_groups(self, groups: Sequence[Sequence[EncodedText]]) -> Tensor:
        """Scores of the texts of all groups in a row, (T,) fp32; groups of two, which may share prompts, come first."""
        pairs = [(group[0], group[1]) for group in groups if len(group) == 2]
        others = [text for group in groups[len(pairs) :] for text in group]
        parts = [self.score_pairs(pairs).flatten()] if pairs else []
        return torch.cat([*parts, self.score_texts(others)] if others else parts)

    def try_sharing(self, pairs: Sequence[Pair]) -> bool:
        """Find out, on a few pairs, whether the trunk gives the same states for packed pairs; remember and return it.

        Architectures with recurrent states or a sliding window, or that derive positions from the mask, do not.
        """
        alike = [pair for pair in pairs if pair[0].prompt == pair[1].prompt][:2]
        self.shares_prompts = bool(alike) and self.trunk.is_cacheable and self._packs_exactly(alike)
        return self.shares_prompts

    @torch.no_grad()
    def _packs_exactly(self, pairs: Sequence[Pair]) -> bool:
        packed = self._pack(pairs)
        if packed.input_ids.shape[1] > self.context:
            return False
        states = self.trunk.token_states(packed.input_ids, packed.mask, packed.position_ids)
        for row, pair in enumerate(pairs):
            for side, text in enumerate(pair):
                alone = self.trunk.token_states(self._padded([[*text.prompt, *text.response]]))[0, -1]
                if not torch.allclose(states[row, packed.ends[row, side]], alone, rtol=1e-2, atol=1e-3):
                    return False
        return True

    @torch.inference_mode()
    def raw_scores(self, texts: Sequence[EncodedText]) -> FloatArray:
        """Scores of ``n`` texts without gradients, shape ``(n,)``, batched by length."""
        scores = np.empty(len(texts))
        for batch in length_batches([text.length for text in texts], _TOKENS_PER_BATCH, longest_first=False):
            scores[batch] = self.score_texts([texts[i] for i in batch]).double().cpu().numpy()
        return scores

    @contextlib.contextmanager
    def precision(self, precision: Precision) -> Iterator[None]:
        """Run the trunk in another precision; ``"auto"`` is bf16 on GPUs that have it, else the trunk's own."""
        before = self.trunk.precision
        if precision == "auto":
            on_gpu = self.trunk.device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bf16" if on_gpu else before
        self.trunk.precision = precision
        try:
            yield
        finally:
            self.trunk.precision = before

    def _read(self, states: Tensor, readout: Readout) -> Tensor:
        """Scores (B, K) from hidden states (B, T, H), in fp32 whatever the trunk computes in."""
        rows = torch.arange(len(states), device=states.device)[:, None]  # (B, 1)
        scores: Tensor = self.head(states[rows, readout.ends].float())[..., 0]  # (B, K)
        logits = self.trunk.logits(states[readout.rows, readout.columns])  # (N, V)
        log_probs = log_probs_by_sum(logits, readout.targets)  # (N,)
        sums = log_probs.new_zeros(scores.numel()).index_add(0, readout.owners, log_probs)
        counts = torch.bincount(readout.owners, minlength=scores.numel()).clamp(min=1)
        likelihoods = (sums / counts).exp().float().reshape(scores.shape)  # (B, K)
        return scores + _LIKELIHOOD_SCALE * self.likelihood_weight * likelihoods

    def _readout(self, rows: Sequence[Sequence[tuple[EncodedText, int]]]) -> Readout:
        """Where to read; every row is a list of texts and how far behind the prompt each response begins."""
        ends, places = [], []
        for row, texts in enumerate(rows):
            ends.append([len(text.prompt) + gap + len(text.response) - 1 for text, gap in texts])
            for k, (text, gap) in enumerate(texts):
                begin, owner = len(text.prompt), row * len(texts) + k
                # The first token is predicted at the end of the prompt, the others at the token before them.
                sources = [begin - 1, *range(begin + gap, begin + gap + len(text.response) - 1)]
                tokens = zip(sources, text.response, strict=True)
                places += [(row, column, target, owner) for column, target in tokens if column >= 0]
        device = self.trunk.device
        index = torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 4)
        return Readout(torch.tensor(ends, device=device), *index.unbind(1))

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        width = max(map(len, rows))
        filled = [[*row, *[self.trunk.fill_id] * (width - len(row))] for row in rows]
        return torch.tensor(filled, device=self.trunk.device)

    def _pack(self, pairs: Sequence[Pair]) -> PackedPairs:
        ids = self._padded([[*a.prompt, *a.response, *b.response] for a, b in pairs])  # (B, T)
        sizes = [(len(a.prompt), len(a.response), len(b.response)) for a, b in pairs]
        borders = torch.tensor(sizes, device=ids.device).cumsum(1)  # (B, 3): where a, b and the padding begin
        columns = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        segments = (columns >= borders[:, :, None]).sum(1)  # (B, T): 0 prompt, 1 a, 2 b, 3 padding
        of_a = (borders[:, 1] - borders[:, 0])[:, None]  # (B, 1)
        position_ids = torch.where(segments == 2, columns - of_a, columns)
        position_ids = torch.where(segments == 3, 0, position_ids)
        seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
        seen &= columns[None, :] <= columns[:, None]  # (B, T, T), [row, reader, read]
        dtype = next(self.trunk.parameters()).dtype  # attention kernels want the mask in the type of the queries
        mask = torch.zeros(seen.shape, dtype=dtype, device=ids.device).masked_fill(~seen, torch.finfo(dtype).min)
        return PackedPairs(ids, position_ids, mask[:, None], borders[:, 1:] - 1)
