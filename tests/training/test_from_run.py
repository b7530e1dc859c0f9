"""What evaluate, generate, play and train take from a run, or from ``textgym.json`` beside a model."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import transformers
from typer.testing import CliRunner, Result

from tests.chat_templates import CHATML, write_chat_folder
from tests.model_cards import run_card, write_model
from textgym.agents import SFT
from textgym.agents.common.prompt_format import format_in
from textgym.cli import app as cli
from textgym.cli.feedback import sample
from textgym.cli.options import template_argument
from textgym.envs.choice import EnvChoice
from textgym.evaluation import sampling
from textgym.feedback.store.project import FeedbackStore
from textgym.models.prompt_format import FILE, read_format, write_format
from textgym.security import consent
from textgym.tasks import prompt_of
from textgym.text.tokenizer import Tokenizer
from textgym.training.from_run import run_of, say_other_template, say_template, taken_from_model
from textgym.training.preparation import settings_of
from textgym.training.run_folder import RunFolder
from textgym.types import Example

REWARDS = """
calls = []

def polite(prompts, responses, examples):
    calls.extend(prompts)
    return [float("e" in response) for response in responses]
"""
TEMPLATE = r"As {tone}: {doc}\n\nReply:"
SHORT = ("--n-envs", "2", "--n-steps", "4", "--batch-size", "8", "--max-new-tokens", "4", "--eval-prompts", "3")


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), input=text)


def done(*arguments: str, text: str | None = None) -> Result:
    shown = run(*arguments, text=text)
    assert shown.exit_code == 0, shown.stderr
    return shown


@pytest.fixture(scope="module")
def trained(lm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a user's own data, with a reward and a template of their own."""
    folder = tmp_path_factory.mktemp("first-hour")
    rows = [{"doc": f"Parcel {n} is late.", "tone": "kind"} for n in range(60)]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own_rewards.py").write_text(REWARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(consent, "_user_folders", [str(folder)])
        done(
            *("train", "TextGen-v0", "--data", "tickets.jsonl", "--prompt-column", "doc", "--model", lm),
            *("--prompt-template", TEMPLATE, "--reward", "own_rewards:polite", "--steps", "8", "--out", "r", *SHORT),
        )
        done("train", "--model", lm, "--reward", "rouge", "--steps", "8", "--out", "plain", *SHORT)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which commands run."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    for name in ("r", "plain"):  # the settings hold the absolute path of the data
        config = copy / name / "config.json"
        config.write_text(config.read_text().replace(str(trained), str(copy)))
    monkeypatch.chdir(copy)
    monkeypatch.setattr(consent, "_user_folders", [str(copy)])
    sys.modules.pop("own_rewards", None)
    return copy


def asked_prompts() -> set[str]:
    return set(sys.modules["own_rewards"].calls)


@pytest.mark.parametrize("model", ["r", "r/model"])
def test_evaluate_measures_on_what_the_run_was_about(folder: Path, model: str) -> None:
    shown = done("evaluate", "--model", model, "--reward", "own_rewards:polite", "--out", "e")
    (said,) = [line for line in shown.stderr.splitlines() if line.startswith("From ")]
    for part in ("TextGen-v0", "--data tickets.jsonl", "--prompt-column doc", "--prompts 3", "--split test", TEMPLATE):
        assert part in said
    assert "--max-new-tokens 4" in said
    assert "--reward" not in said
    assert all(prompt.startswith("As kind: Parcel ") and prompt.endswith("\n\nReply:") for prompt in asked_prompts())
    own, again = (RunFolder(name).summary() for name in ("r", "e"))
    assert again["after"]["reward"] == own["after"]["reward"]  # the very numbers of the run
    assert again["before"]["reward"] == own["before"]["reward"]
    assert again["prompts"] == own["prompts"] == 3
    settings = RunFolder("e").config()["settings"]
    assert settings["choice"]["prompt_template"] == TEMPLATE.replace(r"\n", "\n")
    assert settings["choice"]["data"] == str(folder / "tickets.jsonl")


