"""Opening a reward model by name or folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.errors import CheckpointError
from textgym.files.paths import user_path
from textgym.hub import resolve_folder
from textgym.models.device import pick_device
from textgym.reward_models.storage import CARD, read_card
from textgym.rewards import name_of_folder
from textgym.security.consent import load_attribute
from textgym.security.foreign import read_object
from textgym.types import RewardFn

if TYPE_CHECKING:
    from textgym.reward_models.classifier import SequenceClassifierReward
    from textgym.reward_models.learned import LearnedReward

_LEARNED: Mapping[str, str] = {
    "preference": "textgym.reward_models.preference:PreferenceRewardModel",
    "embedding": "textgym.reward_models.embedding:EmbeddingRewardModel",
    "ensemble": "textgym.reward_models.ensemble:RewardEnsemble",
}
"""The kind that a card names -> its class, which is imported when a model of that kind is opened."""
_CLASSIFIER = "textgym.reward_models.classifier:SequenceClassifierReward"


def load_reward(name_or_folder: str | Path = "tiny-reward", device: str = "auto") -> RewardFn:
    """Open a reward model.

    Args:
        name_or_folder: ``"tiny-reward"`` (shipped), a folder written by the ``save`` of a learned reward (or a run
            folder that holds one as ``reward/``), or a folder or Hub id of a Hugging Face sequence classifier with one
            output. For a classifier with several outputs use
            :class:`~textgym.reward_models.classifier.SequenceClassifierReward`, which asks for the label.
        device: Where it computes; ``"auto"`` is a GPU where there is one.

    Returns:
        The reward; one from a folder is called after it (:func:`~textgym.rewards.names.name_of_folder`), in logs too.

    Raises:
        CheckpointError: If there is nothing of that name, or it is no reward model.
        ModelError: If it is a classifier with several outputs.
    """
    folder = resolve_folder(name_or_folder, kind="reward")
    if (folder / CARD).is_file():
        kind = read_card(folder).get("kind")
        named = _LEARNED.get(str(kind))
        if named is None:
            raise CheckpointError(
                f"expected a reward model of kind {' or '.join(map(repr, _LEARNED))} in {str(folder)!r}, got {kind!r}; "
                "update textgym"
            )
        learned: LearnedReward = load_attribute(named).load(folder)
        if user_path(name_or_folder).is_dir():
            learned.name = name_of_folder(name_or_folder)
        return learned.to(pick_device(device))
    if _is_classifier(folder):
        classifier: SequenceClassifierReward = load_attribute(_CLASSIFIER)(folder)
        return classifier.to(pick_device(device))
    raise CheckpointError(
        f"expected a reward model ({CARD}) or a sequence classifier in {str(folder)!r}, got neither; "
        "fit a PreferenceRewardModel on comparisons and save it"
    )


def _is_classifier(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.is_file():
        return False
    try:
        architectures = read_object(file).get("architectures") or []
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected JSON in {str(file)!r}, got something else ({error}); fetch it again"
        ) from error
    return any(str(name).endswith("ForSequenceClassification") for name in architectures)
