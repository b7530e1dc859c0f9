"""Keys and values of another library's cache are checked by errors, which ``python -O`` does not remove."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, MistralConfig
from transformers.cache_utils import DynamicLayer, StaticLayer

from textgym.errors import ModelError
from textgym.models.decoding.continuation import filled_layers


def cache_of(*layers: object) -> DynamicCache:
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache


def states(tokens: int) -> torch.Tensor:
    return torch.ones(1, 2, tokens, 4)


def test_layers_that_are_filled() -> None:
    layer = DynamicLayer()
    layer.update(states(5), states(5))
    (filled,) = filled_layers(cache_of(layer), 5)
    assert filled.keys.shape == filled.values.shape == (1, 2, 5, 4)


def test_layers_that_hold_something_else() -> None:
    short, fixed = DynamicLayer(), StaticLayer(max_cache_len=5)
    short.update(states(4), states(4))
    fixed.update(states(5), states(5), {"cache_position": torch.arange(5)})
    window = DynamicCache(config=MistralConfig(num_hidden_layers=1, sliding_window=3))
    window.layers[0].update(states(5), states(5))
    for cache, held in (
        (cache_of(DynamicLayer()), "none in a DynamicLayer"),
        (cache_of(object()), "none in a object"),
        (cache_of(short), "4 in a DynamicLayer"),
        (cache_of(fixed), "5 in a StaticLayer"),
        (window, "2 in a DynamicSlidingWindowLayer"),
    ):
        with pytest.raises(ModelError, match=f"keys and values of 5 tokens in layer 0, got {held}; use the model with"):
            filled_layers(cache, 5)
