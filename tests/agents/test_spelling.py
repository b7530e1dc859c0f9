"""Agents that write token by token learn to spell: on the smallest task, whose best return is 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textgym.agents import AGENTS, make_vec_env, resolve_agent
from textgym.agents.facts import facts_of
from textgym.agents.registry import can_learn, installed_agents
from textgym.envs.acting import grain_of
from textgym.metrics import mean_interval


def samples_tokens(name: str) -> bool:
    kind = resolve_agent(name)
    return can_learn(kind) and facts_of(kind).samples and grain_of(kind) == "token"


LEARNERS = [name for name in installed_agents() if samples_tokens(name)]
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "ppo": (8, {"learning_rate": 5e-3, "kl_coef": 0.0, "batch_size": 64}),
    "reinforce": (24, {"learning_rate": 1e-2, "kl_coef": 0.0}),
    "reinforce_pp": (12, {"learning_rate": 5e-3, "kl_coef": 0.0}),
    "rloo": (24, {"learning_rate": 1e-2, "kl_coef": 0.0}),
    "grpo": (14, {"learning_rate": 5e-3, "kl_coef": 0.0, "n_epochs": 2, "n_minibatches": 2}),
    "sb3_ppo": (8, {"learning_rate": 3e-3, "batch_size": 64, "n_epochs": 4}),
    "a2c": (22, {"learning_rate": 5e-3, "use_rms_prop": False}),
    "maskable_ppo": (6, {"learning_rate": 3e-3, "batch_size": 64, "n_epochs": 4}),
    "dqn": (
        40,
        {"learning_rate": 5e-3, "train_freq": 2, "learning_starts": 128, "target_update_interval": 128}
        | {"gradient_steps": 4, "batch_size": 64},
    ),
    **dict.fromkeys(("q_learning", "sarsa"), (20, {"learning_rate": 0.5})),
    "trpo": (7, {"learning_rate": 1e-2, "target_kl": 0.1, "cg_max_steps": 4, "n_critic_updates": 2}),
}
"""Iterations and options; an agent that is not named here learns with its own for longer."""


def test_who_learns_by_sampling() -> None:
    assert (
        {"ppo", "reinforce", "reinforce_pp", "rloo", "grpo", "sb3_ppo", "a2c", "dqn", "q_learning", "sarsa"}
        <= set(LEARNERS)
        <= set(AGENTS)
    )


SLOW = ("consensus_ppo",)  # each of the group has a quarter of the texts
BY_NAME = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LEARNERS]


@pytest.mark.parametrize("name", BY_NAME)
def test_learns_to_spell(name: str) -> None:
    """The start model has a third of the letters right."""
    iterations, options = SETTINGS.get(name, (40, {"learning_rate": 5e-3}))
    env = make_vec_env("TextSpell-v0", n_envs=64, seed=0, model="letters", difficulty="easy", density="dense")
    agent: Any = resolve_agent(name).create(env, "letters", seed=0, device="cpu", **options)
    agent.learn(64 * 2 * iterations)
    rewards = [record["reward"] for record in agent.history]
    assert rewards[0] < 0.5
    assert np.mean(rewards[-2:]) > 0.75


# A high learning rate makes a policy deterministic before it has seen the better letter: small ones need more texts.
_CLIPPED = {"learning_rate": 5e-4, "batch_size": 128}
TO_THE_OPTIMUM: dict[str, tuple[int, dict[str, Any]]] = {
    "ppo": (150, {**_CLIPPED, "kl_coef": 0.0}),
    **dict.fromkeys(("sb3_ppo", "maskable_ppo"), (200, {**_CLIPPED, "n_epochs": 2})),
    **dict.fromkeys(("reinforce", "rloo"), (300, {"learning_rate": 1e-3, "kl_coef": 0.0})),
    "reinforce_pp": (200, {"learning_rate": 1e-3, "kl_coef": 0.0}),
    "grpo": (150, {"learning_rate": 1e-3, "kl_coef": 0.0, "n_epochs": 2, "n_minibatches": 2}),
    "a2c": (200, {"learning_rate": 1e-3, "use_rms_prop": False}),
    "trpo": (60, {"learning_rate": 1e-2, "target_kl": 0.02, "cg_max_steps": 4, "n_critic_updates": 2}),
    "consensus_ppo": (200, {"learning_rate": 1e-3}),
}
"""Iterations and options of agents that follow the gradient of a policy."""
OTHERS = {"dqn", "q_learning", "sarsa", "expert_iteration"}  # learn values, or imitate their best texts


def test_every_policy_gradient_agent_has_settings_that_reach_the_optimum() -> None:
    assert set(LEARNERS) - OTHERS <= set(TO_THE_OPTIMUM)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in LEARNERS if name in TO_THE_OPTIMUM])
def test_policy_gradients_reach_the_optimum(name: str, seed: int) -> None:
    """The best return is 1; texts are sampled, so that no policy with a nonzero temperature is paid quite as much."""
    iterations, options = TO_THE_OPTIMUM[name]
    env = make_vec_env("TextSpell-v0", n_envs=64, seed=seed, model="letters", difficulty="easy", density="dense")
    agent: Any = resolve_agent(name).create(env, "letters", seed=seed, device="cpu", **options)
    agent.learn(64 * 2 * iterations)
    rewards = [record["reward"] for record in agent.history]
    assert mean_interval(rewards[-len(rewards) // 5 :], share=False).low > 0.95
