from __future__ import annotations

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, create_shared_memory, iterate

from textgym.spaces import Text, TokenIds, TokenSpace


def test_text_takes_any_unicode_up_to_its_length() -> None:
    space = Text(5, min_length=1)
    assert "日本🎉\n" in space
    assert "" not in space
    assert "123456" not in space
    assert 5 not in space
    assert "" in Text()


def test_text_samples_are_short_legal_and_seeded() -> None:
    space = Text()
    space.seed(3)
    first = [space.sample() for _ in range(20)]
    space.seed(3)
    assert first == [space.sample() for _ in range(20)]
    assert all(text in space and len(text) <= 64 for text in first)
    assert len(set(first)) > 10


def test_text_equality() -> None:
    assert Text(5) == Text(5)
    assert Text(5) != Text(6)
    assert Text(5) != gym.spaces.Text(5)


def test_text_batches_as_tuples() -> None:
    batch = batch_space(Text(20), 3)
    texts = ("a", "日本", "")
    assert texts in batch
    assert tuple(iterate(batch, texts)) == texts
    assert concatenate(Text(20), texts, create_empty_array(Text(20), 3)) == texts


def test_text_refuses_shared_memory_loudly() -> None:
    with pytest.raises(CustomSpaceError, match="shared_memory=False"):
        create_shared_memory(Text(20), 2)


def test_token_space_is_a_discrete_that_knows_its_tokenizer() -> None:
    space = TokenSpace(10, "tiny", "abc")
    assert isinstance(space, gym.spaces.Discrete)
    assert 9 in space
    assert 10 not in space
    assert space == TokenSpace(10, "a/copy/of/tiny", "abc")
    assert space != TokenSpace(10, "tiny", "def")
    assert space != gym.spaces.Discrete(10)
    assert gym.spaces.Discrete(10) != space
    assert "tiny" in repr(space)


def test_token_space_copies_and_seeds() -> None:
    space = TokenSpace(1000, "tiny", "abc", seed=4)
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space
        assert twin.sample() == copy.deepcopy(space).sample()


def test_token_space_batches_as_multi_discrete() -> None:
    batch = batch_space(TokenSpace(10, "tiny", "abc"), 3)
    assert isinstance(batch, gym.spaces.MultiDiscrete)
    assert np.array([0, 9, 3]) in batch


def test_flattening_token_ids_warns_once_and_gives_what_a_box_gives() -> None:
    space = gym.spaces.Dict({"input_ids": TokenIds(10, 4), "attention_mask": gym.spaces.Box(0, 1, (4,), np.int8)})
    with pytest.warns(UserWarning, match=r"reads input_ids as numbers .* use textgym\.agents\.CausalLMPolicy"):
        flat = gym.spaces.flatten_space(space)
    assert flat.shape == (8,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gym.spaces.flatdim(space) == 8
        assert gym.spaces.flatten(space, space.sample()).shape == (8,)


def test_token_ids_are_a_box() -> None:
    space = TokenIds(10, 4)
    assert space == gym.spaces.Box(0, 9, (4,), np.int64)
    assert np.array([0, 9, 3, 3]) in space
    assert np.array([0, 10, 3, 3]) not in space
    assert pickle.loads(pickle.dumps(space)) == copy.deepcopy(space) == space
    assert pickle.loads(pickle.dumps(TokenIds(10, 4, 3))).turns == 3
    assert batch_space(space, 2) == gym.spaces.Box(0, 9, (2, 4), np.int64)
