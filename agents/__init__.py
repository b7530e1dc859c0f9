"""Agents: language models as Stable-Baselines3 policies, and what trains them."""

from typing import TYPE_CHECKING

from textgym.deferred import deferred

if TYPE_CHECKING:
    from textgym.agents.common.causal_lm_policy import CausalLMPolicy
    from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
    from textgym.agents.common.seq2seq_lm_policy import Seq2SeqLMPolicy
    from textgym.agents.common.vec_env import GymVecEnv, make_vec_env
    from textgym.agents.facts import AgentFacts, RunDefaults
    from textgym.agents.options import Option, agent_options
    from textgym.agents.ppo import PPO
    from textgym.agents.registry import AGENTS, resolve_agent
    from textgym.agents.reinforce import REINFORCE
    from textgym.agents.sft import SFT, supervised_fine_tune
    from textgym.models.batch import EpisodeBatch

# The agents' packages (torch, stable-baselines3, transformers) take seconds, which a look at `AGENTS` need not cost.
_PARTS = {
    "common.causal_lm_policy": ("CausalLMPolicy",),
    "common.language_model_policy": ("EpisodeBatch",),
    "common.rollout_buffer": ("EpisodeRolloutBuffer",),
    "common.seq2seq_lm_policy": ("Seq2SeqLMPolicy",),
    "common.vec_env": ("GymVecEnv", "make_vec_env"),
    "facts": ("AgentFacts", "RunDefaults"),
    "options": ("Option", "agent_options"),
    "ppo": ("PPO",),
    "registry": ("AGENTS", "resolve_agent"),
    "reinforce": ("REINFORCE",),
    "sft": ("SFT", "supervised_fine_tune"),
}

__all__ = [
    "AGENTS",
    "PPO",
    "REINFORCE",
    "SFT",
    "AgentFacts",
    "CausalLMPolicy",
    "EpisodeBatch",
    "EpisodeRolloutBuffer",
    "GymVecEnv",
    "Option",
    "RunDefaults",
    "Seq2SeqLMPolicy",
    "agent_options",
    "make_vec_env",
    "resolve_agent",
    "supervised_fine_tune",
]

__getattr__, __dir__ = deferred(__name__, _PARTS)