def test_a_reward_of_the_run_that_is_a_module_needs_consent(folder: Path) -> None:
    shown = run("evaluate", "--model", "r", "--out", "e")
    assert shown.exit_code == cli.BAD_INPUT
    assert "repeat the name: textgym evaluate --model r --reward own_rewards:polite" in shown.stderr
    assert "own_rewards" not in sys.modules
    assert not Path("e").exists()


def test_an_environment_of_the_run_that_is_a_module_needs_consent(folder: Path) -> None:
    config = json.loads(Path("plain/config.json").read_text())
    config["settings"]["choice"]["env_id"] = config["train"]["choice"]["env_id"] = "own_rewards:Own-v0"
    Path("plain/config.json").write_text(json.dumps(config))
    for command in ("evaluate", "generate", "play"):
        shown = run(command, "--model", "plain", *(["--prompts", "1"] if command == "generate" else []))
        assert shown.exit_code == cli.BAD_INPUT
        assert f"textgym {command} --model plain own_rewards:Own-v0" in shown.stderr
    assert "own_rewards" not in sys.modules


def test_what_is_given_wins(folder: Path) -> None:
    shown = done(
        *("evaluate", "--model", "r", "--reward", "none", "--prompts", "2", "--max-new-tokens", "3", "--out", "e"),
        *("--prompt-template", "{doc}", "--split", "validation"),
    )
    settings = RunFolder("e").config()["settings"]
    assert (settings["reward"], settings["prompts"], settings["max_new_tokens"]) == ("none", 2, 3)
    assert (settings["choice"]["prompt_template"], settings["split"]) == ("{doc}", "validation")
    assert "learned with the prompt template" in shown.stderr


def test_other_data_keep_their_own_columns(folder: Path) -> None:
    rows = [{"prompt": f"Where is parcel {n}?", "tone": "plain"} for n in range(60)]
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done(
        *("evaluate", "--model", "r", "--data", "other.jsonl", "--prompt-template", "{tone} {prompt}"),
        *("--reward", "own_rewards:polite", "--out", "e"),
    )
    assert all(prompt.startswith("plain Where is parcel") for prompt in asked_prompts())


def test_another_environment_is_asked_about_as_it_is(folder: Path) -> None:
    assert taken_from_model("evaluate", {"model": "r", "env_id": "TextSumm-v0"}, {"data", "reward", "split"}) == {}
    same = taken_from_model("evaluate", {"model": "r", "env_id": "TextGenEpisode-v0"}, {"data", "split"})
    assert same == {"data": str(folder / "tickets.jsonl"), "split": "test"}


def test_data_that_is_gone_is_an_error_that_names_the_option(folder: Path) -> None:
    Path("tickets.jsonl").unlink()
    shown = run("evaluate", "--model", "r", "--reward", "none", "--out", "e")
    assert shown.exit_code == cli.BAD_INPUT
    assert f"expected the data of the run 'r' at '{folder}/tickets.jsonl', got nothing there" in shown.stderr
    assert "give --data" in shown.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("reward", 3), ("max_new_tokens", 0), ("split", "tset"), ("eval_prompts", "x"), ("choice", {"data": ["a"]})],
)
def test_damaged_settings_are_named(folder: Path, name: str, value: object) -> None:
    config = json.loads(Path("plain/config.json").read_text())
    config["train"][name] = value
    Path("plain/config.json").write_text(json.dumps(config))
    shown = run("evaluate", "--model", "plain", "--out", "e")
    assert shown.exit_code == cli.BAD_INPUT
    assert "put the file back" in shown.stderr


def test_a_mistyped_model_is_refused_before_anything_is_announced() -> None:
    shown = run("evaluate", "--model", "runs/reply", "--out", "e")
    assert shown.exit_code == cli.BAD_INPUT
    assert "Evaluating" not in shown.stdout + shown.stderr
    assert "runs/reply" in shown.stderr


