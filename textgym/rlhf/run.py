"""Learning from human feedback in rounds: sample, ask, fit a reward, train on it, and ask again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from textgym import console
from textgym.envs.choice import describe_data, with_budgets
from textgym.evaluation.loading import load_model, require_context
from textgym.feedback import FeedbackStore, People
from textgym.feedback.types import Annotator
from textgym.plots import plot_rounds
from textgym.rlhf.feedback import require_page, user_name
from textgym.rlhf.rounds import Loop, RlhfSettings, Round, play, results, simulated_panel
from textgym.training.interrupts import signals_as_interrupts
from textgym.training.recovery import (
    advising,
    advising_on_memory,
    check_data,
    describe_splits,
    resuming,
    say_other_versions,
)
from textgym.training.reward import annotator_of
from textgym.training.run_folder import RunFolder
from textgym.training.stored_settings import located, settings_from_json
from textgym.training.tolerance import Tolerance
from textgym.types import Task

_COMMAND = "rlhf"
_BEGINNINGS = ("feedback.db", "feedback.db-wal", "feedback.db-shm")
_COLUMNS = ("round", "labels", "held-out\naccuracy", "reward", "gold", "win rate", "KL", "seconds")


@advising_on_memory(_COMMAND)
def run_rlhf(settings: RlhfSettings) -> RunFolder:
    """Run all rounds into one folder."""
    with signals_as_interrupts():
        return _begin(located(settings))


def _begin(settings: RlhfSettings) -> RunFolder:
    task = _check(settings)
    run = RunFolder.create(settings.out, _COMMAND, asdict(settings), _BEGINNINGS)
    with run, advising(run, _COMMAND, can_go_on=True):
        run.write_config({**run.config(), "splits": _splits(settings, task)})
        _announce(run, settings, task)
        return _run_rounds(run, settings, task)


def _announce(run: RunFolder, settings: RlhfSettings, task: Task) -> None:
    whom = f"people at port {settings.port}" if settings.people else f"{settings.annotators} simulated people"
    console.say(
        f"{settings.rounds} rounds from {settings.model} on {describe_data(task)}: {settings.labels} questions to "
        f"{whom} -> reward -> {settings.iterations} iterations of PPO -> {settings.eval_prompts} unseen prompts; about "
        f"2 minutes a round for the shipped model. Files: {run.shown}"
    )


def run_rlhf_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Go on with an interrupted run where it stopped; nobody is asked anything twice.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        accept_changed_data: Go on although the data is not what the run began with.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no such run.
        FolderInUseError: It goes on already.
        DataError: The data has changed.
    """
    with resuming(path, _COMMAND, consent, can_go_on=True) as run:
        config, settings = run.config(), settings_from_json(RlhfSettings, run.settings_of(_COMMAND))
        console.say(f"Going on with {run.shown}.")
        say_other_versions(run)
        task = _check(settings)
        splits = _splits(settings, task)
        check_data(config.get("splits"), splits, task.dataset.name, accept_changed_data)
        run.write_config({**config, "splits": splits})
        return _run_rounds(run, settings, task, accept_changed_data=accept_changed_data)


def _splits(settings: RlhfSettings, task: Task) -> dict[str, str]:
    return describe_splits((task, settings.choice.make("validation"), settings.choice.make("test")))


def _check(settings: RlhfSettings) -> Task:
    """Find mistakes before anything is begun, and return the task on its training split."""
    task = with_budgets(settings.choice.make("train"), settings.max_prompt_tokens, settings.max_new_tokens)
    if settings.people:
        require_page()
    else:
        annotator_of(task, settings.for_reward(0))
    model = load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    require_context(model, task)
    return task


def _run_rounds(run: RunFolder, settings: RlhfSettings, task: Task, *, accept_changed_data: bool = False) -> RunFolder:
    """Run what is left of all rounds; the caller holds the lock."""
    with FeedbackStore(run.path / "feedback.db") as store:
        loop = Loop(run, settings, task, store, accept_changed_data)
        with _annotators(loop) as ask:
            for number in range(1, settings.rounds + 1):
                console.heading(f"Round {number} of {settings.rounds}")
                play(Round(loop, number), ask)
                _report(loop, number)
            if settings.people and settings.matches:
                console.heading("Last questions: the policy of the last round against the one before")
                play(Round(loop, settings.rounds + 1), ask)
        records = _report(loop, settings.rounds)
    show_rounds(records)
    shown = Path(run.shown)
    best = shown / f"round-{settings.rounds}"
    console.say(f"\nModel: {best / 'model'}   reward: {best / 'reward'}   plot: {shown / 'rounds.png'}")
    return run


@contextmanager
def _annotators(loop: Loop) -> Iterator[Callable[[Round], Annotator]]:
    """Yield what gives the annotator of a round; the page of people is there as long as the block runs."""
    if not loop.settings.people:
        yield simulated_panel
        return
    from textgym.feedback.server.serve import Address, serving

    with serving(loop.store, Address(port=loop.settings.port), user_name()) as link:
        yield partial(_ask_people, loop, link)


def _ask_people(loop: Loop, link: str, round_: Round) -> People:
    overlap = loop.settings.overlap
    whom = "" if overlap == 1 else f" Each question waits for {overlap} people, under names of their own."
    console.say(f"Please answer at {link}   (Ctrl-C stops, and nothing is lost){whom}")
    return People(loop.store, overlap=loop.settings.overlap)


def _report(loop: Loop, rounds: int) -> list[dict[str, Any]]:
    """Write what is known after so many rounds."""
    records = results(loop, rounds)
    total = sum(record["seconds"]["total"] for record in records[1:])
    loop.run.write_summary({"rounds": records, "seconds": {"total": total}})
    with Tolerance().of("a plot"):
        plot_rounds(loop.run.path / "rounds.png", records, loop.task.main_metric)
    return records


def show_rounds(records: Sequence[Mapping[str, Any]]) -> None:
    """Print a row per round."""
    prompts = "unseen prompts, temperature 1; means with 95 % intervals; KL to the start model, nats per text"
    console.heading(f"Every policy on the same {prompts}")
    console.print_rows(_COLUMNS, [_row(record) for record in records])


def _row(record: Mapping[str, Any]) -> list[str]:
    wins = record.get("win_rate") or record.get("win_rate_by_votes")
    return [
        str(record["round"]),
        f"{record['labels']:,}",
        _mean(record.get("accuracy"), 2),
        _mean(record["reward"], 2),
        _interval(record.get("gold"), 3),
        _interval(wins, 2),
        _mean(record["kl"], 1),
        f"{record['seconds']['total']:.0f}" if "seconds" in record else "-",
    ]


def _mean(item: Mapping[str, float] | None, digits: int) -> str:
    return "-" if item is None else f"{item['mean']:.{digits}f}"


def _interval(item: Mapping[str, float | None] | None, digits: int) -> str:
    if item is None:
        return "-"
    low, high = ("?" if item[side] is None else f"{item[side]:.{digits}f}" for side in ("low", "high"))
    return f"{item['mean']:.{digits}f} [{low}, {high}]"
