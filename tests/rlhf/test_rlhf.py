"""The loop of learning from feedback: what its rounds leave behind, and that it goes on wherever it was stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.envs.choice import EnvChoice
from textgym.errors import DataError, FolderInUseError
from textgym.evaluation.measures import Measures
from textgym.feedback import FeedbackStore, SimulatedPerson, accuracy_curve
from textgym.feedback.server.requirements import user_name
from textgym.feedback.types import Comparison
from textgym.metrics.intervals import proportion_interval
from textgym.reward_models import fitting
from textgym.rlhf import rounds as rlhf_rounds
from textgym.rlhf import run as rlhf
from textgym.rlhf.rounds import win_rate
from textgym.rlhf.run import run_rlhf, run_rlhf_resume
from textgym.rlhf.settings import RlhfSettings
from textgym.training import train as train_pipeline
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_folder import RunFolder, RunFolderError

STEPS = ("sample_candidates", "choose_questions", "collect_answers", "fit", "train")


@pytest.fixture(scope="module")
def settings(lm: str, data: str) -> RlhfSettings:
    return RlhfSettings(
        EnvChoice("TextSumm-v0", data, "doc", "sum"),
        model=lm,
        rounds=2,
        labels=12,
        iterations=3,
        n_envs=6,
        learning_rate=1e-3,
        eval_prompts=6,
        max_new_tokens=8,
        out="run",
    )


@pytest.fixture(scope="module")
def whole(settings: RlhfSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    return run_rlhf(replace(settings, out=str(tmp_path_factory.mktemp("whole") / "run"))).path


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def records(run: Path) -> list[Any]:
    with FeedbackStore(run / "feedback.db") as store:
        return list(store.records())


def facts(run: Path) -> list[dict[str, Any]]:
    """What the summary says of every round, without times, and without votes, which come a round later."""
    found = RunFolder(run).summary()["rounds"]
    left_out = ("seconds", "win_rate_by_votes")
    return [{name: value for name, value in record.items() if name not in left_out} for record in found]


def assert_same_rounds(run: Path, other: Path, rounds: int = 2) -> None:
    """Compare the first rounds of two runs: questions, answers, weights, measures."""
    for number in range(1, rounds + 1):
        for name in ("candidates.jsonl", "questions.jsonl", "texts-after.jsonl"):
            assert rows(run / f"round-{number}", name) == rows(other / f"round-{number}", name)
        first, second = (load_file(each / f"round-{number}" / "model" / "model.safetensors") for each in (run, other))
        assert all(bool((first[name] == second[name]).all()) for name in first)
    assert records(run) == records(other)[: len(records(run))]
    assert facts(run) == facts(other)[: rounds + 1]


def test_a_run_leaves_everything_behind(whole: Path, settings: RlhfSettings) -> None:
    start, first, second = RunFolder(whole).summary()["rounds"]
    assert (start["round"], start["labels"], start["kl"]["mean"]) == (0, 0, 0.0)
    assert [record["labels"] for record in (first, second)] == [12, 24]
    for record in (first, second):
        for name in ("accuracy", "reward", "reward_before", "rougeL", "win_rate", "kl", "length"):
            assert record[name]["low"] <= record[name]["mean"] <= record[name]["high"]
        assert set(record["seconds"]) == {"sample", "choose", "ask", "fit", "train", "total"}
    assert second["kl"]["mean"] != 0
    for number in (1, 2):
        folder = whole / f"round-{number}"
        for name in ("summary.json", "log.jsonl", "checkpoints", "learning_curve.png", "reward", "model"):
            assert (folder / name).exists()
    assert (whole / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_the_dashboard_of_a_run_shows_how_accurate_every_reward_was(whole: Path) -> None:
    with FeedbackStore(whole / "feedback.db") as store:
        curve = accuracy_curve(store)
    _, first, second = RunFolder(whole).summary()["rounds"]
    assert [point.accuracy.mean for point in curve] == [first["accuracy"]["mean"], second["accuracy"]["mean"]]
    assert 0 < curve[0].labels < first["labels"] < curve[1].labels < second["labels"]  # those that were trained on
    # What one round measures last is what the next one measures first, but for the reward.
    before, after = rows(whole / "round-2", "texts-before.jsonl"), rows(whole / "round-1", "texts-after.jsonl")
    assert [row["text"] for row in before] == [row["text"] for row in after]
    assert [row["measures"]["kl"] for row in before] == [row["measures"]["kl"] for row in after]
    assert [row["measures"]["reward"] for row in before] != [row["measures"]["reward"] for row in after]


def test_questions_are_about_training_prompts_and_policies_meet(whole: Path, settings: RlhfSettings) -> None:
    train = settings.choice.make("train")
    keys = {train.dataset[place].key for place in range(len(train.dataset))}
    asked = [rows(whole / f"round-{number}", "questions.jsonl") for number in (1, 2)]
    assert {row["task_key"] for row in asked[0] + asked[1]} <= keys
    assert {tuple(row["generators"]) for row in asked[0]} == {("round-0", "round-0")}
    matches = [row for row in asked[1] if set(row["generators"]) == {"round-0", "round-1"}]
    assert len(matches) == 3
    assert all(len(set(row["responses"])) == 2 for row in asked[0] + asked[1])
    kept = records(whole)
    assert [record.task_key for record in kept] == [row["task_key"] for row in asked[0] + asked[1]]
    assert {record.annotator for record in kept} == {"simulated-1", "simulated-2", "simulated-3"}
    # By votes the first round's policy is known, the last one's is not: it was never asked about.
    first, second = RunFolder(whole).summary()["rounds"][1:]
    won = sum(
        record.generators["ab".index(record.choice)] == "round-1"
        for record in kept
        if isinstance(record, Comparison) and len(set(record.generators)) == 2
    )
    assert first["win_rate_by_votes"]["mean"] == pytest.approx(won / 3)
    assert "win_rate_by_votes" not in second


@pytest.mark.slow
def test_killed_after_every_arrow(
    whole: Path, settings: RlhfSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[int, str]] = []

    def stopping(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(rlhf_round: Any, *more: Any) -> Any:
            result = step(rlhf_round, *more)
            if (rlhf_round.number, name) not in done:
                done.append((rlhf_round.number, name))
                raise KeyboardInterrupt
            return result

        return run

    for name in STEPS:
        monkeypatch.setattr(rlhf_rounds, name, stopping(name, getattr(rlhf_rounds, name)))
    go: Callable[[], RunFolder] = lambda: run_rlhf(settings)  # noqa: E731
    for _ in range(2 * len(STEPS)):
        with pytest.raises(RunInterrupted, match="textgym rlhf --resume run"):
            go()
        go = lambda: run_rlhf_resume("run")  # noqa: E731
    go()
    assert done == [(number, name) for number in (1, 2) for name in STEPS]
    assert_same_rounds(Path("run"), whole)
    assert len(records(Path("run"))) == len(records(whole))
    capsys.readouterr()
    run_rlhf_resume("run")  # nothing is left to do
    assert "held-out" in capsys.readouterr().out
    assert_same_rounds(Path("run"), whole)


@contextmanager
def stop_in_the_middle(step: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Impatient:
        asked = 0

        @property
        def wanted(self) -> bool:
            self.asked += 1
            return self.asked > 1

    @contextmanager
    def impatient(meanwhile: str, echo: float = 0.0) -> Iterator[Impatient]:
        yield Impatient()

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    advance = fitting._ScorerTraining.advance

    def advance_and_stop(self: Any) -> None:
        advance(self)
        stop()

    vote, votes = FeedbackStore.vote, iter(range(5))

    def hasty(self: FeedbackStore, *about: Any) -> bool:
        return vote(self, *about) if next(votes, None) is not None else stop()  # type: ignore[return-value]

    with monkeypatch.context() as patch:
        if step == "train":
            patch.setattr(train_pipeline, "stop_on_request", impatient)
        elif step == "ask":
            patch.setattr(FeedbackStore, "vote", hasty)
        elif step == "a step of the fit":
            patch.setattr(fitting._ScorerTraining, "advance", advance_and_stop)
        else:
            patch.setattr("textgym.reward_models.learned.LearnedReward.normalise", stop)
        yield


@pytest.mark.parametrize("step", ["ask", "a step of the fit", "fit", "train"])
def test_stopped_in_the_middle_of_a_step(
    whole: Path, settings: RlhfSettings, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stop_in_the_middle(step, monkeypatch), pytest.raises(RunInterrupted, match="textgym rlhf --resume run"):
        run_rlhf(replace(settings, rounds=1))
    if step == "train":
        assert [path.name for path in Path("run/round-1/checkpoints").iterdir()]
    run_rlhf_resume("run")
    assert_same_rounds(Path("run"), whole, rounds=1)


def test_training_without_a_whole_checkpoint_begins_again(
    whole: Path, settings: RlhfSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stop_in_the_middle("train", monkeypatch), pytest.raises(RunInterrupted):
        run_rlhf(replace(settings, rounds=1))
    for tensors in Path("run/round-1/checkpoints").glob("step-*/tensors.safetensors"):
        tensors.write_bytes(b"")
    run_rlhf_resume("run")
    assert "skipped a damaged checkpoint" in capsys.readouterr().err
    assert_same_rounds(Path("run"), whole, rounds=1)


def test_another_agent_learns(settings: RlhfSettings) -> None:
    run = run_rlhf(replace(settings, agent="reinforce", rounds=1, iterations=1))
    _, first = run.summary()["rounds"]
    assert first["kl"]["mean"] != 0
    trained = RunFolder(run.path / "round-1").config()["train"]
    assert trained["agent"] == "reinforce"
    assert (trained["options"]["learning_rate"], trained["options"]["kl_coef"]) == (1e-3, 0.02)
    assert "n_epochs" not in trained["options"]  # it has none


@pytest.mark.parametrize("agent", ["sft", "random"])
def test_an_agent_that_learns_nothing_from_rewards_is_refused(settings: RlhfSettings, agent: str) -> None:
    with pytest.raises(ValueError, match=f"expected an agent that learns from rewards, got '{agent}'"):
        run_rlhf(replace(settings, agent=agent))
    assert not Path("run").exists()


def test_settings_of_earlier_runs_are_read(settings: RlhfSettings) -> None:
    record = asdict(replace(settings, previous_share=0.5))
    record["matches"] = record.pop("previous_share")
    del record["agent"]
    assert RlhfSettings.from_json(record) == replace(settings, previous_share=0.5)


def test_another_seed_asks_something_else(whole: Path, settings: RlhfSettings) -> None:
    run = run_rlhf(replace(settings, rounds=1, seed=1)).path
    assert rows(run / "round-1", "questions.jsonl") != rows(whole / "round-1", "questions.jsonl")


def test_asking_where_a_committee_disagrees(settings: RlhfSettings) -> None:
    run = run_rlhf(replace(settings, select="disagreement", members=2, iterations=1)).path
    pools = [rows(run / f"round-{number}", "candidates.jsonl") for number in (1, 2)]
    asked = rows(run / "round-2", "questions.jsonl")
    assert len(pools[1]) > len(pools[0])
    assert len(asked) == 12
    assert sum(len(set(row["generators"])) == 2 for row in asked) == 3
    assert (run / "round-1" / "reward" / "member-1").is_dir()


def visit(link: str, votes: int, seen: list[str]) -> None:
    """Look at the page, and answer what its owner is asked, as somebody in a browser does."""
    seen.append(urllib.request.urlopen(link).read().decode())
    me = user_name()
    someone = SimulatedPerson(length, np.random.default_rng(0), name=me)
    with FeedbackStore("run/feedback.db") as store:
        while votes:
            assignment = store.assign(me)
            if assignment is None:
                time.sleep(0.01)
                continue
            (answer,) = someone.answer([assignment.question])
            votes -= store.vote(f"v{assignment.item}", me, assignment.item, answer)


def length(texts: Sequence[str], keys: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def test_people_are_asked_on_a_page_and_never_twice(settings: RlhfSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    seen: list[str] = []
    visits: list[threading.Thread] = []
    ask, patience = rlhf._ask_people, 5

    def ask_somebody(loop: Any, link: str, rlhf_round: Any) -> Any:
        visits.append(threading.Thread(target=visit, args=(link, patience, seen), daemon=True))
        visits[-1].start()
        return ask(loop, link, rlhf_round)

    def wait(seconds: float) -> None:
        visits[-1].join(0.01)
        if not visits[-1].is_alive() and len(visits) == 1:
            raise KeyboardInterrupt  # Ctrl-C after the first five answers

    people = replace(settings, people=True, port=0, rounds=1, previous_share=0.25)
    monkeypatch.setattr(rlhf, "_ask_people", ask_somebody)
    clock = SimpleNamespace(sleep=wait, monotonic=time.monotonic)
    monkeypatch.setattr("textgym.feedback.annotators.people.time", clock)
    with pytest.raises(RunInterrupted, match="textgym rlhf --resume run"):
        run_rlhf(people)
    assert len(records(Path("run"))) == 5
    patience = 7
    after: list[int] = []

    def ask_again(loop: Any, link: str, rlhf_round: Any) -> Any:
        nonlocal patience
        after.append(len(loop.store.records()))
        patience = 7 if rlhf_round.number == 1 else 3
        return ask_somebody(loop, link, rlhf_round)

    monkeypatch.setattr(rlhf, "_ask_people", ask_again)
    run_rlhf_resume("run")
    assert after == [5, 12]
    assert all("<html" in page for page in seen)
    assert len(records(Path("run"))) == 15
    first = RunFolder("run").summary()["rounds"][1]
    assert first["labels"] == 12  # the last match is not learnt from
    assert 0 <= first["win_rate_by_votes"]["mean"] <= 1


def test_win_rate() -> None:
    before = Measures({"gold": np.array([0.0, 0.5, 1.0, 0.2]), "rougeL": np.zeros(4)})
    after = Measures({"gold": np.array([1.0, 0.5, 0.0, 0.3]), "rougeL": np.ones(4)})
    assert win_rate(after, before) == proportion_interval(2.5, 4)  # won, drawn, lost, won
    prompts = ["p", "p", "q", "q"]
    apart = win_rate(Measures(after.values, prompts), Measures(before.values, prompts))
    assert apart is not None
    assert (apart.mean, apart.low) == (0.625, pytest.approx(proportion_interval(2.5, 4).low))
    without = [Measures({"rougeL": each.values["rougeL"]}) for each in (after, before)]
    assert win_rate(*without, "rougeL") == proportion_interval(4, 4)
    assert win_rate(Measures({"reward": np.ones(4)}), before) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--select", "disagreement"), "expected --members of at least 2"),
        (("--select", "all"), "expected --select to be 'random' or 'disagreement'"),
        (("--overlap", "4"), "expected --annotators of at least 4, as many as --overlap"),
        (("--matches", "1.5"), "a share of at most 1"),
        (("--labels", "0"), "expected --labels of at least 1"),
        (("--labels", "1"), "expected --labels of at least 2"),
        (("--people", "--port", "99999"), "expected --port of at most 65535, got 99999"),
        (("--annotator", "golden"), "Did you mean 'gold'?"),
        (("--resume", "nowhere"), "expected a run folder"),
        (("--resume", "x", "--labels", "3"), "expected --resume alone, got --labels"),
    ],
)
def test_mistakes_leave_no_folder(arguments: tuple[str, ...], message: str) -> None:
    shown = CliRunner().invoke(cli.app, ["rlhf", *arguments])
    assert shown.exit_code == cli.BAD_INPUT
    assert message in shown.stderr
    assert not Path("runs").exists()


def test_answers_that_are_gone_are_missed(whole: Path) -> None:
    shutil.copytree(whole, "run")
    Path("run/round-2/summary.json").unlink()
    for file in Path("run").glob("feedback.db*"):
        file.unlink()
    with pytest.raises(DataError, match=r"expected 12 answers of round 1 in .*, got none; restore the file"):
        run_rlhf_resume("run")


def test_a_run_has_one_owner(whole: Path, settings: RlhfSettings) -> None:
    shutil.copytree(whole, "run")
    with RunFolder.open("run"):
        with pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()}"):
            run_rlhf_resume("run")
        with pytest.raises(FolderInUseError):
            run_rlhf(settings)
    with RunFolder.open("run/round-1"), pytest.raises(FolderInUseError, match="round-1"):
        run_rlhf_resume("run")


def test_changed_data_is_refused_and_other_versions_are_said(
    whole: Path, settings: RlhfSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, "run")
    run = RunFolder("run")
    config = run.config()
    assert set(config["splits"]) == {"train", "validation", "test"}
    run.write_config({**config, "versions": {**config["versions"], "torch": "1.0.0"}, "splits": {"train": "other"}})
    with pytest.raises(DataError, match="expected the data that the run began with"):
        run_rlhf_resume("run")
    assert "the run began with torch 1.0.0" in capsys.readouterr().err
    run_rlhf_resume("run", accept_changed_data=True)


def test_sigterm_tells_how_to_go_on(settings: RlhfSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(*about: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(rlhf_rounds, "choose_questions", terminate)
    with pytest.raises(RunInterrupted, match="textgym rlhf --resume run") as caught:
        run_rlhf(settings)
    assert caught.value.signal == signal.SIGTERM


def test_resuming_another_kind_of_run() -> None:
    RunFolder.create("other", "sft", {})
    with pytest.raises(RunFolderError, match="run of `textgym rlhf` to resume, got 'other', a run of `textgym sft`"):
        run_rlhf_resume("other")
