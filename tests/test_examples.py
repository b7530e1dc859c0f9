"""The examples run, with smaller numbers, and so does what the README and the quick start show."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.security import consent
from textgym.testing import check_agent, check_reward, check_text_env

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "command_line")
README_SMALLER = {
    "n_envs=64": "n_envs=2",
    "43_000": "32",
    " 300,": " 2,",
    '"n_steps": 48': '"n_steps": 16',
    "768": "32",
}
pytestmark = [pytest.mark.plots, pytest.mark.skipif(not EXAMPLES, reason="needs the checkout")]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Modules of the folder can be named, as beside a script; what they write by default goes elsewhere."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.chdir(tmp_path)
    yield
    for name in (*EXAMPLES, "command_line"):
        sys.modules.pop(name, None)


def example(name: str) -> Any:
    return importlib.import_module(name)


def test_ppo_one_file(tmp_path: Path) -> None:
    module = example("ppo_one_file")
    small = {"n_envs": 16, "n_steps": 3, "batch_size": 24, "n_epochs": 2, "eval_prompts": 4}
    found = module.main(module.Args(**small, total_timesteps=96, out=tmp_path / "plot.png"))
    assert found["change"].mean == pytest.approx(found["after"].mean - found["before"].mean)
    assert (tmp_path / "plot.png").is_file()


def test_ppo_one_file_learns() -> None:
    """At first the start model is its own reference; then the words get better, and leave it."""
    module = example("ppo_one_file")
    args = module.Args(total_timesteps=3_840)
    agent = module.ActorCritic(module.load_language_model(args.model))
    history = module.train(agent, module.load_language_model(args.model), args)
    assert [row.tokens for row in history] == [384 * number for number in range(1, 11)]
    assert history[0].kl == pytest.approx(0, abs=1e-5)
    assert history[-1].kl > 0.5
    assert history[-1].reward > history[0].reward + 0.2


def test_grpo(tmp_path: Path) -> None:
    module = example("grpo")
    small = {"n_envs": 8, "group_size": 4, "total_timesteps": 24, "eval_prompts": 2}
    results = module.main(module.Args(**small, out=tmp_path / "plot.png"))
    assert list(results) == list(module.FORMS)
    assert len({result.before for result in results.values()}) == 1  # they start alike
    assert all({"reward", "equal_groups"} <= result.history[0].keys() for result in results.values())
    assert (tmp_path / "plot.png").is_file()


def test_sb3_stock(tmp_path: Path) -> None:
    module = example("sb3_stock")
    small = {"n_envs": 4, "n_steps": 6, "batch_size": 12, "eval_episodes": 4}
    measured = module.main(module.Args(**small, total_timesteps=48, out=tmp_path))
    assert measured["PPO"][0] == measured["A2C"][0]  # they start alike
    assert (tmp_path / "returns.png").is_file()
    for name in ("ppo", "a2c"):
        assert (tmp_path / name / "config.json").is_file()


def test_dqn_spelling(tmp_path: Path) -> None:
    module = example("dqn_spelling")
    rows = module.main(module.Args(total_timesteps=320, n_envs=8, out=tmp_path / "plot.png"))
    assert rows[-1][0] == 320
    assert rows[-1][1] < rows[0][1]  # values of letters that are paid are above 0 by now
    assert (tmp_path / "plot.png").is_file()


def test_own_reward(tmp_path: Path) -> None:
    module = example("own_reward")
    assert module.brevity(["", ""], ["", "word " * 60], [None, None]) == [1, -1]
    check_reward(module.make_reward(module.Args()))
    history = module.main(module.Args(total_timesteps=2 * 48, n_envs=2, out=tmp_path / "plot.png"))
    assert history[0]["reward"] == pytest.approx(history[0]["reward/rouge"] + history[0]["reward/brevity"])
    assert (tmp_path / "plot.png").is_file()


def test_own_agent() -> None:
    module = example("own_agent")
    check_agent("own_agent:SentenceBandit", "TextSummEpisode-v0", reward="rouge")
    agent = module.main(module.Args(total_timesteps=600, out=Path("plot.png")))
    assert Path("plot.png").is_file()
    assert agent.means.argmax() == agent.counts.argmax()  # it settles on the best
    assert agent.history[-1]["reward"] > np.mean(agent.means)
    assert agent.history[-1]["timesteps"] == agent.counts.sum() == 600


@pytest.mark.slow
def test_own_agent_is_trained_by_the_command() -> None:
    command = "train TextSumm-v0 --agent own_agent:SentenceBandit --reward rouge --n-envs 4 --eval-prompts 2 --arms 3"
    done = CliRunner().invoke(cli.app, f"{command} --steps 8 --out run".split())
    assert done.exit_code == 0, done.output
    assert {"before", "after"} <= json.loads(Path("run/summary.json").read_text()).keys()
    agent = example("own_agent").SentenceBandit.load("run/agent")
    assert agent.num_timesteps == agent.counts.sum() == 8
    assert len(agent.counts) == 3


def test_own_task(tmp_path: Path) -> None:
    module = example("own_task")
    check_text_env("CostEpisode-v0")
    task = module.Cost()
    amount = task.dataset[0].extra["amount"]
    right, long, wrong = (
        module.Episode.of(task.dataset[0], text) for text in (f"{amount} million", amount + " to be paid" * 3, "99")
    )
    assert module.says_amount([right, long, wrong]).tolist() == [1, 1, 0]
    assert task.gold([right, long, wrong]).tolist() == [1, 0, 0]
    assert module.short_and_right([""], [f"{amount} million"], [task.dataset[0]]).tolist() == [0.9]
    history = module.main(module.Args(total_timesteps=2 * 16, n_envs=2, out=tmp_path / "plot.png"))
    assert history[-1]["timesteps"] == 32
    assert (tmp_path / "plot.png").is_file()


def test_dialogue(tmp_path: Path) -> None:
    module = example("dialogue")
    env = gym.make("ShortenEpisode-v0")
    env.reset(seed=0)
    reference = env.unwrapped.task.dataset.find(env.reset(seed=0)[1]["task_key"]).references[0]
    shown, first, ended, _, _ = env.step(reference)
    assert str(shown).endswith("In 13 words, please.\nAssistant:")
    assert (first, ended) == (1.0, False)
    _, second, ended, _, info = env.step("word " * 14)
    assert (second, ended, info["is_success"], info["rewards"]["total"]) == (0.0, True, False, 1.0)
    history = module.main(module.Args(total_timesteps=2 * 120, n_envs=2, out=tmp_path / "plot.png"))
    assert {"reward", "success"} <= history[-1].keys()
    assert (tmp_path / "plot.png").is_file()


def test_evaluation(tmp_path: Path) -> None:
    module = example("evaluation")
    found = module.main(module.Args(prompts=3, temperatures=(0.0,), out=tmp_path / "plot.png"))
    lines = module.table(found, ("reward", "words")).splitlines()
    assert [line[:16].strip() for line in lines] == ["", "tiny, T = 0", "first sentence"]
    mean = found["tiny, T = 0"].intervals()["reward"].mean
    assert f"{mean:.3f} [" in lines[1]
    assert (tmp_path / "plot.png").is_file()


def test_encoder_decoder(tmp_path: Path) -> None:
    module = example("encoder_decoder")
    sizes = {"vocabulary": 200, "width": 16, "layers": 1, "examples": 64, "sft_steps": 2, "n_envs": 2}
    scores = module.main(module.Args(**sizes, total_timesteps=2 * 48, eval_prompts=2, out=tmp_path))
    assert {moment: set(found) for moment, found in scores.items()} == {key: {0.0, 1.0} for key in ("before", "after")}
    assert all(each.low <= each.mean <= each.high for found in scores.values() for each in found.values())
    assert (tmp_path / "adequacy.png").is_file()
    for name in ("random", "sft", "ppo"):
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["model_type"], config["is_encoder_decoder"]) == ("t5", True)


def test_decentralized(tmp_path: Path) -> None:
    module = example("decentralized")
    small = {"agents": 2, "n_envs": 4, "n_steps": 6, "total_timesteps": 48, "stages": 2, "prompts": 4}
    found = module.main(module.Args(**small, out=tmp_path / "plot.png"))
    assert {exchange: len(rewards) for exchange, rewards in found.items()} == {"average": 3, "none": 3}
    assert found["average"][0] == found["none"][0]  # they begin alike
    assert (tmp_path / "plot.png").is_file()


def test_rlhf_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("rlhf_loop")
    gold = module.main(module.Args(rounds=2, questions=8, n_envs=2, timesteps_per_round=2 * 16, out=tmp_path))
    assert len(gold) == 2
    assert all(0 < mean < 1 for mean in gold)
    assert re.findall(r"round (\d): gold (0\.\d{3})", capsys.readouterr().out) == [
        (str(number), f"{mean:.3f}") for number, mean in enumerate(gold)
    ]
    assert (tmp_path / "model" / "config.json").is_file()


def test_dpo_from_feedback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("dpo_from_feedback")
    changes = module.main(module.Args(questions=12, steps=2, eval_prompts=2, out=tmp_path))
    assert {"gold", "kl", "length"} <= changes.keys()
    assert re.search(r"accuracy on held-out preferences: 0\.50 -> [01]\.\d\d", capsys.readouterr().out)
    assert (tmp_path / "learning.png").is_file()
    assert (tmp_path / "model" / "config.json").is_file()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_takes_its_settings_from_the_shell(name: str) -> None:
    read_args, kind = example("command_line").read_args, example(name).Args
    assert read_args(kind, []) == kind()
    assert read_args(kind, ["--seed", "7"]) == replace(kind(), seed=7)
    assert "read_args(Args)" in (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_says_what_every_setting_means(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command_line, kind = example("command_line"), example(name).Args
    assert command_line.field_docs(kind).keys() == {field.name for field in fields(kind)}
    with pytest.raises(SystemExit):
        command_line.read_args(kind, ["--help"])
    assert f"same seed, same result (default: {kind.seed})" in " ".join(capsys.readouterr().out.split())


def test_types_of_settings_are_kept() -> None:
    kind = example("evaluation").Args
    given = example("command_line").read_args(kind, ["--temperatures", "1", "0.5", "--out", "a/b.png"])
    assert (given.temperatures, given.out) == ((1.0, 0.5), Path("a/b.png"))
    with pytest.raises(SystemExit):
        example("command_line").read_args(kind, ["--prompts", "many"])


def test_every_example_has_a_test_and_reads_like_one() -> None:
    """One file, settings with a default in one place, no line packed by hand, and a plot or table at the end."""
    assert {f"test_{name}" for name in EXAMPLES} <= globals().keys()
    for name in EXAMPLES:
        text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        assert "fmt: skip" not in text
        assert f"python examples/{name}.py" in text
        assert "class Args" in text
        assert "print(" in text


def shown_blocks() -> list[str]:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    return [block.strip() for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("start", ["from stable_baselines3 import PPO", "import gymnasium as gym\nimport numpy"])
def test_the_quick_start_shows_both_ways_in_at_most_15_lines_that_run(
    start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A language model in stock PPO, and an agent of one's own."""
    (block,) = [block for block in shown_blocks() if block.startswith(start)]
    assert sum(bool(line.strip()) for line in block.splitlines()) <= 15
    for number, small in {**README_SMALLER, "range(1000)": "range(20)"}.items():
        block = block.replace(number, small)
    exec(compile(block, "quickstart.md", "exec"), {"__name__": "page"})
    assert re.search(r"after Interval\(|mean ROUGE-L by sentence", capsys.readouterr().out)


