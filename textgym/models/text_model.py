"""The interface of a language model of any family, for policies, decoding, supervised training and scoring."""

from __future__ import annotations

import contextlib
import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from transformers import Cache, PreTrainedConfig, PreTrainedModel

from textgym.errors import ModelError
from textgym.files.disk import naming_full_disk
from textgym.models.activations import fuse_activations
from textgym.models.batch import EpisodeBatch
from textgym.models.branching import Branched, as_episodes, one_each
from textgym.models.decoding.cache import DecodingCache, RecomputingCache
from textgym.models.pretrained import quiet, require_finite_weights
from textgym.models.probing.head import rows_of
from textgym.models.probing.noise import switch_off_dropout
from textgym.models.trainable import HALVES, TrainableNetwork
from textgym.naming import argument
from textgym.text.tokenizer import Tokenizer
from textgym.values import attribute_of

Precision = Literal["fp32", "bf16"]
_SHORTEST_PROMPT = 16  # tokens; a budget that leaves less is no advice


class TextModel(TrainableNetwork, ABC):
    """A language model: states that actions follow from, logits of states, and a cache to decode with.

    A new family of models is a subclass with :meth:`hidden` and :meth:`logits`. Everything else has a default that
    works: :meth:`new_cache` reads the whole text again at every token, :attr:`context_length` has no end. (It is a base
    class rather than a ``typing.Protocol`` because a model is a torch module, whose weights are trained, copied and
    saved.)

    Dropout is off whatever mode the module is in: a sampled token must be scored by the distribution it was drawn from.

    Class attributes:
        encodes_prompts: Whether prompts are read apart from responses, so that no state belongs to a token of a prompt.
        wanted, loads: What a network must be, and which of transformers' classes are, for messages.

    Args:
        network: A Hugging Face model with an output head.
        source: Where it came from (name, folder or Hub id); its tokenizer is read from there, unless it is given.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast. Logits are fp32 in both.
        tokenizer: The one that belongs to it.

    Attributes:
        vocab_size: Ids that have a logit.
        fill_id: An id that rows can be padded with.

    Raises:
        ModelError: If weights are not finite, or there is no output head.
        ValueError: For another precision.
    """

    encodes_prompts: ClassVar[bool] = False
    wanted: ClassVar[str] = "a causal LM"
    loads: ClassVar[str] = "*ForCausalLM"

    def __init__(
        self,
        network: PreTrainedModel,
        source: str | None = None,
        precision: Precision = "fp32",
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(network, source)
        self.weights_from = f"the module {type(network).__name__}"  # its source may be that of its tokenizer
        self.precision = _checked(precision)
        self._recomputes = False
        self._can_be_recorded = True
        head = network.get_output_embeddings()
        if head is None:
            raise ModelError(
                f"expected {self.wanted} with an output head, got {type(network).__name__}; load a {self.loads}"
            )
        self.vocab_size = int(head.weight.shape[0])
        # Padding must be an id other than the model's own pad id: some models warn about pads without a mask.
        self.fill_id = 1 if attribute_of(self.config, "pad_token_id") == 0 else 0
        self._dropout = switch_off_dropout(network)
        fuse_activations(network)
        if precision == "bf16" and any(parameter.dtype == torch.float16 for parameter in network.parameters()):
            network.float()  # fp16 under an autocast to bf16 does not compute
            self.stored_dtype = torch.float16
        require_finite_weights(network, type(network).__name__ if source is None else repr(source))
        self._tokenizer = Tokenizer.load(source) if tokenizer is None and source is not None else tokenizer

    # -------------------------------------------------------------- the family
    @abstractmethod
    def hidden(self, batch: EpisodeBatch) -> Tensor:
        """States (N, H), fp32, that the actions of a batch follow from, with gradients.

        The state at position p of a text is that after tokens 0 to p. Families that do not write prompts know it from
        the last token of the prompt on only (``positions >= prompt_lengths - 1``), and raise ``ModelError`` before.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the first :attr:`vocab_size` ids, (..., V), at least fp32 (hidden: (..., H))."""

    def new_cache(self, rows: int, width: int) -> DecodingCache:
        """Return an empty cache for decoding ``rows`` texts of up to ``width`` tokens each."""
        return RecomputingCache(self.hidden, rows, width, self.fill_id, self.device)

    def caches(self, tokens: int) -> bool:
        """Return whether a text of up to ``tokens`` tokens is continued from what :meth:`new_cache` keeps of it."""
        return False

    def branches(self, tokens: int) -> bool:
        """Return whether :meth:`branched_states` may read several responses, ``tokens`` with their prompt, in a row.

        That is not whether their states are the same then, which is found by computing.
        """
        return False

    def branched_states(self, texts: Sequence[Branched]) -> Tensor:
        """States (N, H), with gradients, of responses to prompts, as :class:`~textgym.models.branching.Branched` says.

        Unlike in :meth:`hidden`, a beginning that texts share by chance is not looked for: in fp32, a text has the same
        states whatever it is read with, but for rounding of sums over another width.

        Args:
            texts: All with the same number of responses; more than one where :attr:`branches` allows it only.
        """
        return self.hidden(as_episodes(one_each(texts), self.fill_id, self.device))

    def in_precision(self, precision: Precision) -> Self:
        """Return the same weights, not a copy of them, computed in another precision.

        Raises:
            ValueError: There is no such precision.
        """
        view = copy.copy(self)
        view.precision = _checked(precision)
        return view

    @property
    def context_length(self) -> int | None:
        """Most tokens of one text, prompt and response together; ``None`` where positions have no end."""
        return None

    def prepare(self, tokens: int) -> None:
        """Find out what has to be known to read texts of up to ``tokens`` tokens."""

    def compile_trunk(self) -> None:
        """Let ``torch.compile`` fuse the passes over whole texts.

        Raises:
            ModelError: The family has no such passes.
        """
        raise ModelError(f"expected a model whose passes can be compiled, got {type(self).__name__}; leave compile out")

    # ------------------------------------------------------- what families share
    @property
    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration of the text model."""
        config: PreTrainedConfig = self.network.config.get_text_config(decoder=True)
        return config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the model (read from :attr:`source`)."""
        if self._tokenizer is None:
            raise ModelError(
                "expected a model with a tokenizer, got a torch module alone; load it by name, folder or Hub id"
            )
        return self._tokenizer

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.network.get_output_embeddings().weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        device: torch.device = next(self.network.parameters()).device
        return device

    def head_parameters(self) -> list[Tensor]:
        """Parameters that logits follow from, given states."""
        return list(self.network.get_output_embeddings().parameters())

    @property
    def rounds_to_half(self) -> bool:
        """Return whether it is computed in half precision: by autocast, or because weights are held so."""
        return self.precision == "bf16" or any(parameter.dtype in HALVES for parameter in self.network.parameters())

    def require_context(
        self, tokens: int, what: str = "prompt and response", *, turns: int | None = None, response: int = 0
    ) -> None:
        """Check that ``tokens`` tokens fit, and prepare for them.

        Args:
            tokens: Most tokens of an episode.
            what: Description of them, for the message.
            turns: Number of them behind the prompt, so that the message can tell what is left for that.
            response: Number of them that the model writes at once, at the end; 0 where that is not known.

        Raises:
            ModelError: If the context of the model is shorter.
        """
        self.prepare(tokens)
        limit, needed = self.context_length, self.context_of(tokens - response, response)
        if limit is not None and needed > limit:
            left = 0 if turns is None or self.context_of(0, response) > limit else limit - needed + tokens - turns
            fits = f"use {argument('max_prompt_tokens', left)}, or lower"
            do = fits if left >= _SHORTEST_PROMPT else f"lower {argument('max_prompt_tokens')} or"
            raise ModelError(
                f"expected a model with a context of at least {needed} tokens for {what}, got {limit}; "
                f"{do} {argument('max_new_tokens')}"
            )

    def context_of(self, prompt: int, response: int) -> int:
        """Return the context that a prompt and a response of so many tokens take: as many as there are of both."""
        return prompt + response

    def room_for_prompt(self, response: int) -> float:
        """Return the most tokens of a prompt whose response has so many; infinite where positions have no end."""
        return math.inf if self.context_length is None else self.context_length - response

    def restrict_vocabulary(self, size: int) -> None:
        """Drop the logits of padding rows: keep the first ``size`` ids (the tokenizer's length)."""
        kind, rows = min(rows_of(self.network).items(), key=lambda item: item[1])
        if size > rows:
            raise ModelError(
                f"expected a model with at least {size} {kind} rows, got {rows}; give it a row for every id of its "
                f"tokenizer with network.resize_token_embeddings({size}) and train those, or use the tokenizer that it "
                "was trained with"
            )
        self.vocab_size = size

    @property
    def can_be_recorded(self) -> bool:
        """Return whether a step of decoding may be recorded as a CUDA graph; not once a try failed."""
        return self._can_be_recorded

    def stop_recording(self) -> None:
        """Decode without CUDA graphs from now on."""
        self._can_be_recorded = False

    @contextlib.contextmanager
    def without_recording(self) -> Iterator[None]:
        """Run the block without CUDA graphs, which run no hooks."""
        before, self._can_be_recorded = self._can_be_recorded, False
        try:
            yield
        finally:
            self._can_be_recorded = before

    def compute_in(self, precision: Precision) -> None:
        """Compute in another precision from now on; weights keep the type that they are held in.

        Raises:
            ValueError: It is none.
        """
        self.precision = _checked(precision)

    def attend_eagerly(self) -> None:
        """Compute attention operation by operation: of fused kernels there are no second derivatives."""
        self.network.set_attn_implementation("eager")

    def recompute_activations(self) -> None:
        """Keep one activation per layer and compute the others again in the backward pass, for memory."""
        # Newer releases of transformers call it by the first name.
        attribute_of(self.network, "activation_checkpointing_enable", "gradient_checkpointing_enable")()
        self._recomputes = True

    @contextlib.contextmanager
    def _keeping(self, cache: Cache | None) -> Iterator[None]:
        """Let ``cache`` be filled: transformers does not, where activations are recomputed, in training mode."""
        switched = cache is not None and self._recomputes and self.training
        if switched:
            self.eval()
        try:
            yield
        finally:
            if switched:
                self.train(True)

    def constant_buffers(self) -> list[Tensor]:
        """Buffers into which the network does not write when it computes."""
        return list(self.network.buffers())

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run the block in the model's precision."""
        if self.precision == "fp32":
            yield
            return
        with torch.autocast(self.device.type, torch.bfloat16):
            yield

    @contextlib.contextmanager
    def original_config(self) -> Iterator[None]:
        """Run the block with the dropout in the configuration that it came with, for saving."""
        for config, name, value in self._dropout:
            setattr(config, name, value)
        try:
            yield
        finally:
            for config, name, _ in self._dropout:
                setattr(config, name, 0.0)

    def save_config(self, folder: Path) -> None:
        """Write the configuration of the network, from which it is built again with other weights."""
        with self.original_config():
            self.network.config.save_pretrained(folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face folder (safetensors, configs, tokenizer); LoRA adapters are merged in a copy.

        Raises:
            DiskFullError: There is no room for it.
        """
        folder = Path(folder)
        with naming_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with quiet(), self.original_config():
                network = copy.deepcopy(self.adapter).merge_and_unload() if self.adapter is not None else self.network
                network.save_pretrained(folder)
            if self._tokenizer is not None:
                self._tokenizer.save(folder)


def _checked(precision: Precision) -> Precision:
    if precision not in get_args(Precision):
        raise ValueError(f"expected precision 'fp32' or 'bf16', got {precision!r}; use one of these")
    return precision
