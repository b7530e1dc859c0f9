"""Agents: language models as Stable-Baselines3 policies, and what trains them."""

from textgym.agents.causal_lm_policy import CausalLMPolicy
from textgym.agents.ppo import PPO
from textgym.agents.prefix_sharing import EpisodeBatch
from textgym.agents.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.sft import supervised_fine_tune
from textgym.agents.vec_env import GymVecEnv, make_vec_env

__all__ = [
    "PPO",
    "CausalLMPolicy",
    "EpisodeBatch",
    "EpisodeRolloutBuffer",
    "GymVecEnv",
    "make_vec_env",
    "supervised_fine_tune",
]
