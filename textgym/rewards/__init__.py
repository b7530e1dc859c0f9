"""Rewards: the protocol, compositions, and names for what is built in."""

from textgym.rewards.composition import Clip, Gate, WeightedSum, no_reward
from textgym.rewards.gold import GoldReward, gold_scores, knows_gold
from textgym.rewards.lazy import LazyReward, load_reward_models
from textgym.rewards.names import NAMED_REWARDS, name_of_folder, resolve_reward
from textgym.rewards.protocol import (
    ConversationReward,
    RewardWithParts,
    ScoredConversations,
    Scores,
    check_size,
    reward_name,
    score,
)
from textgym.rewards.shaping import Shaped, Shaping, shaping_of

__all__ = [
    "NAMED_REWARDS",
    "Clip",
    "ConversationReward",
    "Gate",
    "GoldReward",
    "LazyReward",
    "RewardWithParts",
    "ScoredConversations",
    "Scores",
    "Shaped",
    "Shaping",
    "WeightedSum",
    "check_size",
    "gold_scores",
    "knows_gold",
    "load_reward_models",
    "name_of_folder",
    "no_reward",
    "resolve_reward",
    "reward_name",
    "score",
    "shaping_of",
]
