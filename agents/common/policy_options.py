"""The settings that a policy is built with besides its model."""

from __future__ import annotations

import dataclasses
from typing import Literal

from textgym.models.text_model import Precision

Critic = Literal["detached", "shared", "separate"]
Attention = Literal["auto", "eager"]


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Settings that build a :class:`~textgym.agents.common.language_model_policy.LanguageModelPolicy` from its model.

    They are plain data, stored with a checkpoint.

    Raises:
        ValueError: One is out of range.
    """

    critic: Critic = "detached"
    temperature: float = 1.0
    precision: Precision = "fp32"
    lora_rank: int | None = None
    suppress_tokens: tuple[int, ...] = ()
    gradient_checkpointing: bool = False
    compile: bool = False
    tolerate_mismatch: bool = False
    attention: Attention = "auto"

    def __post_init__(self) -> None:
        if self.critic not in ("detached", "shared", "separate"):
            raise ValueError(f"expected critic 'detached', 'shared' or 'separate', got {self.critic!r}")
        if not self.temperature > 0:
            raise ValueError(
                f"expected a temperature above 0, got {self.temperature}; use deterministic=True for greedy actions"
            )
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"expected precision 'fp32' or 'bf16', got {self.precision!r}")
        if self.attention not in ("auto", "eager"):
            raise ValueError(f"expected attention 'auto' or 'eager', got {self.attention!r}; use one of these")
