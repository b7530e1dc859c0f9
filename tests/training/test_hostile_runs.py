"""Run folders that somebody sent: nothing in them is run, and nothing outside of them is touched."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import json
import os
import pkgutil
import shutil
import sys
import typing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import textgym
from textgym.cli import app as cli
from textgym.envs.choice import EnvChoice
from textgym.errors import ConsentError, TextGymError
from textgym.models.checkpoint import write_checkpoint
from textgym.models.loading import load_language_model
from textgym.rlhf.run import run_rlhf_resume
from textgym.rlhf.settings import RlhfSettings
from textgym.security import consent
from textgym.security.consent import FIELDS, names_from
from textgym.training.comparison import ComparisonSettings, comparison_settings, resume_comparison
from textgym.training.evaluate import start_model_of
from textgym.training.reward import RewardSettings, run_reward_resume
from textgym.training.run_facts import list_runs
from textgym.training.run_folder import RunFolder, RunFolderError
from textgym.training.run_report import read_report
from textgym.training.stored_settings import settings_from_json
from textgym.training.train import TrainSettings, resume, run_resume
from textgym.training.train_settings import train_settings

NONSENSE = (
    "{}",
    '{"train": 3, "command": "rlhf", "settings": 3}',
    '{"train": {}, "command": "rlhf"}',
    '{"train": {"choice": {"env_id": 3}}, "command": "rlhf", "settings": {"choice": {"env_id": []}}}',
    '{"train": {"choice": {}, "reward": {}}, "command": "rlhf", "settings": {"choice": {}, "model": 3}}',
)
EVIL = "hostile_module:Thing-v0"
PLAIN_TEXTS = {  # never the name of something in a module
    "agent_options",
    "budget",
    "by",
    "columns",
    "criteria",
    "criterion",
    "critic",
    "data",
    "device",
    "document",
    "embeddings",
    "episodes",
    "feedback",
    "guidelines",
    "host",
    "json_file",
    "mode",
    "model",
    "models",
    "name",
    "out",
    "options",
    "plot",
    "precision",
    "project",
    "prompt_column",
    "prompt_template",
    "reference_column",
    "reference_model",
    "select",
    "split",
    "task_options",
    "title",
    "trl_python",
    "allow_hosts",
}


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that could be imported, and the file that it leaves behind when it is."""
    (tmp_path / "modules").mkdir()
    file = tmp_path / "imported"
    (tmp_path / "modules" / "hostile_module.py").write_text(f"open({str(file)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setattr(consent, "_user_folders", [])
    sys.modules.pop("hostile_module", None)
    yield file
    assert consent._origins == []


@pytest.fixture
def run(lm: str, data: str, tmp_path: Path) -> RunFolder:
    """A training run with a checkpoint that passes its checksum and holds nothing."""
    settings = train_settings(
        EnvChoice("TextSumm-v0", data, "doc", "sum"), model=lm, reward="rouge", n_envs=2, n_steps=4, eval_prompts=2
    )
    run = RunFolder.create(tmp_path / "run", "train", asdict(settings))
    run.write_config({**run.config(), "train": asdict(settings)})
    write_checkpoint(run.checkpoints / "step-0000000048", {"x": torch.zeros(1)}, {"kind": "textgym.PPO"})
    run.__exit__(None, None, None)
    return run


def all_settings() -> list[type]:
    """The classes of settings of all commands."""
    found = []
    for module in pkgutil.walk_packages(textgym.__path__, "textgym."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            if (name.endswith("Settings") or name == "EnvChoice") and dataclasses.is_dataclass(kind):
                found.append(kind)
    return [*{id(kind): kind for kind in found if isinstance(kind, type)}.values()]


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all values in JSON that hold no others."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield place
    else:
        for key, item in items:
            yield from leaves(item, (*place, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    """Return what stands at a place in JSON."""
    return functools.reduce(lambda holder, key: holder[key], place, value)


def changed(value: Any, place: tuple[Any, ...], leaf: Any) -> Any:
    """Return JSON with another value at a place."""
    value = copy.deepcopy(value)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = leaf
    return value


def may_be_text(kind: Any) -> bool:
    return kind is str or any(map(may_be_text, typing.get_args(kind)))


def test_every_text_in_settings_is_a_name_that_needs_consent_or_none() -> None:
    """A new field that names an agent, task, metric or callback has to be entered in `FIELDS`."""
    kinds = all_settings()
    assert {TrainSettings, RlhfSettings, ComparisonSettings, EnvChoice} <= set(kinds)
    texts = {
        name
        for kind in kinds
        for name, annotation in typing.get_type_hints(kind).items()
        if may_be_text(annotation) and typing.get_origin(annotation) is not typing.Literal
    }
    assert texts - FIELDS.keys() - PLAIN_TEXTS == set()
    assert set(FIELDS) - {"script"} <= texts  # which is an option of an agent


sft_settings = functools.partial(train_settings, agent="sft")
compare_settings = functools.partial(comparison_settings, agents=["ppo,sft"], option=["ppo:lr=0.1"])
STORED: list[Any] = [train_settings, sft_settings, RlhfSettings, RewardSettings, compare_settings]


@pytest.mark.parametrize("make", STORED)
def test_no_field_of_stored_settings_is_imported(make: Any, mark: Path) -> None:
    settings = make(EnvChoice())
    kind, record = type(settings), json.loads(json.dumps(asdict(settings)))
    for place in leaves(record):
        named = changed(record, place, EVIL)
        if FIELDS.keys() & set(place):
            with pytest.raises(ConsentError):
                settings_from_json(kind, named)
            with names_from("run", "textgym", [EVIL]):
                settings_from_json(kind, named)
        assert not mark.exists()


@pytest.mark.slow
def test_no_value_of_a_run_is_imported(run: RunFolder, mark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run.config()
    for place in leaves(config):
        run.write_config(changed(config, place, EVIL))
        with pytest.raises((TextGymError, TypeError, ValueError, KeyError)):
            run_resume(str(run.path))
        assert not mark.exists(), place
    run.write_config(config)
    with pytest.raises(TextGymError, match="no complete checkpoint; start a new run"):
        run_resume(str(run.path))
    assert "parts of a run" in " ".join(capsys.readouterr().err.split())  # what stands there is followed so far


RESUMABLE: dict[str, tuple[Any, Any]] = {
    "sft": (sft_settings, functools.partial(run_resume, command="sft")),
    "reward fit": (RewardSettings, run_reward_resume),
    "rlhf": (RlhfSettings, run_rlhf_resume),
    "compare": (compare_settings, resume_comparison),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", RESUMABLE)
def test_no_value_of_other_runs_is_imported(command: str, lm: str, data: str, tmp_path: Path, mark: Path) -> None:
    kind, go_on = RESUMABLE[command]
    more = {"feedback": data} if command == "reward fit" else {}
    settings = kind(EnvChoice("TextSumm-v0", data, "doc", "sum"), model=lm, **more)
    run = RunFolder.create(tmp_path / "run", command, asdict(settings))
    run.write_config({**run.config(), "splits": {"train": "?"}})  # which stops it, at the latest, before it trains
    run.__exit__(None, None, None)
    config = run.config()
    for place in leaves(config):
        run.write_config({**changed(config, place, EVIL), "splits": {"train": "?"}})
        with pytest.raises((TextGymError, TypeError, ValueError, KeyError)):
            go_on(str(run.path))
        assert not mark.exists(), place


@pytest.mark.slow
def test_no_text_of_a_model_or_adapter_is_imported(lm: str, tmp_path: Path, mark: Path) -> None:
    """Every text of every JSON file, and names under which such folders carry code."""
    names = ("hostile_module.Thing", "hostile_module--hostile_module.Thing", "hostile_module:Thing")
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(lm), LoraConfig(task_type="CAUSAL_LM", r=2))
    network.save_pretrained(tmp_path / "adapter")
    tried = 0
    for folder in (Path(shutil.copytree(lm, tmp_path / "model")), tmp_path / "adapter"):
        shutil.copy(tmp_path / "modules" / "hostile_module.py", folder)
        for file in sorted(folder.glob("*.json")):
            if file.name == "tokenizer.json":  # read by a library that knows no modules
                continue
            content = json.loads(file.read_text())
            auto = {"AutoConfig": names[0], "AutoModelForCausalLM": names[0], "AutoTokenizer": [names[0], names[0]]}
            code = [{**content, "auto_map": auto}, {**content, "auto_mapping": {"parent_library": "hostile_module"}}]
            texts = [place for place in leaves(content) if isinstance(at(content, place), str)]
            for forged in (*code, *(changed(content, place, name) for place in texts for name in names)):
                file.write_text(json.dumps(forged))
                with contextlib.suppress(TextGymError, ValueError, TypeError, OSError):
                    load_language_model(folder)
                assert not mark.exists(), (file, forged)
                tried += 1
            file.write_text(json.dumps(content))
        load_language_model(folder)  # unchanged, it is a model
    assert tried > 30


@pytest.mark.parametrize(("field", "option"), [("reward", ["--reward", EVIL]), ("env_id", [EVIL])])
def test_the_error_says_what_to_type_and_typing_it_is_consent(
    field: str, option: list[str], run: RunFolder, mark: Path
) -> None:
    place = {"reward": ("train", "reward"), "env_id": ("train", "choice", "env_id")}[field]
    run.write_config(changed(run.config(), place, EVIL))
    shown = CliRunner().invoke(cli.app, ["train", "--resume", str(run.path)])
    assert shown.exit_code == 2
    assert f"repeat the name: textgym train --resume {run.path} {' '.join(option)}" in shown.stderr
    assert not mark.exists()
    shown = CliRunner().invoke(cli.app, ["train", "--resume", str(run.path), *option])
    assert mark.exists()
    assert "hostile_module" in shown.stderr  # there is no such thing in it


def test_a_name_that_is_not_the_runs_own_is_no_consent(run: RunFolder, mark: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["train", "--resume", str(run.path), "--reward", "json:dumps"])
    assert "a run keeps its settings" in shown.stderr
    assert "resume with" not in shown.stderr.lower()
    assert shown.exit_code == 2


def test_rounds_of_feedback_name_nothing_either(lm: str, data: str, run: RunFolder, tmp_path: Path, mark: Path) -> None:
    settings = asdict(RlhfSettings(EnvChoice(EVIL, data=data), model=lm))
    whole = RunFolder.create(tmp_path / "rlhf", "rlhf", settings)
    whole.__exit__(None, None, None)
    with pytest.raises(ConsentError, match=r"textgym rlhf --resume .*rlhf hostile_module:Thing-v0$") as refused:
        run_rlhf_resume(str(whole.path))
    assert not hasattr(refused.value, "__notes__")  # nobody is urged to consent
    run.write_config(changed(run.config(), ("train", "reward"), EVIL))
    run.path.rename(whole.path / "round-1")
    with names_from(whole.path, "textgym rlhf --resume rlhf"), pytest.raises(ConsentError, match="rlhf --resume"):
        resume(RunFolder(whole.path / "round-1"))
    assert not mark.exists()


@pytest.mark.slow
def test_the_start_model_of_a_run_is_a_model(run: RunFolder, mark: Path) -> None:
    run.write_config(changed(run.config(), ("settings", "model"), EVIL))
    shown = CliRunner().invoke(cli.app, ["evaluate", "--model", str(run.path), "--prompts", "1"])
    assert shown.exit_code != 0
    assert start_model_of(str(run.path)) == EVIL
    assert not mark.exists()


@pytest.mark.parametrize("name", ["checkpoints/step-0000000001", "log.jsonl", "tensorboard", "feedback.db", "model"])
def test_links_out_of_a_run_are_not_followed(name: str, run: RunFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "kept").write_text("kept")
    (run.path / name).symlink_to(precious)
    with pytest.raises(RunFolderError, match="without links to other places"):
        run_resume(str(run.path))
    assert (precious / "kept").read_text() == "kept"


def test_lists_and_reports_import_nothing(run: RunFolder, mark: Path) -> None:
    """Every value of the configuration and the summary may be anything."""
    run.append_log({"timesteps": 10, "reward": 0.5})
    run.append_samples(0, {"key": "text"}, {"key": "prompt"})
    run.write_summary({"before": {"reward": {"mean": 0.5}}, "after": {}, "seconds": {"total": 1}, "warnings": ["few"]})
    for file in ("config.json", "summary.json"):
        content = json.loads((run.path / file).read_text())
        for place in leaves(content):
            for leaf in (EVIL, 3, None, [], {"x": []}):
                (run.path / file).write_text(json.dumps(changed(content, place, leaf)))
                (facts,) = list_runs(run.path)
                with contextlib.suppress(TextGymError):
                    read_report(run)
                assert facts.state != "damaged" or "no command" in facts.reason
                assert not mark.exists(), place
        (run.path / file).write_text(json.dumps(content))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[]", "null", "\x00", *NONSENSE])
def test_a_configuration_that_makes_no_sense_is_refused_in_a_line(content: str, run: RunFolder) -> None:
    (run.path / "config.json").write_text(content)
    for command in ("train", "rlhf"):
        shown = CliRunner().invoke(cli.app, [command, "--resume", str(run.path)])
        assert shown.exit_code == 2, shown.stderr
        assert "Error: expected" in shown.stderr


def test_a_pipe_in_a_run_is_not_waited_for(run: RunFolder) -> None:
    os.mkfifo(run.path / "log.jsonl")
    with pytest.raises(RunFolderError, match="a pipe or device"):
        run_resume(str(run.path))
    (run.path / "config.json").unlink()
    os.mkfifo(run.path / "config.json")
    with pytest.raises(TextGymError):
        run_resume(str(run.path))


@pytest.mark.parametrize("line", ["[]", "3", "[" * 100_000, "null"])
def test_rows_of_a_log_are_objects(line: str, run: RunFolder) -> None:
    (run.path / "log.jsonl").write_text(f'{line}\n{{"timesteps": 1}}\n')
    with pytest.raises(TextGymError, match=r"log\.jsonl:1: expected JSON"):
        run.log()


def test_what_models_write_is_text_in_every_file(run: RunFolder) -> None:
    evil = '<img src=x onerror="alert(1)">|\u202e\x1b[2J\n# Title\n![x](http://a.example/b)'
    run.append_samples(0, {"key": evil})
    run.write_samples_table({"key": evil})
    table = (run.path / "samples.md").read_text(encoding="utf-8")
    for bad in ("<img", "\u202e", "\x1b", "![", "\n# Title"):
        assert bad not in table
    (row,) = [line for line in table.splitlines() if line.startswith("| 0 |")]
    assert row.replace("\\|", "").count("|") == 3
