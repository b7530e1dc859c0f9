"""Start and resumption of a training run: its parts, its folder, and the comparison of its data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from textgym import console
from textgym.agents.common.distributed import current
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, ChecksEnv, Sourced, Timed, facts_of, processes_of, unit_of
from textgym.agents.registry import resolve_agent
from textgym.envs.choice import with_budgets
from textgym.errors import CheckpointError, NoCheckpointError
from textgym.evaluation.core import EvaluationSet, text_model_of
from textgym.models.checkpoint import load_newest, set_aside_newer
from textgym.models.device import pick_device
from textgym.models.probing.noise import random_states_kept
from textgym.models.stored_values import integer
from textgym.naming import argument
from textgym.security.consent import check_repeated
from textgym.training.callbacks import SampleSheet
from textgym.training.curves import CURVES
from textgym.training.from_run import say_cut_prompts, say_other_budget, say_other_template
from textgym.training.recovery import (
    check_data,
    describe_splits,
    require_as_many,
    say_other_versions,
)
from textgym.training.run_folder import RunFolder
from textgym.training.setup import make_agent, make_env, make_run_evaluation, make_sheet, require_room, trainable
from textgym.training.train_settings import TrainSettings
from textgym.types import Task, Trainable

_LOGS = ("log.jsonl", "samples.jsonl", "samples.md", "tensorboard", *CURVES)
_BEGINNINGS = (*_LOGS, "summary.json", "texts-before.jsonl", "checkpoints")  # of a run without a checkpoint


@dataclass(frozen=True, slots=True)
class Training:
    """A run that is under way: the agent with its environment, what it is evaluated on, and where files go.

    Attributes:
        run: The folder.
        settings: The settings that stand in it.
        agent: The agent that learns.
        env: Vector environment of its grain.
        eval_set: Prompts, reward and seeds of the evaluations before and after.
        sheet: Prompts to sample from through training; ``None`` for agents without a language model.
        steps: Time steps in all.
        resumed: The agent was loaded from a checkpoint.
    """

    run: RunFolder
    settings: TrainSettings
    agent: Trainable
    env: object
    eval_set: EvaluationSet
    sheet: SampleSheet | None
    steps: int
    resumed: bool = False

    @property
    def iterations(self) -> int:
        """Number of iterations in all."""
        return -(-self.steps // self.agent.steps_per_iteration)

    @property
    def facts(self) -> AgentFacts:
        """The facts of the agent's class."""
        return facts_of(type(self.agent))

    @property
    def task(self) -> Task:
        """The task of the environment."""
        task: Task = env_attribute(self.env, "task")
        return task


class Parts(NamedTuple):
    """The parts of a run that is not begun, as in :class:`Training`."""

    env: object
    agent: Trainable
    eval_set: EvaluationSet
    sheet: SampleSheet | None


def make_parts(settings: TrainSettings) -> Parts:
    """Make environment, agent, evaluation and sheet of a new run; nothing is written.

    Raises:
        TextGymError, TypeError, ValueError: The settings do not fit together.
    """
    env = make_env(settings)
    # An agent that is given its texts encodes them when it is made, minutes for many: its reward comes first.
    # Of an agent that samples, the order is that in which random numbers have always been drawn.
    checked = None if facts_of(resolve_agent(settings.agent)).samples else make_run_evaluation(settings, env)
    agent = trainable(make_agent(settings, env))
    require_room(settings, agent, env)
    if isinstance(agent, ChecksEnv):
        agent.require_env()
    return Parts(env, agent, checked or make_run_evaluation(settings, env), make_sheet(settings, agent))


def begin(
    settings: TrainSettings, run: RunFolder | None, *, command: str = "train", accept_changed_data: bool = False
) -> Training:
    """Build environment and agent; the folder is made last, so that mistakes leave none behind.

    Args:
        settings: Settings of the run.
        run: The folder, if there is one already; the caller holds its lock. What was measured there before training
            stays, which is why its data is compared.
        command: Name of the command that a new folder belongs to.
        accept_changed_data: Only warn of changed data, as for :func:`resume`.
    """
    if run is not None:
        run.require_no_training()  # before models are loaded
    env, agent, eval_set, sheet = make_parts(settings)
    model = text_model_of(agent)
    if model is not None:
        task = with_budgets(env_attribute(env, "task"), settings.max_prompt_tokens, settings.max_new_tokens)
        say_other_template(task, settings.model)
        if settings.max_new_tokens is None:
            say_other_budget(task, settings.model)
        say_cut_prompts(task, model.tokenizer)
    steps = settings.steps if settings.minutes is None else _steps_in(settings.minutes, agent)
    # All that can fail for a mistake of the user's has been done: only now a folder is made.
    if run is None:
        run = RunFolder.create(settings.out, command, asdict(settings), _BEGINNINGS)
    training = Training(run, settings, agent, env, eval_set, sheet, _steps_of(run, settings, steps))
    count = current().size
    processes = {"processes": count} if count > 1 else {}
    known = {"train": asdict(settings), "steps": training.steps, "unit": unit_of(type(agent))}
    _prepare(training, accept_changed_data, {**known, "reward": eval_set.reward_name, **processes})
    return training


