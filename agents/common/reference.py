"""The model that a KL penalty is to: the one that training started from, or another."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from textgym.agents.common.first_ratio import KL, check_equal
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch
from textgym.models.text_model import TextModel
from textgym.models.weights import WeightsWatch
from textgym.types import FloatArray


class Reference:
    """The start of a policy: a frozen copy of its model, or, where adapters are trained, the model without them.

    Args:
        policy: Before it is trained.

    Attributes:
        network: The frozen copy; ``None`` where adapters are trained.
    """

    def __init__(self, policy: LanguageModelPolicy) -> None:
        self._policy = policy
        self.network: TextModel | None = None
        if policy.model.adapter is None:
            self.network = copy.deepcopy(policy.model).eval().requires_grad_(False)
            if policy.options.compile:
                self.network.compile_trunk()
        elif policy.options.lora_rank is None:  # an adapter that was trained before: it is the start
            policy.model.remember_start()
        self._start: WeightsWatch | None = WeightsWatch(policy.model)

    def replace(self, model: TextModel) -> None:
        """Let another model be the reference.

        Raises:
            ModelError: It has not the policy's architecture, or the policy trains adapters, whose reference is the
                model without them.
        """
        if self.network is None:
            raise ModelError(
                "expected a policy that trains its own weights, got adapters; merge them or leave them out"
            )
        try:
            self.network.load_state_dict(model.state_dict())
        except RuntimeError as error:
            raise ModelError(
                f"expected a reference of the policy's architecture, got {model.source!r} ({error}); choose another"
            ) from None
        self._start = None  # the policy does not start as its reference

    def log_probs(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """Log-probabilities (N,) of actions (N,), under the distribution that the policy would draw from."""
        if self.network is not None:
            return self._policy.log_probs(batch, actions, self.network)
        with self._policy.model.as_start():
            return self._policy.log_probs(batch, actions)

    def check_start(self, log_ratios: FloatArray) -> None:
        """Before the first update the KL is 0, if nobody changed the policy or its reference since it was built.

        Args:
            log_ratios: log pi - log ref of the first rollout's tokens. Later calls do nothing.

        Raises:
            ModelError: It is not 0.
        """
        start, self._start = self._start, None
        if start is not None and not start.has_changed():
            check_equal(torch.from_numpy(log_ratios), self._policy.model, KL, self._policy.options.tolerate_mismatch)
