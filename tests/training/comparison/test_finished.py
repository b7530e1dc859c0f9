"""Runs that were made before are compared if they answered the same question; else the error says what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs_made_up import EVIL, SETTINGS, finish, make_run
from textgym.errors import CheckpointError, RunFolderError
from textgym.training.comparison import comparison_of, draw_curves, markdown_of, read_comparison
from textgym.training.comparison.drawing import panels_of
from textgym.training.comparison.finished import compare_runs
from textgym.training.comparison.report import html_of
from textgym.training.run_facts import facts_of_run
from textgym.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(name: str, reached: float = 0.5, **settings: Any) -> str:
    finish(make_run(Path(name), **settings), reached)
    return name


def test_agents_are_compared_over_their_seeds() -> None:
    runs = [made(f"ppo-{seed}", 0.5 + seed / 4, seed=seed) for seed in range(2)]
    runs += [made(f"other-{seed}", 0.25, seed=seed, agent="reinforce") for seed in range(2)]
    comparison = comparison_of(runs)
    assert comparison.labels == ["ppo", "reinforce"]
    assert comparison.ranked == ["ppo", "reinforce"]
    found = comparison.after("reward", "ppo")
    assert found is not None
    assert found.mean == pytest.approx(0.625)
    assert [run.seed for run in comparison.runs_of("ppo")] == [0, 1]
    assert comparison.budget is None
    assert comparison.kind == "tokens"
    spent = comparison.runs[0].spent
    assert (spent.tokens, spent.seconds, spent.labels) == (200.0, 4.0, 20.0)
    assert [panel.measure for panel in panels_of(comparison)] == ["training/reward", "training/reward", "training/kl"]


def test_the_report_is_written_and_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = compare_runs([made("a"), made("b", agent="reinforce")], "both")
    shown = capsys.readouterr().out
    assert "Report: both/report.html" in shown
    again = read_comparison("both")
    assert (again.labels, again.after("reward", "ppo")) == (comparison.labels, comparison.after("reward", "ppo"))
    page = Path("both/report.html").read_text(encoding="utf-8")
    assert "The runs were not made for one budget" in page
    assert "Means of the agents&#x27; own texts during training" in page
    facts = facts_of_run(RunFolder.open("both"))
    assert (facts.command, facts.state, facts.task) == ("compare runs", "finished", "TextSpell-v0")
    assert facts.agent == "ppo, reinforce"
    assert "agents" not in again.settings
    assert markdown_of(again).startswith("ppo has the highest reward, 0.500 (1 run).")
    assert draw_curves(again).axes


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ({"choice": {"env_id": "TextSumm-v1"}}, "task 'TextSpell-v0' and 'b' with task 'TextSumm-v1'"),
        (
            {"choice": {**SETTINGS["choice"], "task_options": {"density": "sparse"}}},
            """options of the task '{}' and 'b' with options of the task '{"density": "sparse"}'""",
        ),
        ({"reward": "mine:reward"}, "reward 'letters' and 'b' with reward 'mine:reward'"),
        ({"split": "train"}, "split of the evaluation 'test' and 'b' with data '', split of the evaluation 'train'"),
        ({"max_new_tokens": 9}, "budget of a text '' and 'b' with budget of a text '9'"),
    ],
)
def test_what_differs_is_said(settings: dict[str, Any], differs: str) -> None:
    with pytest.raises(RunFolderError) as refused:
        comparison_of([made("a"), made("b", **settings)])
    told = re.sub(r"data '2 examples, sha256 12', ", "", str(refused.value))
    assert differs in told
    assert "textgym evaluate --model A --model B" in told


def test_other_evaluation_prompts_and_data_differ() -> None:
    runs = [made("a"), made("b")]
    run = RunFolder("b")
    run.write_rows("texts-after.jsonl", run.read_rows("texts-after.jsonl")[:1])
    with pytest.raises(RunFolderError, match=r"evaluation prompts '2 prompts .* evaluation prompts '1 prompt "):
        comparison_of(runs)
    run.write_config({**run.config(), "splits": {"test": "3 examples"}})
    with pytest.raises(RunFolderError, match="data '2 examples, sha256 12', evaluation prompts"):
        comparison_of(runs)


def test_the_tasks_own_reward_is_the_same_by_its_name() -> None:
    comparison_of([made("a"), made("b", reward="letters", seed=1)])


def test_labels_tell_methods_apart() -> None:
    runs = [made("near-0"), made("near-1", seed=1), made("far-0", options={"kl_coef": 0.0})]
    assert comparison_of(runs).labels == ["far", "near"]
    assert comparison_of([*(f"x={each}" for each in runs[:2]), runs[2]]).labels == ["ppo", "x"]
    with pytest.raises(RunFolderError, match="runs with the same settings under one label, got 'x'"):
        comparison_of([f"x={runs[0]}", f"x={runs[2]}"])
    hostile = made("evil", agent=f"m:{EVIL}|")
    (label,) = set(comparison_of([runs[0], hostile]).labels) - {"ppo"}
    assert re.fullmatch(r"[\w.-]+", label)


def test_the_same_run_or_seed_twice_is_a_mistake() -> None:
    made("a")
    with pytest.raises(RunFolderError, match="at least two different runs"):
        comparison_of(["a", "./a"])
    with pytest.raises(RunFolderError, match="at least two different runs"):
        comparison_of(["a"])
    with pytest.raises(RunFolderError, match="different seeds of each agent, got 'ppo-0' twice"):
        comparison_of(["a", made("b")])


def test_runs_without_an_end_or_an_agent_are_refused() -> None:
    made("a")
    make_run(Path("b"), seed=1)
    with pytest.raises(RunFolderError, match="finished runs, got 'b', which is unfinished"):
        comparison_of(["a", "b"])
    RunFolder.create("c", "evaluate", SETTINGS).__exit__(None, None, None)
    with pytest.raises(RunFolderError, match="one agent each, got 'c', a run of `textgym evaluate`"):
        comparison_of(["a", "c"])
    (Path("b") / "config.json").write_text("{")
    with pytest.raises(CheckpointError):
        comparison_of(["a", "b"])


def test_runs_from_different_models_have_no_common_start() -> None:
    runs = [made("a"), made("b", agent="sft", model="runs/other")]
    comparison = comparison_of(runs)
    assert comparison.start("reward") is None
    assert "did not start from one model" in html_of(comparison)
    assert comparison.change("reward", "sft") is not None
    assert comparison_of([runs[0], made("c", agent="reinforce")]).start("reward") is not None


def test_what_learned_nothing_is_a_level() -> None:
    run = RunFolder(made("random", agent="random"))
    run.write_summary({**run.summary(), "before": {}})
    (run.path / "log.jsonl").unlink()
    comparison = comparison_of([made("a"), "random"])
    (record,) = comparison.runs_of("random")
    assert not record.learns
    assert record.points[0].measures["reward"] == 0.5


def test_texts_of_models_are_escaped() -> None:
    for place, agent in enumerate(("ppo", "reinforce")):
        finish(make_run(Path(agent), agent=agent, seed=place, text=EVIL), text=EVIL)
    page = html_of(comparison_of(["ppo", "reinforce"]))
    assert "<script" not in page
    assert not set("\u202e\x1b") & set(page)


def test_a_label_separates_runs_with_the_same_settings() -> None:
    runs = [made("a", 0.25), made("b", 0.5, seed=1)]
    assert comparison_of([f"near={runs[0]}", f"far={runs[1]}"]).labels == ["far", "near"]
    assert comparison_of([f"near={runs[0]}", runs[1]]).labels == ["near", "ppo"]
    assert [run.seed for run in comparison_of([f"x={each}" for each in runs]).runs_of("x")] == [0, 1]


def test_the_repair_that_an_error_names_works() -> None:
    for name in ("a", "elsewhere"):
        made(name)
    with pytest.raises(RunFolderError, match="got 'ppo-0' twice; leave one of them out, or give it a label"):
        comparison_of(["a", "elsewhere"])
    assert comparison_of(["a", "other=elsewhere"]).labels == ["other", "ppo"]


def test_numbers_that_no_float_can_hold_are_missing() -> None:
    run = RunFolder.open(made("a"))
    run.write_summary({**run.summary(), "after": {"reward": {"mean": 0.5, "low": 10**400}, "gold": {"mean": 10**400}}})
    with (run.path / "log.jsonl").open("a") as log:
        log.write('{"iteration": 3, "timesteps": 1e999}\n{"iteration": 4, "timesteps": 1' + "0" * 400 + "}\n")
    comparison = comparison_of(["a", made("b", seed=1)])
    assert comparison.after("reward", "ppo") is not None
    assert comparison.runs[0].after["reward"].low == -float("inf")
    assert "gold" not in comparison.runs[0].after
    assert [point.spent.tokens for point in comparison.runs[0].points] == [100.0, 200.0]


def test_a_comparison_without_its_budget_is_damaged() -> None:
    RunFolder.create("lost", "compare", {"agents": {"ppo": "ppo"}, "seeds": 1}).__exit__(None, None, None)
    with pytest.raises(CheckpointError, match=r"expected a budget in 'lost/config\.json', got None; restore the file"):
        read_comparison("lost")
