"""Sampling whole responses from a language model, with finished rows refilled at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from textgym.models.batch import TextBatch, pad_rows
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.decoding.sampling import sample_tokens
from textgym.models.text_model import TextModel


def generate(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 64,
    progress: Callable[[int], object] | None = None,
) -> list[list[int]]:
    """Sample one response per prompt.

    Args:
        model: The language model.
        prompts: Prompt ids, each at least one id long.
        max_new_tokens: Budget of a response.
        eos_ids: Ids that end a response; they are kept as its last id.
        temperature: Divides the logits; 0 takes the most likely id.
        generator: Source of randomness, on the model's device.
        batch_size: Number of texts decoded in parallel.
        progress: Called with the number of responses just finished.

    Returns:
        Sampled ids per prompt, in order.

    Raises:
        ValueError: For an empty prompt, a negative temperature, or a budget or batch size below 1.
    """
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("expected prompts of at least one token, got an empty one; encode a start token")
    if max_new_tokens < 1 or batch_size < 1:
        name, value = ("max_new_tokens", max_new_tokens) if max_new_tokens < 1 else ("batch_size", batch_size)
        raise ValueError(f"expected a {name} of at least 1, got {value}")
    if temperature < 0:
        raise ValueError(f"expected a temperature >= 0, got {temperature}; use 0 for greedy decoding")
    if not prompts:
        return []
    model = DecodingCopy(model).refresh()
    decoder = _Decoder(model, prompts, min(batch_size, len(prompts)), max_new_tokens, frozenset(eos_ids))
    with torch.no_grad():
        while decoder.owners:
            logits = model.logits(decoder.states)
            tokens = sample_tokens(logits / temperature, generator).tokens if temperature > 0 else logits.argmax(-1)
            finished = decoder.append(tokens)
            if finished and progress is not None:
                progress(finished)
    return decoder.responses


class _Decoder:
    """Rows decoded in parallel; a row that is done is given to the next prompt.

    Attributes:
        responses: Ids sampled so far, per prompt.
        owners: The prompt each row works on; ``None`` for an idle row. Empty when all is done.
        states: (B, H) hidden states that predict each row's next token.
    """

    def __init__(
        self, model: TextModel, prompts: Sequence[Sequence[int]], rows: int, budget: int, ends: frozenset[int]
    ) -> None:
        self.model, self.prompts, self.budget, self.ends = model, prompts, budget, ends
        # Long prompts first: rows decoded together then have similar lengths.
        self._queue = deque(sorted(range(len(prompts)), key=lambda i: -len(prompts[i])))
        self.responses: list[list[int]] = [[] for _ in prompts]
        self.owners: list[int | None] = [None] * rows
        width = max(map(len, prompts)) + budget
        self._cache = model.new_cache(rows, width)
        self.states = torch.empty(rows, model.hidden_size, device=model.device)
        self._refill()

    def append(self, tokens: Tensor) -> int:
        """Take one sampled id per row (B,); return how many responses that finished."""
        finished = 0
        for row, (owner, token) in enumerate(zip(self.owners, tokens.tolist(), strict=True)):
            if owner is None:
                continue
            response = self.responses[owner]
            response.append(token)
            if token in self.ends or len(response) == self.budget:
                self.owners[row] = None
                finished += 1
        active = [row for row, owner in enumerate(self.owners) if owner is not None]
        if not self._queue and len(active) <= len(self.owners) // 2:
            tokens = self._keep(active, tokens)
        if active:
            self._extend(tokens)
        # A prefill costs a model call: wait until it serves several rows.
        if self._queue and len(self.owners) - len(active) >= max(1, len(self.owners) // 8):
            self._refill()
        return finished

    def _refill(self) -> None:
        idle = [row for row, owner in enumerate(self.owners) if owner is None][: len(self._queue)]
        chosen = [self._queue.popleft() for _ in idle]
        for row, prompt in zip(idle, chosen, strict=True):
            self.owners[row] = prompt
        ids, lengths = pad_rows([self.prompts[prompt] for prompt in chosen], self.model.fill_id, self.model.device)
        index = torch.tensor(idle)
        states = self._cache.prefill(index, TextBatch(ids, lengths, lengths))
        self.states = self.states.to(states.dtype).index_copy(0, index.to(states.device), states)

    def _extend(self, tokens: Tensor) -> None:
        idle = [row for row, owner in enumerate(self.owners) if owner is None]
        self._cache.drop(torch.tensor(idle, dtype=torch.long))  # an idle row must not widen the window
        self.states = self._cache.extend(tokens)

    def _keep(self, rows: list[int], tokens: Tensor) -> Tensor:
        """Continue with ``rows`` only."""
        index = torch.tensor(rows, dtype=torch.long, device=tokens.device)
        self.owners = [self.owners[row] for row in rows]
        self.states = self.states[index]
        self._cache.select(index)
        return tokens[index]
