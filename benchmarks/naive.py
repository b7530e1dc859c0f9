"""The usual way to put a language model behind Stable-Baselines3, for comparison: no cache, one row per transition."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from textgym.agents.common.features import NoFeatures


class NaivePolicy(ActorCriticPolicy):
    """Encodes the whole padded text of every row at every step, and every prefix of every text in the update."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        model: Any,
        use_sde: bool = False,
    ) -> None:
        self._given = (model,)  # in a tuple: a module may not be set before the parent's constructor
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], features_extractor_class=NoFeatures)

    def _build(self, lr_schedule: Schedule) -> None:
        (self.model,) = self._given
        self.value_head = nn.Linear(self.model.config.n_embd, 1)
        self.action_dist = CategoricalDistribution(int(self.action_space.n))  # type: ignore[attr-defined]
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=lr_schedule(1))

    def forward(self, obs: dict[str, Tensor], deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Actions, values, log-probabilities."""
        distribution, values = self._read(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(self, obs: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:  # type: ignore[override]
        """Values, log-probabilities, entropies."""
        distribution, values = self._read(obs)
        return values, distribution.log_prob(actions), distribution.entropy()

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Values."""
        return self._read(obs)[1]

    def _read(self, obs: dict[str, Tensor]) -> tuple[CategoricalDistribution, Tensor]:
        ids, mask = obs["input_ids"].long(), obs["attention_mask"].long()
        states = self.model.transformer(input_ids=ids, attention_mask=mask, use_cache=False)[0]
        last = states[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        distribution = self.action_dist.proba_distribution(action_logits=self.model.lm_head(last))
        assert isinstance(distribution, CategoricalDistribution)
        return distribution, self.value_head(last)
