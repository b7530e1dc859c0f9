"""Options of a task, and the model it starts from: through environments, choices and commands."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import gymnasium as gym
import pytest
from typer.testing import CliRunner, Result

import textgym
from textgym.cli import app as cli
from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, composed, name_of_level
from textgym.envs.choice import EnvChoice
from textgym.tasks import TextTask
from textgym.tasks.options import LEVELS
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import Split


def numbers(split: Split, *, difficulty: str, direction: str) -> GeneratedDataset:
    top = {"easy": 9, "medium": 99, "hard": 999}[difficulty]

    def compose(draws: Draws) -> Item:
        first, second = (draws.whole(top // 10, top) for _ in range(2))
        return Item(f"{first} {second}", f"{first} {second} {direction}", (f"{first + second}",))

    sizes: dict[Split, int] = {"train": 20, "validation": 5, "test": 5}
    return GeneratedDataset(name_of_level("numbers", difficulty, "medium"), split, composed(compose), sizes=sizes)


class Numbers(TextTask):
    name = "numbers"
    options: ClassVar[Any] = {"difficulty": LEVELS, "direction": ("up", "down")}
    difficulty: str
    direction: str
    built_in: ClassVar[Any] = {"numbers": numbers}
    default_data = "numbers"
    model = "tiny-reward"  # another model with a tokenizer that is shipped
    max_new_tokens = 4
    max_prompt_tokens = 16


IDS = textgym.register_task("TestNumbers", Numbers)


@pytest.mark.parametrize("env_id", IDS)
def test_an_environment_hands_its_options_to_the_task(env_id: str) -> None:
    env: Any = gym.make(env_id, difficulty="hard", direction="down")
    prompt = env.unwrapped.task.dataset[0].prompt
    assert prompt.endswith("down")
    assert int(prompt.split()[0]) > 98
    assert env.unwrapped.task.dataset.name == "numbers-hard"
    assert env.unwrapped.task.for_split("test").choices == {"difficulty": "hard", "direction": "down"}
    assert gym.make(env_id).unwrapped.task.choices == {"difficulty": "medium", "direction": "up"}  # type: ignore[attr-defined]
    many: Any = gym.make_vec(env_id, num_envs=2, difficulty="easy")
    assert many.task.difficulty == "easy"


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"difficulty": "hardest"}, ValueError, "expected difficulty='hardest'|out of medium, easy, hard"),
        ({"dificulty": "hard"}, TypeError, "Did you mean 'difficulty'"),
        ({"direction": 3}, ValueError, "out of up, down, got '3'"),
    ],
)
def test_other_options(env_id: str, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gym.make(env_id, **arguments)


def test_the_start_model_is_that_of_the_task() -> None:
    env: Any = gym.make(IDS[0])
    assert env.unwrapped.tokenizer.name == "tiny-reward"
    assert gym.make(IDS[0], model="tiny").unwrapped.tokenizer.name == "tiny"  # type: ignore[attr-defined]
    assert train_settings(EnvChoice(IDS[0])).model == "tiny-reward"
    assert train_settings(EnvChoice(IDS[0]), model="tiny").model == "tiny"
    assert train_settings(EnvChoice()).model == "tiny"


def test_a_choice_with_options_is_stored_and_read() -> None:
    from dataclasses import asdict

    settings = train_settings(EnvChoice(IDS[0], task_options={"difficulty": "hard"}))
    record = json.loads(json.dumps(asdict(settings)))
    assert TrainSettings.from_json(record) == settings
    assert settings.choice.make("test").dataset.name == "numbers-hard"
    assert settings.choice.env_kwargs()["difficulty"] == "hard"
    del record["choice"]["task_options"]  # a run of an earlier version
    assert TrainSettings.from_json(record).choice.task_options == {}
    with pytest.raises(TypeError, match="expected an option of this environment, got 'level'"):
        EnvChoice(IDS[0], task_options={"level": "hard"}).make("test")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def test_commands_take_options(tmp_path: Any) -> None:
    out = str(tmp_path / "run")
    command = ["evaluate", IDS[0], "--agent", "random", "--prompts", "3", "--difficulty", "hard", "--out", out]
    assert run(*command, "--task-option", "direction=down").exit_code == 0
    choice = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["choice"]
    assert choice["task_options"] == {"difficulty": "hard", "direction": "down"}
    wrong = run(*command, "--task-option", "direction")
    assert "expected --task-option NAME=VALUE, got 'direction'" in wrong.output
    shown = "".join(run("envs").output.split())  # whatever the width of the terminal
    assert "difficulty=medium|easy|hard;direction=up|down" in shown
