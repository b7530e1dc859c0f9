"""Rewards: the protocol, compositions, and names for what is built in."""

from typing import TYPE_CHECKING

from textgym.deferred import deferred
from textgym.rewards.composition import Clip, Gate, Minimum, Product, Stages, WeightedSum, no_reward
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

__all__ = [
    "NAMED_REWARDS",
    "Clip",
    "ConversationReward",
    "Gate",
    "GoldReward",
    "LazyReward",
    "Minimum",
    "Product",
    "RewardWithParts",
    "ScoredConversations",
    "Scores",
    "Stages",
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
]

if not TYPE_CHECKING:  # else every name would exist for type checkers
    __getattr__, __dir__ = deferred(__name__, {}, ["textgym.reward_models"])
