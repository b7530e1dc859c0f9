"""``textgym score`` and ``rescore``: saved episodes get the numbers that an evaluation would have given them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.errors import DataError
from textgym.evaluation import Evaluation, evaluate, make_evaluation_set, rescore
from textgym.models import load_language_model
from textgym.rewards import resolve_reward
from textgym.security import consent
from textgym.training.results import read_episodes

ROWS = [{"doc": f"Parcel {n} is late.", "reply": f"Sorry about parcel {n}.", "tone": "kind"} for n in range(60)]
EVALUATE = ("evaluate", "TextGen-v0", "--prompts", "4", "--max-new-tokens", "6", "--split", "test")
OWN = ("--data", "tickets.jsonl", "--prompt-column", "doc", "--reference-column", "reply")
FIRST = ("--reward", "length?target=4")
SECOND = ("--reward", "rouge", "--reward", "0.5*length?target=3", "--metric", "ter", "--metric", "diversity")
REWARD = (
    "def polite(prompts, responses, examples):\n    return [float('e' in prompt + response) for prompt, response in "
)
REWARD += "zip(prompts, responses)]\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def done(*arguments: str) -> Result:
    shown = run(*arguments)
    assert shown.exit_code == 0, shown.output
    return shown


def refused(*arguments: str) -> str:
    shown = run(*arguments)
    assert shown.exit_code == cli.BAD_INPUT, shown.output
    return shown.stderr


def write_data(rows: list[dict[str, str]]) -> None:
    Path("tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def summary(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(name, "summary.json").read_text())
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_data(ROWS)
    Path("polite_replies.py").write_text(REWARD)
    monkeypatch.setattr(consent, "_user_folders", [str(tmp_path)])
    sys.modules.pop("polite_replies", None)


def test_scored_episodes_equal_those_of_an_evaluation(lm: str) -> None:
    both = ("--model", lm, "--reference-model", lm)
    done(*EVALUATE, *OWN, *both, *FIRST, "--out", "first")
    done(*EVALUATE, *OWN, *both, *SECOND, "--out", "expected")
    shown = done("score", "first", *SECOND, "--out", "scored")
    assert "nothing is generated" in shown.stdout
    for side in ("before", "after"):
        texts = f"texts-{side}.jsonl"
        assert Path("scored", texts).read_bytes() == Path("expected", texts).read_bytes()
        assert Path("scored", texts).read_bytes() != Path("first", texts).read_bytes()
    assert summary("scored") == summary("expected")
    assert json.loads(Path("scored/texts-after.jsonl").read_text().splitlines()[0])["measures"].keys() >= {"ter", "kl"}


def test_every_model_of_a_comparison_is_scored(lm: str) -> None:
    several = ("--model", lm, "--agent", "random", "--agent", "scripted")
    done(*EVALUATE, *OWN, *several, *FIRST, "--out", "first")
    done(*EVALUATE, *OWN, *several, *SECOND, "--out", "expected")
    done("score", "first", *SECOND, "--out", "scored")
    found, expected = summary("scored"), summary("expected")
    models = [each.pop("models") for each in (found, expected)]
    assert found == expected
    assert [{**each, "seconds": 0} for each in models[0].values()] == [
        {**each, "seconds": 0} for each in models[1].values()
    ]
    assert list(models[0]) == [lm, "random", "scripted"]
    done("score", "first/texts-2.jsonl", *SECOND, "--out", "one")
    assert Path("one/texts-1.jsonl").read_bytes() == Path("expected/texts-2.jsonl").read_bytes()


def test_the_reward_of_the_run_is_the_default_and_scores_can_be_scored_again(lm: str) -> None:
    done(*EVALUATE, *OWN, "--model", lm, *FIRST, "--out", "first")
    shown = done("score", "first", "--out", "same")
    assert "--reward length?target=4" in shown.stderr
    assert Path("same/texts-before.jsonl").read_bytes() == Path("first/texts-before.jsonl").read_bytes()
    done("score", "same", *SECOND, "--out", "second")
    done("score", "second", *FIRST, "--out", "back")
    assert Path("back/texts-before.jsonl").read_bytes() == Path("first/texts-before.jsonl").read_bytes()


def test_a_file_outside_of_a_run_needs_its_environment(lm: str) -> None:
    done(*EVALUATE, *OWN, "--model", lm, *FIRST, "--out", "first")
    Path("elsewhere").mkdir()
    Path("first/texts-before.jsonl").rename("elsewhere/mine.jsonl")
    assert "textgym score FILE ENV_ID" in refused("score", "elsewhere/mine.jsonl")
    assert "got the key" in refused("score", "elsewhere/mine.jsonl", "TextSumm-v1", "--reward", "rouge")
    done("score", "elsewhere/mine.jsonl", "TextGen-v0", *OWN, "--reward", "rouge", "--out", "scored")
    assert [path.name for path in Path("scored").glob("texts-*")] == ["texts-1.jsonl"]


def test_a_module_of_the_run_needs_consent(lm: str) -> None:
    done(*EVALUATE, *OWN, "--model", lm, "--reward", "polite_replies:polite", "--out", "first")
    sys.modules.pop("polite_replies")
    assert "textgym score first --reward polite_replies:polite" in refused("score", "first")
    assert "polite_replies" not in sys.modules
    done("score", "first", "--reward", "rouge", "--out", "other")  # it is not asked for what is not taken
    assert "polite_replies" not in sys.modules
    done("score", "first", "--reward", "polite_replies:polite", "--out", "same")
    assert Path("same/texts-before.jsonl").read_bytes() == Path("first/texts-before.jsonl").read_bytes()
    config = json.loads(Path("first/config.json").read_text())
    config["settings"]["choice"]["env_id"] = "polite_replies:Own-v0"
    Path("first/config.json").write_text(json.dumps(config))
    sys.modules.pop("polite_replies")
    assert "textgym score first polite_replies:Own-v0" in refused("score", "first", "--reward", "rouge")
    assert "polite_replies" not in sys.modules


def test_changed_data_are_refused(lm: str) -> None:
    done(*EVALUATE, *OWN, "--model", lm, *FIRST, "--out", "first")
    write_data([{**row, "reply": "Fine."} for row in ROWS])
    assert "got others in the test split" in refused("score", "first", "--reward", "rouge")
    write_data(ROWS)
    Path("new").mkdir()
    Path("tickets.jsonl").rename("new/tickets.jsonl")
    assert "give --data" in refused("score", "first", "--reward", "rouge")
    moved = ("--data", "new/tickets.jsonl", *OWN[2:], "--reward", "rouge")
    done("score", "first", *moved, "--out", "moved")
    assert "got the key" in refused("score", "first", *moved, "--split", "validation")


def test_a_reward_that_lacks_something_says_what(lm: str) -> None:
    done(*EVALUATE, "--model", lm, *FIRST, "--out", "first")  # the built-in requests have no references
    assert "references" in refused("score", "first", "--reward", "rouge")
    assert "true quality" in refused("score", "first", "--reward", "gold")
    assert "Did you mean 'rouge'?" in refused("score", "first", "--reward", "rogue")
    assert not list(Path().glob("runs/*"))


Change = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.pop("task_key"), "expected the texts task_key in"),
        (lambda row: row.update(text=3), "expected the texts text in"),
        (lambda row: row.update(task_key="requests/test/1000"), "got the key 'requests/test/1000'"),
        (lambda row: row.update(finish_reason="tired"), "got another kind of finish_reason"),
        (lambda row: row.update(turns=[{"role": "user"}], state={}, turn_return=0), "got another kind of turns"),
        (lambda row: row.update(turns=[]), "got another kind of turns without state"),
        (lambda row: row.update(turns=[], state={}, turn_return="1"), "got another kind of turn_return"),
    ],
)
def test_lines_of_another_form_are_refused(change: Change, said: str) -> None:
    task = make_evaluation_set("TextGen-v0", prompts=1).task
    rows: list[dict[str, object]] = [{"task_key": task.dataset[n].key, "text": "Yes."} for n in range(2)]
    file = Path("texts.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_episodes(file, task).texts == ["Yes.", "Yes."]
    change(rows[1])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"texts.jsonl:2") as raised:
        read_episodes(file, task)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected a run folder or a file of episodes, got none"),
        (("nothing",), "which does not exist"),
        ((".",), "expected a run of textgym"),
    ],
)
def test_without_episodes_there_is_nothing_to_score(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("score", *arguments)


def test_rescore_generates_nothing_and_keeps_what_was_measured_in_generation(lm: str) -> None:
    model = load_language_model(lm)
    first = evaluate(model, make_evaluation_set("TextSumm-v1", "rouge", 5, max_new_tokens=6), reference=model)
    other = make_evaluation_set("TextSumm-v1", "length?target=3", 5, max_new_tokens=6, metrics=["chrf"])
    again = rescore(first, other)
    expected = evaluate(model, other, reference=model)
    assert again.episodes is first.episodes
    assert again.measures.names() == expected.measures.names()
    for name, values in expected.measures.values.items():
        np.testing.assert_array_equal(again.measures.values[name], values)


def test_rescore_refuses_other_examples_and_what_a_reward_lacks() -> None:
    asked = make_evaluation_set("TextGen-v0", "length", 3)
    first = evaluate(load_language_model("tiny"), make_evaluation_set("TextGen-v0", "length", 3, max_new_tokens=2))
    assert isinstance(rescore(first, asked), Evaluation)
    with pytest.raises(ValueError, match="expected an evaluation set of the examples that the 3 episodes are about"):
        rescore(first, make_evaluation_set("TextGen-v0", "length", 2))
    with pytest.raises(DataError, match="expected at least one reference"):
        rescore(first, replace(asked, reward=resolve_reward("rouge")))
