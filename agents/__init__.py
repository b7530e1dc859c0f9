"""Agents: language models as Stable-Baselines3 policies, and what trains them."""

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.common.vec_env import GymVecEnv, make_vec_env
from textgym.agents.ppo import PPO
from textgym.agents.registry import AGENTS, Option, agent_options, resolve_agent
from textgym.agents.sft import supervised_fine_tune
from textgym.models.batch import EpisodeBatch

__all__ = [
    "AGENTS",
    "PPO",
    "CausalLMPolicy",
    "EpisodeBatch",
    "EpisodeRolloutBuffer",
    "GymVecEnv",
    "Option",
    "agent_options",
    "make_vec_env",
    "resolve_agent",
    "supervised_fine_tune",
]
