"""Shards of prompts: disjoint, whole together, and environments that ask nothing else."""

from __future__ import annotations

import pytest

from textgym.agents import make_vec_env
from textgym.agents.common.prompt_shards import Shard, shard_env
from textgym.agents.common.vec_env import env_attribute
from textgym.data.dataset import InMemoryDataset
from textgym.types import Example

EXAMPLES = [Example(f"key {number}", f"prompt {number}") for number in range(7)]
DATASET = InMemoryDataset("numbers", "train", EXAMPLES)


def test_shards_are_disjoint_and_whole_together() -> None:
    shards = [Shard(DATASET, number, 3) for number in range(3)]
    found = [[shard[place].key for place in range(len(shard))] for shard in shards]
    assert found == [["key 0", "key 3", "key 6"], ["key 1", "key 4"], ["key 2", "key 5"]]
    assert (shards[1].name, shards[1].split) == ("numbers (2 of 3)", "train")
    assert shards[1].find("key 0") == EXAMPLES[0]  # a state names examples by their keys
    with pytest.raises(KeyError, match="did you mean"):
        shards[1].find("key 77")
    with pytest.raises(IndexError):
        shards[1][2]


def test_there_is_a_prompt_for_everybody() -> None:
    with pytest.raises(
        ValueError, match="expected a prompt at least for each of 8 agents, got 7 in 'numbers'; lower age"
    ):
        Shard(DATASET, 0, 8)


def test_an_environment_asks_about_its_shard_only() -> None:
    env = make_vec_env("TextSpell-v0", 6, seed=3, reward="success", max_new_tokens=2)
    whole = env_attribute(env, "task").dataset
    for number in range(3):
        own = shard_env(env, number, 3, seed=3)
        assert own.num_envs == 2
        assert env_attribute(own, "reward") is env_attribute(env, "reward")
        assert env_attribute(own, "max_new_tokens") == 2
        assert own.observation_space == env.observation_space
        assert own.action_space == env.action_space
        asked = set()
        for _ in range(12):
            own.reset()
            asked |= {info["task_key"] for info in own.venv.reset_infos}
        assert asked <= {whole[place].key for place in range(number, len(whole), 3)}
    assert env_attribute(env, "task").dataset is whole
    assert shard_env(make_vec_env("TextSpell-v0", 2), 1, 3, seed=0).num_envs == 1