def resume(run: RunFolder, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> Training:
    """Load the newest checkpoint of a run that can be used, and forget what was logged after it.

    A run that was stopped before its first checkpoint begins again.

    Args:
        run: The folder; the caller holds its lock.
        consent: Names that the user repeated; each must stand in the settings of the run.
        accept_changed_data: Go on although the data is not what the run began with.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no training run.
        CheckpointError: Its settings are no settings, or no checkpoint is complete (``NoCheckpointError``).
        DataError: The data has changed.
    """
    settings = settings_of(run, consent)
    if processes_of(resolve_agent(settings.agent, from_file=True)) == "data":
        require_as_many(run, "train")
    say_other_versions(run)
    if not any(run.checkpoints.glob("step-*")):
        return _begin_again(run, settings, accept_changed_data)
    env = make_env(settings)
    # Before the agent, whose random generators nothing else may draw from.
    eval_set = make_run_evaluation(settings, env)
    agent, folder = _load_newest(run, env, settings)
    # After it, since only agents with a language model have a sheet; a task of the user's may draw numbers too.
    with random_states_kept():
        sheet = make_sheet(settings, agent)
    steps = _steps_of(run, settings, settings.steps)
    training = Training(run, settings, agent, env, eval_set, sheet, steps, resumed=True)
    # Before anything is forgotten: with other data, the folder stays as it is.
    _prepare(training, accept_changed_data, {})
    for change in agent.changed_sources() if isinstance(agent, Sourced) else ():
        console.warn(change)
    run.truncate_logs(agent.num_timesteps)
    set_aside_newer(folder)
    console.say(
        f"Resuming {run.shown} from {folder.name} ({agent.num_timesteps:,} of {steps:,} {unit_of(type(agent))})."
    )
    return training


def _prepare(training: Training, accept_changed_data: bool, more: Mapping[str, object]) -> None:
    """Compare the data with what the run began with, and note it in the configuration, with whatever else is new.

    Raises:
        DataError: The data has changed.
    """
    sheet, run = training.sheet, training.run
    sampled = () if sheet is None else (sheet.task,)
    splits = describe_splits((training.task, *sampled, training.eval_set.task))
    check_data(run, splits, training.task.dataset.name, accept_changed_data)
    run.write_config({**run.config(), **more, "splits": splits})


def _begin_again(run: RunFolder, settings: TrainSettings, accept_changed_data: bool) -> Training:
    console.say(f"{run.shown} has no checkpoint yet: it starts from the beginning.")
    run.truncate_logs(-1)
    return begin(settings, run, accept_changed_data=accept_changed_data)


def _load_newest(run: RunFolder, env: object, settings: TrainSettings) -> tuple[Trainable, Path]:
    """Load the newest checkpoint that can be used, and say which ones cannot.

    Raises:
        NoCheckpointError: None can.
    """
    kind = resolve_agent(settings.agent, from_file=True)
    load = partial(kind.load, env=env, device=pick_device(settings.device))
    agent, folder, problems = load_newest(run.checkpoints, load)
    for problem in problems:
        console.warn(f"skipped a damaged checkpoint: {problem}")
    if agent is None or folder is None:
        raise NoCheckpointError(
            f"expected a checkpoint in {str(run.checkpoints)!r}, got no complete checkpoint; start a new run"
        )
    return trainable(agent), folder


def settings_of(run: RunFolder, consent: Collection[str]) -> TrainSettings:
    """Return the settings of a training run.

    Raises:
        CheckpointError: What its folder has is none.
        ConsentError: They name a module that is not among ``consent``.
    """
    record = run.settings_of("train", rounds=True)
    if "agent" not in record and run.config().get("command") == "sft":  # of an earlier version
        record = {**record, "agent": "sft"}
    check_repeated(consent, record)
    try:
        return TrainSettings.from_json(record)
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"expected the settings of a training run in {str(run.path / 'config.json')!r}, got others ({error!r}); "
            "restore the file"
        ) from error


def _steps_of(run: RunFolder, settings: TrainSettings, steps: int) -> int:
    """Time steps of a run; by the clock, they are those that were planned last, however fast the machine is today."""
    stored = run.config().get("steps", steps) if settings.minutes is not None else steps
    if not integer(stored):
        raise CheckpointError(
            f"expected a number of steps in {str(run.path / 'config.json')!r}, got {stored!r}; restore the file"
        )
    return int(stored)


def _steps_in(minutes: float, agent: Trainable) -> int:
    """Return about how many steps take so long; the speed of the first ones will tell more."""
    seconds = seconds_per_step(agent)
    if seconds is None:
        raise ValueError(
            f"expected {argument('steps')} for {type(agent).__name__}, which cannot say how long one takes, got "
            f"{argument('minutes')}; leave that out"
        )
    return max(1, int(minutes * 60 / seconds))


def seconds_per_step(agent: Trainable) -> float | None:
    """Return the seconds that a time step takes; ``None`` for an agent that cannot say."""
    return agent.seconds_per_step() if isinstance(agent, Timed) else None
