"""Settings of commands: plain values, sensible numbers, and names that still mean the same in another folder."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.agents import PPO, agent_options
from textgym.agents.reinforce import REINFORCE
from textgym.cli.generate import GenerateSettings
from textgym.cli.play import PlaySettings
from textgym.envs.choice import EnvChoice, with_budgets
from textgym.reward_models import PreferenceRewardModel
from textgym.rlhf.demo import training_of
from textgym.rlhf.settings import DEMO, RLHF, DemoSettings, RlhfSettings
from textgym.tasks import Summarization
from textgym.training.evaluate import EvaluateSettings
from textgym.training.reward import RewardSettings
from textgym.training.run_folder import RunFolder
from textgym.training.stored_settings import located, stable_name
from textgym.training.train_settings import TrainSettings, train_settings

sft_settings = partial(train_settings, agent="sft")
BUDGETS = ("max_prompt_tokens", "max_new_tokens")
COUNTS: dict[Any, tuple[str, ...]] = {
    EvaluateSettings: ("prompts", *BUDGETS),
    GenerateSettings: ("prompts", "n", *BUDGETS),
    PlaySettings: ("choices", "episodes", *BUDGETS),
    RewardSettings: ("pairs", "epochs", "batch_size", *BUDGETS),
    sft_settings: ("steps", "batch_size", "limit", "eval_prompts", *BUDGETS),
    train_settings: ("steps", "n_envs", "n_steps", "n_epochs", "micro_batch_size", "lora_rank", "save_every", *BUDGETS),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in COUNTS.items() for name in names])
def test_counts_are_whole_numbers_of_at_least_1(kind: Any, name: str) -> None:
    for wrong in (0, -3):
        with pytest.raises(ValueError, match=rf"expected {name} of at least 1, got {wrong}; "):
            kind(EnvChoice(), **{name: wrong})
    for wrong in (1.5, "3", True):
        with pytest.raises(TypeError, match=f"expected a whole number as {name}, got "):
            kind(EnvChoice(), **{name: wrong})


@pytest.mark.parametrize(
    ("kind", "name", "wrong"),
    [
        (train_settings, "learning_rate", 0),
        (train_settings, "learning_rate", math.nan),
        (train_settings, "kl_target", 0.0),
        (train_settings, "kl_coef", -1),
        (train_settings, "gae_lambda", 7),
        (train_settings, "vf_coef", math.inf),
        (train_settings, "batch_size", 1),
        (train_settings, "seed", -1),
        (train_settings, "seed", 2**32),
        (EvaluateSettings, "temperature", -0.1),
        (GenerateSettings, "document", " "),
        (RewardSettings, "noise", -1),
        (RewardSettings, "held_out", 1),
        (RewardSettings, "pairs", 1),
        (sft_settings, "minutes", 0),
        (sft_settings, "minutes", math.inf),
    ],
)
def test_numbers_out_of_range(kind: Any, name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"expected .*, got "):
        kind(EnvChoice(), **{name: wrong})


def test_a_kl_coefficient_of_0_has_no_target() -> None:
    with pytest.raises(ValueError, match=r"expected kl_coef above 0 with kl_target=6.0, .* got 0;"):
        train_settings(EnvChoice(), kl_coef=0, kl_target=6.0)
    assert train_settings(EnvChoice(), kl_coef=0).options == {"kl_coef": 0}


def test_the_demo_checks_its_numbers_too() -> None:
    with pytest.raises(ValueError, match="expected seed of at least 0, got -1"):
        DemoSettings(seed=-1)


def test_defaults_are_those_that_are_documented() -> None:
    fit, loop, demo = RewardSettings(EnvChoice()), RlhfSettings(EnvChoice()), DemoSettings()
    assert fit.fit_options() == {"epochs": 1, "batch_size": 16, "learning_rate": 1e-4}
    for each in (loop, demo):
        assert (each.reward_epochs, each.reward_learning_rate) == (1, 1e-4)
        assert (each.n_envs, each.eval_prompts, each.kl_coef) == (64, 320, 0.02)
    assert (loop.learning_rate, demo.learning_rate) == (2e-4, 4e-4)
    learn = inspect.signature(PreferenceRewardModel.learn).parameters
    assert {name: learn[name].default for name in fit.fit_options()} == fit.fit_options()


@pytest.mark.parametrize("agent", [PPO, REINFORCE])
def test_what_agents_share_has_one_default(agent: type[PPO | REINFORCE]) -> None:
    defaults = {option.name: option.default for option in agent_options(agent)}
    shared = {"learning_rate": 1e-4, "batch_size": 768, "vf_coef": 0.1, "kl_coef": 0.05, "ent_coef": 0.0}
    assert {name: defaults[name] for name in shared} == shared


@pytest.mark.parametrize("recipe", [RLHF, DEMO])
def test_a_recipe_holds_what_differs_from_the_defaults_of_the_agent_and_nothing_else(recipe: dict[str, float]) -> None:
    defaults = {option.name: option.default for option in agent_options(PPO)}
    assert {name for name, value in recipe.items() if defaults[name] == value} == set()
    values = {name: value for name, value in recipe.items() if name != "learning_rate"}
    assert values == {"kl_coef": 0.02, "n_epochs": 2, "gae_lambda": 1.0, "scale_rewards": True}


def test_the_demo_trains_with_its_recipe(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "demo", {})
    settings = training_of(run, DemoSettings(kl_coef=0.1), EnvChoice())
    assert settings.options == {**DEMO, "kl_coef": 0.1}
    assert settings.steps == 18 * 64 * 48


def test_numpy_numbers_and_paths_become_plain(tmp_path: Path) -> None:
    settings = train_settings(
        EnvChoice(data=tmp_path / "x.jsonl"),  # type: ignore[arg-type]
        model=tmp_path,  # type: ignore[arg-type]
        steps=np.int64(3),  # type: ignore[arg-type]
        learning_rate=np.float32(0.5),  # type: ignore[arg-type]
    )
    expected = train_settings(EnvChoice(data=f"{tmp_path}/x.jsonl"), model=str(tmp_path), steps=3, learning_rate=0.5)
    assert json.dumps(asdict(settings)) == json.dumps(asdict(expected))
    assert RunFolder.create(tmp_path / "run", "train", asdict(settings)).config()["settings"] == asdict(expected)


def test_local_files_are_stored_by_absolute_paths(tmp_path: Path) -> None:
    for name in ("notes.jsonl", "pairs.jsonl"):
        Path(name).write_text("{}")
    for name in ("policy", "judge", "tiny", "rouge", "reports"):  # the last three are names of our own
        Path(name).mkdir()
    choice = EnvChoice(data="notes.jsonl")
    train = located(train_settings(choice, model="policy", reward="judge"))
    here = str(tmp_path.resolve())
    assert (train.choice.data, train.model, train.reward) == (f"{here}/notes.jsonl", f"{here}/policy", f"{here}/judge")
    assert located(RewardSettings(choice, feedback="pairs.jsonl")).feedback == f"{here}/pairs.jsonl"
    named = train_settings(EnvChoice(data="reports"), model="tiny", reward="rouge")
    assert located(named) == named
    foreign = replace(named, choice=EnvChoice(data="owner/name"), model="owner/model", reward="module:attribute")
    assert located(foreign) == foreign
    assert stable_name("notes.jsonl") == "notes.jsonl"  # a model is a folder


def test_budgets_are_changed_in_a_copy() -> None:
    task = Summarization(split="test")
    smaller = with_budgets(task, 40, None)
    assert (smaller.max_prompt_tokens, smaller.max_new_tokens) == (40, 48)
    assert task.max_prompt_tokens == 512
    assert smaller.dataset is task.dataset
    assert with_budgets(task, None, None) is task


def test_settings_of_earlier_runs_are_read() -> None:
    record = {"choice": {"env_id": "TextSumm-v0"}, "steps": 7, "epochs": 2, "whiten_rewards": True, "n_steps": None}
    settings = TrainSettings.from_json(record)
    assert settings == train_settings(EnvChoice(), steps=7, n_epochs=2, scale_rewards=True)
    assert TrainSettings.from_json(asdict(settings)) == settings
