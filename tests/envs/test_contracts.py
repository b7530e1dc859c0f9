"""Promises of every registered id: a new task is checked here without a line of test code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import textgym
from textgym.envs import TokenTextEnv
from textgym.metrics.texts import TEXT_METRICS
from textgym.rewards import resolve_reward
from textgym.tasks import prompt_text
from textgym.testing import AWKWARD_TEXTS, check_text_env
from textgym.types import Episode, Example

IDS = [env_id for env_id in textgym.registered_ids() if not env_id.startswith("Test")]
SNAPSHOTS = json.loads((Path(__file__).parent / "snapshots.json").read_text())


def tenth_of_length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [len(text) / 10 for text in responses]


def make(env_id: str, folder: Path) -> gym.Env[Any, Any]:
    kwargs = {} if "Episode" in env_id else {"model": str(folder), "max_prompt_tokens": 200}
    return gym.make(env_id, reward=tenth_of_length, **kwargs)


_IN_0_TO_1 = ("success", "none", "rouge", "rouge1", "rouge2", "length", "diversity", "json")  # of any response


@pytest.mark.parametrize("env_id", IDS)
def test_conforms(env_id: str, tokenizer_folder: Path) -> None:
    check_text_env(make(env_id, tokenizer_folder))


ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates and control characters too
RESPONSES = st.one_of(
    st.sampled_from(
        [*AWKWARD_TEXTS[:-1], ";", ":", "、", "$", "$1,", "1,000,000.5.5", "٣", "²", "\u0301", '"', "'s", "_"]
    ),
    st.text(st.sampled_from(",;:.!?-'\"$%() 1a\n"), max_size=12),
    st.text(ANY_CHARACTER, max_size=20),
    st.text(ANY_CHARACTER, min_size=1, max_size=2).map(lambda text: text * 500),
)


@pytest.fixture(scope="module")
def environments(tokenizer_folder: Path) -> dict[str, gym.Env[Any, Any]]:
    tokens = {"model": str(tokenizer_folder), "max_prompt_tokens": 200}
    found = {}
    for id_ in IDS:
        task: Any = gym.make(id_.replace("Episode-", "-").replace("-v", "Episode-v")).unwrapped
        reward = {"reward": "rouge"} if task.task.dataset[0].references else {}
        found[id_] = gym.make(id_, **reward, **({} if "Episode" in id_ else tokens))
    return found


@pytest.mark.parametrize("env_id", IDS)
@settings(max_examples=40)
@given(text=RESPONSES, seed=st.integers(0, 3))
def test_every_response_has_finite_scores(
    environments: dict[str, gym.Env[Any, Any]], env_id: str, text: str, seed: int
) -> None:
    env = environments[env_id]
    _, started = env.reset(seed=seed)
    base: Any = env.unwrapped
    turn: list[Any] = [text]
    if isinstance(base, TokenTextEnv):
        ids = base.tokenizer.encode(text.encode("utf-8", "replace").decode())[
            : base.max_new_tokens // base.task.max_turns - 1
        ]
        turn = [np.int64(id_) for id_ in (*ids, base.tokenizer.eos_ids[0])]
    terminated, turns = False, 0
    while not terminated and turns < base.task.max_turns:  # the same in every turn of a conversation
        _, reward, terminated, _, info = [env.step(action) for action in turn][-1]
        turns += 1
    assert terminated
    example = base.task.dataset.find(started["task_key"])
    example = replace(example, references=example.references or ("A reference.",))
    arguments = [prompt_text(base.task, example)], [info["text"]], [example]
    episode = Episode.of(example, info["text"])
    names = [*_IN_0_TO_1, *(["gold"] if "gold" in info else [])]
    rewards = [resolve_reward(name, base.task) for name in names]
    scores = [reward, info.get("gold", 0.0)]
    scores += [float(each(*arguments)[0]) for each in rewards]
    measured = [float(metric([episode])[0]) for name, metric in base.task.metrics.items() if name not in TEXT_METRICS]
    scores += [value for value in measured if not np.isnan(value)]  # NaN: the metric does not apply
    assert np.isfinite(scores).all()
    assert all(0 <= score <= 1 for score in scores)
    assert not np.isinf([metric([episode])[0] for metric in TEXT_METRICS.values()]).any()
    assert base.task.is_success(episode) == info["is_success"]


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
