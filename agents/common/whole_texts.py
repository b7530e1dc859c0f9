"""The core of algorithms without a value function: they learn from whole texts, by clipped ratios."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.on_policy import OnPolicyAgent
from textgym.agents.common.rollout_buffer import EpisodeSamples, Segment
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, number, positive

_OF_VALUES = ("gae_lambda", "vf_coef", "unfinished_texts")


class WholeTextAgent(OnPolicyAgent):
    """The core of algorithms without a value function.

    A rollout holds whole texts, and advantages follow from their rewards alone. The texts are dealt to one or several
    minibatches, once or several times; with the first optimizer step the policy leaves the one that wrote them, and
    every further one weighs them by the ratio of their probabilities. A subclass says what advantages are
    (``estimate_advantages``), and what is minimized (``loss``).

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        n_epochs: Passes over a rollout.
        n_minibatches: Optimizer steps of a pass, at most as many as there are texts, or groups of texts, in a rollout.
        clip_range: Clip range of the probability ratio; it has no effect where a rollout has one optimizer step.
        rollout_texts: Responses per rollout, a multiple of the number of environments; by default one for each.
        batch_size: Approximate number of tokens per forward and backward pass, over which the gradient of an optimizer
            step is accumulated; texts are kept together.
        options: Arguments of :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.
    """

    facts: ClassVar[AgentFacts] = replace(
        OnPolicyAgent.facts,
        not_options=(*OnPolicyAgent.facts.not_options, "vf_coef", "unfinished_texts", "critic"),
        limits={
            **OnPolicyAgent.facts.limits,
            "n_minibatches": (1, math.inf),
            **dict.fromkeys(("clip_range", "clip_range_high"), (0.0, math.inf)),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **{name: check for name, check in OnPolicyAgent.settings.items() if name not in _OF_VALUES},
        "n_epochs": positive,
        "n_minibatches": positive,
        "clip_range": number,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        n_epochs: int = 1,
        n_minibatches: int = 1,
        clip_range: float = 0.2,
        rollout_texts: int | None = None,
        **options: Any,
    ) -> None:
        self.n_epochs, self.n_minibatches, self.clip_range = n_epochs, n_minibatches, clip_range
        # Without values and with lambda = 1, the return of a token is the sum of the rewards from it on.
        super().__init__(policy, env, rollout_texts=rollout_texts, gae_lambda=1.0, vf_coef=0.0, **options)

    def _setup_model(self) -> None:
        if self.rollout_texts is None:
            self.rollout_texts = self.all_envs
        super()._setup_model()

    @property
    def learns_values(self) -> bool:
        """Return false: there are none."""
        return False

    def train(self) -> None:
        """Take the optimizer steps of a rollout: ``n_epochs`` passes of ``n_minibatches`` each."""
        with self.updating() as steps:
            for _ in range(self.n_epochs):
                self._n_updates += 1
                for members in self.minibatches():
                    statistics = self.accumulate_gradients(members, self.batch_size)
                    steps.append(self.step_optimizer(statistics))

    def minibatches(self) -> Iterator[list[Segment]]:
        """Deal the texts, in random order, to minibatches that differ by one text, or one group, at most."""
        groups: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.rollout_buffer.segments():
            groups[self.group_of(segment.text)].append(segment)
        dealt = list(groups.values())
        count = min(self.n_minibatches, len(dealt))
        # One minibatch needs no order: texts of one prompt stand next to each other, and share its computation.
        order = np.random.permutation(len(dealt)) if count > 1 else np.arange(len(dealt))
        for places in np.array_split(order, count):
            yield [segment for place in places for segment in dealt[place]]

    def group_of(self, text: int) -> int:
        """Return the number of the group of a text, given its own; each is a group of its own by default."""
        return text

    def texts_of(self, sample: EpisodeSamples) -> tuple[Tensor, int]:
        """Return the text of each transition (N,), numbered from 0 within the sample, and how many texts there are."""
        numbers = self.rollout_buffer.text_ids().reshape(-1)[sample.places]
        known, texts = np.unique(numbers, return_inverse=True)
        return torch.from_numpy(texts.astype(np.int64)).to(self.device), len(known)


def ratio_statistics(log_ratio: Tensor, low: float, high: float) -> dict[str, Tensor]:
    """Statistics of probability ratios.

    Args:
        log_ratio: (N,) of tokens, or of texts.
        low, high: Clip ranges below and above 1.

    Returns:
        ``"clip_fraction"``, the share beyond the clip range, and ``"ratio_max"``; scalars.
    """
    ratio = log_ratio.detach().exp()
    return {"clip_fraction": ((ratio < 1 - low) | (ratio > 1 + high)).float().mean(), "ratio_max": ratio.max()}
