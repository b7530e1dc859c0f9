"""Paths of textgym through an encoder-decoder, against the bare Hugging Face model on one unpadded text.

In float64: random networks of some kinds have logits so large that rounding in fp32 would look like a mistake.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.seq2seq_lm_policy import Seq2SeqLMPolicy
from textgym.models.batch import TextBatch, pad_rows
from textgym.models.decoding.generation import generate
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.log_probs import response_batch, token_log_probs
from textgym.models.seq2seq_lm import Seq2SeqLM

Ids = list[int]
_FIRST_WORD = 4  # ids below are special tokens
_STEPS = 12


class BareSeq2Seq:
    """Log-probabilities (1 + R, V) before and after the tokens of a response, by a network that nobody touches."""

    def __init__(self, network: Any, start_ids: Sequence[int]) -> None:
        self.network, self.start_ids = copy.deepcopy(network).eval(), list(start_ids)
        self.vocabulary = int(network.get_output_embeddings().weight.shape[0])

    @torch.no_grad()
    def __call__(self, prompt: Ids, response: Ids) -> Tensor:
        """Compute one text."""
        written = torch.tensor([[*self.start_ids, *response]])
        logits = self.network(input_ids=torch.tensor([prompt]), decoder_input_ids=written, use_cache=False).logits
        log_probs: Tensor = logits[0, len(self.start_ids) - 1 :].double().log_softmax(-1)
        return log_probs

    def words(self, seed: int, count: int) -> Ids:
        """Ids that are no special tokens."""
        generator = torch.Generator().manual_seed(seed)
        drawn: Ids = torch.randint(_FIRST_WORD, self.vocabulary, (count,), generator=generator).tolist()
        return drawn

    def signal(self) -> float:
        """The least of what another token of the prompt and another one of the response do to the last ones."""
        prompt, response = self.words(11, 12), self.words(12, 8)
        last = self(prompt, response)[-1]
        changed = self(self._changed(prompt), response)[-1], self(prompt, self._changed(response))[-1]
        return min(float((last - each).abs().max()) for each in changed)

    def _changed(self, ids: Ids) -> Ids:
        return [*ids[:3], _FIRST_WORD + (ids[3] + 1) % (self.vocabulary - _FIRST_WORD), *ids[4:]]


class Seq2SeqPaths:
    """The paths, each the deviations of what it computes, with prompts of up to ``width - 16`` tokens."""

    def __init__(self, model: Seq2SeqLM, bare: BareSeq2Seq, width: int) -> None:
        self.model, self.bare, self.width = model, bare, width
        self.is_cached = model.caches(width)
        self._prompts = [bare.words(row, length) for row, length in enumerate((width - 16, 9, 9, 1))]
        self._prompts[2] = self._prompts[1]
        self._responses = [bare.words(10 + row, length) for row, length in enumerate((11, 3, 6, 1))]

    def run(self) -> Iterator[tuple[str, float]]:
        """Name and deviation of every path."""
        for name, path in (("padded", self._padded), ("cache", self._cache), ("generate", self._generate),
                           ("policy", self._policy)):  # fmt: skip
            yield name, max(list(path()))

    def _padded(self) -> Iterator[float]:
        """A padded batch of whole texts, as updates read it."""
        with torch.no_grad():
            ours = token_log_probs(self.model, *response_batch(self.model, self._prompts, self._responses))
        theirs = [
            self.bare(prompt, response)[range(len(response)), response]
            for prompt, response in zip(self._prompts, self._responses, strict=True)
        ]
        yield float((ours - torch.cat(theirs)).abs().max())

    def _cache(self) -> Iterator[float]:
        """The prefix cache, with rows that begin again, and with pads that are written."""
        cache, prompts = PrefixCache(self.model, len(self._prompts), self.width), list(self._prompts)
        written: list[Ids] = [[] for _ in prompts]
        for step in range(_STEPS):
            with torch.no_grad():
                states = cache.hidden(self._texts(prompts, written)).clone()
                ours = self.model.logits(states).double().log_softmax(-1)
            for row, (prompt, response) in enumerate(zip(prompts, written, strict=True)):
                yield float((ours[row] - self.bare(prompt, response)[-1]).abs().max())
            drawn = enumerate(self.bare.words(step, len(prompts)))
            new = [1 if (step + row) % 7 == 0 else token for row, token in drawn]
            written = [[*response, token] for response, token in zip(written, new, strict=True)]
            if step % 4 == 2:
                row = step % 3
                prompts[row], written[row] = self.bare.words(30 + step, 3 + step), []

    def _texts(self, prompts: Sequence[Ids], written: Sequence[Ids]) -> TextBatch:
        texts = [prompt + response for prompt, response in zip(prompts, written, strict=True)]
        ids, lengths = pad_rows([*texts, [0] * self.width], 0)
        return TextBatch(ids[:-1], lengths[:-1], torch.tensor([len(prompt) for prompt in prompts]))

    def _generate(self) -> Iterator[float]:
        """Greedy texts: the difference between the most likely token and the one that was taken."""
        found = generate(self.model, self._prompts, max_new_tokens=8, eos_ids=[], temperature=0, batch_size=3)
        for prompt, response in zip(self._prompts, found, strict=True):
            rows = self.bare(prompt, response)[:-1, : self.model.vocab_size]
            yield float((rows.amax(-1) - rows[range(len(response)), response]).max())

    def _policy(self) -> Iterator[float]:
        """A step of a rollout and the update on it."""
        size = self.bare.vocabulary
        space = token_observation_space(self.width, size, self.width - 16)
        policy = Seq2SeqLMPolicy(space, spaces.Discrete(size), lambda _: 1e-3, self.model).double()
        texts = self._texts(self._prompts, self._responses)
        observed = {
            "input_ids": texts.input_ids,
            "attention_mask": (torch.arange(self.width) < texts.lengths[:, None]).to(torch.int8),
            "prompt_length": texts.prompt_lengths[:, None],
        }
        policy.set_training_mode(False)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            actions, _, log_probs = policy(observed)
        policy.set_training_mode(True)
        _, scored, _ = policy.evaluate_actions(observed, actions)
        rows = zip(self._prompts, self._responses, actions.tolist(), strict=True)
        theirs = torch.stack([self.bare(prompt, response)[-1, action] for prompt, response, action in rows])
        yield float((log_probs - theirs).abs().max())
        yield float((scored.detach() - theirs).abs().max())
