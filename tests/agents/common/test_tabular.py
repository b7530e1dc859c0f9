"""What Q-learning and SARSA share: exploration, step sizes, records, and going on bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents.common.health import concerns
from textgym.agents.common.q_table import state_of, states_of
from textgym.agents.common.tabular import TabularAgent
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.q_learning import QLearning
from textgym.agents.sarsa import SARSA
from textgym.errors import CheckpointError

KINDS = [QLearning, SARSA]


def spelling(n_envs: int = 4, seed: int = 0, **arguments: Any) -> Any:
    return make_vec_env("TextSpell-v0", n_envs, seed, **{"difficulty": "easy", **arguments})


def tensors(agent: TabularAgent) -> dict[str, torch.Tensor]:
    return dict(agent.get_state().tensors)


def equal(left: TabularAgent, right: TabularAgent) -> bool:
    one, other = tensors(left), tensors(right)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stop(BaseCallback):
    """Saves, and ends training, within an iteration."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.steps:
            self.model.save(self.folder)
        return self.num_timesteps < self.steps


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_table(kind: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)
        np.random.seed(99)
        runs.append(kind(spelling(seed=77), seed=seed))
        runs[-1].learn(80)
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


@pytest.mark.parametrize("kind", KINDS)
def test_resume_goes_on_bit_for_bit_also_from_within_an_iteration(kind: Any, tmp_path: Path) -> None:
    options = {"exploration": "softmax", "step_size": "visits", "n_steps": 5}
    run = kind(spelling(), seed=1, **options)
    run.learn(200)
    stopped = kind(spelling(), seed=1, **options)
    stopped.learn(200, callback=Stop(tmp_path / "saved", 72))
    again = kind.load(tmp_path / "saved", env=spelling(seed=5))
    assert (again.num_timesteps, len(again.history)) == (60, 3)  # the beginning of the fourth iteration of 20
    again.learn(200 - again.num_timesteps, reset_num_timesteps=False)
    assert equal(run, again)
    for ours, theirs in zip(run.history, again.history, strict=True):
        assert {**ours, "tokens_per_second": 0} == {**theirs, "tokens_per_second": 0}


def test_a_broken_step_leaves_the_state_at_the_beginning_of_its_iteration() -> None:
    def fails(prompts: Any, responses: Any, examples: Any) -> list[float]:
        if len(calls) > 3:
            raise RuntimeError("no reward today")
        calls.append(1)
        return [1.0 for _ in responses]

    calls: list[int] = []
    agent = QLearning(spelling(reward=fails), n_steps=2, seed=0)
    with pytest.raises(RuntimeError, match="no reward today"):
        agent.learn(800)
    calls.clear()
    again = QLearning(spelling(reward=fails), n_steps=2, seed=0)
    again.set_state(agent.get_state())
    assert again.num_timesteps == len(agent.history) * 8 == 32
    assert equal(again, agent)


def test_exploration_and_step_sizes_follow_their_schedules() -> None:
    agent = QLearning(spelling(), epsilon=0.8, final_epsilon=0.2, step_size="linear", learning_rate=0.5, n_steps=5)
    agent.learn(40)  # two iterations of 20
    assert [record["epsilon"] for record in agent.history] == pytest.approx([0.5, 0.2])
    # Step k of 10 makes its updates at progress k / 10.
    assert [record["learning_rate"] for record in agent.history] == pytest.approx([0.5 * 0.7, 0.5 * 0.2])
    agent = QLearning(spelling(), exploration="softmax", temperature=2.0, final_temperature=1.0, n_steps=5)
    agent.learn(40)
    assert [record["temperature"] for record in agent.history] == pytest.approx([1.5, 1.0])
    agent = QLearning(spelling(), step_size="visits", learning_rate=1.0, visit_power=0.5)
    assert [
        agent._move(agent.table.see([state_of([9])], np.ones((1, 9), dtype=bool))[0], 2, 1.0) for _ in range(3)
    ] == (pytest.approx([1.0, 2**-0.5, 3**-0.5]))


