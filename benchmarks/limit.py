"""The physical limit of one PPO iteration: the model computations nobody can avoid, and no RL library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import timed
from benchmarks.workload import Workload
from textgym.models.activations import fuse_activations
from textgym.models.decoding.sampling import sample_tokens


class Limit:
    """The bare computations of an iteration, one method each.

    Args:
        work: Its shape.
        separate_critic: Give the critic a trunk of its own.
        fused: Compute GPT-2's GELU by one kernel; otherwise by eight, as transformers does.
    """

    def __init__(self, work: Workload, separate_critic: bool = False, fused: bool = True) -> None:
        self.work, self.device, self.fused = work, torch.device(work.device), fused
        self.policy, self.reference = self._model(0), self._model(0).eval()
        self.reward_trunk, self.reward_head = self._model(1).base_model.eval(), self._head()
        self.critic = self._model(2).base_model if separate_critic else None
        self.value_head = self._head()
        modules = [self.policy, self.value_head, *([self.critic] if self.critic else [])]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        self.prompts = torch.randint(0, work.vocabulary, (work.texts, work.prompt), device=work.device)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def iteration(self, parts: dict[str, float] | None = None) -> None:
        """Rollout, reference, reward and update; their seconds go into ``parts``."""
        parts = {} if parts is None else parts
        with timed(parts, "rollout", self.device):
            texts, old_log_probs = self.decode()
            if self.critic is not None:
                with torch.inference_mode(), self._autocast():
                    self.critic(input_ids=texts, use_cache=False)
        self.learn(texts.clone(), old_log_probs.clone(), parts)

    def learn(self, texts: Tensor, old_log_probs: Tensor, parts: dict[str, float]) -> None:
        """Compute the steps after a rollout of texts (B, T) and log-probs (B, R): reference, reward, update."""
        with timed(parts, "reference", self.device):
            self.reference_log_probs(texts)
        with timed(parts, "reward", self.device):
            self.reward(texts)
        with timed(parts, "update", self.device):
            self.update(texts, old_log_probs)

    @torch.inference_mode()
    def decode(self) -> tuple[Tensor, Tensor]:
        """Sample all responses over preallocated keys and values: ids (B, T) and log-probs (B, R).

        Written out for GPT-2 in fp32 alone.
        """
        work = self.work
        if not self.keys:
            self.keys, self.values = self._empty_cache(), self._empty_cache()
        texts = torch.empty(work.texts, work.prompt + work.response, dtype=torch.long, device=work.device)
        log_probs = torch.empty(work.texts, work.response, device=work.device)
        texts[:, : work.prompt] = self.prompts
        logits = self._step(self.prompts, 0)
        for t in range(work.response):
            token, log_probs[:, t] = sample_tokens(logits)
            texts[:, work.prompt + t] = token
            if t + 1 < work.response:
                logits = self._step(token[:, None], work.prompt + t)
        return texts, log_probs

    @torch.inference_mode()
    def reference_log_probs(self, texts: Tensor) -> Tensor:
        """One forward pass: log-probs (B, R) of the responses."""
        with self._autocast():
            hidden = self.reference.base_model(input_ids=texts, use_cache=False)[0]
            return self._log_probs(self.reference, hidden, texts)

    @torch.inference_mode()
    def reward(self, texts: Tensor) -> Tensor:
        """One forward pass: a scalar at the last token, (B, 1)."""
        with self._autocast():
            scores: Tensor = self.reward_head(self.reward_trunk(input_ids=texts, use_cache=False)[0][:, -1])
        return scores

    def update(self, texts: Tensor, old_log_probs: Tensor) -> None:
        """Forward, backward and AdamW over all minibatches of all epochs."""
        work = self.work
        advantages, returns = torch.randn(2, work.texts, work.response, device=work.device)
        for _ in range(work.epochs):
            for rows in torch.randperm(work.texts, device=work.device).split(work.minibatch):
                with self._autocast():
                    hidden = self.policy.base_model(input_ids=texts[rows], use_cache=False)[0]
                    trunk = hidden if self.critic is None else self.critic(input_ids=texts[rows], use_cache=False)[0]
                    log_probs = self._log_probs(self.policy, hidden, texts[rows])
                    values = self.value_head(trunk[:, work.prompt - 1 : -1])[..., 0].float()
                ratio = (log_probs - old_log_probs[rows]).exp()
                gain = torch.min(advantages[rows] * ratio, advantages[rows] * ratio.clamp(0.8, 1.2)).mean()
                loss = 0.5 * F.mse_loss(values, returns[rows]) - gain
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()

    def _model(self, seed: int) -> Any:
        network = self.work.language_model(seed)
        if self.fused:
            fuse_activations(network)
        return network

    def _head(self) -> nn.Linear:
        return nn.Linear(self.work.width, 1, device=self.device)

    def _log_probs(self, model: Any, hidden: Tensor, texts: Tensor) -> Tensor:
        logits: Tensor = model.lm_head(hidden[:, self.work.prompt - 1 : -1]).float()  # (B, R, V)
        chosen = texts[:, self.work.prompt :]
        # The fastest of the ways to write it that were tried.
        return -F.cross_entropy(logits.flatten(0, 1), chosen.flatten(), reduction="none").view_as(chosen)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.work.precision == "bf16")

    def _empty_cache(self) -> list[Tensor]:
        """Keys or values of every layer, (B, heads, T, depth)."""
        work = self.work
        shape = (work.texts, work.heads, work.prompt + work.response, work.width // work.heads)
        return [torch.empty(shape, device=work.device) for _ in range(work.layers)]

    def _step(self, ids: Tensor, start: int) -> Tensor:
        """Logits (B, V) after ids (B, n) at positions start..start+n-1."""
        trunk, (batch, count), work = self.policy.transformer, ids.shape, self.work
        stop = start + count
        x = trunk.wte.weight[ids] + trunk.wpe.weight[start:stop]
        for block, keys, values in zip(trunk.h, self.keys, self.values, strict=True):
            qkv = block.attn.c_attn(block.ln_1(x)).view(batch, count, 3, work.heads, -1)
            query, keys[:, :, start:stop], values[:, :, start:stop] = qkv.permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(query, keys[:, :, :stop], values[:, :, :stop], is_causal=count > 1)
            x = x + block.attn.c_proj(mixed.transpose(1, 2).reshape(batch, count, work.width))
            x = x + block.mlp(block.ln_2(x))
        logits: Tensor = trunk.ln_f(x[:, -1]) @ self.policy.lm_head.weight.T
        return logits
