"""A Hugging Face causal language model, seen the way RL needs it: hidden states, logits, and a folder to save."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from textgym.disk import naming_full_disk
from textgym.errors import ModelError
from textgym.foreign import read_json
from textgym.hub import base_of_adapter, is_adapter, resolve_folder
from textgym.models.activations import fuse_activations
from textgym.models.adapters import attach_adapter
from textgym.models.findings import configured_context, examine, is_cached, reaching
from textgym.models.head import rows_of
from textgym.models.noise import set_mode, switch_off_dropout
from textgym.models.pretrained import quiet, read_pretrained, require_finite_weights
from textgym.models.probe import attempt
from textgym.models.proportions import check_folder, proportionate
from textgym.models.trainable import HALVES, TrainableNetwork
from textgym.models.trunk import Trunk, additive_mask, default_positions
from textgym.tokenization import Tokenizer

Precision = Literal["fp32", "bf16"]
_COMPILED_VARIANTS = 256


class LanguageModel(TrainableNetwork):
    """A causal language model split into its trunk (ids -> hidden states) and its head (hidden states -> logits).

    Dropout is off whatever mode the module is in: a sampled token must be scored by the distribution it was drawn from.

    Args:
        network: Any Hugging Face causal LM.
        source: Where it came from (name, folder or Hub id); its tokenizer is read from there.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast of the trunk and the head. Logits are fp32 in both.

    Raises:
        ModelError: If weights are not finite, or the logits of the network cannot be written as head(trunk(ids)).
        ValueError: For another precision.
    """

    def __init__(self, network: PreTrainedModel, source: str | None = None, precision: Precision = "fp32") -> None:
        super().__init__(network, source)
        self.weights_from = f"the module {type(network).__name__}"  # its source may be that of its tokenizer
        if precision not in get_args(Precision):
            raise ValueError(f"expected precision 'fp32' or 'bf16', got {precision!r}; use one of these")
        self.precision = precision
        self._is_compiled = False
        self._recomputes = False
        self.can_be_recorded = True  # as a CUDA graph, until a try fails
        head = network.get_output_embeddings()
        if head is None:
            raise ModelError(
                f"expected a causal LM with an output head, got {type(network).__name__}; load a *ForCausalLM"
            )
        self.vocab_size = int(head.weight.shape[0])
        # Padding must be an id other than the model's own pad id: some models warn about pads without a mask.
        self.fill_id = 1 if getattr(self.config, "pad_token_id", None) == 0 else 0
        self._dropout = switch_off_dropout(network)
        fuse_activations(network)
        if precision == "bf16" and any(parameter.dtype == torch.float16 for parameter in network.parameters()):
            network.float()  # fp16 under an autocast to bf16 does not compute
            self.stored_dtype = torch.float16
        require_finite_weights(network, type(network).__name__ if source is None else repr(source))
        self._tokenizer = Tokenizer.load(source) if source is not None else None
        self._trunk_name, self.findings = examine(network, self.config)
        self._tell_uncached()
        self._tell_never_training()

    @property
    def trunk(self) -> Any:
        """The network without its head."""
        return self.network.get_submodule(self._trunk_name)

    @property
    def config(self) -> Any:
        """The Hugging Face configuration of the text model."""
        return self.network.config.get_text_config(decoder=True)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.network.get_output_embeddings().weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.network.parameters()).device
        return device

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

        Policies, caches and :func:`~textgym.models.generation.generate` call it with the longest text they will see.
        """
        if tokens <= self.findings.reach:
            return
        before, limit = self.findings, self.context_length
        within = tokens if limit is None else min(tokens, limit)
        self.findings = reaching(before, self._probed, within)
        if before.is_cacheable and not self.findings.is_cacheable:
            self._tell_uncached()

    def caches(self, tokens: int) -> bool:
        """Whether texts of up to ``tokens`` tokens are continued from keys and values."""
        self.prepare(tokens)
        return is_cached(self.findings, self._probed, tokens)

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
                f"{self.findings.architecture} makes noise, or fails, in training mode, which could not be traced to "
                "a kind of module: it stays in evaluation mode, where gradient checkpointing has no effect",
                stacklevel=3,
            )

    def require_context(self, tokens: int, what: str = "prompt and response") -> None:
        """Check that ``tokens`` tokens fit, and prepare for them.

        Raises:
            ModelError: If the context of the model is shorter.
        """
        self.prepare(tokens)
        if self.context_length is not None and tokens > self.context_length:
            raise ModelError(
                f"expected a model with a context of at least {tokens} tokens for {what}, got {self.context_length}; "
                "lower max_prompt_tokens or max_new_tokens"
            )

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the model (read from :attr:`source`)."""
        if self._tokenizer is None:
            raise ModelError("expected a model with a tokenizer, got a bare module; load it by name, folder or Hub id")
        return self._tokenizer

    @property
    def rounds_to_half(self) -> bool:
        """Whether it is computed in half precision: by autocast, or because weights are held so."""
        return self.precision == "bf16" or any(parameter.dtype in HALVES for parameter in self.network.parameters())

    @property
    def is_cacheable(self) -> bool:
        """Whether past keys and values alone continue a text; found by computing, see :attr:`findings`."""
        return self.findings.is_cacheable

    def can_continue_with_gradients(self, tokens: int) -> bool:
        """Whether keys and values of ``tokens`` tokens carry gradients; not where activations are recomputed."""
        recomputed = any(getattr(module, "gradient_checkpointing", False) for module in self.network.modules())
        return not recomputed and self.caches(tokens)

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

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Last hidden states, after the final norm.

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

    @contextlib.contextmanager
    def _keeping(self, cache: Any) -> Iterator[None]:
        """Let ``cache`` be filled: transformers does not, where activations are recomputed, in training mode."""
        switched = cache is not None and self._recomputes and self.trunk.training
        if switched:
            self.trunk.eval()
        try:
            yield
        finally:
            if switched:
                self._set_trunk_mode(True)

    def attention_mask(self, visible: Tensor) -> Tensor:
        """What :meth:`hidden` takes for "query q sees key k": (B, Q, K) -> (B, 1, Q, K).

        It is added to the scores: fused attention would turn a boolean one into that anew in every layer.
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

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run the block in the model's precision."""
        if self.precision == "fp32":
            yield
            return
        with torch.autocast(self.device.type, torch.bfloat16):
            yield

    def compile_trunk(self) -> None:
        """Let ``torch.compile`` fuse the passes over whole texts; the first takes half a minute, later ones are faster.

        Texts of any number and length then share one compiled function. Passes that fill or read a cache are not
        compiled, nor is a deep copy.
        """
        # Trunks of all models share one function, and with it the number of variants after which torch gives up.
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, _COMPILED_VARIANTS)
        self.trunk.compile(dynamic=True)
        self._is_compiled = True

    def recompute_activations(self) -> None:
        """Keep one activation per layer and compute the others again in the backward pass, for memory."""
        name = "activation_checkpointing_enable"  # what newer releases of transformers call it
        getattr(self.network, name, self.network.gradient_checkpointing_enable)()
        self._recomputes = True

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

    def adopt_adapter(self, wrapper: Any) -> None:
        """Take over the adapter that PEFT has put into the layers of the network, to be trained.

        Raises:
            ModelError: PEFT's wrapper computes something else than the network.
        """
        ids = torch.arange(4, device=self.device)[None] % self.vocab_size
        with torch.no_grad():
            ours, theirs = self.logits(self.hidden(ids)), wrapper(input_ids=ids).logits
        theirs = theirs[..., : self.vocab_size].to(ours.dtype)
        tolerance = 0.1 if self.rounds_to_half else 1e-3
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
            raise ModelError(
                f"expected an adapter that lives in the layers of {type(self.network).__name__}, got another kind, "
                f"{type(wrapper).__name__}; merge it into its model, or train a LoRA adapter instead"
            )
        self.adapter = wrapper

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


