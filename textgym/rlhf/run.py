"""Learning from human feedback in rounds: sample, ask, fit a reward, train on it, and ask again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from textgym import console
from textgym.agents.facts import facts_of
from textgym.agents.registry import AGENTS, can_learn, resolve_agent
from textgym.envs.choice import describe_data, with_budgets
from textgym.evaluation.core import text_model_of
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.reward_guard import guarded_reward
from textgym.feedback import FeedbackStore, People
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.feedback.server.requirements import require_page, user_name
from textgym.feedback.types import Annotator
from textgym.plots import Row, plot_rounds
from textgym.rlhf.rounds import Loop, Round, quality_measure, results, run_round, simulated_panel
from textgym.rlhf.settings import RlhfSettings
from textgym.training.interrupts import signals_as_interrupts
from textgym.training.long_runs import check_resumed, new_run
from textgym.training.recovery import advising_on_memory, resuming
from textgym.training.run_folder import RunFolder
from textgym.training.setup import make_actor
from textgym.training.stored_settings import located
from textgym.training.tolerance import Tolerance
from textgym.training.train_settings import train_settings
from textgym.types import Task

_COMMAND = "rlhf"
_BEGINNINGS = ("feedback.db", "feedback.db-wal", "feedback.db-shm", "feedback.db.lock")


@advising_on_memory(_COMMAND)
def run_rlhf(settings: RlhfSettings) -> RunFolder:
    """Run all rounds into one folder."""
    with signals_as_interrupts():
        settings = located(settings)
        task = _check(settings)
        with new_run(settings.out, _COMMAND, asdict(settings), _tasks(settings, task), _BEGINNINGS) as run:
            _announce(run, settings, task)
            return _run_rounds(run, settings, task)


def _announce(run: RunFolder, settings: RlhfSettings, task: Task) -> None:
    whom = f"annotators at port {settings.port}" if settings.people else f"{settings.annotators} simulated annotators"
    method = facts_of(resolve_agent(settings.agent)).name
    console.say(
        f"{settings.rounds} rounds from {settings.model} on {describe_data(task)}: {settings.labels} comparisons by "
        f"{whom} -> reward model -> {settings.iterations} iterations of {method} -> "
        f"{settings.eval_prompts} held-out prompts, about 2 minutes per round for the shipped model. Files: {run.shown}"
    )


def run_rlhf_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Resume an interrupted run where it stopped; nobody is asked anything twice.

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
        settings = RlhfSettings.from_json(run.settings_of(_COMMAND))
        console.say(f"Resuming {run.shown}.")
        task = _check(settings)
        check_resumed(run, _tasks(settings, task), accept_changed_data)
        return _run_rounds(run, settings, task, accept_changed_data=accept_changed_data)


def _tasks(settings: RlhfSettings, task: Task) -> list[Task]:
    """Return the task on every split that is used."""
    return [task, settings.choice.make("validation"), settings.choice.make("test")]


def _check(settings: RlhfSettings) -> Task:
    """Find mistakes before anything is begun, and return the task on its training split."""
    task = with_budgets(settings.choice.make("train"), settings.max_prompt_tokens, settings.max_new_tokens)
    if settings.people:
        require_page()
    else:
        annotator_reward(task, settings.annotator, guarded_reward)
    _require_writer(settings)
    model = load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    require_context(model, task)
    return task


def _require_writer(settings: RlhfSettings) -> None:
    """Refuse an agent that learns nothing, or that writes without a language model, whose texts nobody could sample.

    Raises:
        ValueError: It is such an agent.
    """
    kind = resolve_agent(settings.agent)
    if not (can_learn(kind) and facts_of(kind).samples):
        raise ValueError(
            f"expected an agent that learns from rewards, got {settings.agent!r}; choose another, such as ppo"
        )
    if settings.agent in AGENTS:
        return
    of_run = train_settings(settings.choice, settings.agent, model=settings.model, device=settings.device)
    agent = make_actor(of_run, "train")
    if text_model_of(agent) is None:
        raise ValueError(
            f"expected an agent that writes with a language model, got {settings.agent!r}, which has no text_model; "
            "choose another, such as ppo"
        )


def _run_rounds(run: RunFolder, settings: RlhfSettings, task: Task, *, accept_changed_data: bool = False) -> RunFolder:
    """Run what is left of all rounds; the caller holds the lock."""
    with FeedbackStore(run.path / "feedback.db") as store:
        loop = Loop(run, settings, task, store, accept_changed_data)
        with _annotators(loop) as ask:
            for number in range(1, settings.rounds + 1):
                console.heading(f"Round {number} of {settings.rounds}")
                run_round(Round(loop, number), ask)
                _report(loop, number)
            if settings.people and settings.previous_share:
                console.heading("Final comparisons: the policy of the last round against the previous one")
                run_round(Round(loop, settings.rounds + 1), ask)
        records = _report(loop, settings.rounds)
    show_rounds(records, quality_measure(records[0], task.main_metric))
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

    with serving(loop.store, Address(port=loop.settings.port), user_name(), beside=True) as link:
        yield partial(_ask_people, loop, link)


def _ask_people(loop: Loop, link: str, rlhf_round: Round) -> People:
    overlap = loop.settings.overlap
    whom = "" if overlap == 1 else f" Each comparison needs {overlap} annotators, each under their own name."
    console.say(f"Please answer at {link}   (Ctrl-C stops; nothing is lost){whom}")
    return People(loop.store, overlap=loop.settings.overlap)


def _report(loop: Loop, rounds: int) -> list[Row]:
    """Write what is known after so many rounds."""
    records = results(loop, rounds)
    total = sum(record["seconds"]["total"] for record in records[1:])
    loop.run.write_summary({"rounds": records, "seconds": {"total": total}})
    with Tolerance().of("a plot"):
        plot_rounds(loop.run.path / "rounds.png", records, quality_measure(records[0], loop.task.main_metric))
    return records


def show_rounds(records: Sequence[Row], measure: str | None) -> None:
    """Print a row per round.

    Args:
        records: Records of the start model, and of each round.
        measure: Measure of quality among the measures of the task; ``None`` without any.
    """
    prompts = "held-out prompts, temperature 1; means with 95 % intervals; KL to the reference model, nats per response"
    console.heading(f"Every policy on the same {prompts}")
    columns = ["round", "labels", "held-out\naccuracy", "reward", measure or "quality", "win rate", "KL", "seconds"]
    console.print_rows(columns, [_row(record, measure) for record in records])


def _row(record: Row, measure: str | None) -> list[str]:
    wins = record.get("win_rate") or record.get("win_rate_by_votes")
    return [
        str(record["round"]),
        f"{record['labels']:,}",
        _mean(record.get("accuracy"), 2),
        _mean(record["reward"], 2),
        _interval(record.get(measure) if measure else None, 3),
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
