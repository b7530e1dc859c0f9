"""The core of algorithms that compare several texts for one prompt."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.common.group_advantages import scores_of_texts
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.rollout_plans import RolloutPlan
from textgym.agents.common.vec_env import seed_copies
from textgym.agents.common.whole_texts import WholeTextAgent
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, positive
from textgym.naming import argument
from textgym.types import FloatArray


class GroupAgent(WholeTextAgent):
    """The core of algorithms that compare the texts of a group, which answer one prompt.

    A group needs no environment of its own: copies with the same seed are given the same prompts. Environments ``k i``
    to ``k i + k - 1`` get one seed at the beginning of every rollout, and their first texts are a group, their second
    ones another. A rollout holds as many texts of each environment, and so whole groups only. The seeds are drawn from
    the generator that Stable-Baselines3 seeds, whose state is part of a checkpoint.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), whose copies are a multiple of ``group_size``.
        group_size: Responses to each prompt; the number of environments is a multiple of it.
        options: Arguments of :class:`~textgym.agents.common.whole_texts.WholeTextAgent`.
    """

    facts: ClassVar[AgentFacts] = replace(
        WholeTextAgent.facts,
        not_options=(*WholeTextAgent.facts.not_options, "gamma"),
        limits={**WholeTextAgent.facts.limits, "group_size": (2, math.inf)},
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **{name: check for name, check in WholeTextAgent.settings.items() if name != "gamma"},
        "group_size": positive,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        group_size: int = 4,
        **options: Any,
    ) -> None:
        self.group_size = group_size
        super().__init__(policy, env, gamma=1.0, **options)  # the score of a text is the sum of its rewards

    def _setup_model(self) -> None:
        if self.n_envs > 1:  # with a single environment it can act
            self._require_groups(self.n_envs)
        super()._setup_model()

    def _require_groups(self, copies: int) -> None:
        if copies % self.group_size:
            raise ValueError(
                f"expected {argument('n_envs')} to be a multiple of {argument('group_size', self.group_size)}, whose "
                f"environments write responses to one prompt, got {copies}; change one of them"
            )

    def require_env(self) -> None:
        """Check that the environments are whole groups.

        Raises:
            ValueError: They are not.
        """
        self._require_groups(self.n_envs)

    @abstractmethod
    def group_advantages(self, scores: FloatArray) -> FloatArray:
        """Advantages (G, k) of the texts of ``G`` groups, given their scores (G, k)."""

    def begin_rollout(self, env: VecEnv, plan: RolloutPlan) -> None:
        """Give all environments of a group the same prompts, which none of them has begun."""
        self._require_groups(env.num_envs)
        seeds = np.random.randint(2**31, size=env.num_envs // self.group_size)
        seed_copies(env, np.repeat(seeds, self.group_size).tolist())
        self.begin_new_texts(env)

    def group_of(self, text: int) -> int:
        """Return the number of the group of a text: environments next to each other have consecutive numbers."""
        return text // self.group_size

    def estimate_advantages(self) -> Mapping[str, float]:
        """Give all tokens of a text the advantage that its score has in its group."""
        self._require_one_prompt()
        buffer = self.rollout_buffer
        texts = np.where(buffer.counted, buffer.text_ids(), 0)  # (T, B)
        scores = scores_of_texts(buffer.rewards, texts, buffer.counted).reshape(-1, self.group_size)  # (G, k)
        everywhere, own = self.ranks.concatenate(torch.from_numpy(scores))
        advantages = self.group_advantages(everywhere.numpy())[own]
        buffer.advantages = (advantages.reshape(-1)[texts] * buffer.counted).astype(np.float32)
        spreads = everywhere.numpy().std(1, ddof=1)
        return {"group_std": float(spreads.mean()), "equal_groups": float(np.isclose(spreads, 0, atol=1e-6).mean())}

    def _require_one_prompt(self) -> None:
        """Check that the texts of a group answer one prompt.

        Raises:
            ValueError: They do not: prompts of the environment do not follow from its seed.
        """
        prompts: dict[int, bytes] = {}
        begun: set[int] = set()
        for segment in self.rollout_buffer.segments():
            if segment.text in begun:  # a later turn of a conversation, of which each text has its own
                continue
            begun.add(segment.text)
            prompt = segment.prefix.tobytes()
            if prompts.setdefault(self.group_of(segment.text), prompt) != prompt:
                raise ValueError(
                    f"expected the same prompt in environments of the same seed for {argument('group_size')}, got "
                    "different ones; use an environment whose prompts follow from its seed"
                )
