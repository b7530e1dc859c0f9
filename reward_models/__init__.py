"""Rewards that are models: learnt from feedback of every kind, or any Hugging Face classifier."""

from textgym.reward_models.calibration import Calibration, ReliabilityBin
from textgym.reward_models.classifier import SequenceClassifierReward
from textgym.reward_models.learned import LearnedReward, Normalisation, learning_curve
from textgym.reward_models.loading import load_reward
from textgym.reward_models.losses import bradley_terry_loss
from textgym.reward_models.preference import PreferenceRewardModel
from textgym.reward_models.report import CurvePoint, FitReport, HeldOut, LengthBin, Mistake

__all__ = [
    "Calibration",
    "CurvePoint",
    "FitReport",
    "HeldOut",
    "LearnedReward",
    "LengthBin",
    "Mistake",
    "Normalisation",
    "PreferenceRewardModel",
    "ReliabilityBin",
    "SequenceClassifierReward",
    "bradley_terry_loss",
    "learning_curve",
    "load_reward",
]
