"""Rewards that are models: learnt from comparisons, or any Hugging Face classifier."""

from textgym.reward_models.calibration import Calibration, ReliabilityBin
from textgym.reward_models.classifier import SequenceClassifierReward
from textgym.reward_models.fitting import FitReport
from textgym.reward_models.loading import load_reward
from textgym.reward_models.losses import bradley_terry_loss
from textgym.reward_models.preference import Normalisation, PreferenceRewardModel

__all__ = [
    "Calibration",
    "FitReport",
    "Normalisation",
    "PreferenceRewardModel",
    "ReliabilityBin",
    "SequenceClassifierReward",
    "bradley_terry_loss",
    "load_reward",
]
