"""Rewards: the protocol, compositions, and names for what is built in."""

from textgym.rewards.core import (
    NAMED_REWARDS,
    Clip,
    Gate,
    GoldReward,
    LazyReward,
    RewardWithParts,
    Scores,
    WeightedSum,
    check_size,
    gold_scores,
    load_reward_models,
    resolve_reward,
    reward_name,
    score,
)

__all__ = [
    "NAMED_REWARDS",
    "Clip",
    "Gate",
    "GoldReward",
    "LazyReward",
    "RewardWithParts",
    "Scores",
    "WeightedSum",
    "check_size",
    "gold_scores",
    "load_reward_models",
    "resolve_reward",
    "reward_name",
    "score",
]
