"""The policies of language models, by the family of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gymnasium import spaces
from torch import nn

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.q_policy import TextQPolicy
from textgym.agents.common.seq2seq_lm_policy import Seq2SeqLMPolicy
from textgym.errors import CheckpointError
from textgym.models.loading import is_encoder_decoder
from textgym.spaces import TokenSpace

POLICIES: Mapping[str, type[LanguageModelPolicy]] = {
    policy.__name__: policy for policy in (CausalLMPolicy, Seq2SeqLMPolicy)
}
"""Policies by the name that algorithms know them by."""


def require_policy(policy: object) -> None:
    """Check the policy that an algorithm of Stable-Baselines3 is given: its class, or a name of :data:`POLICIES`.

    Raises:
        ValueError: It is the name of another one.
    """
    if isinstance(policy, str) and policy not in POLICIES:
        raise ValueError(
            f"expected the policy 'CausalLMPolicy', or a class derived from it, got {policy!r}; the others of "
            "Stable-Baselines3 have no language model"
        )


def policy_for(model: str | Path | nn.Module | None, action_space: spaces.Space[object]) -> type[LanguageModelPolicy]:
    """Return the policy of a model's family.

    Args:
        model: Name, folder, Hub id or module; ``None`` is the model whose tokenizer the environment uses.
        action_space: The environment's.
    """
    if model is None:
        model = action_space.tokenizer if isinstance(action_space, TokenSpace) else "tiny"
    return Seq2SeqLMPolicy if is_encoder_decoder(model) else CausalLMPolicy


def policy_of_record(kind: object) -> type[LanguageModelPolicy] | type[TextQPolicy]:
    """Return the policy whose checkpoints are of this kind.

    Raises:
        CheckpointError: There is none.
    """
    policies = *POLICIES.values(), TextQPolicy
    for policy in policies:
        if policy.kind == kind:
            return policy
    known = ", ".join(policy.kind for policy in policies)
    raise CheckpointError(f"expected a policy of kind {known} in a checkpoint, got {kind!r}; use another checkpoint")
