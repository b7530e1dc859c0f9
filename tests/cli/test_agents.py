"""Any agent on the command line: its options, its run folder, and the commands that take it afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from textgym.agents import PPO, agent_options, resolve_agent
from textgym.cli import app as cli
from textgym.cli.generate import GenerateSettings, run_generate
from textgym.envs.choice import EnvChoice
from textgym.training.agents import find_agent
from textgym.training.evaluate import EvaluateSettings

SMALL = "--max-prompt-tokens 64 --max-new-tokens 6"


def run(command: str) -> Result:
    return CliRunner().invoke(cli.app, command.split())


def succeed(command: str) -> str:
    shown = run(command)
    assert shown.exit_code == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize("agent", ["ppo", "reinforce", "sft", "dpo", "expert_iteration", "best_of_n", "scripted"])
def test_help_lists_the_options_of_the_agent(agent: str) -> None:
    shown = succeed(f"train --agent {agent} --help")
    for option in agent_options(resolve_agent(agent)):
        assert f"--{option.name.replace('_', '-')}" in shown
    assert ("--clip-range " in shown) == (agent == "ppo")


def test_defaults_in_help_are_those_of_the_constructor() -> None:
    shown = " ".join(succeed("train --agent=ppo --help").split())
    defaults = {option.name: option.default for option in agent_options(PPO)}
    assert f"Passes over a rollout. Default: {defaults['n_epochs']}." in shown


def test_what_is_not_given_is_left_to_the_agent(lm: str) -> None:
    succeed(
        f"train --agent reinforce --model {lm} --reward rouge --steps 24 --n-envs 4 {SMALL} --eval-prompts 2 --out r "
        "--baseline none --lr 0.01"
    )
    settings = json.loads(Path("r/config.json").read_text())["settings"]
    assert settings["agent"] == "reinforce"
    assert settings["options"] == {"baseline": "none", "learning_rate": 0.01}
    assert json.loads(Path("r/summary.json").read_text()).keys() >= {"before", "after", "difference", "seconds"}
    assert Path("r/model/model.safetensors").is_file()
    succeed(f"train --resume {Path('r')}")


def test_an_agent_that_cannot_learn_is_evaluated() -> None:
    shown = succeed("train TextSumm-v0 --agent scripted --script reference --reward rouge --eval-prompts 3 --out r")
    assert "nothing to train" in shown
    summary = json.loads(Path("r/summary.json").read_text())
    assert summary["before"] == {}
    assert summary["after"]["reward"]["mean"] == 1.0
    assert Path("r/texts-after.jsonl").is_file()
    again = succeed(
        "evaluate --agent r --reward rouge --prompts 3 --out e"
    )  # the run's own script, not the default one
    assert "1.000" in again
    assert json.loads(Path("e/summary.json").read_text())["before"]["rougeL"]["mean"] == 1.0


def test_options_of_another_agent_are_errors() -> None:
    shown = run("train --agent random --kl-coef 0.1")
    assert shown.exit_code == 2
    assert "No such option: --kl-coef" in shown.stderr
    unknown = run("train --agent pppo")
    assert "expected one of ppo, reinforce" in unknown.stderr
    assert "Did you mean 'ppo'?" in unknown.stderr


def test_an_agent_that_is_only_evaluated_has_its_options_there() -> None:
    succeed("evaluate TextSpell-v0 --agent scripted --script reference --reward success --prompts 3 --out e")
    assert json.loads(Path("e/summary.json").read_text())["before"]["reward"]["mean"] == 1.0
    assert json.loads(Path("e/config.json").read_text())["settings"]["agent_options"] == {"script": "reference"}
    both = "--agent random --agent scripted --script reference"  # each gets the options that it has
    succeed(f"evaluate TextSpell-v0 {both} --reward success --prompts 3 --out c")
    means = json.loads(Path("c/summary.json").read_text())["models"]
    assert means["random"]["measures"]["reward"]["mean"] < 1.0 == means["scripted"]["measures"]["reward"]["mean"]
    assert "--script <str>" in succeed("play --agent scripted --help")
    assert "-> " in succeed("play TextSpellEpisode-v0 --agent scripted --script reference")


def test_options_of_agents_that_are_not_named_are_errors() -> None:
    hint = "No such option: --script. It is an option of --agent scripted."
    assert hint in run("evaluate TextSpell-v0 --agent random --script reference").stderr
    assert "No such option: --kl-coef" in run("evaluate TextSpell-v0 --agent ppo --kl-coef 0.1").stderr
    settings = EvaluateSettings(EnvChoice("TextSpell-v0"), agent_options={"script": "reference"})
    with pytest.raises(ValueError, match="expected no options with the language model 'letters', got script; "):
        find_agent(settings)


def test_generate_and_play_take_an_agent(lm: str) -> None:
    assert "1. " in succeed(f"generate TextSumm-v0 --agent random --model {lm} {SMALL}")
    shown = succeed("play --agent scripted --reward rouge")
    assert "-> " in shown
    assert "reward" in shown


def test_the_agent_of_a_run_writes_the_tokens_of_its_run(data: str, foreign_folder: Path) -> None:
    """Its vocabulary is not that of the default model, and the run wrote at most four tokens."""
    of_data = f"--data {data} --prompt-column doc --reference-column sum"
    succeed(
        f"train TextSumm-v0 --agent random --model {foreign_folder} {of_data} --reward rouge --eval-prompts 2 "
        "--max-prompt-tokens 64 --max-new-tokens 4 --out r"
    )
    first = [json.loads(line)["text"] for line in Path("r/texts-after.jsonl").read_text().splitlines()]
    assert json.loads(Path("r/agent/agent.json").read_text())["settings"] == {"actions": 360}
    succeed(f"evaluate TextSumm-v0 --agent r {of_data} --reward rouge --prompts 2 --out e")
    again = [json.loads(line)["text"] for line in Path("e/texts-before.jsonl").read_text().splitlines()]
    assert again == first
    assert "-> " in succeed(f"play TextSumm-v0 --agent r {of_data}")
    choice = EnvChoice(data=data, prompt_column="doc", reference_column="sum")
    assert run_generate(GenerateSettings(choice, agent="r", prompts=2, n=1)) == first
    summary = json.loads(Path("e/summary.json").read_text())
    assert summary["before"]["length"]["mean"] <= 4


def test_the_folder_of_an_agent_stands_for_its_run() -> None:
    """The one that `train` prints; what lies apart from a run, or deeper in it, is no agent that can be made."""
    small = "--model letters --steps 8 --n-envs 4 --eval-prompts 2"
    succeed(f"train TextSpell-v0 --agent decentralized_po {small} --out runs/r")  # with the files of a model
    assert "Agent: runs/q/agent" in succeed(f"train TextSpell-v0 --agent q_learning {small} --out runs/q")
    for name in ("runs/r", "runs/q"):
        for out, agent in (("a", name), ("b", f"{name}/agent")):
            succeed(f"evaluate --agent {agent} --prompts 2 --out {name}-{out}")
        first, second = (json.loads(Path(f"{name}-{out}/summary.json").read_text())["before"] for out in "ab")
        assert first == second
        assert "-> " in succeed(f"play --agent {name}/agent")
        assert "1. " in succeed(f"generate --agent {name}/agent --prompts 1 --n 2")
        shutil.copytree(f"{name}/agent", f"copies/{Path(name).name}")
        assert "got 'copies/" in (error := run(f"evaluate --agent copies/{Path(name).name}").stderr)
        assert "which has no config.json of a run; give the run folder that it is of" in error
        (checkpoint,) = Path(name, "checkpoints").iterdir()
        assert f"a part of the run '{name}'; give --agent {name}" in run(f"evaluate --agent {checkpoint}").stderr
    error = run("evaluate --agent runs").stderr
    assert "got 'runs', which holds runs; name one of them: runs/" in error
    for command in ("evaluate --model runs/r", "train TextSpell-v0 --agent ppo --model runs/r"):
        assert "which holds an agent and no language model of its own; evaluate or play it with --agent " in " ".join(
            run(command).stderr.split()
        )


def test_a_name_is_that_of_the_agent_also_beside_a_run_called_so(lm: str) -> None:
    """The run `scripted` left a model, whose start model a comparison of the agent `scripted` is none of."""
    small = f"--reward rouge {SMALL} --eval-prompts 2"
    succeed(f"train TextSumm-v0 --model {lm} --steps 24 --n-envs 4 {small} --out scripted")
    shown = succeed("evaluate --agent scripted --reward rouge --prompts 2 --out a")
    assert "compared" not in shown
    assert json.loads(Path("a/summary.json").read_text())["after"] == {}
    compared = succeed(f"evaluate --agent ./scripted --reward rouge --prompts 2 {SMALL} --out b")
    assert f"./scripted and {lm}, which it is compared with" in " ".join(compared.split())


def test_a_run_without_training_measures_what_its_settings_say(data: str) -> None:
    file = Path("own.jsonl")
    file.write_text(Path(data).read_text())
    command = "train TextSumm-v0 --agent scripted --data own.jsonl --prompt-column doc --reference-column sum"
    succeed(f"{command} --reward rouge --eval-prompts 2 --out r")
    assert json.loads(Path("r/config.json").read_text())["splits"].keys() == {"test"}
    assert json.loads(Path("r/agent/agent.json").read_text())["settings"] == {"script": "first-sentence"}
    file.write_text(file.read_text().replace("Nobody", "Somebody"))
    shown = run("train --resume r")
    assert shown.exit_code != 0
    assert "expected the data that the run began with" in shown.stderr
    succeed("train --resume r --accept-changed-data")


def test_supervised_training_is_an_agent_too(lm: str) -> None:
    same = f"--model {lm} --steps 4 --batch-size 2 --lr 0.01 --limit 8 {SMALL} --eval-prompts 2"
    succeed(f"sft {same} --out a")
    succeed(f"train --agent sft {same} --out b")
    first, second = (json.loads(Path(name, "summary.json").read_text()) for name in "ab")
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert Path("a/model/model.safetensors").read_bytes() == Path("b/model/model.safetensors").read_bytes()


def test_a_class_named_in_a_run_needs_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "own_agents.py").write_text(
        "from textgym.agents.fixed import Scripted\n\n\nclass Own(Scripted):\n    ...\n"
    )
    monkeypatch.syspath_prepend(str(modules))
    succeed("train TextSumm-v0 --agent own_agents:Own --script reference --reward rouge --eval-prompts 2 --out r")
    for command in ("evaluate --agent r --prompts 2 --out e", "train --resume r"):
        shown = run(command)
        assert shown.exit_code == 2
        assert "expected settings that name no Python module to import, got agent 'own_agents:Own'" in shown.stderr
    succeed("train --resume r --agent own_agents:Own")
    assert "1.000" in succeed("evaluate --model r --agent own_agents:Own --reward rouge --prompts 2 --out e")
    assert "1.000" in succeed("evaluate --model r/agent --agent own_agents:Own --reward rouge --prompts 2 --out f")


def test_what_an_own_agent_gets_wrong_is_said_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "bad_agents.py").write_text(
        "from textgym.agents.fixed import Scripted\n\n\n"
        "class Short(Scripted):\n    def act(self, *_, **__):\n        return ['abc']\n\n\n"
        "class Worded(Scripted):\n    grain = 'word'\n"
    )
    monkeypatch.syspath_prepend(str(modules))
    told = {
        "Short": "Error: expected 3 actions, got 1 from Short.act; return one for every observation",
        "Worded": "Error: expected the attribute grain of the agent Worded to be 'token' or 'episode', got 'word'",
    }
    for name, error in told.items():
        for command in ("train TextSpell-v0 --eval-prompts 3", "evaluate TextSpell-v0 --prompts 3"):
            shown = run(f"{command} --agent bad_agents:{name}")
            assert shown.exit_code == 2
            assert error in " ".join(shown.stderr.split())
