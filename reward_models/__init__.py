"""Rewards that are models: learned from feedback of every kind, or any Hugging Face classifier."""

from typing import TYPE_CHECKING

from textgym.deferred import deferred

if TYPE_CHECKING:
    from textgym.reward_models.building import fit_reward_model, new_embedding_reward, new_reward_model
    from textgym.reward_models.calibration import Calibration, ReliabilityBin
    from textgym.reward_models.classifier import SequenceClassifierReward
    from textgym.reward_models.embedding import EmbeddingRewardModel, TextEmbedder
    from textgym.reward_models.ensemble import RewardEnsemble
    from textgym.reward_models.evidence import Split, read_split
    from textgym.reward_models.learned import LearnedReward, Normalisation, learning_curve
    from textgym.reward_models.loading import load_reward
    from textgym.reward_models.losses import bradley_terry_loss
    from textgym.reward_models.preference import PreferenceRewardModel
    from textgym.reward_models.report import CurvePoint, FitReport, HeldOut, LengthBin, Mistake
    from textgym.reward_models.selection import disagreement, select_pairs

_PARTS = {
    "building": ("fit_reward_model", "new_embedding_reward", "new_reward_model"),
    "calibration": ("Calibration", "ReliabilityBin"),
    "classifier": ("SequenceClassifierReward",),
    "embedding": ("EmbeddingRewardModel", "TextEmbedder"),
    "ensemble": ("RewardEnsemble",),
    "evidence": ("Split", "read_split"),
    "learned": ("LearnedReward", "Normalisation", "learning_curve"),
    "loading": ("load_reward",),
    "losses": ("bradley_terry_loss",),
    "preference": ("PreferenceRewardModel",),
    "report": ("CurvePoint", "FitReport", "HeldOut", "LengthBin", "Mistake"),
    "selection": ("disagreement", "select_pairs"),
}

__all__ = [
    "Calibration",
    "CurvePoint",
    "EmbeddingRewardModel",
    "FitReport",
    "HeldOut",
    "LearnedReward",
    "LengthBin",
    "Mistake",
    "Normalisation",
    "PreferenceRewardModel",
    "ReliabilityBin",
    "RewardEnsemble",
    "SequenceClassifierReward",
    "Split",
    "TextEmbedder",
    "bradley_terry_loss",
    "disagreement",
    "fit_reward_model",
    "learning_curve",
    "load_reward",
    "new_embedding_reward",
    "new_reward_model",
    "read_split",
    "select_pairs",
]

__getattr__, __dir__ = deferred(__name__, _PARTS)
