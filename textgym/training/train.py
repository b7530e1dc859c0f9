"""Training an agent on a text environment: a run from its first evaluation to its last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from stable_baselines3.common.logger import Logger

from textgym import console
from textgym.agents.common.history import log_texts
from textgym.agents.facts import Logging, Measured, facts_of, unit_of
from textgym.agents.registry import can_learn, resolve_agent
from textgym.envs.choice import describe_data
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, text_model_of
from textgym.evaluation.loading import load_model
from textgym.models.text_model import TextModel
from textgym.plots import Labels
from textgym.rewards import reward_name
from textgym.training.agents import save_result, size_of
from textgym.training.callbacks import BudgetSpentError, RunCallback, SampleSheet, StopTraining, Watch
from textgym.training.curves import SHEET, LiveCurves, plot_run
from textgym.training.evaluate import run_without_training
from textgym.training.event_files import settings_table
from textgym.training.from_run import say_template
from textgym.training.interrupts import RunInterrupted, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.model_card import write_model_card
from textgym.training.preparation import Training, begin, resume, seconds_per_step, settings_of
from textgym.training.recovery import (
    advising,
    advising_on_memory,
    how_to_resume,
    resuming,
)
from textgym.training.results import read_texts, show_comparison, summarise, write_texts
from textgym.training.run_folder import RunFolder
from textgym.training.run_warnings import few_prompts, reference_rewards, run_warnings
from textgym.training.setup import make_agent, trainable
from textgym.training.stored_settings import located
from textgym.training.tolerance import Tolerance, tolerant_logger
from textgym.training.train_settings import TrainSettings
from textgym.types import Task, Trainable

__all__ = ["TrainSettings", "Training", "begin", "complete", "finish", "resume", "run_resume", "run_train"]

_SAMPLE_MOMENTS = 10
_SIDE_BY_SIDE = 3
_WHAT_IS_LOST = "what came after the checkpoint before it, if there is one, is lost"


def run_train(settings: TrainSettings, command: str = "train") -> RunFolder:
    """Train from the start; an agent that cannot learn is evaluated.

    Args:
        settings: Settings of the run.
        command: Name of the command that the user typed, and resumes with: ``"train"``, or ``"sft"``.
    """
    settings = located(settings)
    with signals_as_interrupts(), advising_on_memory(command):
        if not can_learn(resolve_agent(settings.agent)):
            return run_without_training(settings)
        training = begin(settings, None, command=command)
        with training.run:  # locked since it was made; the end of the block releases it
            announce(training)
            finish(training)
    return training.run


def run_resume(
    path: str, consent: Collection[str] = (), *, command: str = "train", accept_changed_data: bool = False
) -> RunFolder:
    """Resume an interrupted run; otherwise as :func:`resume`.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        command: The one that its user typed.
        accept_changed_data: As for :func:`resume`.

    Raises:
        ConsentError: Its settings name a module that is not among them.
    """
    with resuming(path, command, consent) as run:
        settings = settings_of(run, consent)
        # After the settings, whose check of consent comes before anything that they name is imported.
        if not can_learn(resolve_agent(settings.agent)):
            return run_without_training(settings, run, accept_changed_data=accept_changed_data)
        training = resume(run, consent, accept_changed_data=accept_changed_data)
        announce(training)
        finish(training)
    return run


def announce(training: Training) -> None:
    """Say what will happen and how long it takes."""
    settings, agent, unit = training.settings, training.agent, unit_of(type(training.agent))
    say_template(training.task, settings.choice, settings.model)
    left = training.steps - agent.num_timesteps
    amount = f"{left:,} {unit}"
    if training.facts.samples:
        left = max(0, training.iterations - agent.num_timesteps // agent.steps_per_iteration)
        amount = f"{left:,} iterations of {agent.steps_per_iteration:,} {unit}"
        left *= agent.steps_per_iteration
    model = f"{settings.model}{size_of(agent)} on " if text_model_of(agent) is not None else ""
    console.say(
        f"{training.facts.name}: {model}{settings.choice.env_id}, {describe_data(training.task)}, "
        f"reward {training.eval_set.reward_name!r}: {amount}, with "
        f"{_held_out(training)} before and after. {_guess(agent, left)} "
        f"Files: {training.run.shown}"
    )


def _held_out(training: Training) -> str:
    """Return how many prompts are evaluated on, and why they are fewer than the settings say, if they are."""
    count = len(training.eval_set.examples)
    all_of_them = f" (all of the {training.settings.split} split)" if count < training.settings.eval_prompts else ""
    return f"{count} held-out prompts{all_of_them}"


def _guess(agent: Trainable, steps: int) -> str:
    seconds = seconds_per_step(agent)
    if seconds is None:
        return "The time left is estimated after the first iterations."
    return f"About {console.duration(steps * seconds)}."


def finish(training: Training) -> tuple[Evaluation, Evaluation]:
    """Do what is left of a run, and show what came of it; otherwise as :func:`complete`."""
    with advising(training.run, "train"):
        before, after = complete(training)
        show_results(training, before, after)
        return before, after


def complete(training: Training, watch: Watch | None = None) -> tuple[Evaluation, Evaluation]:
    """Measure, train, measure again, and write everything down.

    Args:
        training: The run.
        watch: As of :func:`train`.

    Returns:
        What was measured before and after.

    Raises:
        RunInterrupted: The user stopped it; a checkpoint is there.
    """
    start = time.perf_counter()
    few = few_prompts(len(training.eval_set.examples), training.eval_set.task.dataset.split)
    if few is not None:
        console.warn(few)
    before = measure_before(training)  # first: training changes the weights that are measured
    learn(training, watch)
    reference = _load_reference(training)  # only now, so that training has the memory to itself
    after = evaluate(
        training.agent, training.eval_set, reference=reference, title="after", tokenizer=training.settings.model
    )
    # The summary comes last: whoever finds both sides in it finds their texts too.
    write_texts(training.run, "after", training.eval_set, after)
    _write_results(training, before, after, time.perf_counter() - start)
    return before, after


def _reference_name(training: Training) -> str:
    """The model that a KL is measured to."""
    named = training.settings.options.get(training.facts.reference_option)
    return training.settings.model if named is None else str(named)


def _load_reference(training: Training) -> TextModel | None:
    """Load what the KL is to; ``None`` for an agent without a language model."""
    model = text_model_of(training.agent)
    if model is None:
        return None
    return load_model(_reference_name(training), training.settings.device, model.precision)


def _agent_before(training: Training) -> Trainable:
    """The agent as it was before training."""
    if not training.resumed:
        return training.agent
    state = training.agent.get_state()
    start = trainable(make_agent(training.settings, training.env))
    training.agent.set_state(state)  # another agent has drawn from the generators, and used the environment
    return start


def measure_before(training: Training) -> Evaluation:
    """Measure the agent before training, or read what was measured before an interruption."""
    run, settings = training.run, training.settings
    known = read_texts(run, "before", training.eval_set)
    if known is not None:
        return known
    start = _agent_before(training)
    is_start = _reference_name(training) == settings.model
    reference = text_model_of(start) if is_start else _load_reference(training)
    before = evaluate(start, training.eval_set, reference=reference, title="before", tokenizer=settings.model)
    seconds = {**run.summary().get("seconds", {}), "before": before.seconds}
    own = {name: {"before": value} for name, value in _measures(start, training.eval_set.task).items()}
    # The texts come last: a resumed run that finds them measures nothing, and needs the summary to be there.
    run.write_summary({**run.summary(), **summarise(before, None), **own, "seconds": seconds})
    write_texts(run, "before", training.eval_set, before)
    return before


def _measures(agent: Trainable, task: Task) -> Mapping[str, float | None]:
    return agent.measures(task) if isinstance(agent, Measured) else {}


def learn(training: Training, watch: Watch | None = None) -> None:
    """Run what is left of the training; otherwise as :func:`train`."""
    settings = training.settings
    train(
        training.agent,
        training.steps,
        training.run,
        sheet=training.sheet,
        save_every=settings.save_every,
        sample_every=max(1, training.iterations // _SAMPLE_MOMENTS),
        resumed=training.resumed,
        eval_set=training.eval_set,
        watch=watch,
    )


def train(
    agent: Trainable,
    steps: int,
    run: RunFolder,
    *,
    sheet: SampleSheet | None = None,
    save_every: int = 10,
    sample_every: int = 1,
    resumed: bool = False,
    eval_set: EvaluationSet | None = None,
    watch: Watch | None = None,
) -> None:
    """Train any agent up to a number of time steps, with logs, samples and checkpoints in a run folder.

    After an error, as of a reward, the last whole iteration is saved. Errors of logs stop nothing. At the end, or where
    the user stops it, the language model of the agent is in ``run.model``; one without any is in ``run.agent``.

    Args:
        agent: Learns. One that has learned before begins a new training of its weights, unless it is ``resumed``.
        steps: Time steps in all, those made before an interruption among them; whole iterations are made.
        run: Where files go; the caller holds its lock.
        sheet: Prompts whose texts are written down through training; ``None`` for none.
        save_every: Iterations, or optimizer steps where nothing is sampled, between checkpoints.
        sample_every: Iterations between samples.
        resumed: The agent was loaded from a checkpoint of the run.
        eval_set: Prompts and reward that the agent is measured on: names the reward in plots, and tells why all rewards
            of training are equal, where they are.
        watch: Looks at the agent between iterations, and can end the training.

    Raises:
        RunFolderError: The folder holds a training already, and the agent is not ``resumed``.
        RunInterrupted: The user stopped it; a checkpoint is there.
    """
    if not resumed:
        run.require_no_training()  # before the first file is written, TensorBoard's included
    tolerance, samples, unit = Tolerance(), facts_of(type(agent)).samples, unit_of(type(agent))
    board = _open_board(agent, run, tolerance, resumed=resumed)
    labels = _labels(agent, eval_set)
    curves = LiveCurves(run, f"{facts_of(type(agent)).name} in {run.path.name}", labels)
    made = agent.num_timesteps if resumed else 0
    left = todo = steps - made
    if samples:
        todo = -(-steps // agent.steps_per_iteration) * agent.steps_per_iteration - made
    meanwhile = f"finishing this {'iteration' if samples else 'step'} and saving a checkpoint"
    about = ("training", max(todo, 1), unit)
    with stop_on_request(meanwhile) as request, console.progress(*about, in_iterations=True) as ticker:
        rhythm = {"steps": steps, "save_every": save_every, "sample_every": sample_every}
        callback = RunCallback(
            run,
            sheet,
            request,
            ticker,
            tolerance,
            samples=samples,
            resumed=resumed,
            board=board,
            references=None if eval_set is None else partial(reference_rewards, eval_set),
            draw=curves.update,
            watch=watch,
            **rhythm,
        )
        # Here already, and not only in `learn`, which is not called where no step is left and the end is written.
        callback.init_callback(agent)  # type: ignore[arg-type]  # whatever learns has what callbacks read
        try:
            if left > 0:
                with contextlib.suppress(BudgetSpentError):
                    agent.learn(left, callback=callback, reset_num_timesteps=not resumed)
            callback.finish()
        except StopTraining:  # the checkpoint is saved: it is raised after that
            plot_run(run, sheet, labels=labels)
        except Exception:
            with tolerance.of("a checkpoint of the last whole iteration", _WHAT_IS_LOST):
                callback.rescue()
            raise
    curves.draw()
    # Before the interrupt is raised: a run that was stopped has the model so far.
    save_result(agent, run)
    if request.wanted:
        done = f"Checkpoint saved at {agent.num_timesteps:,} {unit}."
        raise RunInterrupted(f"{done} Resume with: {how_to_resume(run, 'train')}", signal_of(request))


def _open_board(agent: Trainable, run: RunFolder, tolerance: Tolerance, *, resumed: bool) -> Logger:
    """Return the logger of a run, which the agent writes to as well; a new one begins with the settings."""
    board = tolerant_logger(str(run.tensorboard), tolerance, name=type(agent).__name__, resumed=resumed)
    if isinstance(agent, Logging):
        agent.set_logger(board)
    if not resumed:
        config = run.config()
        log_texts(board, {"settings": settings_table(config.get("train") or config.get("settings") or {})}, 0)
    return board


def _labels(agent: Trainable, eval_set: EvaluationSet | None) -> Labels:
    """Return what the steps of an agent and its reward are called in plots."""
    return Labels(unit_of(type(agent)), None if eval_set is None else eval_set.reward_name)


def show_results(training: Training, before: Evaluation, after: Evaluation) -> None:
    """Print the table and texts side by side."""
    console.heading(f"{len(before.texts)} held-out prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(training.eval_set, before, after, ("before", "after"), _SIDE_BY_SIDE)
    for name in _measures(training.agent, training.eval_set.task):
        first, last = (training.run.summary()[name].get(side) for side in ("before", "after"))
        if first is not None and last is not None:
            console.say(f"\nHeld-out {name.replace('_', ' ')}: {first:.3f} -> {last:.3f}")
    run, folder = training.run, Path(training.run.shown)
    result = f"Model: {folder / 'model'}" if text_model_of(training.agent) is not None else f"Agent: {folder / 'agent'}"
    curves = f"   curves: {folder / SHEET}" if (run.path / SHEET).is_file() else ""
    console.say(f"\n{result}{curves}")
    for text in run.summary().get("warnings", ()):
        console.warn(text)


def _write_results(training: Training, before: Evaluation, after: Evaluation, seconds: float) -> None:
    """Write summary, model card, plots and the table of samples."""
    run, settings, agent, facts = training.run, training.settings, training.agent, training.facts
    trained = sum(value or 0.0 for row in run.log() for key, value in row.items() if key.startswith("seconds/"))
    times = {"before": before.seconds, "training": trained, "after": after.seconds, "total": seconds}
    known = run.summary()
    own = {
        name: {**known.get(name, {}), "after": value}
        for name, value in _measures(agent, training.eval_set.task).items()
    }
    summary = {**known, **summarise(before, after), **own, "seconds": {**known.get("seconds", {}), **times}}
    summary["warnings"] = run_warnings(training.eval_set, run.log(), before, after)
    run.write_summary(summary)
    if text_model_of(agent) is not None:
        reward = reward_name(training.task.reward) if settings.reward is None else settings.reward
        write_model_card(
            run.model,
            method=f"{facts.method}, {agent.num_timesteps:,} {unit_of(type(agent))}",
            start_model=settings.model,
            data=describe_data(training.task),
            settings=asdict(settings),
            summary=summary,
            reward=reward if facts.samples else None,
            own=list(own),
        )
    plot_run(run, training.sheet, before, after, labels=_labels(agent, training.eval_set))
