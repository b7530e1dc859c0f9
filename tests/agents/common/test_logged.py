"""What agents that learn from logs share: where logs come from, and going on bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from textgym.agents.awr import AWR
from textgym.agents.common.logged import LoggedAgent, write_log
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ilql import ILQL
from textgym.errors import CheckpointError, DataError
from textgym.evaluation.sampling import Sampling
from textgym.models.loading import load_language_model

KINDS = [AWR, ILQL]
SMALL: dict[str, Any] = {"texts": 24, "batch_size": 8, "log_every": 2, "learning_rate": 1e-3}


def spelling(**arguments: Any) -> Any:
    return make_vec_env("TextSpell-v0", 2, 0, **{"difficulty": "easy", **arguments})


def weights(agent: LoggedAgent) -> dict[str, torch.Tensor]:
    return {name: each for name, each in agent.get_state().tensors.items() if not name.startswith("own.")}


def equal(left: LoggedAgent, right: LoggedAgent) -> bool:
    one, other = weights(left), weights(right)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """All texts about two words, of which one letter in two is right."""
    rows = [
        {"state": word, "action": a + b, "reward": ((a == word[0]) + (b == word[1])) / 2}
        for word in ("ab", "ca")
        for a in "abc"
        for b in "abc"
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_without_a_log_the_start_model_writes_and_the_reward_scores() -> None:
    env: Any = gym.make("TextSpell-v0", difficulty="easy", density="sparse")
    task, model = env.unwrapped.task, load_language_model("letters")
    log = write_log(model, task, env.unwrapped.reward, 30, Sampling(32, 2, seed=0))
    assert len(log) == 30
    assert {step.given.text for episode in log for step in episode} == {  # type: ignore[union-attr]
        task.dataset[place].text for place in range(len(task.dataset))
    }
    for ((example, action, reward, ended),) in log:
        assert reward == float(action == example.text)  # type: ignore[union-attr]
        assert not ended  # by itself: the budget is two letters
    assert 0 < np.mean([step.reward for episode in log for step in episode]) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_run(kind: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)
        runs.append(kind.create(spelling(), "letters", seed=seed, device="cpu", **SMALL))
        runs[-1].learn(6)
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


@pytest.mark.parametrize("kind", KINDS)
def test_resume_goes_on_bit_for_bit_without_the_file(kind: Any, log_file: Path, tmp_path: Path) -> None:
    run = kind.create(spelling(), "letters", log=str(log_file), seed=1, device="cpu", **SMALL)
    run.learn(5)
    run.save(tmp_path / "saved")
    log_file.unlink()
    again = kind.load(tmp_path / "saved", env=spelling(), device="cpu")
    assert again.episodes == run.episodes
    for agent in (run, again):
        agent.learn(4, reset_num_timesteps=False)
    assert equal(run, again)
    assert run.history == again.history
    twin = kind.create(spelling(), "letters", seed=1, device="cpu", **{**SMALL, "texts": 8})
    with pytest.raises(CheckpointError, match="expected the state of an agent with this log"):
        twin.set_state(run.get_state())


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_is_enough(kind: Any, log_file: Path) -> None:
    """No environment: states are prompts as they stand there."""
    agent = kind.from_log(log_file, "letters", device="cpu", batch_size=8, learning_rate=1e-3)
    assert len(agent.episodes) == 18
    tokenizer = agent.model.tokenizer
    assert agent.episodes[0][0].prompt == tokenizer.encode("ab")
    agent.learn(3)
    assert len(agent.losses) == 3
    asked = kind.create(spelling(), "letters", log=log_file, device="cpu")
    assert asked.episodes[0][0].prompt == tokenizer.encode("ab=")
    assert asked.episodes[0][0].response == tokenizer.encode("aa")  # the budget of the environment is two letters


@pytest.mark.parametrize("kind", KINDS)
def test_texts_limit_what_is_learned_from_a_log(kind: Any, log_file: Path) -> None:
    whole, few = (kind.create(spelling(), "letters", log=log_file, device="cpu", texts=most) for most in (None, 5))
    assert (whole.labels, few.labels) == (18, 5)
    assert all(episode in whole.episodes for episode in few.episodes)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_episodes_are_a_log(kind: Any, tmp_path: Path) -> None:
    env = spelling()
    key = env.get_attr("task")[0].dataset[0].key
    row = {"task_key": key, "text": "ab", "finish_reason": "length", "measures": {"reward": 0.5}}
    (tmp_path / "texts-after.jsonl").write_text(json.dumps(row) + "\n")
    agent = kind.create(env, "letters", log=tmp_path, device="cpu")
    assert [turn.reward for episode in agent.episodes for turn in episode] == [0.5]
    with pytest.raises(DataError, match="give the environment that they were written in, too"):
        kind.from_log(tmp_path, "letters", device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_lora(kind: Any, log_file: Path) -> None:
    pytest.importorskip("peft")
    agent = kind.from_log(log_file, "letters", device="cpu", lora_rank=2, batch_size=8)
    frozen = {name: each.clone() for name, each in agent.model.named_parameters() if not each.requires_grad}
    agent.learn(2)
    assert frozen
    assert all(torch.equal(each, frozen[name]) for name, each in agent.model.named_parameters() if name in frozen)


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes(kind: Any, log_file: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'gama'\. Did you mean 'gamma'"):
        kind.from_log(log_file, "letters", gama=0.9)
    with pytest.raises(ValueError, match=r"expected gamma of at most 1, got 1\.5"):
        kind.from_log(log_file, "letters", gamma=1.5)
    alone = kind(load_language_model("letters"))
    with pytest.raises(DataError, match="expected a log to learn from, got none"):
        alone.learn(1)
    (tmp_path / "long.jsonl").write_text(json.dumps({"state": "a", "action": "ab" * 400, "reward": 1}) + "\n")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="use a model with a longer one"):
        kind.from_log(tmp_path / "long.jsonl", "letters")
