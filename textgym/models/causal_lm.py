"""A Hugging Face causal language model, split into its trunk (ids -> states) and its head (states -> logits)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch
from textgym.models.branching import Branched, read_packed, read_rows
from textgym.models.decoding.cache import DecodingCache
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.probing.findings import configured_context, examine, is_cached, reaching
from textgym.models.probing.noise import set_mode
from textgym.models.probing.trunk import Trunk, additive_mask, default_positions
from textgym.models.prompt_sharing import continued_states, shared_prompts
from textgym.models.text_model import Precision, TextModel
from textgym.models.trainable import HALVES
from textgym.text.tokenizer import Tokenizer
from textgym.values import attribute_of

_COMPILED_VARIANTS = 256


class CausalLM(TextModel):
    """A decoder-only model: prompt and response are one text, of which it predicts every next token.

    What an architecture can do is found by computing when it is loaded (:attr:`findings`).

    Args:
        network: A Hugging Face causal LM.
        source: Where it came from (name, folder or Hub id); its tokenizer is read from there, unless it is given.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast of the trunk and the head. Logits are fp32 in both.
        tokenizer: The one that belongs to it.

    Raises:
        ModelError: If weights are not finite, or the logits of the network cannot be written as head(trunk(ids)).
        ValueError: For another precision.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        source: str | None = None,
        precision: Precision = "fp32",
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(network, source, precision, tokenizer)
        self._is_compiled = False
        self._trunk_name, self.findings = examine(network, self.config)
        self._tell_uncached()
        self._tell_never_training()

    @property
    def trunk(self) -> nn.Module:
        """The network without its head."""
        trunk: nn.Module = self.network.get_submodule(self._trunk_name)
        return trunk

    @property
    def context_length(self) -> int | None:
        """Most tokens of one text, prompt and response together; ``None`` where positions have no end.

        Less than the configuration says where a text that grows longer changes the states of its beginning (rotations
        that are scaled by length): no sampled token could be scored by the distribution it was drawn from.
        """
        known = [limit for limit in (configured_context(self.config), self.findings.longest) if limit is not None]
        return min(known) if known else None

    def prepare(self, tokens: int) -> None:
        """Find out about texts of up to ``tokens`` tokens, on a narrow copy; what is not cached is said at once.

        Policies, caches and :func:`~textgym.models.decoding.generation.generate` call it with the longest text they
        will see.
        """
        if tokens <= self.findings.reach:
            return
        before, limit = self.findings, self.context_length
        within = tokens if limit is None else min(tokens, limit)
        self.findings = reaching(before, self._probed, within)
        if before.is_cacheable and not self.findings.is_cacheable:
            self._tell_uncached()

    def caches(self, tokens: int) -> bool:
        """Return whether texts of up to ``tokens`` tokens are continued from keys and values."""
        self.prepare(tokens)
        return is_cached(self.findings, self._probed, tokens)

    def new_cache(self, rows: int, width: int) -> DecodingCache:
        """Keys and values of ``rows`` texts of up to ``width`` tokens, where those continue a text."""
        return KeyValueStore(self, rows, width) if self.caches(width) else super().new_cache(rows, width)

    @property
    def _probed(self) -> Trunk:
        return Trunk(self.trunk, self.config, self.findings.arguments)

    def _tell_uncached(self) -> None:
        """Say that texts are not continued from keys and values, if they are not."""
        found = self.findings
        if not found.is_cacheable:
            warnings.warn(
                f"{found.architecture} is not continued from keys and values in texts of {found.reach} tokens: "
                f"{found.reason}; {found.cost}",
                stacklevel=3,
            )

    def _tell_never_training(self) -> None:
        """Say that the trunk stays in evaluation mode, if it does."""
        if self.findings.is_never_training:
            warnings.warn(
                f"{self.findings.architecture} is stochastic, or fails, in training mode, and no module was found "
                "that causes it: it stays in evaluation mode, where gradient checkpointing has no effect",
                stacklevel=3,
            )

    @property
    def is_cacheable(self) -> bool:
        """Return whether past keys and values alone continue a text; found by computing, see :attr:`findings`."""
        return self.findings.is_cacheable

    def can_continue_with_gradients(self, tokens: int) -> bool:
        """Return whether keys and values of ``tokens`` tokens carry gradients; not where activations are recomputed.

        Nor where weights are shared out over processes, which gather them in step: each reads every text once.
        """
        names = ("gradient_checkpointing", "unshard")  # the second is a method of what FSDP2 has shared out
        once = any(attribute_of(module, name) for module in self.network.modules() for name in names)
        return not once and self.caches(tokens)

    def train(self, mode: bool = True) -> Self:
        """Switch modes; modules that make noise in training mode stay in evaluation mode."""
        super().train(mode)
        self._set_trunk_mode(mode)
        return self

    def _set_trunk_mode(self, mode: bool) -> None:
        """Switch the trunk's mode; noise stays off."""
        found = self.findings
        set_mode(self.trunk, mode and not found.is_never_training, found.silenced)

    def constant_buffers(self) -> list[Tensor]:
        """Buffers into which the network did not write while it was probed."""
        written = self.findings.written
        return [buffer for name, buffer in self.network.named_buffers() if name not in written]

    def hidden(self, batch: EpisodeBatch) -> Tensor:
        """States (N, H), fp32, of tokens of whole texts; a beginning that texts share is read once where that pays."""
        shareable = self.can_continue_with_gradients(batch.input_ids.shape[1])
        prompts = shared_prompts(batch, self.fill_id) if shareable else None
        if prompts is None:
            return batch.gather(self.token_states(batch.input_ids))
        return continued_states(self, batch, prompts)

    def branches(self, tokens: int) -> bool:
        """Return whether so many tokens fit and continue from keys and values: positions can be chosen."""
        fits = self.context_length is None or tokens <= self.context_length
        return self.is_cacheable and fits and self.caches(tokens)

    def branched_states(self, texts: Sequence[Branched]) -> Tensor:
        """States (N, H), fp32; several responses to one prompt are read in one row."""
        return (read_rows if len(texts[0].responses) == 1 else read_packed)(self, texts)

    def token_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Last hidden states of all tokens, after the final norm.

        Rows are padded on the right; no mask is needed then, because no real token attends to what follows it.

        Args:
            input_ids: (B, T) token ids.
            attention_mask: Optional; (B, T), or (B, 1, T, K) to be used as it is.
            position_ids: (B, T); 0..T-1 by default.
            cache: A Hugging Face cache that receives (and provides) keys and values.

        Returns:
            (B, T, H), fp32.
        """
        if position_ids is None:
            position_ids = default_positions(input_ids)
        arguments = self.findings.arguments
        if cache is not None and arguments.cache is None:
            raise ModelError(
                f"expected a model that keeps keys and values, got {type(self.network).__name__}; call it without a "
                "cache"
            )
        accepted = arguments.of(position_ids, attention_mask, cache)
        # One token at a time is not worth compiling: nothing but products and reading is left of it.
        trunk = self.trunk.forward if self._is_compiled and cache is not None else self.trunk
        with self.autocast(), self._keeping(cache):
            states: Tensor = trunk(input_ids=input_ids, **accepted)[0]
        return states.float() if states.dtype in HALVES else states

    def attention_mask(self, visible: Tensor) -> Tensor:
        """Return the mask that :meth:`token_states` takes for "query q sees key k": (B, Q, K) -> (B, 1, Q, K).

        It is added to the scores: fused attention would turn a boolean one into that again in every layer.
        """
        dtype = torch.bfloat16 if self.precision == "bf16" else next(self.network.parameters()).dtype
        return additive_mask(visible, dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the first :attr:`vocab_size` ids, (..., V), at least fp32 (hidden: (..., H))."""
        head = self.network.get_output_embeddings()
        with self.autocast():
            logits: Tensor = head(hidden.to(head.weight.dtype))
        logits = logits[..., : self.vocab_size]
        return self.findings.form(logits.float() if logits.dtype != torch.float64 else logits)

    def compile_trunk(self) -> None:
        """Let ``torch.compile`` fuse the passes over whole texts; the first takes long, later ones are faster.

        Texts of any number and length then share one compiled function. Passes that fill or read a cache are not
        compiled, nor is a deep copy.
        """
        # Trunks of all models share one function, and with it the number of variants after which torch gives up.
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, _COMPILED_VARIANTS)
        self.trunk.compile(dynamic=True)
        self._is_compiled = True

    def adopt_adapter(self, wrapper: nn.Module) -> None:
        """Take over the adapter that PEFT has put into the layers of the network, to be trained.

        Raises:
            ModelError: PEFT's wrapper computes something else than the network.
        """
        ids = torch.arange(4, device=self.device)[None] % self.vocab_size
        with torch.no_grad():
            ours, theirs = self.logits(self.token_states(ids)), wrapper(input_ids=ids).logits
        theirs = theirs[..., : self.vocab_size].to(ours.dtype)
        tolerance = 0.1 if self.rounds_to_half else 1e-3
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
            raise ModelError(
                f"expected an adapter that lives in the layers of {type(self.network).__name__}, got another kind, "
                f"{type(wrapper).__name__}; merge it into its model, or train a LoRA adapter instead"
            )
        self.adapter = wrapper
