"""Every command but train, end to end on tiny models."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.cli import generate
from textgym.envs.choice import EnvChoice
from textgym.evaluation.core import write_episodes
from textgym.evaluation.measures import Measures
from textgym.feedback import read_comparisons, write_records
from textgym.feedback.types import Comparison
from textgym.metrics.texts import TEXT_METRICS
from textgym.models.prompt_format import prompt_format, write_format
from textgym.rewards import resolve_reward
from textgym.rlhf.demo import DemoSettings, gap_closed, run_demo
from textgym.tasks import Summarization, TextTask, prompt_text
from textgym.text.tokenizer import Tokenizer
from textgym.training.interrupts import StopRequest, stop_on_request
from textgym.training.run_folder import RunFolder
from textgym.types import Example, Message


def run(*arguments: str, text: str | None = None) -> Result:
    shown = CliRunner().invoke(cli.app, list(arguments), input=text)
    assert shown.exit_code == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines()[2:] or [""])) < 400
    return shown


def columns(data: str) -> list[str]:
    return ["--data", data, "--prompt-column", "doc", "--reference-column", "sum"]


def test_sft(lm: str, data: str) -> None:
    shown = run(
        *("sft", "TextSumm-v0", *columns(data), "--model", lm, "--steps", "12", "--batch-size", "8", "--lr", "0.01"),
        *("--eval-prompts", "4", "--out", "s"),
    )
    summary = RunFolder("s").summary()
    assert {"rouge1", "rougeL", *TEXT_METRICS, "kl", "length", "eos", "reward"} == set(summary["after"]) - {"rouge2"}
    assert summary["loss"]["after"] < summary["loss"]["before"]
    assert (Path("s") / "learning_curve.png").is_file()
    card = (Path("s") / "model" / "README.md").read_text()
    assert "supervised fine-tuning" in card
    first, last = (f"{summary['loss'][side]:.4g}" for side in ("before", "after"))
    assert f"| held-out loss, nats per token of the references | {first} | {last} |" in card
    assert "| optimizer steps | text |" in Path("s/samples.md").read_text()
    assert "12 steps" in shown.stdout.splitlines()[0]
    assert "About" in shown.stdout.splitlines()[0]
    measured = run("evaluate", *columns(data), "--model", "s", "--prompts", "4", "--out", "e")
    assert f"Evaluating s and {lm}" in measured.stdout  # the run knows what it started from


def test_sft_by_the_clock(lm: str, data: str) -> None:
    run(
        "sft",
        *columns(data),
        "--model",
        lm,
        "--minutes",
        "0.01",
        "--batch-size",
        "2",
        "--eval-prompts",
        "2",
        "--out",
        "s",
    )
    assert (Path("s") / "model" / "model.safetensors").is_file()
    card = (Path("s") / "model" / "README.md").read_text()
    assert '"minutes": 0.01' in card
    assert '"steps"' not in card  # the default of an option that was not used


def test_reward_fit_by_gold(lm: str) -> None:
    shown = run("reward", "fit", "TextSumm-v0", "--model", lm, "--pairs", "40", "--out", "r")
    summary = RunFolder("r").summary()
    assert set(summary["accuracy"]) == {"mean", "low", "high"}
    assert "Held-out accuracy" in shown.stdout
    records = read_comparisons("r/feedback.jsonl")
    assert len(records) == 40
    assert {record.annotator for record in records} == {"simulated-gold"}
    assert all(record.task_key.startswith("reports/train/") for record in records)  # never an evaluation prompt
    assert {record.choice for record in records} == {"a", "b"}
    task = Summarization(split="test")
    reward = resolve_reward("r", task)
    examples = [task.dataset[0], task.dataset[1]]
    scores = reward([prompt_text(task, item) for item in examples], ["x", "y"], examples)
    assert np.isfinite(scores).all()
    run("evaluate", "--model", lm, "--reward", "r", "--prompts", "3", "--max-new-tokens", "4", "--out", "e")
    assert set(RunFolder("e").summary()["before"]) >= {"reward", "gold"}


def test_reward_fit_by_rouge(lm: str, data: str) -> None:
    run("reward", "fit", *columns(data), "--model", lm, "--pairs", "60", "--noise", "0.001", "--out", "r")
    records = read_comparisons("r/feedback.jsonl")
    train = EnvChoice("TextSumm-v0", data, "doc", "sum").make("train")
    references = {train.dataset[index].references[0] for index in range(len(train.dataset))}
    assert all(train.dataset.find(record.task_key) for record in records)
    # The pairs differ in quality, and whoever has the reference wins against a random model.
    against_reference = [record for record in records if train.dataset.find(record.task_key).references[0] in (
        record.response_a, record.response_b)]  # fmt: skip
    assert len(against_reference) > 3
    assert all(record.chosen in references for record in against_reference)


def test_reward_fit_on_given_comparisons(lm: str) -> None:
    records = [Comparison(f"k{n}", f"Document {n}", "good", "bad", "a", annotator="me") for n in range(30)]
    write_records("given.jsonl", records)
    run("reward", "fit", "--model", lm, "--comparisons", "given.jsonl", "--epochs", "8", "--lr", "0.003", "--out", "r")
    assert RunFolder("r").summary()["accuracy"]["mean"] == 1
    assert read_comparisons("r/feedback.jsonl") == records


def test_an_annotator_needs_what_it_compares_by(lm: str, data: str) -> None:
    shown = CliRunner().invoke(cli.app, ["reward", "fit", *columns(data), "--model", lm, "--annotator", "gold"])
    assert shown.exit_code == cli.BAD_INPUT
    assert "true quality" in shown.stderr
    assert not Path("runs").exists()


def test_evaluate_is_reproducible(lm: str) -> None:
    for name in ("a", "b"):
        run("evaluate", "--model", lm, "--reward", "gold", "--prompts", "5", "--max-new-tokens", "6", "--out", name)
    first, second = RunFolder("a").summary(), RunFolder("b").summary()
    assert first["before"] == second["before"]
    assert first["after"] == {}
    assert first["before"]["kl"]["mean"] == 0
    assert RunFolder("a").read_rows("texts-before.jsonl") == RunFolder("b").read_rows("texts-before.jsonl")


def test_evaluate_against_a_reference_model(lm: str) -> None:
    run(
        *("evaluate", "--model", lm, "--reference-model", lm, "--reward", "gold", "--prompts", "5"),
        *("--max-new-tokens", "6", "--out", "e"),
    )
    summary = RunFolder("e").summary()
    assert {name: item["mean"] for name, item in summary["before"].items()} == pytest.approx(
        {name: item["mean"] for name, item in summary["after"].items()}, abs=1e-4
    )
    assert summary["prompts"] == 5


def test_generate(lm: str) -> None:
    by_id = run("generate", "TextSumm-v0", "--model", lm, "--n", "2", "--max-new-tokens", "5")
    assert "reports/test/0" in by_id.stdout
    by_text = run("generate", "A document.", "--model", lm, "--n", "3", "--max-new-tokens", "5")
    assert [line[:2] for line in by_text.stdout.splitlines()] == ["1.", "2.", "3."]
    by_option = run("generate", "--text", "A document.", "--model", lm, "--n", "3", "--max-new-tokens", "5")
    by_stdin = run("generate", "--model", lm, "--n", "3", "--max-new-tokens", "5", text="A document.\n")
    assert by_text.stdout == by_option.stdout == by_stdin.stdout
    greedy = run("generate", "--text", "A.", "--model", lm, "--n", "2", "--temperature", "0", "--max-new-tokens", "5")
    assert len({line[3:] for line in greedy.stdout.splitlines()}) == 1


def test_generate_from_a_pipe_that_was_not_asked(lm: str, data: str) -> None:
    """A pipe nobody speaks of is not read: it may never end."""
    for arguments in (["TextSumm-v0"], ["--prompts", "1"], columns(data), ["--text", "A document."]):
        piped = run("generate", *arguments, "--model", lm, "--n", "1", "--max-new-tokens", "3", text="Nobody asked.")
        empty = run("generate", *arguments, "--model", lm, "--n", "1", "--max-new-tokens", "3", text="")
        assert piped.stdout == empty.stdout


@pytest.mark.parametrize("arguments", [[], ["-"], ["--text", "-"], [" "], ["--text", ""]])
def test_generate_about_nothing(arguments: list[str], lm: str) -> None:
    shown = CliRunner().invoke(cli.app, ["generate", *arguments, "--model", lm], input=" \n")
    assert shown.exit_code == cli.BAD_INPUT
    assert "expected a prompt, got an empty text" in shown.stderr


def test_a_text_is_asked_behind_the_message_of_the_system(lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(lm, "own")
    task = TextTask([Example(f"{n}", (Message("system", "Be brief."), Message("user", f"d {n}"))) for n in range(20)])
    write_format(Path("own"), prompt_format(task, Tokenizer.load(lm)))
    seen: list[Example] = []

    def spied(model: Any, task: Any, examples: Any, *rest: Any, **more: Any) -> Any:
        seen.extend(examples)
        return write_episodes(model, task, examples, *rest, **more)

    monkeypatch.setattr(generate, "write_episodes", spied)
    shown = run("generate", "Where is it?", "--model", "own", "--n", "1", "--max-new-tokens", "2")
    assert [example.text for example in seen] == ["System: Be brief.\nUser: Where is it?"]
    assert "After the system message that own learned with: 'Be brief.'" in shown.stderr


BUDGETS = ["--max-prompt-tokens", "48", "--max-new-tokens", "8"]


@pytest.mark.parametrize(
    "command",
    [
        "sft --steps 1 --batch-size 2 --eval-prompts 2",
        "train --steps 8 --n-envs 2 --n-steps 4 --batch-size 8 --eval-prompts 2 --reward rouge",
        "reward fit --pairs 20",
        "evaluate --prompts 2",
        "generate TextSumm-v0 --n 1",
        "play TextSumm-v0",
    ],
)
def test_a_model_with_a_short_context(command: str, short: str, data: str) -> None:
    arguments = [*command.split(), *columns(data), "--model", short]
    shown = CliRunner().invoke(cli.app, arguments, input="x\n\n")
    assert shown.exit_code == cli.BAD_INPUT
    assert "expected a model with a context of at least 560 tokens" in shown.stderr
    assert "got 64; use --max-prompt-tokens 16, or lower --max-new-tokens" in shown.stderr
    assert not Path("runs").exists()
    run(*arguments, *BUDGETS, text="x\n\n")


def test_sft_leaves_out_what_the_model_cannot_read(short: str) -> None:
    rows = [{"doc": f"Document {n}.", "sum": "word " * (100 if n % 2 else 5)} for n in range(40)]
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["sft", *columns("long.jsonl"), "--model", short, *BUDGETS, "--steps", "1", "--eval-prompts", "1"]
    shown = run(*arguments, "--batch-size", "2", "--out", "s")
    assert len(re.findall(r"left out \d+ of \d+ references", shown.stderr)) == 2  # of the train and held-out split
    Path("longer.jsonl").write_text("".join(json.dumps(row | {"sum": "word " * 100}) + "\n" for row in rows))
    shown = CliRunner().invoke(cli.app, [*arguments[:2], "longer.jsonl", *arguments[3:], "--out", "t"])
    assert shown.exit_code == cli.BAD_INPUT
    assert "expected references of at most" in shown.stderr
    assert not Path("t").exists()


def test_sft_without_a_held_out_text_that_fits(short: str) -> None:
    Path("set").mkdir()
    for split, words in (("train", 5), ("validation", 100)):
        rows = [{"doc": f"Document {n} to {split}.", "sum": "word " * words} for n in range(9)]
        Path(f"set/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["sft", *columns("set"), "--model", short, *BUDGETS, "--steps", "1", "--eval-prompts", "1"]
    shown = run(*arguments, "--batch-size", "2", "--out", "s")
    assert RunFolder("s").summary()["loss"] == {"before": None, "after": None}
    assert "Held-out loss" not in shown.stdout


def test_a_tokenizer_without_an_end_is_refused_before_anything_is_made(lm: str) -> None:
    shutil.copytree(lm, "endless")
    for file in Path("endless").glob("*config.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({key: value for key, value in content.items() if "eos" not in key}))
    (Path("endless") / "special_tokens_map.json").unlink(missing_ok=True)
    for command in ("reward fit --pairs 20 --out r", "play TextSumm-v0"):
        shown = CliRunner().invoke(cli.app, [*command.split(), "--model", "endless"], input="x\n\n")
        assert shown.exit_code == cli.BAD_INPUT, shown.stderr
        assert "end-of-text token" in shown.stderr
    assert not Path("r").exists()


@pytest.mark.parametrize(
    "command",
    [
        "reward fit --epochs 0",
        "reward fit --batch-size 0",
        "reward fit --noise -1",
        "reward fit --comparisons same.jsonl",
        "evaluate --max-new-tokens -3",
        "evaluate --reward nothing",
        "train --kl-target 0",
        "train --kl-coef 0 --kl-target 6",
        "sft --reward nothing",
        "demo --model nothing",
    ],
)
def test_mistakes_leave_no_folder(command: str) -> None:
    Path("nothing").mkdir()
    write_records(
        "same.jsonl", [Comparison(f"k{n}", f"Document {n}", "text", "text", "a", annotator="me") for n in range(9)]
    )
    shown = CliRunner().invoke(cli.app, [*command.split(), "--out", "o"])
    assert shown.exit_code == cli.BAD_INPUT, shown.stderr
    assert not Path("o").exists()


def test_texts_cannot_command_the_terminal(lm: str) -> None:
    rows = [{"doc": f"Document {n} \x1b[31m \x07 [red]x[/red].", "sum": "A \x1b[2J summary."} for n in range(60)]
    Path("esc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--model", lm, *columns("esc.jsonl"), "--max-new-tokens", "3"]
    shown = run("generate", *common, "--n", "1").stdout + run("evaluate", *common, "--prompts", "2").stdout
    shown += run("play", *columns("esc.jsonl"), text="hello \x1b[2J\n").stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", shown)
    assert shown.count("[red]x[/red]") > 2


def test_play_whole_texts() -> None:
    shown = run(
        "play", "TextSummEpisode-v0", "--reward", "rouge", "--episodes", "2", text="First try.\nSecond [try].\n"
    )
    assert "Your text: First try." in shown.stdout
    assert "Your text: Second [try]." in shown.stdout
    assert shown.stdout.count("rougeL") == shown.stdout.count("gold (true quality)") == 2


def test_play_knows_a_good_answer() -> None:
    task = Summarization(split="train")
    shown = run("play", "--reward", "gold", text="x\n")
    key = next(line for line in shown.stdout.splitlines() if line.startswith("reports/train/"))
    again = run("play", "--reward", "gold", text=task.dataset.find(key).references[0] + "\n")
    assert "yes" in next(line for line in again.stdout.splitlines() if line.startswith("success"))


def test_play_token_by_token(lm: str) -> None:
    shown = run(
        "play", "TextSumm-v0", "--model", lm, "--reward", "rouge", "--choices", "3", text="the bridge\n.\n1\n\n"
    )
    assert "1:" in shown.stdout
    assert "4:" not in shown.stdout
    assert "... the bridge." in shown.stdout
    assert re.search(r"ended by +eos", shown.stdout)


def test_play_without_input_ends_at_once() -> None:
    shown = run("play", "TextSumm-v0", "--reward", "rouge", text="")
    assert "The input ended" in shown.stderr


def test_demo(lm: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = DemoSettings(model=lm, pairs=30, iterations=1, n_envs=4, eval_prompts=6, out="d")
    run_demo(small)
    summary = json.loads(Path("d/summary.json").read_text())
    assert {"accuracy", "before", "after", "seconds", "versions", "references", "gap_closed"} <= set(summary)
    assert summary["references"]["gold"]["mean"] > 0.9
    assert summary["prompts"] == 6
    assert {"reward", "before", "training", "after", "total"} <= set(summary["seconds"])
    for name in ("learning_curve.png", "kl.png", "samples.md", "feedback.jsonl", "model/README.md", "reward"):
        assert (Path("d") / name).exists()
    shown = capsys.readouterr().out
    assert "about 5 minutes" in shown.splitlines()[0]
    assert "of the gap is closed" in shown


def test_the_gap_to_the_references() -> None:
    sides = [Measures({"gold": np.array(values)}) for values in ([0.0, 0.4], [0.3, 0.5], [1.0, 1.0])]
    assert gap_closed(*sides) == pytest.approx(0.25)
    assert gap_closed(sides[2], sides[2], sides[2]) == 0


def test_the_first_ctrl_c_asks_and_the_second_stops() -> None:
    with stop_on_request("finishing") as request:
        assert not request.wanted
        request.handle(2, None)
        assert request.wanted
        with pytest.raises(KeyboardInterrupt):
            request.handle(2, None)
    assert not StopRequest("x").wanted
