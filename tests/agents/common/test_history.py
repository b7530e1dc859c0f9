"""The history of an agent: tags of its numbers in loggers, its line about itself, its plot."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.logger import configure

from tests.event_points import scalar_points
from textgym.agents import PPO, supervised_fine_tune
from textgym.agents.common.history import tag_of
from textgym.agents.common.token_pairs import TokenPair
from textgym.agents.fixed import Greedy, Human, Random, Scripted
from textgym.agents.sft import SFT
from textgym.models import load_language_model
from textgym.rewards import WeightedSum

pytestmark = pytest.mark.plots

ITERATION = 4 * 11  # tokens


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("reward", "rollout/reward"),
        ("reward/total", None),  # the same number as "reward"
        ("reward/rougeL", None),  # and so is the only reward, under its own name
        ("reward/short", "rollout/reward/short"),
        ("kl", "rollout/kl"),
        ("cut", "rollout/cut"),
        ("entropy", "train/entropy"),
        ("epsilon", "train/epsilon"),  # of an agent of somebody else
        ("tokens_per_second", "time/tokens_per_second"),
        ("timesteps", None),
    ],
)
def test_a_tag_says_where_a_number_comes_from(name: str, tag: str | None) -> None:
    assert tag_of(name, "rougeL") == tag


def wanted(agent: Any, own: str | None) -> list[tuple[str, int, float]]:
    return sorted(
        (tag, int(record["timesteps"]), float(np.float32(value)))
        for record in agent.history
        for name, value in record.items()
        if (tag := tag_of(name, own)) is not None
    )


def test_every_iteration_is_in_the_event_file_at_its_own_step(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(env={"reward": "rouge"}, tensorboard_log=str(tmp_path))
    agent.learn(3 * ITERATION)
    points = scalar_points(tmp_path)
    assert points == wanted(agent, "rougeL")
    assert {step for _, step, _ in points} == {ITERATION, 2 * ITERATION, 3 * ITERATION}


def test_no_number_has_two_tags(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(env={"reward": "rouge"}, tensorboard_log=str(tmp_path))
    agent.learn(ITERATION)
    tags = {tag for tag, _, _ in scalar_points(tmp_path)}
    assert not {tag for tag in tags if tag.startswith("textgym/") or "ep_rew" in tag or "fps" in tag}
    assert Counter(tag.rpartition("/")[2] for tag in tags).most_common(1)[0][1] == 1
    equal = Counter(value for tag, _, value in scalar_points(tmp_path) if "reward" in tag and "std" not in tag)
    assert equal.most_common(1)[0][1] == 1


def test_parts_of_a_reward_are_logged_by_name(make_agent: Any, tmp_path: Path) -> None:
    reward = WeightedSum({"overlap": (1.0, "rouge"), "nothing": (1.0, "none")})
    agent = make_agent(env={"reward": reward}, tensorboard_log=str(tmp_path))
    agent.learn(ITERATION)
    tags = {tag for tag, _, _ in scalar_points(tmp_path)}
    assert {tag for tag in tags if "reward/" in tag} == {"rollout/reward/overlap", "rollout/reward/nothing"}


def test_a_table_of_numbers_has_a_row_per_iteration(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent()
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(2 * ITERATION)
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert [int(row["time/total_timesteps"]) for row in rows] == [ITERATION, 2 * ITERATION]
    for row, record in zip(rows, agent.history, strict=True):
        assert float(row["rollout/kl"]) == record["kl"]
        assert float(row["train/grad_norm"]) == record["grad_norm"]


def test_only_the_iterations_that_are_asked_for_are_logged(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(tensorboard_log=str(tmp_path))
    agent.learn(4 * ITERATION, log_interval=2)
    assert {step for _, step, _ in scalar_points(tmp_path)} == {2 * ITERATION, 4 * ITERATION}


def test_a_learning_that_goes_on_doubles_nothing(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(tensorboard_log=str(tmp_path))
    agent.learn(2 * ITERATION)
    agent.learn(ITERATION, reset_num_timesteps=False)
    tags = Counter((tag, step) for tag, step, _ in scalar_points(tmp_path))
    assert set(tags.values()) == {1}
    assert {step for _, step in tags} == {ITERATION, 2 * ITERATION, 3 * ITERATION}


# ------------------------------------------------------------------- repr, plot
def test_an_agent_says_what_it_is(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(env={"reward": "rouge"})
    shown = repr(agent)
    assert shown.startswith("<PPO: model ")
    for part in (
        "M parameters), task ",
        "on list (train: 7 examples)",
        "reward rougeL",
        "8 new tokens",
        "4 environments",
    ):
        assert part in shown
    assert "\n" not in shown
    agent.learn(ITERATION)
    assert f"{ITERATION} steps made" in repr(agent)
    agent.save(tmp_path / "agent")
    assert repr(PPO.load(tmp_path / "agent")).endswith(f"no environment, {ITERATION} steps made>")


def test_numbers_of_steps_to_learn(make_agent: Any, model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sft = SFT(load_language_model(model_folder), [TokenPair([3, 4, 5], [6, 7, 1])])
    for agent in (make_agent(), sft):
        for steps in (0, -5):
            with pytest.raises(ValueError, match=f"expected total_timesteps of at least 1, got {steps}"):
                agent.learn(steps)
        with pytest.raises(TypeError, match="expected a whole number as total_timesteps, got 'many'"):
            agent.learn("many")
        agent.learn(1)
        made = agent.num_timesteps
        agent.learn(1, reset_num_timesteps=False)
        assert not caplog.records
        agent.learn(1)
        agent.learn(1)
        (said,) = caplog.messages
        assert f"counted from 0; {2 * made} steps were made before" in said
        caplog.clear()


def test_other_agents_say_what_they_are(model_folder: Path) -> None:
    model = load_language_model(model_folder)
    agent = SFT(model, [TokenPair([3, 4, 5], [6, 7, 1])])
    assert repr(agent).startswith(f"<SFT: model {model_folder} (")
    assert repr(Greedy(model)) == f"<Greedy: model {model_folder}>"
    assert repr(Random(4096)) == "<Random: one of 4,096 tokens>"
    assert repr(Scripted()) == "<Scripted: first-sentence>"
    assert repr(Scripted(lambda texts: texts)) == "<Scripted: a function>"
    assert repr(Human()) == "<Human: a person at the terminal>"
    assert isinstance(supervised_fine_tune(model, agent.pairs, steps=1), list)


def test_an_agent_plots_its_history(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(env={"reward": "rouge"})
    assert len(agent.plot().axes) == 1  # nothing learned yet: an empty plot says so
    agent.learn(2 * ITERATION)
    figure = agent.plot(tmp_path / "curves.png")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "Reward of training texts", "True quality, which nothing learns from", "KL to the reference model",
        "Length of texts", "Entropy of the next token", "Finished texts",
    ]  # fmt: skip
    assert figure.axes[0].get_ylabel() == "reward: rougeL"
    reward = figure.axes[0].lines[0]
    assert list(reward.get_xdata()) == [ITERATION, 2 * ITERATION]
    assert list(reward.get_ydata()) == [record["reward"] for record in agent.history]
    for image in ((tmp_path / "curves.png").read_bytes(), figure._repr_png_()):  # the second is what a notebook shows
        assert image.startswith(b"\x89PNG")


def test_so_does_supervised_fine_tuning(model_folder: Path) -> None:
    agent = SFT(load_language_model(model_folder), [TokenPair([3, 4, 5], [6, 7, 1])] * 4, batch_size=2, log_every=2)
    agent.learn(4)
    (axes,) = agent.plot().axes
    assert axes.get_title() == "Training loss"
    assert list(axes.lines[0].get_ydata()) == [record["loss"] for record in agent.history]
