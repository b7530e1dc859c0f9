"""One of several agents that write texts together and learn apart: policy, values, optimizer, random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from textgym.agents.common.consensus import adapted, decentralized_terms
from textgym.agents.common.health import clip_gradients, require_finite
from textgym.agents.common.losses import generalized_advantages, normalize_advantages
from textgym.models.batch import EpisodeBatch
from textgym.models.checkpoint import load_unique, unique_tensors
from textgym.models.decoding.generation import generate
from textgym.models.log_probs import response_batch
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.models.stored_values import StoredRecord
from textgym.models.text_model import TextModel
from textgym.text.batching import length_batches
from textgym.types import FloatArray, Prompt


class Learning(NamedTuple):
    """How a writer learns; see :class:`~textgym.agents.decentralized_po.DecentralizedPO`."""

    n_epochs: int
    gae_lambda: float
    vf_coef: float
    max_grad_norm: float
    batch_size: int
    sqrt_kl_target: float
    kl_target: float


class Coefficients(NamedTuple):
    """The coefficients of the root of the KL divergence to the policy before an update, and of the KL itself."""

    sqrt: float
    kl: float


class Written(NamedTuple):
    """Texts of one agent, with the ids of what it was shown and wrote."""

    prompts: list[list[int]]
    ids: list[list[int]]
    texts: list[str]


class _Chunk(NamedTuple):
    """Tokens that are read at once, with what an update needs of them; but for ``batch`` and ``old``, all are (N,)."""

    batch: EpisodeBatch
    actions: Tensor
    old: Tensor  # (N, V) log-probabilities before the update
    advantages: Tensor
    returns: Tensor


class Writer:
    """An agent with a policy, a value function, an optimizer, random numbers and coefficients of its own.

    Args:
        model: Trained in place.
        number: Number of the agent in its group.
        prompt_tokens, new_tokens: Budgets of what it is shown and of what it writes.
        learning_rate: Learning rate, constant.
        coefficients: First coefficients.
        seed: Seed of the group.

    Raises:
        ModelError: All weights are frozen, or the context of the model is too short.
    """

    def __init__(
        self,
        model: TextModel,
        number: int,
        *,
        prompt_tokens: int,
        new_tokens: int,
        learning_rate: float,
        coefficients: Coefficients,
        seed: int,
    ) -> None:
        model.require_trainable()
        model.hold_masters()
        model.require_context(prompt_tokens + new_tokens, response=new_tokens)
        self.model, self.number, self.coefficients = model, number, coefficients
        self.prompt_tokens, self.new_tokens = prompt_tokens, new_tokens
        self.value_head = nn.Linear(model.hidden_size, 1).to(model.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.parameters = [*trained, *self.value_head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, eps=1e-5, weight_decay=0.0)
        drawn = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        self.generator = torch.Generator(device=model.device).manual_seed(drawn)

    def write(self, asked: Sequence[Prompt], greedy: bool, generator: torch.Generator | None) -> Written:
        """Write a text to each prompt."""
        tokenizer = self.model.tokenizer
        prompts = [prompt.ids for prompt in tokenizer.encode_prompts(asked, self.prompt_tokens)]
        ids = generate(
            self.model,
            prompts,
            max_new_tokens=self.new_tokens,
            eos_ids=tokenizer.eos_ids,
            temperature=0.0 if greedy else 1.0,
            generator=generator,
        )
        ends = set(tokenizer.eos_ids)
        return Written(prompts, ids, tokenizer.decode_batch([[id_ for id_ in row if id_ not in ends] for row in ids]))

    def learn(self, written: Written, rewards: FloatArray, learning: Learning) -> dict[str, float]:
        """Take the optimizer steps of an iteration, and adapt the coefficients; returns what there is to log."""
        chunks, loss = self._chunks(written, rewards, learning), 0.0
        total = sum(len(chunk.actions) for chunk in chunks)
        largest = float(np.abs(rewards).max(initial=0.0))
        norms = []
        for _ in range(learning.n_epochs):
            self.optimizer.zero_grad(set_to_none=True)
            loss = 0.0
            for chunk in chunks:
                log_probs, values = self._evaluate(chunk.batch)
                # E[- r_t A_t] + b1 E[sqrt(KL)] + b2 E[KL], r_t = pi(a_t | s_t) / pi_old(a_t | s_t), and the values' own
                terms = decentralized_terms(log_probs, chunk.old, chunk.actions, chunk.advantages)
                penalty = self.coefficients.sqrt * terms.sqrt_kl.mean() + self.coefficients.kl * terms.kl.mean()
                value_loss = ((values - chunk.returns) ** 2).mean()
                whole = terms.policy.mean() + penalty + learning.vf_coef * value_loss
                share = whole * (len(chunk.actions) / total)
                share.backward()
                loss += share.item()
            require_finite("loss", loss, largest)
            norms.append(clip_gradients(self.parameters, learning.max_grad_norm, largest))
            self.optimizer.step()
        found = self._moved(chunks)
        root, kl = self.coefficients
        self.coefficients = Coefficients(
            adapted(root, found["sqrt_step_kl"], learning.sqrt_kl_target),
            adapted(kl, found["step_kl"], learning.kl_target),
        )
        return {
            "loss": loss,
            "grad_norm": float(np.mean(norms)),
            "length": float(np.mean([len(ids) for ids in written.ids])),
            **found,
            "beta_sqrt": self.coefficients.sqrt,
            "beta_kl": self.coefficients.kl,
        }

    @torch.no_grad()
    def _chunks(self, written: Written, rewards: FloatArray, learning: Learning) -> list[_Chunk]:
        """Split the texts of a rollout, and compute advantages, normalized over all of their tokens."""
        sizes = [len(ids) for ids in written.ids]
        found: list[_Chunk] = []
        for rows in length_batches(sizes, learning.batch_size, longest_first=False):
            prompts, ids = [written.prompts[row] for row in rows], [written.ids[row] for row in rows]
            batch, actions = response_batch(self.model, prompts, ids)
            log_probs, values = self._evaluate(batch)
            lengths = [len(each) for each in ids]
            advantages = text_advantages(values.double().cpu().numpy(), rewards[rows], lengths, learning.gae_lambda)
            kept = torch.from_numpy(advantages).to(values)
            found.append(_Chunk(batch, actions, log_probs, kept, kept + values))
        normalized = normalize_advantages(torch.cat([chunk.advantages for chunk in found]))
        parts = normalized.split([len(chunk.actions) for chunk in found])
        return [chunk._replace(advantages=own) for chunk, own in zip(found, parts, strict=True)]

    def _evaluate(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N, V) and values (N,); values read the policy's states and send no gradients into them."""
        states = self.model.hidden(batch)
        return self.model.logits(states).log_softmax(-1), self.value_head(states.detach())[:, 0]

    @torch.no_grad()
    def _moved(self, chunks: Sequence[_Chunk]) -> dict[str, float]:
        """How far the policy is from where it was before the update, and its entropy, means over tokens."""
        sums = torch.zeros(3, dtype=torch.float64)
        for chunk in chunks:
            log_probs, _ = self._evaluate(chunk.batch)
            terms = decentralized_terms(log_probs, chunk.old, chunk.actions, chunk.advantages)
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            sums += torch.stack([each.double().sum().cpu() for each in (terms.kl, terms.sqrt_kl, entropy)])
        means = (sums / sum(len(chunk.actions) for chunk in chunks)).tolist()
        return dict(zip(("step_kl", "sqrt_step_kl", "entropy"), means, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, moments and random numbers, by name."""
        found = {f"model.{name}": tensor for name, tensor in unique_tensors(self.model.state_dict()).items()}
        found |= {f"value_head.{name}": tensor for name, tensor in self.value_head.state_dict().items()}
        found |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        return {**found, "generator": self.generator.get_state()}

    def record(self) -> StoredRecord:
        """The rest of the state."""
        return {"optimizer": describe_optimizer(self.optimizer), **self.coefficients._asdict()}

    def take(self, tensors: Mapping[str, Tensor], record: StoredRecord, folder: Path) -> None:
        """Go on from what :meth:`tensors` and :meth:`record` returned; ``folder`` is its origin, for errors."""
        load_unique(self.model, part(tensors, "model."), folder)
        load_unique(self.value_head, part(tensors, "value_head."), folder)
        restore_optimizer(self.optimizer, part(tensors, "optimizer."), record["optimizer"])
        self.generator.set_state(tensors["generator"].cpu())
        self.coefficients = Coefficients(record["sqrt"], record["kl"])


def text_advantages(values: FloatArray, rewards: FloatArray, lengths: Sequence[int], gae_lambda: float) -> FloatArray:
    """Advantages (N,) of the tokens of texts, one after the other, whose rewards (E,) come with their last tokens."""
    shape = max(lengths), len(lengths)
    steps, texts = np.concatenate([np.arange(length) for length in lengths]), np.repeat(np.arange(shape[1]), lengths)
    paid, known, dones = np.zeros(shape), np.zeros(shape), np.ones(shape)
    known[steps, texts] = values
    dones[steps, texts] = 0.0
    last = np.array(lengths) - 1, np.arange(shape[1])
    paid[last], dones[last] = rewards, 1.0
    found = generalized_advantages(paid, known, dones, np.zeros(shape[1]), 1.0, gae_lambda)
    of_tokens: FloatArray = found[steps, texts]
    return of_tokens