def test_a_run_is_found_by_its_folder_and_that_of_its_model(folder: Path) -> None:
    assert [
        run_of(name) is not None for name in ("r", "r/model", "plain/", "plain/model", "..", "nowhere", "tiny")
    ] == [
        *(True, True, True, True),
        *(False, False, False),
    ]


def prompts_of(shown: Result) -> list[str]:
    return [line for line in shown.stdout.splitlines() if line.startswith("requests/")]


def test_generate_asks_by_the_template_of_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the model folder is there: what is read of it is ``textgym.json``."""
    asked = read_format(Path("plain/model"))
    assert asked is not None
    shutil.copytree("plain/model", "alone")
    write_format(Path("alone"), replace(asked, prompt_template="Q: {prompt}\n\nA:", max_new_tokens=3, stop=("zzz",)))
    seen: list[Any] = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append((args[1][0], kwargs["max_new_tokens"]))
        return original(*args, **kwargs)

    original = sampling.generate
    monkeypatch.setattr(sampling, "generate", watched)
    shown = done("generate", "Where is my parcel?", "--model", "alone", "--n", "1")
    assert seen == [(Tokenizer.load("tiny").encode("Q: Where is my parcel?\n\nA:"), 3)]
    assert r"From alone: --prompt-template 'Q: {prompt}\n\nA:'" in shown.stderr
    seen.clear()
    options = ("--n", "1", "--prompt-template", "{prompt}", "--max-new-tokens", "2")
    shown = done("generate", "Hi", "--model", "alone", *options)
    assert seen == [(Tokenizer.load("tiny").encode("Hi"), 2)]
    assert "learned with the prompt template 'Q: {prompt}\\n\\nA:'" in shown.stderr


def test_a_template_with_columns_wants_data(folder: Path) -> None:
    shown = run("generate", "Where is it?", "--model", "r/model")
    assert shown.exit_code == cli.BAD_INPUT
    assert "of r/model, got none for tone; give --column tone=VALUE, or another" in shown.stderr


def test_generate_and_play_take_the_examples_of_the_run(folder: Path) -> None:
    shown = done("generate", "--model", "r", "--prompts", "2", "--n", "1")
    assert shown.stdout.count("Parcel ") == 2
    shown = done("play", "--model", "r", "--reward", "none", text="Yes.\n\n")
    assert "As kind: Parcel" in shown.stdout
    shown = done("play", "--agent", "r", "--reward", "none")
    assert "As kind: Parcel" in shown.stdout


def test_a_model_without_its_run_has_its_task_template_and_budgets(folder: Path) -> None:
    shutil.copytree("r/model", "alone")
    taken = taken_from_model("evaluate", {"model": "alone"}, {"env_id", "prompt_template", "max_new_tokens", "data"})
    assert taken == {"env_id": "TextGen-v0", "prompt_template": "As {tone}: {prompt}\n\nReply:", "max_new_tokens": 4}
    shutil.copytree("plain/model", "other")  # its template is the task's own
    assert taken_from_model("evaluate", {"model": "other"}, {"env_id", "prompt_template"}) == {"env_id": "TextSumm-v0"}
    shown = done("evaluate", "--model", "other", "--reward", "rouge", "--prompts", "1", "--out", "e")
    assert "Its data are not known" in shown.stderr


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("own_rewards:Own-v0", "importing a module"),
        ("Own-v0", "--model alone module:Own-v0"),
    ],
)
def test_nothing_that_textgym_json_names_is_imported(folder: Path, task: str, message: str) -> None:
    shutil.copytree("plain/model", "alone")
    content = json.loads(Path("alone", FILE).read_text())
    Path("alone", FILE).write_text(json.dumps({**content, "task": task}))
    shown = run("evaluate", "--model", "alone", "--out", "e")
    assert shown.exit_code == cli.BAD_INPUT
    assert message in shown.stderr
    assert "own_rewards" not in sys.modules
    done("generate", "A text.", "--model", "alone", "--n", "1")


@pytest.mark.slow
def test_train_says_that_a_model_learned_with_another_template(folder: Path, lm: str) -> None:
    arguments = ("train", "TextGen-v0", "--steps", "8", *SHORT)
    shown = done(*arguments, "--model", "plain", "--out", "a")
    assert (
        "plain learned with the prompt template '{prompt}\\n\\nSummary:', and gets its prompts by '{prompt}' here"
        in shown.stderr
    )
    assert r"--prompt-template '{prompt}\n\nSummary:' keeps the one" in shown.stderr
    same = done(*arguments, "--model", "plain", "--out", "b", "--prompt-template", r"{prompt}\n\nSummary:")
    assert "learned with" not in same.stderr
    assert "learned with" not in done(*arguments, "--model", lm, "--out", "c").stderr


def test_no_file_beside_the_weights_tells_a_place_of_this_machine(trained: Path, lm: str) -> None:
    for name in ("r", "plain"):
        files = [file for file in (trained / name / "model").iterdir() if file.suffix in (".md", ".json", ".jinja")]
        assert {"README.md", FILE, "config.json"} <= {file.name for file in files}
        for file in files:
            text = file.read_text()
            assert str(trained) not in text
            assert str(Path(lm).parent) not in text
    card = (trained / "r" / "model" / "README.md").read_text()
    assert '"data": "tickets.jsonl"' in card
    assert f"| Start model | {Path(lm).name} |" in card


def test_every_way_of_saving_tells_how_the_model_was_asked(trained: Path, lm: str, tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    from textgym.agents import CausalLMPolicy, make_vec_env

    asked = read_format(trained / "r" / "model")
    assert asked is not None
    assert (asked.task, asked.template, asked.max_new_tokens) == ("TextGen-v0", "As {tone}: {prompt}\n\nReply:", 4)
    env = make_vec_env("TextSumm-v1", n_envs=1, model=lm, max_new_tokens=6, stop=("\n",), reward="rouge")
    policy = PPO(CausalLMPolicy, env, n_steps=4, batch_size=4, policy_kwargs={"model": lm, "temperature": 0.5}).policy
    policy.save_pretrained(tmp_path / "with", env=env)
    policy.save_pretrained(tmp_path / "without")
    found = read_format(tmp_path / "with")
    assert found is not None
    assert (found.task, found.stop, found.max_new_tokens, found.temperature) == ("TextSumm-v1", ("\n",), 6, 0.5)
    assert found.chat_prompt_template is not None
    assert found.chat_prompt_template.startswith("Summarize")
    assert not (tmp_path / "without" / FILE).exists()
    assert gym.make("TextSumm-v1").unwrapped.task.prompt_template == found.prompt_template  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("env_id", "template", "says"),
    [
        ("TextSumm-v0", None, True),
        ("TextSumm-v1", None, False),
        ("TextGen-v0", None, False),
        ("TextSumm-v0", "{prompt}", False),
    ],
)
def test_the_cue_in_the_turn_of_a_chat_model_is_said(
    env_id: str, template: str | None, says: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = str(write_chat_folder(tmp_path / "chat", CHATML, "byte"))
    task = EnvChoice(env_id, prompt_template=template).make("test")
    say_other_template(task, chat)
    said = capsys.readouterr().err
    assert (r"ends every turn of its user with '\n\nSummary:'" in said) is says
    assert ("--prompt-template '{prompt}' leaves that out; TextSumm-v1" in said) is says
    say_other_template(task, "tiny")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "is_chat", "said"),
    [
        (EnvChoice("TextSumm-v0"), False, ""),
        (EnvChoice("TextSumm-v0", "tickets.jsonl", "doc"), False, r"Every prompt is asked as '{prompt}\n\nSummary:'"),
        (EnvChoice("TextSumm-v1", "tickets.jsonl", "doc"), False, r"Every prompt is asked as '{prompt}\n\nSummary:'"),
        (EnvChoice("TextSumm-v1", "tickets.jsonl", "doc"), True, "Every prompt is asked as 'Summarize the following"),
        (EnvChoice("TextSumm-v0", "tickets.jsonl", "doc", prompt_template="{prompt}?"), False, ""),
        (EnvChoice("TextGen-v0", "tickets.jsonl", "doc"), False, ""),
    ],
)
def test_a_template_that_nobody_chose_is_said(
    choice: EnvChoice, is_chat: bool, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_chat_folder(folder / "chat", CHATML, "byte")) if is_chat else "tiny"
    task = choice.make("test")
    capsys.readouterr()
    say_template(task, choice, model)
    found = capsys.readouterr().err
    assert found.startswith(said)
    assert bool(found) is bool(said)


class Bare(gym.Env[Any, Any]):
    """An environment of somebody else's, without texts."""


