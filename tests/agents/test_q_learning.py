"""Q-learning finds the optimal values of a small task, off-policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from textgym.agents.common.q_table import state_of
from textgym.agents.common.sweeps import TextTree, text_tree, value_iteration
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.q_learning import QLearning
from textgym.errors import DataError

GAMMA = 0.9


def tree_of(**arguments: Any) -> TextTree:
    env: Any = gym.make("TextSpell-v0", **arguments)
    data = env.unwrapped.task.dataset
    return text_tree(env, [data[place].key for place in range(len(data))])


def test_a_step_by_hand() -> None:
    """Q('', a) <- Q + 0.5 (0 + 0.9 max(0, 1) - Q) once 'b' behind 'a' is known to be worth 1."""
    agent = QLearning(make_vec_env("TextSpell-v0", 1, 0, data=["ab"], density="sparse"), gamma=GAMMA, epsilon=1.0)
    agent.learn(60)
    values = {ids: agent.table.values_of([state_of(ids)])[0] for ids in [(2, 3, 8), (2, 3, 8, 2), (2, 3, 8, 3)]}
    assert values[2, 3, 8, 2][3] == pytest.approx(1.0, abs=1e-2)  # 'b' behind 'a' is paid
    assert values[2, 3, 8][2] == pytest.approx(0.9, abs=1e-2)
    assert values[2, 3, 8][3] == values[2, 3, 8, 3][2] == values[2, 3, 8, 3][3] == 0.0


@pytest.mark.parametrize("exploration", ["epsilon_greedy", "softmax"])
@pytest.mark.parametrize("density", ["sparse", "deceptive"])
def test_it_learns_the_optimal_values(exploration: Any, density: str) -> None:
    env = make_vec_env("TextSpell-v0", 16, 0, difficulty="easy", density=density)
    agent = QLearning(env, gamma=GAMMA, learning_rate=1.0, exploration=exploration, seed=0)
    agent.learn(1600)
    tree = tree_of(difficulty="easy", density=density)
    learned = agent.table.values_of([state_of(ids) for ids in tree.states])
    exact = value_iteration(tree, GAMMA)
    np.testing.assert_allclose(learned[tree.legal], exact[tree.legal], rtol=0, atol=1e-2)


def test_it_learns_the_optimal_values_whatever_it_tries() -> None:
    """Off-policy: with random tokens to the end the values are the same, though no text gets better."""
    env = make_vec_env("TextSpell-v0", 16, 0, difficulty="easy", density="sparse")
    agent = QLearning(env, gamma=GAMMA, learning_rate=1.0, epsilon=1.0, final_epsilon=1.0, seed=1)
    agent.learn(1600)
    tree = tree_of(difficulty="easy", density="sparse")
    learned = agent.table.values_of([state_of(ids) for ids in tree.states])
    np.testing.assert_allclose(learned[tree.legal], value_iteration(tree, GAMMA)[tree.legal], rtol=0, atol=1e-2)
    assert np.mean([record["reward"] for record in agent.history[-10:]]) < 0.5


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """All texts about one word, a letter at a time; of "b" behind "b" nobody has told."""
    rows = []
    for number, text in enumerate(("aa", "ab", "ba")):
        rows.append({"episode": number, "step": 0, "state": "ab=", "action": text[0], "reward": 0.0})
        rows.append({"episode": number, "step": 1, "state": f"ab={text[0]}", "action": text[1], "reward": text == "ab"})
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({**row, "reward": float(row["reward"])}) + "\n" for row in rows))
    return path


def test_a_log_is_enough(log_file: Path, tmp_path: Path) -> None:
    """No environment: the values of what was tried are exact, and nothing is said about the rest."""
    agent = QLearning.from_log(log_file, gamma=GAMMA, learning_rate=1.0)
    agent.learn(2000)
    end = 1  # an action that ended its text by itself ends with the end-of-text token, which is discounted, too
    values = {ids: agent.table.values_of([state_of(ids)])[0] for ids in [(2, 3, 8), (2, 3, 8, 2), (2, 3, 8, 2, 3)]}
    assert values[2, 3, 8, 2, 3][end] == 1.0
    assert values[2, 3, 8, 2][[2, 3]].tolist() == pytest.approx([0.0, 0.9])
    assert values[2, 3, 8][[2, 3]].tolist() == pytest.approx([0.81, 0.0])
    assert agent.history[-1].keys() >= {"td_error", "states", "timesteps"}
    agent.save(tmp_path / "agent")
    again = QLearning.load(tmp_path / "agent")
    for each in (agent, again):
        each.learn(64, reset_num_timesteps=False)
    assert all(map(torch.equal, agent.get_state().tensors.values(), again.get_state().tensors.values()))


def test_a_log_for_an_environment(log_file: Path) -> None:
    """The budget of two letters ends a text, as it does there; the states are those that the environment shows."""
    env = make_vec_env("TextSpell-v0", 2, 0, data=["ab"], density="sparse")
    agent = QLearning.create(env, log=str(log_file), gamma=GAMMA, learning_rate=1.0)
    agent.learn(2000)
    observed, rewards = env.reset(), np.zeros(2)
    assert agent.table.values_of([state_of((2, 3, 8))])[0][2] == pytest.approx(0.9)
    for _ in range(2):
        observed, paid, _, _ = env.step(agent.act(observed, greedy=True))
        rewards = rewards + paid
    assert rewards.tolist() == [1.0, 1.0]


def test_logs_that_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"state": "ab=", "action": "", "reward": 1, "finish_reason": "length"}\n')
    with (
        pytest.warns(UserWarning, match="one of their actions is empty"),
        pytest.raises(DataError, match="got 1 episodes"),
    ):
        QLearning.from_log(path)