def test_acting_is_greedy_or_explores() -> None:
    env = spelling(1)
    agent = QLearning(env, epsilon=0.5, final_epsilon=0.5)
    agent.learn(8)
    observed = env.reset()
    legal = env.env_method("action_masks")[0]
    (row,) = agent.table.see(states_of(observed), legal[None]).tolist()
    best = int(np.flatnonzero(legal)[1])
    agent.table.update(row, best, 9.0, 1.0)
    many = {name: np.repeat(array, 400, axis=0) for name, array in observed.items()}
    assert set(agent.act(many, greedy=True).tolist()) == {best}
    drawn = agent.act(many, generator=torch.Generator().manual_seed(0))
    assert (drawn == best).mean() == pytest.approx(0.5 + 0.5 / 3, abs=0.1)
    assert set(drawn.tolist()) <= set(np.flatnonzero(legal).tolist())


def test_lengths_and_texts_are_counted_from_the_steps() -> None:
    agent = QLearning(spelling(n_envs=3), n_steps=3)  # texts of two letters: one and a half per environment
    agent.learn(18)
    assert [record["texts"] for record in agent.history] == [3.0, 6.0]
    assert [record["length"] for record in agent.history] == [2.0, 2.0]


def test_a_text_that_a_limit_cut_goes_on_in_its_value() -> None:
    agent = QLearning(spelling(2))
    observed = {name: array[0] for name, array in agent.env.reset().items()}  # type: ignore[union-attr]
    (state,) = states_of({name: array[None] for name, array in observed.items()})
    row = int(agent.table.see([state], np.ones((1, 9), dtype=np.bool_))[0])
    agent.table.update(row, 3, 0.7, 1.0)
    infos: list[dict[str, Any]] = [{"TimeLimit.truncated": True, "terminal_observation": observed}, {}]
    assert agent._values_of_cut(np.array([True, True]), infos).tolist() == [0.7, 0.0]


def test_it_warns_where_states_are_not_seen_again() -> None:
    (sign,) = concerns([{"states": 1200.0, "new_states": 0.95}])
    assert sign[0] == "states"
    assert "almost every text so far is new to the table, which has 1,200 of them" in sign[1]
    agent = QLearning(spelling(), n_steps=40, final_epsilon=1.0)
    agent.learn(160)
    assert list(concerns(agent.history)) == []
    assert agent.history[0]["states"] == 20.0
    assert agent.history[0]["new_states"] == pytest.approx((20 - 3) / 160, abs=0.02)  # all but the first prompts'


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": 1.5}, "gamma of at most 1, got 1.5"),
        ({"learning_rate": 0.0}, "learning_rate above 0, got 0"),
        ({"step_size": "slow"}, "step_size 'constant', 'linear' or 'visits', got 'slow'"),
        ({"exploration": "none"}, "exploration 'epsilon_greedy' or 'softmax', got 'none'"),
        ({"n_steps": 0}, "n_steps of at least 1, got 0"),
        ({"temperature": -1.0}, "temperature of at least 0, got -1"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"expected {words}"):
        QLearning(None, **options)


def test_without_an_environment_it_only_acts(tmp_path: Path) -> None:
    agent = QLearning(spelling())
    agent.learn(16)
    agent.save(tmp_path / "agent")
    alone = QLearning.load(tmp_path / "agent")
    observed = agent.env.reset()  # type: ignore[union-attr]
    assert alone.act(observed, greedy=True).tolist() == agent.act(observed, greedy=True).tolist()
    with pytest.raises(ValueError, match="expected an environment to learn in, got none"):
        alone.learn(1)
    with pytest.raises(CheckpointError, match="expected 4 environments, got 3"):
        QLearning.load(tmp_path / "agent", env=spelling(3))
    with pytest.raises(CheckpointError, match="expected an environment of 9 tokens"):
        QLearning.load(tmp_path / "agent", env=spelling(model="tiny"))
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of textgym\.SARSA"):
        SARSA.load(tmp_path / "agent")