def test_an_environment_of_another_kind_asks_in_no_way_that_is_known() -> None:
    tiny = Tokenizer.load("tiny")
    assert format_in(Bare(), tiny) is None
    whole = format_in(gym.make("TextGenEpisode-v0", prompt_template="Q: {prompt}"), tiny)
    assert whole is not None
    assert (whole.task, whole.template, whole.max_new_tokens) == ("TextGenEpisode-v0", "Q: {prompt}", 48)


def test_a_chat_model_is_asked_by_its_card_as_it_was_in_training(folder: Path) -> None:
    tokenizer = write_model(Path("chat"), CHATML, "byte")
    done(
        *("train", "TextSumm-v1", "--data", "tickets.jsonl", "--prompt-column", "doc", "--model", "chat"),
        *("--reward", "none", "--steps", "8", "--out", "c", "--max-prompt-tokens", "120", *SHORT),
    )
    asked = read_format(Path("c/model"))
    assert asked is not None
    assert asked.uses_chat_template
    with pytest.MonkeyPatch.context() as patch:
        names = run_card(folder / "c" / "model", "Parcel 7 is late.", patch)
    theirs = transformers.AutoTokenizer.from_pretrained("chat")
    user = "Summarize the following text in one or two sentences.\n\nParcel 7 is late."
    ids = theirs.apply_chat_template([{"role": "user", "content": user}], add_generation_prompt=True, return_dict=False)
    assert names["ids"].tolist() == [ids]
    task = EnvChoice("TextSumm-v1", "tickets.jsonl", "doc").make("train")
    (prompt,) = tokenizer.encode_prompts([prompt_of(task, Example("x", "Parcel 7 is late."))], 120)
    assert prompt.ids == ids


