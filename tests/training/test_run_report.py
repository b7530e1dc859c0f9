"""The report of a run: tables, texts, settings that are not the defaults, how to go on and how to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs_made_up import finish, interval, make_run
from textgym.training.run_folder import RunFolder
from textgym.training.run_page import html_of
from textgym.training.run_report import SETTINGS, Pair, Sampled, default_settings, flat_settings, read_report
from textgym.versions import versions


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_settings_that_are_not_the_defaults() -> None:
    report = read_report(make_run(Path("a"), n_envs=8))
    assert dict(report.changed) == {
        "env_id": "TextSpell-v0",
        "eval_prompts": "2",
        "kl_coef": "0.1",
        "model": "letters",
        "n_envs": "8",
    }
    assert report.settings["steps"] == "200000"  # the default of a run of PPO


@pytest.mark.parametrize("command", SETTINGS)
def test_every_command_has_defaults(command: str) -> None:
    assert default_settings(command, {"agent": "ppo"})["seed" if command != "score" else "split"]


def test_agents_of_others_are_not_imported_for_their_defaults() -> None:
    assert "steps" not in default_settings("train", {"agent": "no_such_module:Agent"})
    assert default_settings("no command", {}) == {}


def test_settings_are_texts() -> None:
    settings = {"metric": ["bleu", "chrf"], "agents": {"a": "ppo"}, "lr": 1e-4, "reward": None, "device": "cpu"}
    assert flat_settings(settings) == {"metric": "bleu, chrf", "agents": "a=ppo", "lr": "0.0001"}


def test_measures_before_and_after() -> None:
    (table,) = read_report(finish(make_run(Path("a")))).tables
    assert list(table.header) == ["measure", "before", "after", "difference", "p"]
    assert next(iter(table.rows)) == (
        "reward",
        "0.250 [0.150, 0.350]",
        "0.500 [0.400, 0.600]",
        "0.250 [0.150, 0.350]",
        "0.0312",
    )
    assert table.note.startswith("2 held-out prompts")


@pytest.mark.parametrize(
    ("summary", "title", "rows"),
    [
        ({"before": {"reward": interval(0.5)}}, "Held-out texts", [("reward", "0.500 [0.400, 0.600]")]),
        ({"before": {"reward": {"mean": 0.5, "low": None}}}, "Held-out texts", [("reward", "0.500")]),
        (
            {"models": {"tiny": {"measures": {"reward": interval(0.5)}}}},
            "Held-out texts",
            [("reward", "0.500 [0.400, 0.600]")],
        ),
        (
            {"accuracy": interval(0.7), "pairs": 40, "held_out_loss": 0.5},
            "Reward model",
            [
                ("held-out accuracy", "0.700 [0.600, 0.800]"),
                ("held-out loss, nats per preference", "0.5"),
                ("answers trained on", "40"),
            ],
        ),
        (
            {"rounds": [{"round": 0, "labels": 0}, {"round": 1, "labels": 20, "gold": interval(0.5)}]},
            "Rounds",
            [("0", "0", ""), ("1", "20", "0.500 [0.400, 0.600]")],
        ),
        ({"before": {"reward": 3}, "models": 3, "rounds": 3, "accuracy": []}, "Held-out texts", [("reward", "")]),
    ],
)
def test_tables_of_other_commands(summary: dict[str, Any], title: str, rows: list[tuple[str, ...]]) -> None:
    run = RunFolder.create("a", "evaluate", {})
    run.write_summary(summary)
    (table,) = read_report(run).tables
    assert table.title == title
    assert [tuple(row) for row in table.rows] == rows


def test_measures_of_the_agent_itself_have_a_row() -> None:
    run = finish(make_run(Path("a")))
    run.write_summary({**run.summary(), "loss": {"before": 2.5, "after": 1.5}})
    (table,) = read_report(run).tables
    assert tuple(list(table.rows)[-1]) == ("held-out loss", "2.5", "1.5", "", "")


def test_samples_and_pairs() -> None:
    report = read_report(finish(make_run(Path("a"))))
    assert list(report.samples) == [Sampled("words/0", "abc prompt", ((0, "abc old"), (200, "abc new")))]
    assert report.pairs[0] == Pair("words/0", "abc old", "abc new", (0.25, 0.5))
    (course, *_) = report.courses.rows if report.courses else ()
    assert course[:3] == ("reward", "0.250", "0.500")


def test_conversations_are_shown_whole() -> None:
    run = make_run(Path("a"))
    turns = [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "No."}]
    run.write_rows("texts-before.jsonl", [{"task_key": "a", "text": "No.", "turns": turns}])
    assert read_report(run).pairs[0].after == "assistant: Hello\nuser: No."


def test_many_records_and_samples_are_thinned_out() -> None:
    run = make_run(Path("a"))
    run.write_rows("log.jsonl", [{"timesteps": number, "reward": 0.5} for number in range(1, 5001)])
    run.write_rows("samples.jsonl", [{"timesteps": number, "texts": {"k": "x" * 9000}} for number in range(50)])
    report = read_report(run)
    assert len(report.log) == 2000
    assert (report.log[0]["timesteps"], report.log[-1]["timesteps"]) == (1, 5000)
    assert [moment for moment, _ in report.samples[0].texts][-1] == 49
    assert len(report.samples[0].texts) == 10
    assert all(len(text) == 2000 for _, text in report.samples[0].texts)


def test_how_to_resume_depends_on_the_state() -> None:
    run = make_run(Path("a b"))
    assert read_report(run).resuming() == ("This resumes the run where it stopped:", "textgym train --resume 'a b'")
    with run:
        assert read_report(run).resuming()[0].startswith("A process works here.")
    assert read_report(finish(run)).resuming() == ("The run is finished: there is nothing to resume.", "")
    other = RunFolder.create("c", "evaluate", {})
    other.__exit__(None, None, None)
    assert read_report(other).resuming()[0].startswith("Runs of this command cannot be resumed")


def test_nobody_is_urged_to_consent() -> None:
    run = make_run(Path("a"), reward="hostile_module:reward")
    assert "hostile_module" not in "".join(read_report(run).resuming())


def test_how_to_load() -> None:
    run = finish(make_run(Path("a b")))
    (run.path / "agent").mkdir()
    (run.path / "reward").mkdir()
    assert read_report(run).loading() == [
        "textgym generate TextSpell-v0 --model 'a b'",
        "textgym evaluate --model 'a b'",
        "load_language_model('a b')  # from textgym.models",
        "textgym evaluate --agent 'a b'",
        "PPO.load('a b/agent')  # from textgym.agents",
        "textgym train --reward 'a b'",
        "load_reward('a b/reward')  # from textgym.reward_models",
    ]
    assert read_report(make_run(Path("new"))).loading() == []


def test_the_last_round_is_what_rounds_leave() -> None:
    run = RunFolder.create("a", "rlhf", {})
    for name in ("round-2", "round-10", "round-x"):
        (run.path / name / "model").mkdir(parents=True)
    assert read_report(run).loading() == [f"textgym {each} --model a/round-10" for each in ("generate", "evaluate")]


def test_versions_that_differ_are_said() -> None:
    run = make_run(Path("a"))
    now = versions()
    run.write_config({**run.config(), "versions": {**now, "torch": "0.1", "x": 3}})
    assert read_report(run).versions["torch"] == f"0.1 (now {now['torch']})"
    assert read_report(run).versions["python"] == now["python"]
    assert "x" not in read_report(run).versions


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1" + "0" * 400])
def test_what_a_number_cannot_be_is_left_out(tmp_path: Path, number: str) -> None:
    run = finish(make_run(tmp_path / "run"))
    for name in ("log.jsonl", "samples.jsonl"):
        with (run.path / name).open("a") as file:
            file.write(f'{{"timesteps": {number}, "texts": {{"words/0": "abc"}}}}\n')
    run.write_summary({**run.summary(), "p_values": {"reward": 10**400}})
    report = read_report(run)
    assert [row["timesteps"] for row in report.log] == [100, 200]
    assert [moment for moment, _ in report.samples[0].texts] == [0, 200]
    assert "abc" in html_of(report)
