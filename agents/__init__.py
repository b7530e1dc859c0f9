"""Agents: language models as Stable-Baselines3 policies, and what trains them."""

from typing import TYPE_CHECKING

from textgym.deferred import deferred

if TYPE_CHECKING:
    from textgym.agents.a2c import A2C
    from textgym.agents.awr import AWR
    from textgym.agents.best_of_n import BestOfN
    from textgym.agents.callbacks import FunctionCallback, TensorBoardCallback, WandbCallback
    from textgym.agents.common.causal_lm_policy import CausalLMPolicy
    from textgym.agents.common.replay import EpisodeReplayBuffer
    from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
    from textgym.agents.common.seq2seq_lm_policy import Seq2SeqLMPolicy
    from textgym.agents.common.vec_env import GymVecEnv, make_vec_env
    from textgym.agents.consensus_ppo import ConsensusPPO
    from textgym.agents.decentralized_po import DecentralizedPO
    from textgym.agents.dpo import DPO, PreferencePair
    from textgym.agents.dqn import DQN, TextQPolicy
    from textgym.agents.expert_iteration import ExpertIteration
    from textgym.agents.facts import AgentFacts, RunDefaults
    from textgym.agents.grpo import GRPO
    from textgym.agents.ilql import ILQL, LoggedTurn
    from textgym.agents.ipo import IPO
    from textgym.agents.kto import KTO, LabelledText
    from textgym.agents.options import Option, agent_options
    from textgym.agents.orpo import ORPO
    from textgym.agents.ppo import PPO
    from textgym.agents.q_learning import QLearning
    from textgym.agents.registry import AGENTS, resolve_agent
    from textgym.agents.reinforce import REINFORCE
    from textgym.agents.reinforce_pp import REINFORCEPlusPlus
    from textgym.agents.rloo import RLOO
    from textgym.agents.sarsa import SARSA
    from textgym.agents.sb3_ppo import SB3PPO
    from textgym.agents.sft import SFT, supervised_fine_tune
    from textgym.agents.simpo import SimPO
    from textgym.models.batch import EpisodeBatch

# The agents' packages (torch, stable-baselines3, transformers) take seconds, which a look at `AGENTS` need not cost.
# MaskablePPO and TRPO, which need an optional package, are not among the names; their modules have them.
_PARTS = {
    "a2c": ("A2C",),
    "awr": ("AWR",),
    "best_of_n": ("BestOfN",),
    "callbacks": ("FunctionCallback", "TensorBoardCallback", "WandbCallback"),
    "common.causal_lm_policy": ("CausalLMPolicy",),
    "common.language_model_policy": ("EpisodeBatch",),
    "common.replay": ("EpisodeReplayBuffer",),
    "common.rollout_buffer": ("EpisodeRolloutBuffer",),
    "common.seq2seq_lm_policy": ("Seq2SeqLMPolicy",),
    "common.vec_env": ("GymVecEnv", "make_vec_env"),
    "consensus_ppo": ("ConsensusPPO",),
    "decentralized_po": ("DecentralizedPO",),
    "dpo": ("DPO", "PreferencePair"),
    "dqn": ("DQN", "TextQPolicy"),
    "expert_iteration": ("ExpertIteration",),
    "facts": ("AgentFacts", "RunDefaults"),
    "grpo": ("GRPO",),
    "ilql": ("ILQL", "LoggedTurn"),
    "ipo": ("IPO",),
    "kto": ("KTO", "LabelledText"),
    "options": ("Option", "agent_options"),
    "orpo": ("ORPO",),
    "ppo": ("PPO",),
    "q_learning": ("QLearning",),
    "registry": ("AGENTS", "resolve_agent"),
    "reinforce": ("REINFORCE",),
    "reinforce_pp": ("REINFORCEPlusPlus",),
    "rloo": ("RLOO",),
    "sarsa": ("SARSA",),
    "sb3_ppo": ("SB3PPO",),
    "sft": ("SFT", "supervised_fine_tune"),
    "simpo": ("SimPO",),
}

__all__ = [
    "A2C",
    "AGENTS",
    "AWR",
    "DPO",
    "DQN",
    "GRPO",
    "ILQL",
    "IPO",
    "KTO",
    "ORPO",
    "PPO",
    "REINFORCE",
    "RLOO",
    "SARSA",
    "SB3PPO",
    "SFT",
    "AgentFacts",
    "BestOfN",
    "CausalLMPolicy",
    "ConsensusPPO",
    "DecentralizedPO",
    "EpisodeBatch",
    "EpisodeReplayBuffer",
    "EpisodeRolloutBuffer",
    "ExpertIteration",
    "FunctionCallback",
    "GymVecEnv",
    "LabelledText",
    "LoggedTurn",
    "Option",
    "PreferencePair",
    "QLearning",
    "REINFORCEPlusPlus",
    "RunDefaults",
    "Seq2SeqLMPolicy",
    "SimPO",
    "TensorBoardCallback",
    "TextQPolicy",
    "WandbCallback",
    "agent_options",
    "make_vec_env",
    "resolve_agent",
    "supervised_fine_tune",
]

__getattr__, __dir__ = deferred(__name__, _PARTS)
