"""Decentralized Policy Optimization: what agents are shown, what they learn, and the same in as many processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from tests.process_groups import run_ranks
from textgym.agents import agent_options
from textgym.agents.common.distributed import Communicator
from textgym.agents.common.lock_step import in_lock_step
from textgym.agents.decentralized_po import DecentralizedPO
from textgym.errors import CheckpointError, DataError
from textgym.models.loading import load_language_model

ENVS = 16


def make(envs: int = ENVS, difficulty: str = "easy", **options: Any) -> DecentralizedPO:
    env = gym.make_vec("TextSpellEpisode-v0", num_envs=envs, difficulty=difficulty)
    return DecentralizedPO.create(env, "letters", seed=3, **{"learning_rate": 3e-3, **options})


def weights(agent: DecentralizedPO, number: int) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in agent.members[number].parameters])


def test_what_each_agent_is_shown() -> None:
    agent = make()
    assert agent.cue == "="
    shown, drafts = ["ab=", "ca="], ["ba", "ac"]
    assert [prompt.text for prompt in agent._asked(shown, None)] == ["ab=", "ca="]
    assert [prompt.text for prompt in agent._asked(shown, drafts)] == ["ab=ba=", "ca=ac="]
    assert [prompt.text for prompt in make(sees="draft")._asked(shown, drafts)] == ["ba=", "ac="]
    texts = agent.act(shown, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    first = agent.members[0].write(agent._asked(shown, None), False, generator).texts
    assert texts == agent.members[1].write(agent._asked(shown, first), False, generator).texts
    assert agent.act(shown, greedy=True) == agent.act(shown, greedy=True)


@pytest.mark.parametrize("sees", ["all", pytest.param("draft", marks=pytest.mark.slow)])
def test_two_agents_learn_to_spell_together(sees: str) -> None:
    agent = make(32, sees=sees)
    agent.learn(32 * 25)
    rewards = [row["reward"] for row in agent.history]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2
    last = agent.history[-1]
    assert {"agent0/step_kl", "agent1/beta_sqrt", "agent1/entropy", "reward", "success", "texts"} <= last.keys()
    assert last["timesteps"] == agent.num_timesteps == 32 * 25
    assert last["tokens"] == pytest.approx(32 * (last["agent0/length"] + last["agent1/length"]))
    assert not torch.equal(weights(agent, 0), weights(agent, 1))


@pytest.mark.slow
def test_as_many_ranks_do_the_same_bit_for_bit(tmp_path: Path) -> None:
    together = make().learn(3 * ENVS)

    def work(ranks: Communicator) -> DecentralizedPO:
        agent = make().learn(3 * ENVS)
        agent.save(tmp_path / "apart")
        return agent

    apart = in_lock_step(2, work)
    for rank, agent in enumerate(apart):
        assert agent.history == apart[0].history == together.history
        for number in (0, 1):  # its own, and the other as it is known at the end
            assert torch.equal(weights(agent, number), weights(together, number)), (rank, number)
    resumed = DecentralizedPO.load(tmp_path / "apart", env=make().env, device="cpu")
    for agent in (together, resumed):
        agent.learn(ENVS, reset_num_timesteps=False)
    assert resumed.history == together.history
    assert torch.equal(weights(resumed, 1), weights(together, 1))


def test_nothing_but_texts_and_rewards_is_told_while_agents_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(ranks: Communicator) -> list[list[Any]]:
        told: list[list[Any]] = []
        tell = ranks.all_gather_json

        def watched(value: Any) -> list[Any]:
            found = tell(value)
            told.append(found)
            return found

        agent = make()
        monkeypatch.setattr(ranks, "all_gather_json", watched)
        monkeypatch.setattr(agent, "_gather", lambda: None)
        agent.learn(ENVS)
        return told

    told, _ = in_lock_step(2, work)
    drafts, edits, rewards, records = told
    assert [len(each) for each in (drafts[0], edits[1], rewards[0])] == [ENVS] * 3
    assert all(isinstance(text, str) for text in drafts[0] + edits[1])
    assert [set(each) for each in records] == [{"0"}, {"1"}]
    assert "loss" in json.loads(json.dumps(records[1]))["1"]


def test_an_error_of_the_environment_leaves_the_state_of_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    agent = make().learn(2 * ENVS)
    agent.save(tmp_path / "before")
    step = agent.env.step

    def broken(texts: Any) -> Any:
        raise OSError("gone")

    monkeypatch.setattr(agent.env, "step", broken)
    with pytest.raises(OSError, match="gone"):
        agent.learn(ENVS, reset_num_timesteps=False)
    agent.save(tmp_path / "after")
    monkeypatch.setattr(agent.env, "step", step)
    first, second = (json.loads((tmp_path / name / "state.json").read_text()) for name in ("before", "after"))
    assert first == second
    again = DecentralizedPO.load(tmp_path / "after", env=make().env, device="cpu").learn(
        ENVS, reset_num_timesteps=False
    )
    once = DecentralizedPO.load(tmp_path / "before", env=make().env, device="cpu").learn(
        ENVS, reset_num_timesteps=False
    )
    assert again.history == once.history


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected sees of all, draft, got 'none'"):
        make(sees="none")
    with pytest.raises(ValueError, match="expected agents"):
        make(agents=1)
    with pytest.raises(ValueError, match="expected kl_target"):
        make(kl_target=0.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'clip_range'"):
        make(clip_range=0.2)
    with pytest.raises(ValueError, match="expected a task of one turn"):
        DecentralizedPO.create(gym.make_vec("TextChatEpisode-v0", num_envs=2), "tiny")
    with pytest.raises(ValueError, match="expected 1 or 2 processes, one for each agent, got 3"):
        in_lock_step(3, lambda ranks: make())
    with pytest.raises(TypeError, match="expected the name of a model"):
        DecentralizedPO.create(make().env, load_language_model("letters"))
    with pytest.raises(DataError, match="expected an environment to learn in"):
        DecentralizedPO([member.model for member in make().members], max_prompt_tokens=8, max_new_tokens=2).learn(1)
    agent = make()
    state = agent.get_state()
    other = state._replace(record={**state.record, "members": "two"})
    with pytest.raises(CheckpointError):
        agent.set_state(other)


def test_its_options() -> None:
    names = {option.name for option in agent_options(DecentralizedPO)}
    assert {"agents", "sees", "beta_sqrt", "beta_kl", "sqrt_kl_target", "kl_target", "lora_rank"} <= names
    assert not names & {"models", "cue", "max_prompt_tokens", "max_new_tokens", "env"}


def train_in_processes(folder: Path) -> list[dict[str, float]]:
    agent = make().learn(3 * ENVS)
    agent.save(folder / "agents")
    return agent.history


@pytest.mark.slow
def test_processes_do_the_same_bit_for_bit(tmp_path: Path) -> None:
    found = run_ranks(2, f"{__name__}:train_in_processes", tmp_path)
    together = make().learn(3 * ENVS)
    assert found == [together.history] * 2
    loaded = DecentralizedPO.load(tmp_path / "agents")
    assert all(torch.equal(weights(loaded, number), weights(together, number)) for number in (0, 1))
