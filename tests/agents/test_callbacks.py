"""Callbacks get every record of an agent once, whatever the agent is, and send it on under the usual names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.event_points import scalar_points
from textgym.agents import FunctionCallback, TensorBoardCallback, WandbCallback, make_vec_env
from textgym.agents.q_learning import QLearning
from textgym.agents.registry import resolve_agent
from textgym.errors import MissingExtraError
from textgym.history import History


class Board:
    """Stands in for a run of Weights & Biases."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False

    def log(self, data: dict[str, float], step: int) -> None:
        self.logged.append((step, data))

    def finish(self) -> None:
        self.is_finished = True


class Library:
    """Stands in for the package wandb."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.run = Board()

    def init(self, **given: Any) -> Board:
        self.begun.append(given)
        return self.run


def learner() -> QLearning:
    return QLearning(make_vec_env("TextSpell-v0", 2, 0), seed=0)


def test_every_record_is_sent_once_in_its_order() -> None:
    sent: list[Mapping[str, float]] = []
    agent = learner()
    agent.learn(20, callback=FunctionCallback(sent.append))
    assert len(agent.history) > 1
    assert sent == agent.history
    agent.learn(20, callback=FunctionCallback(sent.append), reset_num_timesteps=False)
    assert sent == agent.history  # and not those of before again


def test_a_new_training_is_sent_from_its_first_record() -> None:
    sent: list[Mapping[str, float]] = []
    agent, callback = learner(), FunctionCallback(sent.append)
    agent.learn(40, callback=callback)
    sent.clear()
    agent.learn(20, callback=callback)
    assert sent == agent.history


@pytest.mark.parametrize("name", ["ppo", "reinforce", "dqn", "sft", "a2c"])
def test_agents_of_every_kind_send_their_last_record_too(name: str) -> None:
    sent: list[Mapping[str, float]] = []
    options = {"train_freq": 12} if name == "dqn" else {"batch_size": 4} if name == "sft" else {"n_steps": 6}
    kind: Any = resolve_agent(name)
    options = {} if name == "reinforce" else options
    agent = kind.create(make_vec_env("TextSpell-v0", 2, 0, model="letters"), "letters", seed=0, device="cpu", **options)
    agent.learn(12 if name != "sft" else 3, callback=FunctionCallback(sent.append))
    assert isinstance(agent.history, History)
    assert agent.history
    assert sent == agent.history


def test_a_run_of_wandb_gets_the_names_of_tensorboard() -> None:
    board, agent = Board(), learner()
    agent.learn(20, callback=WandbCallback(run=board))
    assert [step for step, _ in board.logged] == [int(record["timesteps"]) for record in agent.history]
    assert board.logged[0][1]["rollout/reward"] == agent.history[0]["reward"]
    assert "timesteps" not in board.logged[0][1]
    assert not board.is_finished  # whoever began it ends it


def test_a_run_that_the_callback_begins_ends_with_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    library, agent = Library(), learner()
    monkeypatch.setitem(sys.modules, "wandb", library)  # type: ignore[arg-type]
    callback = WandbCallback("spelling", name="first", config={"seed": 0})
    assert library.begun == []  # only with the training
    agent.learn(20, callback=callback)
    assert library.begun == [{"project": "spelling", "name": "first", "config": {"seed": 0}}]
    assert len(library.run.logged) == len(agent.history)
    assert library.run.is_finished


def test_without_wandb_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textgym\[wandb\]'"):
        WandbCallback("spelling")


def test_tensorboard_gets_every_record(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    agent = learner()
    agent.learn(20, callback=TensorBoardCallback(tmp_path))
    written = [(step, value) for tag, step, value in scalar_points(tmp_path) if tag == "rollout/reward"]
    assert dict(written) == pytest.approx({record["timesteps"]: record["reward"] for record in agent.history})
