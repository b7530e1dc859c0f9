"""Settings of ``textgym rlhf`` and ``textgym demo``: plain data, stored and read again on resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, use_start_model
from textgym.naming import argument
from textgym.training.reward_settings import RewardSettings
from textgym.training.stored_settings import settings_from_json
from textgym.training.train_settings import PARALLEL_ENVS

Select = Literal["random", "disagreement"]
_LAST_PORT = 65_535


# Options of the agent in which these commands differ from its own defaults; all others are the agent's.
RLHF: Mapping[str, float] = {
    "learning_rate": 2e-4,
    "kl_coef": 0.02,
    "n_epochs": 2,
    "gae_lambda": 1.0,  # no bias of a value head that has seen few texts yet
    "scale_rewards": True,  # the scale of a reward model is arbitrary
}
# Rounds take smaller steps, so that the next reward sees the policy before there is nothing left to gain.
DEMO: Mapping[str, float] = {**RLHF, "learning_rate": 4e-4}


@dataclass(frozen=True)
class RlhfSettings:
    """Settings of ``textgym rlhf``; the default ones take about seven minutes on one core.

    Attributes:
        choice: Task and data.
        model: The policy to start with, and the trunk of every reward model.
        agent: Name of an agent that writes with a language model, or ``module:Class``.
        rounds: How often to sample, ask, fit and train.
        labels: Questions asked in each round.
        previous_share: Share of them, from the second round on, that compare the policy with that of the round before.
        select: ``"disagreement"`` asks, from the second round on, where the members of the last reward disagree.
        members: Reward models in each reward; more than one are averaged.
        embeddings: Fit a head on frozen embeddings instead of a language model, as in ``textgym reward fit``.
        people: Ask people on a page that is served meanwhile, instead of simulating them.
        port: Port of that page; 0 takes a free one.
        overlap: Annotators per question.
        annotators: How many are simulated.
        annotator, noise: Score that simulated annotators compare by, and its noise, as in ``textgym reward fit``.
        reward_epochs, reward_learning_rate: Epochs and learning rate of every fit.
        iterations: Iterations of the agent in each round.
        n_envs: Number of parallel environments.
        learning_rate, kl_coef: Settings of the agent, where it has them.
        eval_prompts: Held-out prompts to evaluate every policy on.
        max_prompt_tokens, max_new_tokens: Budgets; ``None`` is the task's.
    """

    choice: EnvChoice
    model: str = ""
    agent: str = "ppo"
    rounds: int = 3
    labels: int = 400
    previous_share: float = 0.25
    select: Select = "random"
    members: int = 1
    embeddings: str | None = None
    people: bool = False
    port: int = 8765
    overlap: int = 1
    annotators: int = 3
    annotator: str | None = None
    noise: float | None = None
    reward_epochs: int = RewardSettings.epochs
    reward_learning_rate: float = RewardSettings.learning_rate
    iterations: int = 8
    n_envs: int = PARALLEL_ENVS
    learning_rate: float = RLHF["learning_rate"]
    kl_coef: float = RLHF["kl_coef"]
    eval_prompts: int = 320
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        use_start_model(self)
        budgets = ("max_prompt_tokens", "max_new_tokens")
        sizes = ("rounds", "labels", "members", "overlap", "annotators", "iterations", "n_envs", "eval_prompts")
        check_settings(
            self,
            counts=(*sizes, "reward_epochs", *budgets),
            positive=("reward_learning_rate", "learning_rate"),
            not_negative=("previous_share", "noise", "kl_coef", "port"),
        )
        if self.labels < 2:
            raise ValueError(
                f"expected {argument('labels')} of at least 2, so that one can be held out, got 1; raise it"
            )
        if self.port > _LAST_PORT:
            raise ValueError(f"expected {argument('port')} of at most {_LAST_PORT}, got {self.port}; choose another")
        if self.previous_share > 1:
            share = self.previous_share
            raise ValueError(f"expected a share of at most 1 as {argument('previous_share')}, got {share}; lower it")
        if self.select not in ("random", "disagreement"):
            raise ValueError(
                f"expected {argument('select')} to be 'random' or 'disagreement', got {self.select!r}; choose one"
            )
        if self.select == "disagreement" and self.members < 2:
            raise ValueError(
                f"expected {argument('members')} of at least 2 for {argument('select', self.select)}, got 1, which "
                "disagrees with no other; raise it"
            )
        if self.overlap > self.annotators and not self.people:
            raise ValueError(
                f"expected {argument('annotators')} of at least {self.overlap}, as many as {argument('overlap')}, got "
                f"{self.annotators}; raise it"
            )

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> RlhfSettings:
        """Read what ``dataclasses.asdict`` wrote; runs of earlier versions call ``previous_share`` ``matches``."""
        match record:
            case {"matches": share}:
                record = {"previous_share": share, **record}
        return settings_from_json(cls, record)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of ``textgym demo``; together they take about 5 minutes on two cores.

    Attributes:
        pairs: Simulated comparisons.
        reward_epochs, reward_learning_rate: Epochs and learning rate of the reward model's fit.
        iterations: Iterations of PPO.
        n_envs: Number of parallel environments.
        learning_rate, kl_coef: Learning rate and KL coefficient of PPO.
        eval_prompts: Held-out prompts to evaluate on.
    """

    model: str = "tiny-hurried"
    pairs: int = 1200
    reward_epochs: int = RlhfSettings.reward_epochs
    reward_learning_rate: float = RlhfSettings.reward_learning_rate
    iterations: int = 18
    n_envs: int = RlhfSettings.n_envs
    learning_rate: float = DEMO["learning_rate"]
    kl_coef: float = DEMO["kl_coef"]
    eval_prompts: int = RlhfSettings.eval_prompts
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        check_settings(
            self,
            counts=("pairs", "reward_epochs", "iterations", "n_envs", "eval_prompts"),
            positive=("reward_learning_rate", "learning_rate"),
            not_negative=("kl_coef",),
        )
