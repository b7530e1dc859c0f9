"""The unmodified TRPO of sb3-contrib."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor, nn

from textgym.agents.common import contrib
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.stock import StockAgent
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, number, positive, truth
from textgym.naming import argument


class TRPO(StockAgent, contrib.TRPO):
    """Trust region policy optimization (Schulman et al. 2015, arXiv:1502.05477), by sb3-contrib; without a KL penalty.

    One step per rollout, along the natural gradient, of a length at which the policy's KL to the one that wrote the
    texts is ``target_kl``. It needs second derivatives, and so a model with ``attention="eager"``, which is the default
    here.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        batch_size: Approximate number of tokens per minibatch of the value function; whole episodes are kept together.
        learning_rate: Learning rate of the value function.
        target_kl: Largest KL of an update, in nats per token.
        cg_max_steps: Steps of the conjugate gradient method, which solves for the direction; each costs as much as two
            backward passes.
        cg_damping: Multiple of the direction that is added to its product with the Hessian.
        line_search_shrinking_factor: Factor that a step is shortened by as long as it leaves the trust region.
        line_search_max_iter: Lengths of the step that are tried; if all leave the trust region, none is made.
        n_critic_updates: Passes over a rollout of the value function.
        policy_kwargs: Arguments of the policy.
        options: Arguments of :class:`~textgym.agents.common.stock.StockAgent` and of ``sb3_contrib.TRPO``.

    Raises:
        ValueError: For a ``sub_sampling_factor``, which would tear texts apart.
    """

    kind = "textgym.TRPO"
    facts: ClassVar[AgentFacts] = replace(
        StockAgent.facts,
        method="the TRPO of sb3-contrib",
        not_options=(*StockAgent.facts.not_options, "sub_sampling_factor", "attention"),
        limits={
            **StockAgent.facts.limits,
            "cg_damping": (0.0, math.inf),
            "line_search_shrinking_factor": (math.nextafter(0, 1), 1.0),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        "n_steps": positive,
        "gamma": number,
        "gae_lambda": number,
        "seed": StockAgent.settings["seed"],
        "batch_size": positive,
        "cg_max_steps": positive,
        "cg_damping": number,
        "line_search_shrinking_factor": number,
        "line_search_max_iter": positive,
        "n_critic_updates": positive,
        "normalize_advantage": truth,
        "target_kl": number,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        batch_size: int = 768,
        policy_kwargs: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        if options.get("sub_sampling_factor", 1) != 1:
            name = argument("sub_sampling_factor")
            raise ValueError(f"expected {name} of 1, since texts are kept together, got another; leave it out")
        kwargs = {"attention": "eager", **(policy_kwargs or {})}
        super().__init__(policy, env, batch_size=batch_size, policy_kwargs=kwargs, **options)

    @property
    def passes(self) -> int:
        """Passes over a rollout that an update takes, about."""
        return 2 * self.cg_max_steps + self.n_critic_updates

    def _compute_actor_grad(
        self, kl_div: Tensor, policy_objective: Tensor
    ) -> tuple[list[nn.Parameter], Tensor, Tensor, list[tuple[int, ...]]]:
        """Gradients of the KL and of the objective in all weights of the language model that are trained.

        The algorithm's own method, which is for the policies of Stable-Baselines3, leaves out all weights whose name
        has "value" in it, such as ``query_key_value`` of GPT-NeoX, and has no place for weights that are frozen.
        """
        trained = [parameter for parameter in self.policy.model.parameters() if parameter.requires_grad]
        of_kl = torch.autograd.grad(kl_div, trained, create_graph=True, allow_unused=True)
        pairs = [(parameter, grad) for parameter, grad in zip(trained, of_kl, strict=True) if grad is not None]
        used = [parameter for parameter, _ in pairs]
        of_objective = torch.autograd.grad(policy_objective, used, retain_graph=True)
        flat_objective = torch.cat([grad.reshape(-1) for grad in of_objective])
        flat_kl = torch.cat([grad.reshape(-1) for _, grad in pairs])
        return used, flat_objective, flat_kl, [tuple(grad.shape) for _, grad in pairs]
