"""Language models read from folders and the Hub, or made from modules: the one place that chooses their family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig, PreTrainedModel

from textgym import hub
from textgym.errors import CheckpointError, ModelError, TextGymError
from textgym.hub import base_of_adapter, is_adapter, resolve_folder
from textgym.models.adapters import attach_adapter, rebuild_adapter
from textgym.models.causal_lm import CausalLM
from textgym.models.pretrained import read_pretrained
from textgym.models.proportions import check_folder, proportionate
from textgym.models.seq2seq_lm import Seq2SeqLM
from textgym.models.text_model import Precision, TextModel
from textgym.models.trainable import HALVES
from textgym.text.tokenizer import Tokenizer
from textgym.values import attribute_of

_GENERATION = "generation_config.json"
_ALIGNMENT = 64  # bytes, of torch's allocations


def load_language_model(
    model: str | Path | nn.Module,
    *,
    precision: Precision = "fp32",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> TextModel:
    """Load a language model by name (``"tiny"``), folder or Hub id; a module is wrapped as it is.

    Only safetensors weights are read: pickled checkpoints can execute code.

    Args:
        model: Name, folder or module. A folder may hold a PEFT adapter, which is put on the base model that it names
            and goes on training; a module may be one of PEFT's.
        precision: See :class:`~textgym.models.text_model.TextModel`.
        dtype: Type the weights are held in.
        device: Where to put it; by default what is read goes to the CPU, and a module stays where it is.

    Raises:
        CheckpointError: There is no such model, or its weights are missing, damaged or pickled.
        MissingExtraError: It is an adapter, and PEFT is not installed.
        ModelError: It is no causal LM and no encoder-decoder of a kind that works here.
    """
    match model:
        case TextModel():
            return model if device is None else model.to(device)
        case nn.Module():
            loaded, wrapper = _wrap(model, precision)
        case _:
            loaded, wrapper = _read(str(model), precision, dtype)
    if device is not None:
        loaded.to(device)
    if wrapper is not None:
        loaded.adopt_adapter(wrapper)
    if loaded.source is not None:
        loaded.restrict_vocabulary(loaded.tokenizer.vocab_size)
    return loaded


def is_encoder_decoder(model: str | Path | nn.Module) -> bool:
    """Return whether a model encodes prompts and decodes responses, as its configuration says.

    Args:
        model: Name, folder or module, as for :func:`load_language_model`.

    Raises:
        CheckpointError: There is no such model.
    """
    match model:
        case TextModel():
            return model.encodes_prompts
        case nn.Module():
            return attribute_of(_without_wrapper(model).config, "is_encoder_decoder") is True
    return hub.is_encoder_decoder(resolve_folder(str(model)))


def _family(is_seq2seq: bool) -> type[CausalLM | Seq2SeqLM]:
    return Seq2SeqLM if is_seq2seq else CausalLM


def _wrap(module: nn.Module, precision: Precision) -> tuple[CausalLM | Seq2SeqLM, nn.Module | None]:
    """A Hugging Face model as it is, and the wrapper of PEFT's that it was in."""
    network = _without_wrapper(module)
    wrapper = None if network is module else module
    family = _family(is_encoder_decoder(network))
    return family(network, _folder_with_tokenizer(network.name_or_path), precision), wrapper


def _read(name: str, precision: Precision, dtype: torch.dtype) -> tuple[CausalLM | Seq2SeqLM, nn.Module | None]:
    """A stored model, and its adapter if it is one."""
    folder = resolve_folder(name)
    check_folder(folder)
    base = base_of_adapter(folder) if is_adapter(folder) else folder
    network, lost = _read_network(base, dtype), _lost_dtype(base, dtype)
    wrapper = attach_adapter(network, folder) if base is not folder else None
    loaded = _family(is_encoder_decoder(network))(network, name, precision)
    loaded.weights_from = name
    loaded.stored_dtype = loaded.stored_dtype or lost
    return loaded, wrapper


def rebuild_language_model(
    folder: Path, dtype: torch.dtype, precision: Precision, source: str | None = None
) -> TextModel:
    """Make the model of a checkpoint, with fresh weights, from the configuration in ``folder/model``.

    Args:
        folder: The checkpoint; its adapter, if it has one, is described in ``folder/adapter``.
        dtype: Type of the weights, which is not always the one that their configuration names.
        precision: See :class:`~textgym.models.text_model.TextModel`.
        source: Where the model came from before it was trained; ``None``: from the checkpoint.

    Raises:
        CheckpointError: Transformers does not know the architecture.
    """
    try:
        with proportionate(folder / "model", folder):
            config = AutoConfig.from_pretrained(folder / "model", trust_remote_code=False)
            is_seq2seq = attribute_of(config, "is_encoder_decoder") is True
            auto = _auto_class(is_seq2seq)
            with torch.device("meta"):  # first without memory, which is counted before it is taken
                auto.from_config(config, trust_remote_code=False)
        network = auto.from_config(config, dtype=dtype, trust_remote_code=False)
        if is_seq2seq and (folder / "model" / _GENERATION).is_file():
            network.generation_config = GenerationConfig.from_pretrained(folder / "model")
    except TextGymError:
        raise
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"expected a language model that transformers knows in {folder / 'model'}, got another one ({reason}); "
            "code from a checkpoint is not run: register the classes of the model before loading"
        ) from error
    tokenizer = None
    if (folder / "model" / "tokenizer.json").is_file():
        tokenizer, source = Tokenizer.load(folder / "model"), source or str(folder / "model")
    wrapper = rebuild_adapter(network, folder / "adapter") if is_adapter(folder / "adapter") else None
    model = _family(is_seq2seq)(network, source if tokenizer is not None else None, precision, tokenizer)
    if wrapper is not None:
        model.adopt_adapter(wrapper)
    return model


def _read_network(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    # Transformers would read the decoder of an encoder-decoder alone, if that is stored as one.
    is_seq2seq = hub.is_encoder_decoder(folder)
    what = Seq2SeqLM.wanted if is_seq2seq else CausalLM.wanted
    network: PreTrainedModel = read_pretrained(_auto_class(is_seq2seq), what, folder, dtype)
    if is_seq2seq:
        _align(network)
    return network


def _align(network: nn.Module) -> None:
    """Move weights that were read to where torch would put new ones, as those of a checkpoint are.

    Products over few numbers, as in the heads of a small T5, are rounded in an order that hangs on the address.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


def _auto_class(is_seq2seq: bool) -> Any:
    return AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM


def _without_wrapper(module: nn.Module) -> PreTrainedModel:
    """Return a Hugging Face model that may be in one of PEFT's wrappers."""
    unwrap = attribute_of(module, "get_base_model")
    base = module if unwrap is None else unwrap()
    if not isinstance(base, PreTrainedModel):
        raise ModelError(
            f"expected a Hugging Face language model, or PEFT's wrapper around one, got {type(module).__name__}; "
            "load it with AutoModelForCausalLM or AutoModelForSeq2SeqLM"
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