@pytest.mark.parametrize("command", ["train", "sft", "evaluate", "generate", "play", "reward_fit", "rlhf", "sample"])
def test_every_command_with_an_environment_takes_a_template(command: str) -> None:
    function = sample if command == "sample" else getattr(cli, command)
    parameters = inspect.signature(function).parameters
    assert {"data", "prompt_column", "prompt_template"} <= parameters.keys()


def test_the_template_is_kept_with_a_run_and_a_project(folder: Path, lm: str) -> None:
    template = TEMPLATE.replace(r"\n", "\n")
    with consent.names_from("r", "textgym train --resume r", ["own_rewards:polite"]):
        assert settings_of(RunFolder("r"), ["own_rewards:polite"]).choice.prompt_template == template
    done(
        *("feedback", "sample", "p.db", "TextGen-v0", "--data", "tickets.jsonl", "--prompt-column", "doc"),
        *("--prompt-template", TEMPLATE, "--model", lm, "--prompts", "2", "--max-new-tokens", "4"),
    )
    with FeedbackStore("p.db") as store:
        prompts = [question.prompt for question in store.questions().values()]
        assert store.setting("task")["prompt_template"] == template
    assert len(prompts) == 2
    assert all(str(prompt).startswith("As kind: Parcel ") and str(prompt).endswith("\n\nReply:") for prompt in prompts)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (r"{prompt}\n\nReply:", "{prompt}\n\nReply:"),
        (r"{prompt}\t\\n", "{prompt}\t\\n"),
        ("{prompt}\n\\d", "{prompt}\n\\d"),
    ],
)
def test_a_template_is_typed_with_escapes(typed: str, read: str) -> None:
    assert template_argument(typed) == read


