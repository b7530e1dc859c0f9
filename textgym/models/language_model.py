"""A Hugging Face causal language model, seen the way RL needs it: hidden states, logits, and a folder to save."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from textgym.errors import MissingExtraError, ModelError
from textgym.hub import resolve_folder
from textgym.models.activations import fuse_activations
from textgym.models.pretrained import quiet, read_pretrained
from textgym.models.probe import Arguments, find_arguments
from textgym.tokenization import Tokenizer

Precision = Literal["fp32", "bf16"]
# transformers maps most architectures' own names for it (n_positions, n_ctx, seq_length) to the first one.
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len")
_COMPILED_VARIANTS = 256
_UNCACHEABLE = ("mamba", "rwkv", "xlstm", "recurrent_gemma", "jamba", "zamba", "bamba", "falcon_h1", "nemotron_h")


class LanguageModel(nn.Module):
    """A causal language model split into its trunk (ids -> hidden states) and its head (hidden states -> logits).

    Dropout is off whatever mode the module is in: a sampled token must be scored by the distribution it was drawn from.

    Args:
        network: Any Hugging Face causal LM.
        source: Where it came from (name, folder or Hub id); its tokenizer is read from there.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast of the trunk and the head. Logits are fp32 in both.

    Raises:
        ModelError: If the logits of the network cannot be written as head(trunk(ids)).
        ValueError: For another precision.
    """

    def __init__(self, network: PreTrainedModel, source: str | None = None, precision: Precision = "fp32") -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ValueError(f"expected precision 'fp32' or 'bf16', got {precision!r}; use one of these")
        self.network: Any = network
        self.source = source
        self.precision = precision
        self._tokenizer = Tokenizer.load(source) if source is not None else None
        self.adapter: Any = None  # PEFT wrapper around `network`, when LoRA is used
        self.adapter_is_off = False
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
        self._dropout: list[tuple[Any, str, float]] = []  # (configuration, name, value) of what is switched off
        self.switch_off_dropout()
        fuse_activations(network)
        self._arguments = self._find_arguments()
        self._verify_head()

    @property
    def trunk(self) -> Any:
        """The network without its head."""
        return self.network.base_model

    @property
    def config(self) -> Any:
        """The Hugging Face configuration of the text model."""
        return self.network.config.get_text_config()

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
        """Most tokens of one text, prompt and response together; ``None`` where positions have no end."""
        if getattr(self.config, "alibi", False):  # a bias by distance, whatever the configuration says besides
            return None
        length = next(filter(None, (getattr(self.config, name, None) for name in _CONTEXT_NAMES)), None)
        return int(length) if length is not None and length > 0 else None

    def require_context(self, tokens: int, what: str = "prompt and response") -> None:
        """Check that ``tokens`` tokens fit.

        Raises:
            ModelError: If the context of the model is shorter.
        """
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
    def is_cacheable(self) -> bool:
        """Whether past keys and values alone continue a text, at positions that can be given explicitly.

        Not so with a recurrent state, a sliding window, or attention biases that are derived from the mask (ALiBi).
        """
        config = self.config
        layer_types = getattr(config, "layer_types", None)
        sliding = (
            any(kind != "full_attention" for kind in layer_types)
            if layer_types
            else getattr(config, "sliding_window", None) is not None
        )
        recurrent = str(config.model_type).startswith(_UNCACHEABLE) or bool(getattr(self.network, "_is_stateful", 0))
        explicit = self._arguments.positions_count and not getattr(config, "alibi", False)
        return self._arguments.cache is not None and explicit and not recurrent and not sliding

    @property
    def can_continue_with_gradients(self) -> bool:
        """Whether keys and values carry gradients; not where activations are recomputed."""
        recomputed = any(getattr(module, "gradient_checkpointing", False) for module in self.network.modules())
        return self.is_cacheable and not recomputed

    def switch_off_dropout(self) -> None:
        """Set every dropout probability to zero, in modules and where modules read it from their configuration.

        :meth:`save_pretrained` writes the configuration's own values nevertheless.
        """
        for module in self.network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
            config = getattr(module, "config", None)
            for owner in (module, config):
                for name, value in vars(owner).items() if owner is not None else ():
                    if "drop" in name and isinstance(value, float) and value:
                        setattr(owner, name, 0.0)
                        if owner is config:
                            self._dropout.append((config, name, value))

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
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None].expand(len(input_ids), -1)
        offered = {"position_ids": position_ids, "use_cache": cache is not None}
        accepted: dict[str, Any] = {name: value for name, value in offered.items() if name in self._arguments.plain}
        if attention_mask is not None:
            accepted["attention_mask"] = attention_mask
        if cache is not None:
            if self._arguments.cache is None:
                raise ModelError(
                    f"expected a model that keeps keys and values, got {type(self.network).__name__}; call it "
                    "without a cache"
                )
            accepted[self._arguments.cache] = cache
        # One token at a time is not worth compiling: nothing but products and reading is left of it.
        trunk = self.trunk.forward if self._is_compiled and cache is not None else self.trunk
        with self.autocast(), self._keeping(cache):
            states: Tensor = trunk(input_ids=input_ids, **accepted)[0]
        return states.float() if states.dtype in (torch.bfloat16, torch.float16) else states

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
                self.trunk.train()

    def attention_mask(self, visible: Tensor) -> Tensor:
        """What :meth:`hidden` takes for "query q sees key k": (B, Q, K) -> (B, 1, Q, K).

        It is added to the scores: fused attention would turn a boolean one into that anew in every layer.
        """
        mask = visible[:, None]
        dtype = torch.bfloat16 if self.precision == "bf16" else next(self.network.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the first :attr:`vocab_size` ids, (..., V), at least fp32 (hidden: (..., H))."""
        head = self.network.get_output_embeddings()
        with self.autocast():
            logits: Tensor = head(hidden.to(head.weight.dtype))
        logits = logits[..., : self.vocab_size]
        return _shape_logits(logits.float() if logits.dtype != torch.float64 else logits, self.config)

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
        if size > self.network.get_output_embeddings().weight.shape[0]:
            rows = self.network.get_output_embeddings().weight.shape[0]
            raise ModelError(
                f"expected a model with at least {size} output rows, got {rows}; "
                "use the model's own tokenizer in the environment"
            )
        self.vocab_size = size

    def add_lora(self, rank: int, alpha: int | None = None) -> None:
        """Freeze the network and train low-rank adapters of its linear layers (Hu et al. 2021, arXiv:2106.09685)."""
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise MissingExtraError(
                "LoRA needs the package peft; install it with: pip install 'textgym[lora]'"
            ) from error
        config = LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules="all-linear", lora_dropout=0.0)
        with warnings.catch_warnings():  # PEFT asks under a name that transformers has given up
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            self.adapter = get_peft_model(self.network, config)

    @contextlib.contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Run the block as the frozen model that LoRA started from."""
        if self.adapter is None:
            raise ModelError("expected a model with LoRA adapters, got one without; call add_lora first")
        self.adapter_is_off = True
        try:
            with self.adapter.disable_adapter():
                yield
        finally:
            self.adapter_is_off = False

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face folder (safetensors, configs, tokenizer); LoRA adapters are merged in a copy."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with quiet(), self.original_config():
            network = copy.deepcopy(self.adapter).merge_and_unload() if self.adapter is not None else self.network
            network.save_pretrained(folder)
        if self._tokenizer is not None:
            self._tokenizer.save(folder)

    def _find_arguments(self) -> Arguments:
        """Call the trunk in evaluation mode: in training mode, transformers fills no cache that it can recompute."""
        modes = [module for module in self.trunk.modules() if module.training]
        self.trunk.eval()
        try:
            return find_arguments(self.trunk, self.config, self.device, self.vocab_size)
        finally:
            for module in modes:
                module.training = True

    def _verify_head(self) -> None:
        """Compare head(trunk(ids)) with the network's own logits on a few ids."""
        ids = torch.arange(4, device=self.device)[None] % self.vocab_size
        with torch.no_grad():
            ours = self.logits(self.hidden(ids))
            theirs = self.network(input_ids=ids).logits[..., : self.vocab_size].to(ours.dtype)
        tolerance = 1e-3 if self.precision == "fp32" and theirs.dtype in (torch.float32, torch.float64) else 0.1
        if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
            raise ModelError(
                f"expected logits = head(last hidden state), got another form in {type(self.network).__name__}; "
                "this architecture is not supported"
            )


