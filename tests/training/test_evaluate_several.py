"""``textgym evaluate`` with several models and agents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.envs.choice import EnvChoice
from textgym.evaluation import Measures, compare, compare_significance
from textgym.metrics import paired_test
from textgym.training.evaluate_several import EvaluateSeveralSettings

ENV = ("evaluate", "TextSumm-v0", "--reward", "rouge", "--prompts", "7", "--max-new-tokens", "6")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_model_and_two_agents_are_compared(tmp_path: Path) -> None:
    shown = run(*ENV, "--model", "tiny", "--agent", "random", "--agent", "scripted", "--metric", "length", "--out", "e")
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["measure", "mean,", "95", "%", "interval", "difference", "to", "tiny", "p"] in lines
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert list(summary["models"]) == ["tiny", "random", "scripted"]
    assert (summary["compared_with"], summary["prompts"]) == ("tiny", 7)
    assert (tmp_path / "e" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    texts = {
        name: [json.loads(line)["measures"]["rougeL"] for line in (tmp_path / "e" / found["texts"]).open()]
        for name, found in summary["models"].items()
    }
    expected = paired_test(texts["scripted"], texts["tiny"])
    found = summary["differences"]["scripted"]["rougeL"]
    assert (found["mean"], found["p_value"]) == pytest.approx((expected.difference.mean, expected.p_value))
    assert f"{expected.p_value:.4f}" in shown.stdout
    assert summary["models"]["scripted"]["measures"]["length"] != summary["models"]["random"]["measures"]["length"]


def test_a_model_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    shown = run(*ENV, "--model", "tiny", "--model", "tiny", "--temperature", "0", "--out", "e")
    assert shown.exit_code == 0, shown.output
    found = json.loads((tmp_path / "e" / "summary.json").read_text())["differences"]
    assert list(found) == ["tiny (2)"]
    assert {(each["mean"], each["p_value"]) for each in found["tiny (2)"].values()} == {(0.0, 1.0)}


def test_one_model_and_one_agent_are_one_agent(tmp_path: Path) -> None:
    assert run(*ENV, "--model", "tiny", "--agent", "random", "--metric", "ter", "--out", "e").exit_code == 0
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert (summary["after"], "models" in summary) == ({}, False)
    assert summary["before"]["ter"]["mean"] > 0.5


def test_a_comparison_with_the_start_model_has_p_values(tmp_path: Path) -> None:
    assert run(*ENV, "--model", "tiny", "--reference-model", "tiny", "--out", "e").exit_code == 0
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert summary["p_values"]["reward"] == 1.0
    assert summary["p_values"].keys() == summary["difference"].keys()


@pytest.mark.parametrize(
    ("metric", "error"),
    [
        ("rogue", "Did you mean 'rouge'?"),
        ("bleu?tokenise=zh", "Did you mean 'tokenize'?"),
        ("perplexity", "expected model=... for the reward 'perplexity'"),
    ],
)
def test_wrong_measures_are_refused_before_texts_are_sampled(metric: str, error: str) -> None:
    shown = run(*ENV, "--model", "tiny", "--metric", metric)
    assert shown.exit_code == cli.BAD_INPUT
    assert error in shown.output


def test_temperatures_that_agents_do_not_have() -> None:
    shown = run(*ENV, "--agent", "random", "--agent", "scripted", "--temperature", "0.5")
    assert shown.exit_code == cli.BAD_INPUT
    assert "expected temperature 0 or 1" in shown.output


def test_names_and_tokens_of_each() -> None:
    settings = EvaluateSeveralSettings(EnvChoice(), model="a", models=("a", "b", "a"), agents=("random",))
    each = settings.each()
    assert [(name, one.model, one.agent) for name, one in each.items()] == [
        ("a", "a", None),
        ("b", "b", None),
        ("a (2)", "a", None),
        ("random", "a", "random"),
    ]


def test_significance_pairs_by_prompt() -> None:
    before = Measures({"reward": np.array([0.0, 1.0, np.nan, 0.0])}, ["a", "a", "b", "c"])
    after = Measures({"reward": np.array([1.0, 1.5, 2.0, 3.0])}, ["a", "a", "b", "c"])
    found = compare_significance(before=before, after=after)["reward"]
    assert found.difference == compare(before=before, after=after)["reward"]
    assert (found.p_value, found.prompts) == (2 / 4, 2)
