"""What ``textgym train`` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textgym.agents.common.causal_lm_policy import Critic
from textgym.agents.common.losses import require_adaptable
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice
from textgym.models.text_model import Precision
from textgym.training.stored_settings import settings_from_json

_MOST_ENVS = 2**16
"""Environments are objects of one process: more are a mistake, and would fill the memory one by one."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of ``textgym train``; the agent's are explained at :class:`textgym.agents.ppo.PPO`.

    Attributes:
        choice: Task and data.
        model: Start model.
        reference_model: What the KL is to, in the penalty and in what is measured; ``None`` is the start model. One of
            the same architecture.
        reward: Name, ``module:attribute`` or folder; ``None`` is the task's default.
        steps: Tokens to train on; whole iterations of ``n_envs * n_steps`` tokens are made.
        n_steps: Tokens per environment and iteration; ``None`` is the budget of a response.
        temperature: Of the policy in training; evaluation is at temperature 1.
        tolerate_mismatch: Only warn where the first update computes other log-probabilities than the rollout.
        eval_prompts: Prompts of the test split to measure on, before and after.
        save_every: Iterations between checkpoints.
        reward_timeout: Longest time in seconds that the reward may take for the texts of a step; ``None`` for no limit.
    """

    choice: EnvChoice
    model: str = "tiny"
    reference_model: str | None = None
    reward: str | None = None
    steps: int = 200_000
    learning_rate: float = 1e-4
    kl_coef: float = 0.05
    kl_target: float | None = None
    n_envs: int = 64
    n_steps: int | None = None
    batch_size: int = 768
    epochs: int = 4
    micro_batch_size: int | None = None
    missing_eos_penalty: float = 0.0
    gae_lambda: float = 0.95
    vf_coef: float = 0.1
    whiten_rewards: bool = False
    temperature: float = 1.0
    critic: Critic = "detached"
    lora_rank: int | None = None
    precision: Precision = "fp32"
    compile: bool = False
    tolerate_mismatch: bool = False
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    eval_prompts: int = 300
    seed: int = 0
    save_every: int = 10
    reward_timeout: float | None = None
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        budgets = ("max_prompt_tokens", "max_new_tokens", "n_steps", "micro_batch_size", "lora_rank")
        check_settings(
            self,
            counts=("steps", "n_envs", "batch_size", "epochs", "eval_prompts", "save_every", *budgets),
            positive=("learning_rate", "kl_target", "temperature", "reward_timeout"),
            not_negative=("kl_coef", "gae_lambda", "vf_coef"),
        )
        require_adaptable(self.kl_coef, self.kl_target)
        if self.n_envs > _MOST_ENVS:
            raise ValueError(f"expected n_envs of at most {_MOST_ENVS:,}, got {self.n_envs}; lower it")
        if self.gae_lambda > 1:
            raise ValueError(f"expected gae_lambda of at most 1, got {self.gae_lambda}; lower it")
        if self.batch_size < 2 or self.n_envs * (2 if self.n_steps is None else self.n_steps) < 2:
            raise ValueError(
                "expected at least 2 tokens per optimiser step and iteration, to normalise advantages over, got "
                f"batch_size={self.batch_size}, n_envs={self.n_envs}, n_steps={self.n_steps}; raise them"
            )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainSettings:
        """Read what ``dataclasses.asdict`` wrote."""
        return settings_from_json(cls, record)