@pytest.mark.parametrize("command", ["sft", "train", "rlhf", "reward fit"])
def test_a_training_is_of_the_task_of_its_start_model(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[EnvChoice] = []
    budgets: list[int | None] = []

    def make(settings: Any, *_: Any) -> None:
        made.append(settings.choice)
        budgets.append(settings.max_new_tokens)

    for target in (
        "train.run_train",
        "reward.run_reward_fit",
    ):
        monkeypatch.setattr(f"textgym.training.{target}", make)
    monkeypatch.setattr("textgym.rlhf.run.run_rlhf", make)
    shown = done(*command.split(), "--model", "r")
    assert "From r: ENV_ID TextGen-v0, --data tickets.jsonl" in shown.stderr
    shutil.copytree("r/model", "alone")
    shown = done(*command.split(), "--model", "alone", "--data", "other.jsonl")
    assert "The prompt template of alone is put around the prompts of other.jsonl too;" in shown.stderr
    assert "--prompt-template '{prompt}' leaves it out." in shown.stderr
    done(*command.split(), "--model", "r", "--data", "other.jsonl")
    done(*command.split(), "TextSumm-v0", "--model", "r")
    done(*command.split(), "--model", "r", "--max-new-tokens", "7")
    own, alone, elsewhere, named, _ = made
    assert budgets == [4, 4, 4, None, 7]
    shape = {"env_id": "TextGen-v0", "prompt_template": TEMPLATE.replace(r"\n", "\n")}
    assert own == EnvChoice(**shape, data=str(folder / "tickets.jsonl"), prompt_column="doc")
    shape["prompt_template"] = "As {tone}: {prompt}\n\nReply:"
    assert alone == elsewhere == EnvChoice(**shape, data="other.jsonl")
    assert named == EnvChoice("TextSumm-v0")


def test_the_environment_of_a_run_is_named_where_nobody_chose_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SFT, "measures", lambda agent, task: {"loss": 1.0})  # of hundreds of reports otherwise
    small = ("--steps", "1", "--limit", "8", "--eval-prompts", "2", "--max-new-tokens", "2")
    shown = done("sft", "--model", "tiny", *small)
    assert " on TextSumm-v0, reports (train: " in " ".join(shown.stdout.split())
    for command, env_id in (("sft", "TextSumm-v0"), ("train", "TextSumm-v0"), ("play", "TextSummEpisode-v0")):
        assert f"Default: {env_id}" in " ".join(done(command, "--help").stdout.split())


def test_a_text_is_asked_with_the_columns_of_the_template(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = sampling.sample_texts

    def spied(model: Any, task: Any, examples: Any, *rest: Any, **more: Any) -> Any:
        asked.extend(prompt_of(task, example).text for example in examples)
        return real(model, task, examples, *rest, **more)

    monkeypatch.setattr("textgym.evaluation.core.sample_texts", spied)
    shown = done("generate", "A text.", "--model", "r", "--n", "1", "--column", "tone=a {b} = c")
    assert asked == ["As a {b} = c: A text.\n\nReply:"]
    assert "learned with the prompt template" not in shown.stderr
    for arguments, said in (
        (["A text."], "got none for tone; give --column tone=VALUE"),
        (["A text.", "--column", "tnoe=kind", "--column", "tone=kind"], "got 'tnoe'. Did you mean 'tone'?"),
        (["A text.", "--column", "kind"], "expected --column NAME=VALUE, got 'kind'"),
        (["--prompts", "1", "--column", "tone=kind"], "expected a prompt with --column"),
    ):
        wrong = run("generate", *arguments, "--model", "r")
        assert wrong.exit_code == cli.BAD_INPUT
        assert said in " ".join(wrong.stderr.split())


def test_an_empty_stdin_is_no_document(folder: Path) -> None:
    shown = done("generate", "--model", "r", "--n", "1", text="")
    assert "Parcel" in shown.stdout
    assert "--data tickets.jsonl" in shown.stderr
    assert run("generate", "--text", "-", "--model", "plain", text="").exit_code == cli.BAD_INPUT  # it was asked for
