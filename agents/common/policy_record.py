"""The record of a policy in a checkpoint, besides its weights: checked, and made into spaces and a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium import spaces

from textgym.agents.common.observations import longest_prompt
from textgym.models.loading import rebuild_language_model
from textgym.models.stored_values import (
    Check,
    StoredRecord,
    check_fields,
    fields,
    integer,
    listed,
    number,
    one_of,
    optional,
    positive,
    text,
    truth,
)
from textgym.models.text_model import TextModel
from textgym.spaces import TokenIds, TokenSpace
from textgym.values import as_object

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DTYPES: Mapping[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_OPTIONS: Mapping[str, Check] = {
    "critic": one_of("detached", "shared", "separate"),
    "temperature": number,
    "precision": one_of("fp32", "bf16"),
    "lora_rank": optional(positive),
    "suppress_tokens": listed(integer),
    "gradient_checkpointing": truth,
    "compile": truth,
    "tolerate_mismatch": truth,
    "attention": one_of("auto", "eager"),
}
_LATER_OPTIONS: Mapping[str, object] = {"tolerate_mismatch": False, "attention": "auto"}
"""Options that checkpoints of earlier versions lack, with what they stood for."""
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "width": positive,
    "longest_prompt": positive,
    "dtype": one_of(*DTYPES),
    "actions": positive,
    "tokenizer": optional(listed(text, 2)),
    "source": optional(text),
}


def _actor_critic_options(value: object) -> bool:
    return fields(_OPTIONS)({**_LATER_OPTIONS, **as_object(value)})


def check_policy_record(record: Mapping[str, object], options: Check = _actor_critic_options) -> None:
    """Check that a record holds what ``describe`` of a policy gives, and nothing else.

    Args:
        record: The record.
        options: Check of the policy's options; by default those of ``LanguageModelPolicy``.

    Raises:
        CheckpointError: Something is unknown, missing, or of another kind.
    """
    check_fields(record, {**_RECORD, "options": options}, "parts of a policy")


def describe_policy(
    kind: str, options: DataclassInstance, observation_space: spaces.Dict, tokens: spaces.Discrete, model: TextModel
) -> dict[str, object]:
    """Return the record of a policy: what it is made of besides its weights."""
    shape = observation_space["input_ids"].shape
    assert shape is not None
    return {
        "kind": kind,
        "options": dataclasses.asdict(options),
        "width": shape[0],
        "longest_prompt": longest_prompt(observation_space),
        "dtype": dtype_name(model),
        "actions": int(tokens.n),
        "tokenizer": [tokens.tokenizer, tokens.fingerprint] if isinstance(tokens, TokenSpace) else None,
        "source": model.source,
    }


def token_observation_space(width: int, vocabulary: int, longest_prompt: int) -> spaces.Dict:
    """The observation space of token-level environments: texts of up to ``width`` tokens."""
    parts: dict[str, spaces.Space[object]] = {
        "input_ids": TokenIds(vocabulary, width),
        "attention_mask": spaces.Box(0, 1, (width,), np.int8),
        "prompt_length": spaces.Box(0, longest_prompt, (1,), np.int64),
    }
    return spaces.Dict(parts)


def spaces_of(record: StoredRecord) -> tuple[spaces.Dict, spaces.Discrete]:
    """The spaces that :meth:`~textgym.agents.common.language_model_policy.LanguageModelPolicy.describe` recorded."""
    actions = record["actions"]
    tokens = TokenSpace(actions, *record["tokenizer"]) if record["tokenizer"] else spaces.Discrete(actions)
    return token_observation_space(record["width"], actions, record["longest_prompt"]), tokens


def rebuild_model(record: StoredRecord, folder: Path) -> TextModel:
    """The model of a checkpoint with fresh weights, from its configuration.

    Raises:
        CheckpointError: If transformers does not know its architecture.
    """
    dtype, precision = DTYPES[record["dtype"]], record["options"]["precision"]
    return rebuild_language_model(folder, dtype, precision, record["source"])


def write_model_config(model: TextModel, folder: Path, *, new_adapter: bool = False) -> None:
    """Write what :func:`rebuild_model` reads: configuration and tokenizer, without weights, into ``folder/model``.

    An adapter's configuration goes into ``folder/adapter``, unless it is a new one that the policy's options describe.
    """
    model.save_config(folder / "model")
    if model.source is not None:
        model.tokenizer.save(folder / "model")
    if model.adapter is not None and not new_adapter:
        model.adapter.active_peft_config.save_pretrained(folder / "adapter")


def dtype_name(model: TextModel) -> str:
    """The type that a model's weights are held in, as a record names it."""
    return str(next(model.network.parameters()).dtype).removeprefix("torch.")
