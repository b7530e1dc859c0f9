"""Promises of every registered id: a new task is checked here without a line of test code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokenizers

import textgym
from textgym.envs import TokenTextEnv
from textgym.testing import check_text_env
from textgym.types import Example

IDS = [env_id for env_id in textgym.registered_ids() if not env_id.startswith("Test")]
SNAPSHOTS = json.loads((Path(__file__).parent / "snapshots.json").read_text())


def tenth_of_length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [len(text) / 10 for text in responses]


def make(env_id: str, folder: Path) -> gym.Env[Any, Any]:
    kwargs = {} if "Episode" in env_id else {"model": str(folder), "max_prompt_tokens": 200}
    return gym.make(env_id, reward=tenth_of_length, **kwargs)


@pytest.mark.parametrize("env_id", IDS)
def test_conforms(env_id: str, tokenizer_folder: Path) -> None:
    check_text_env(make(env_id, tokenizer_folder))


@pytest.mark.parametrize("env_id", IDS)
def test_docstring_is_a_page(env_id: str, tokenizer_folder: Path) -> None:
    page = type(make(env_id, tokenizer_folder).unwrapped).__doc__ or ""
    for section in ("Description", "Observation Space", "Action Space", "Rewards", "Starting State", "Episode End"):
        assert f"## {section}" in page
    assert "## Arguments" in page
    assert "## Version History" in page


@pytest.mark.parametrize("env_id", IDS)
def test_docstring_tells_every_key_of_info(env_id: str, tokenizer_folder: Path) -> None:
    env = make(env_id, tokenizer_folder)
    _, info = env.reset(seed=0)
    *_, last = env.step("A text." if "Episode" in env_id else np.int64(1))
    page = type(env.unwrapped).__doc__ or ""
    assert {key: page.count(f"| `{key}` |") for key in (*info, *last)} == dict.fromkeys((*info, *last), 1)


@pytest.mark.parametrize("env_id", IDS)
def test_behaviour_of_an_id_does_not_change(env_id: str, tmp_path: Path) -> None:
    """A changed hash means changed behaviour: raise the version of the id, then update ``snapshots.json``."""
    assert rollout_hash(make(env_id, fixed_tokenizer(tmp_path))) == SNAPSHOTS.get(env_id)


def fixed_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that no training run can change: bytes, and a few merges."""
    merges = [("h", "e"), ("Ġ", "t"), ("Ġt", "he"), ("i", "n"), ("o", "n"), ("e", "r"), ("Ġ", "a")]
    pieces = ["<pad>", "<eos>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    model = tokenizers.models.BPE(vocab={piece: id_ for id_, piece in enumerate(pieces)}, merges=merges)
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<pad>", "<eos>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<eos>", "pad_token": "<pad>"}')
    return folder


def rollout_hash(env: gym.Env[Any, Any]) -> str:
    digest = hashlib.sha256()
    texts = ["", "The council met.", " Café 東京 \n"]
    tokens = isinstance(env.unwrapped, TokenTextEnv)
    observation, info = env.reset(seed=0)
    for step in range(120):
        digest.update(encoded((observation, info)))
        action = np.int64(1 if step % 17 == 16 else 2 + 37 * step % 262) if tokens else texts[step % 3]
        observation, reward, terminated, truncated, info = env.step(action)
        digest.update(encoded((reward, terminated, truncated, info)))
        if terminated:
            observation, info = env.reset()
    return digest.hexdigest()[:16]


def encoded(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=np.ndarray.tolist).encode()
