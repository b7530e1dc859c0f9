"""A language model that scores texts: the network of a learned reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from textgym.models.branching import Branched, one_each
from textgym.models.log_probs import log_probs_by_sum
from textgym.models.text_model import TextModel
from textgym.reward_models.encoding import EncodedText
from textgym.text.batching import length_batches
from textgym.types import FloatArray

Precision = Literal["auto", "fp32", "bf16"]
"""What a trunk computes in; ``"auto"``: bf16 on GPUs that have it, else its own."""
Pair = tuple[EncodedText, EncodedText]
_TOKENS_PER_BATCH = 8192
_LIKELIHOOD_SCALE = 10.0  # mean probabilities of texts differ by tenths, scores by ones


class Readout(NamedTuple):
    """The places of the scores of ``B`` prompts with ``K`` responses each among ``N`` states.

    Attributes:
        ends: (B, K) the state after each response.
        sources: (M,) the states that predict the tokens of the responses.
        targets: (M,) those tokens.
        owners: (M,) the response of each, numbered ``row * K + k``.
    """

    ends: Tensor
    sources: Tensor
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

    def __init__(self, trunk: TextModel) -> None:
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

    def score_texts(self, texts: Sequence[EncodedText], precision: Precision | None = None) -> Tensor:
        """Scores of ``B`` texts, (B,) fp32."""
        return self._score([Branched(text.prompt, (text.response,)) for text in texts], precision)[:, 0]

    def score_pairs(self, pairs: Sequence[Pair], precision: Precision | None = None) -> Tensor:
        """Scores of the responses a and b of ``B`` pairs, (B, 2) fp32; a shared prompt is read once where possible."""
        if self.shares_prompts and all(a.prompt == b.prompt for a, b in pairs):
            texts = [_branched(pair) for pair in pairs]
            if self.trunk.branches(max(text.width for text in texts)):
                return self._score(texts, precision)
        return self.score_texts([a for a, _ in pairs] + [b for _, b in pairs], precision).reshape(2, -1).T

    def score_groups(self, groups: Sequence[Sequence[EncodedText]], precision: Precision | None = None) -> Tensor:
        """Scores of the texts of all groups in a row, (T,) fp32; groups of two, which may share prompts, come first."""
        pairs = [(group[0], group[1]) for group in groups if len(group) == 2]
        others = [text for group in groups[len(pairs) :] for text in group]
        parts = [self.score_pairs(pairs, precision).flatten()] if pairs else []
        return torch.cat([*parts, self.score_texts(others, precision)] if others else parts)

    @torch.no_grad()
    def try_sharing(self, pairs: Sequence[Pair]) -> bool:
        """Find out, on a few pairs, whether the trunk gives the same states where prompts are shared; remember it.

        Architectures with recurrent states or a sliding window, or that derive positions from the mask, do not.
        """
        texts = [_branched(pair) for pair in pairs if pair[0].prompt == pair[1].prompt][:2]
        self.shares_prompts = bool(texts) and self.trunk.branches(max(text.width for text in texts))
        if self.shares_prompts:
            ends = self._readout(texts).ends
            shared, alone = self.trunk.branched_states(texts)[ends], self.trunk.branched_states(one_each(texts))[ends]
            self.shares_prompts = torch.allclose(shared, alone, rtol=1e-2, atol=1e-3)
        return self.shares_prompts

    @torch.inference_mode()
    def raw_scores(self, texts: Sequence[EncodedText]) -> FloatArray:
        """Scores of ``n`` texts without gradients, shape ``(n,)``, batched by length."""
        scores = np.empty(len(texts))
        for batch in length_batches([text.length for text in texts], _TOKENS_PER_BATCH, longest_first=False):
            scores[batch] = self.score_texts([texts[i] for i in batch]).double().cpu().numpy()
        return scores

    def _score(self, texts: Sequence[Branched], precision: Precision | None) -> Tensor:
        """Scores (B, K) of the responses of ``B`` texts, in fp32 whatever the trunk computes in."""
        trunk, readout = self._trunk_in(precision), self._readout(texts)
        states = trunk.branched_states(texts)  # (N, H)
        scores: Tensor = self.head(states[readout.ends].float())[..., 0]  # (B, K)
        log_probs = log_probs_by_sum(trunk.logits(states[readout.sources]), readout.targets)  # (M,)
        sums = log_probs.new_zeros(scores.numel()).index_add(0, readout.owners, log_probs)
        counts = torch.bincount(readout.owners, minlength=scores.numel()).clamp(min=1)
        likelihoods = (sums / counts).exp().float().reshape(scores.shape)  # (B, K)
        return scores + _LIKELIHOOD_SCALE * self.likelihood_weight * likelihoods

    def _trunk_in(self, precision: Precision | None) -> TextModel:
        """The trunk, computed in a precision; ``None`` is its own."""
        if precision == "auto":
            on_gpu = self.trunk.device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bf16" if on_gpu else None
        return self.trunk if precision in (None, self.trunk.precision) else self.trunk.in_precision(precision)

    def _readout(self, texts: Sequence[Branched]) -> Readout:
        """Return where to read, out of the states of texts (:class:`~textgym.models.branching.Branched` says which)."""
        ends: list[int] = []
        places: list[tuple[int, int, int]] = []
        begin = 0
        for prompt, responses in texts:
            for response in responses:
                predicted = response if prompt else response[1:]  # nothing predicts the first token of all
                places += [(begin + step, token, len(ends)) for step, token in enumerate(predicted)]
                begin += len(predicted) + 1
                ends.append(begin - 1)
        index = torch.tensor(places, dtype=torch.long, device=self.trunk.device).reshape(-1, 3)
        shape = len(texts), len(texts[0].responses)
        return Readout(torch.tensor(ends, device=self.trunk.device).reshape(shape), *index.unbind(1))


def _branched(pair: Pair) -> Branched:
    return Branched(pair[0].prompt, (pair[0].response, pair[1].response))
