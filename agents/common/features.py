"""The place of Stable-Baselines3's features extractors in policies that read token ids themselves."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class NoFeatures(BaseFeaturesExtractor):
    """The features extractor of a policy whose language model reads the ids; without weights, never called.

    Stable-Baselines3's default would flatten observations, as if ids were numbers.
    """

    def __init__(self, observation_space: spaces.Space[object]) -> None:
        super().__init__(observation_space, features_dim=1)