def test_the_quick_start_shows_a_task_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in shown_blocks() if "class Shout(TextTask)" in block]
    exec(
        compile(
            block.replace('"Shout"', '"TestQuickStartShout"').replace('"Shout', '"TestQuickStartShout'),
            "quickstart.md",
            "exec",
        )
    )
    assert "In capitals: " in capsys.readouterr().out
    check_text_env("TestQuickStartShout-v0")


def test_the_readme_trains_on_tickets_in_three_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, prompt and reward of one's own; then the trained model is asked and evaluated, as the quick start says."""
    readme, text = ((ROOT / file).read_text(encoding="utf-8") for file in ("README.md", "docs/quickstart.md"))
    first, block = [block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "runs/reply" in block]
    assert first in readme
    assert [line.split()[1] for line in first.strip().splitlines()] == ["sft", "train", "generate"]
    block = first + block
    Path("tickets.csv").write_text(
        "ticket,reply\n" + "".join(f"Where is parcel {n}?,Parcel {n} is on its way.\n" for n in range(60))
    )
    reward = "def polite(prompts, responses, examples):\n    return [float('e' in text) for text in responses]\n"
    Path("rewards.py").write_text(reward)
    monkeypatch.setattr(consent, "_user_folders", [str(Path.cwd())])
    both = ["--batch-size", "8", "--eval-prompts", "2", "--steps"]
    small = {
        "sft": ["--max-new-tokens", "4", *both, "2"],
        "train": [*both, "8", "--n-steps", "4", "--n-envs", "2"],
    }
    shown = ""
    for line in block.strip().splitlines():
        arguments = shlex.split(re.sub(r"--minutes \d+", "", line), comments=True)[1:]
        done = CliRunner().invoke(cli.app, [*arguments, *small.get(arguments[0], [])])
        assert done.exit_code == 0, done.stderr
        shown += done.stderr
    assert r"--prompt-template 'Customer: {prompt}\n\nReply:'" in shown
    assert "--data tickets.csv" in shown
    settings = json.loads(Path("runs/reply/config.json").read_text())["train"]
    assert settings["max_new_tokens"] == 4  # of the first run