def _shape_logits(logits: Tensor, config: Any) -> Tensor:
    """Apply the scale and soft cap that some architectures (Cohere, Granite, Gemma 2) put behind the head."""
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def load_language_model(
    model: str | Path | PreTrainedModel | LanguageModel,
    *,
    precision: Precision = "fp32",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> LanguageModel:
    """Load a causal LM by name (``"tiny"``), folder or Hub id; a module is wrapped as it is.

    Only safetensors weights are read: pickled checkpoints can execute code.

    Args:
        model: What to load.
        precision: See :class:`LanguageModel`.
        dtype: Type the weights are held in.
        device: Where to put it; by default what is read goes to the CPU, and a module stays where it is.

    Raises:
        CheckpointError: There is no such model, or its weights are missing, damaged or pickled.
        ModelError: It is no causal LM of a kind that works here.
    """
    if isinstance(model, LanguageModel):
        return model if device is None else model.to(device)
    if isinstance(model, PreTrainedModel):
        network, source = model, _folder_with_tokenizer(model.name_or_path)
    else:
        network, source = _read_network(resolve_folder(str(model)), dtype), str(model)
    loaded = LanguageModel(network, source, precision)
    if device is not None:
        loaded.to(device)
    if source is not None:
        loaded.restrict_vocabulary(min(loaded.vocab_size, loaded.tokenizer.vocab_size))
    return loaded


def _read_network(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    network: PreTrainedModel = read_pretrained(AutoModelForCausalLM, "a causal LM", folder, dtype)
    return network


def _folder_with_tokenizer(name: str | None) -> str | None:
    """``name`` if it is a folder that a tokenizer can be read from."""
    files = ("tokenizer.json", "tokenizer_config.json")
    return name if name and any((Path(name) / file).is_file() for file in files) else None
