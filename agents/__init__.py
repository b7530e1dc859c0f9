"""Agents: language models as Stable-Baselines3 policies, and what trains them."""

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.common.vec_env import GymVecEnv, make_vec_env
from textgym.agents.ppo import PPO
from textgym.agents.sft import supervised_fine_tune
from textgym.models.batch import EpisodeBatch

__all__ = [
    "PPO",
    "CausalLMPolicy",
    "EpisodeBatch",
    "EpisodeRolloutBuffer",
    "GymVecEnv",
    "make_vec_env",
    "supervised_fine_tune",
]