def load_language_model(
    model: str | Path | nn.Module,
    *,
    precision: Precision = "fp32",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> LanguageModel:
    """Load a causal LM by name (``"tiny"``), folder or Hub id; a module is wrapped as it is.

    Only safetensors weights are read: pickled checkpoints can execute code.

    Args:
        model: What to load. A folder may hold a PEFT adapter, which is put on the base model that it names and goes on
            training; a module may be one of PEFT's.
        precision: See :class:`LanguageModel`.
        dtype: Type the weights are held in.
        device: Where to put it; by default what is read goes to the CPU, and a module stays where it is.

    Raises:
        CheckpointError: There is no such model, or its weights are missing, damaged or pickled.
        MissingExtraError: It is an adapter, and PEFT is not installed.
        ModelError: It is no causal LM of a kind that works here.
    """
    if isinstance(model, LanguageModel):
        return model if device is None else model.to(device)
    wrapper: Any = None
    lost = None
    if isinstance(model, PreTrainedModel):
        network, source = model, _folder_with_tokenizer(model.name_or_path)
    elif isinstance(model, nn.Module):
        wrapper, network = model, _base_of_wrapper(model)
        source = _folder_with_tokenizer(network.name_or_path)
    else:
        folder, source = resolve_folder(str(model)), str(model)
        check_folder(folder)
        base = base_of_adapter(folder) if is_adapter(folder) else folder
        network, lost = _read_network(base, dtype), _lost_dtype(base, dtype)
        wrapper = attach_adapter(network, folder) if base is not folder else None
    loaded = LanguageModel(network, source, precision)
    if not isinstance(model, nn.Module):
        loaded.weights_from = str(model)
    if device is not None:
        loaded.to(device)
    loaded.stored_dtype = loaded.stored_dtype or lost
    if wrapper is not None:
        loaded.adopt_adapter(wrapper)
    if source is not None:
        loaded.restrict_vocabulary(loaded.tokenizer.vocab_size)
    return loaded


def _read_network(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    config = attempt(read_json, folder / "config.json")  # damage is told by who reads it next
    if isinstance(config, dict) and config.get("is_encoder_decoder") is True:
        # Transformers would read its decoder alone, if that is stored as one.
        raise ModelError(
            f"expected a causal LM in {folder}, got an encoder-decoder ({config.get('model_type')}), which reads its "
            "prompt from both sides; load a *ForCausalLM"
        )
    network: PreTrainedModel = read_pretrained(AutoModelForCausalLM, "a causal LM", folder, dtype)
    return network


def _base_of_wrapper(module: nn.Module) -> PreTrainedModel:
    """Return the Hugging Face model in one of PEFT's wrappers."""
    base = getattr(module, "get_base_model", lambda: None)()
    if not isinstance(base, PreTrainedModel):
        raise ModelError(
            f"expected a Hugging Face causal LM, or PEFT's wrapper around one, got {type(module).__name__}; "
            "load it with AutoModelForCausalLM"
        )
    return base


def _lost_dtype(folder: Path, dtype: torch.dtype) -> torch.dtype | None:
    """The half precision that a folder's configuration names, if weights are held in another type."""
    with proportionate(folder):
        named = AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype
    return named if named in HALVES and named != dtype else None


def _folder_with_tokenizer(name: str | None) -> str | None:
    """``name`` if it is a folder that a tokenizer can be read from."""
    files = ("tokenizer.json", "tokenizer_config.json")
    return name if name and any((Path(name) / file).is_file() for file in files) else None
