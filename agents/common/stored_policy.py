"""The record of a policy in a checkpoint, besides its weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stable_baselines3.common.policies import BasePolicy

from textgym.agents.common.policy_record import describe_policy, write_model_config

if TYPE_CHECKING:
    from gymnasium import spaces

    from textgym.models.text_model import TextModel


class StoredPolicy(BasePolicy):
    """A policy that is built from a language model and a few options, and described by them.

    Attributes:
        kind: Name of its checkpoints.
        model: The language model.
        options: The options, a dataclass with ``lora_rank``.
    """

    kind: ClassVar[str]
    model: TextModel
    options: Any
    observation_space: spaces.Dict
    action_space: spaces.Discrete

    def describe(self) -> dict[str, object]:
        """Everything but the weights, as JSON."""
        return describe_policy(self.kind, self.options, self.observation_space, self.action_space, self.model)

    def save_config(self, folder: Path) -> None:
        """Write the model's configuration and tokenizer, without weights, into ``folder/model``."""
        write_model_config(self.model, folder, new_adapter=self.options.lora_rank is not None)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": zero_schedule,
            "model": self.model.source or self.model,
            **asdict(self.options),
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def zero_schedule(_: float) -> float:
    """Learning rate of a policy that is loaded: the agent that trains it sets its own."""
    return 0.0
