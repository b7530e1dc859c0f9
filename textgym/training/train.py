"""Training an agent on a text environment: a run from its first evaluation to its last, and going on with one."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from textgym import console
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.registry import resolve_agent
from textgym.envs.choice import describe_data, token_level_id
from textgym.errors import CheckpointError, NoCheckpointError
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.reward_guard import guarded
from textgym.models.checkpoint import load_newest, set_aside_newer
from textgym.models.device import pick_device
from textgym.models.text_model import Precision, TextModel
from textgym.plots import plot_kl, plot_learning
from textgym.rewards import reward_name
from textgym.security.consent import check_repeated
from textgym.training.agents import can_learn, save_result, size_of, steps_per_iteration
from textgym.training.callbacks import RunCallback, SampleSheet, StopTraining
from textgym.training.estimate import guess_training
from textgym.training.evaluate import run_without_training
from textgym.training.interrupts import RunInterrupted, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.model_card import write_model_card
from textgym.training.recovery import (
    advising,
    advising_on_memory,
    check_data,
    describe_splits,
    how_to_resume,
    resuming,
    say_other_versions,
)
from textgym.training.results import read_texts, show_comparison, summarise, write_texts
from textgym.training.run_folder import RunFolder
from textgym.training.stored_settings import located
from textgym.training.tolerance import Tolerance, tolerant_logger
from textgym.training.train_settings import TrainSettings, checked_options
from textgym.types import Agent, Example, Task, Trainable

__all__ = ["TrainSettings", "Training", "begin", "complete", "finish", "resume", "run_resume", "run_train"]

_SAMPLED_PROMPTS = 4
_SAMPLE_MOMENTS = 10
_SIDE_BY_SIDE = 3
_METHODS = {"ppo": "PPO with a KL penalty", "reinforce": "REINFORCE with a KL penalty"}
_UNRESCUED = "what came after the checkpoint before it, if there is one, is lost"
_PLOTS = ("learning_curve.png", "kl.png")
_LOGS = ("log.jsonl", "samples.jsonl", "samples.md", "tensorboard", *_PLOTS)
_BEGINNINGS = (*_LOGS, "summary.json", "texts-before.jsonl", "checkpoints")  # of a run without a checkpoint


@dataclass(frozen=True, slots=True)
class Training:
    """A run that is under way: the agent with its environment, what it is evaluated on, and where files go."""

    run: RunFolder
    settings: TrainSettings
    agent: Trainable
    env: VecEnv
    eval_set: EvaluationSet
    sheet: SampleSheet
    resumed: bool = False

    @property
    def iteration(self) -> int:
        """Tokens per iteration."""
        return steps_per_iteration(self.agent)

    @property
    def iterations(self) -> int:
        """Number of iterations in all."""
        return -(-self.settings.steps // self.iteration)


def run_train(settings: TrainSettings) -> RunFolder:
    """Train from the start; an agent that cannot learn is evaluated."""
    settings = located(settings)
    with signals_as_interrupts(), advising_on_memory("train"):
        if not can_learn(settings.agent):
            return run_without_training(settings)
        training = begin(settings, None)
        with training.run:
            announce(training)
            finish(training)
    return training.run


def run_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Go on with an interrupted run; otherwise as :func:`resume`.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        accept_changed_data: As for :func:`resume`.

    Raises:
        ConsentError: Its settings name a module that is not among them.
    """
    with resuming(path, "train", consent) as run:
        settings = _settings_of(run, consent)
        if not can_learn(settings.agent):
            return run_without_training(settings, run)
        training = resume(run, consent, accept_changed_data=accept_changed_data)
        announce(training)
        finish(training)
    return run


def begin(settings: TrainSettings, run: RunFolder | None, *, accept_changed_data: bool = False) -> Training:
    """Build environment and agent; the folder is made last, so that mistakes leave none behind.

    Args:
        settings: What to do.
        run: The folder, if there is one already; the caller holds its lock. What was measured there before training
            stays, which is why its data is compared.
        accept_changed_data: As for :func:`resume`.
    """
    env = _make_env(settings)
    agent = _make_agent(settings, env)
    _require_context(agent, env)
    eval_set = _make_evaluation_set(settings, env)
    sheet = _make_sheet(settings, eval_set)
    splits = describe_splits((_core(env, "task"), sheet.task, eval_set.task))
    if run is None:
        run = RunFolder.create(settings.out, "train", asdict(settings), _BEGINNINGS)
    check_data(run.config().get("splits"), splits, _core(env, "task").dataset.name, accept_changed_data)
    run.write_config({**run.config(), "train": asdict(settings), "splits": splits})
    return Training(run, settings, agent, env, eval_set, sheet)


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
        CheckpointError: Its settings are no settings; there are checkpoints, and none is whole (``NoCheckpointError``).
        DataError: The data has changed.
    """
    settings = _settings_of(run, consent)
    say_other_versions(run)
    if not any(run.checkpoints.glob("step-*")):
        return _begin_again(run, settings, accept_changed_data)
    env = _make_env(settings)
    eval_set = _make_evaluation_set(settings, env)
    sheet = _make_sheet(settings, eval_set)
    splits = describe_splits((_core(env, "task"), sheet.task, eval_set.task))
    check_data(run.config().get("splits"), splits, _core(env, "task").dataset.name, accept_changed_data)
    agent, folder = _load_newest(run, env, settings)
    run.write_config({**run.config(), "splits": splits})
    # The checkpoint's own tokenizer files vanish with the checkpoint.
    if hasattr(agent, "text_model"):
        agent.text_model.source = settings.model
    run.truncate_logs(agent.num_timesteps)
    set_aside_newer(folder)
    console.say(f"Resuming {run.shown} from {folder.name} ({agent.num_timesteps:,} of {settings.steps:,} tokens).")
    return Training(run, settings, agent, env, eval_set, sheet, resumed=True)


def _settings_of(run: RunFolder, consent: Collection[str]) -> TrainSettings:
    record = run.settings_of("train", rounds=True)
    check_repeated(consent, record)
    try:
        return TrainSettings.from_json(record)
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"expected the settings of a training run in {str(run.path / 'config.json')!r}, got others ({error!r}); "
            "put the file back"
        ) from error


def _begin_again(run: RunFolder, settings: TrainSettings, accept_changed_data: bool) -> Training:
    console.say(f"{run.shown} has no checkpoint yet: it begins again.")
    run.truncate_logs(-1)
    return begin(settings, run, accept_changed_data=accept_changed_data)


def _load_newest(run: RunFolder, env: VecEnv, settings: TrainSettings) -> tuple[Trainable, Path]:
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
            f"expected a checkpoint in {str(run.checkpoints)!r}, got none that is whole; start a new run"
        )
    return agent, folder


def announce(training: Training) -> None:
    """Say what will happen and how long it takes."""
    settings, agent = training.settings, training.agent
    left = training.iterations - agent.num_timesteps // training.iteration
    console.say(
        f"{type(agent).__name__}: {settings.model}{size_of(agent)} on {describe_data(_task(training))}, "
        f"reward {training.eval_set.reward_name!r}: {left} iterations of {training.iteration:,} tokens, with "
        f"{len(training.eval_set.examples)} unseen prompts before and after. {_guess(training, left)} "
        f"Files: {training.run.shown}"
    )


def finish(training: Training) -> tuple[Evaluation, Evaluation]:
    """Do what is left of a run, and show what came of it; otherwise as :func:`complete`."""
    with advising(training.run, "train"):
        before, after = complete(training)
        show_results(training, before, after)
        return before, after


def complete(training: Training) -> tuple[Evaluation, Evaluation]:
    """Measure, train, measure again, and write everything down.

    Returns:
        What was measured before and after.

    Raises:
        RunInterrupted: The user stopped it; a checkpoint is there.
    """
    start = time.perf_counter()
    before = measure_before(training)
    learn(training)
    reference = _load_reference(training)
    after = evaluate(
        training.agent, training.eval_set, reference=reference, title="after", tokenizer=training.settings.model
    )
    write_texts(training.run, "after", training.eval_set, after)
    _write_results(training, before, after, time.perf_counter() - start)
    return before, after


def _load_reference(training: Training) -> TextModel | None:
    """Load what the KL is to; ``None`` for an agent without a language model."""
    settings = training.settings
    if not hasattr(training.agent, "text_model"):
        return None
    name = str(settings.options.get("reference_model") or settings.model)
    return load_model(name, settings.device, _precision(settings))


def _start(training: Training) -> Agent | TextModel:
    """The agent as it was before training."""
    settings, agent = training.settings, training.agent
    if not hasattr(agent, "text_model"):
        start: Agent = _make_agent(settings, training.env) if training.resumed else agent
        return start
    if training.resumed:
        return load_model(settings.model, settings.device, _precision(settings))
    model: TextModel = agent.text_model
    return model


def measure_before(training: Training) -> Evaluation:
    """Measure the start model, or read what was measured before an interruption."""
    known = read_texts(training.run, "before", training.eval_set)
    if known is not None:
        return known
    start = _start(training)
    is_start = training.settings.options.get("reference_model") in (None, training.settings.model)
    reference = start if is_start and isinstance(start, TextModel) else _load_reference(training)
    before = evaluate(start, training.eval_set, reference=reference, title="before", tokenizer=training.settings.model)
    write_texts(training.run, "before", training.eval_set, before)
    summary = training.run.summary()
    seconds = {**summary.get("seconds", {}), "before": before.seconds}
    training.run.write_summary({**summary, **summarise(before, None), "seconds": seconds})
    return before


def learn(training: Training) -> None:
    """Run what is left of the training; otherwise as :func:`train`."""
    settings = training.settings
    train(
        training.agent,
        settings.steps,
        training.run,
        sheet=training.sheet,
        save_every=settings.save_every,
        sample_every=max(1, training.iterations // _SAMPLE_MOMENTS),
        iteration=training.iteration,
        resumed=training.resumed,
    )


def train(
    agent: Trainable,
    steps: int,
    run: RunFolder,
    *,
    sheet: SampleSheet | None = None,
    save_every: int = 10,
    sample_every: int = 1,
    iteration: int = 1,
    resumed: bool = False,
) -> None:
    """Train any agent up to a number of time steps, with logs, samples and checkpoints in a run folder.

    After an error, as of a reward, the last whole iteration is saved. Errors of logs stop nothing. At the end the
    language model of the agent is in ``run.model``; one without any is in ``run.agent``.

    Args:
        agent: Whoever learns.
        steps: Time steps in all, those made before an interruption among them; whole iterations are made.
        run: Where files go; the caller holds its lock.
        sheet: Prompts whose texts are written down through training; ``None`` for none.
        save_every: Iterations between checkpoints.
        sample_every: Iterations between samples.
        iteration: Time steps of an iteration, for the progress bar.
        resumed: The agent was loaded from a checkpoint of the run.

    Raises:
        RunInterrupted: The user stopped it; a checkpoint is there.
    """
    tolerance = Tolerance()
    if hasattr(agent, "set_logger"):
        name = type(agent).__name__
        agent.set_logger(tolerant_logger(str(run.tensorboard), tolerance, name=name, resumed=resumed))
    left = steps - agent.num_timesteps
    todo = -(-steps // iteration) * iteration - agent.num_timesteps
    with (
        stop_on_request("finishing this iteration and saving a checkpoint") as request,
        console.progress("training", max(todo, 1), "tokens") as ticker,
    ):
        callback = RunCallback(
            run,
            sheet,
            request,
            ticker,
            tolerance,
            save_every=save_every,
            sample_every=sample_every,
            iteration=iteration,
        )
        callback.init_callback(agent)  # type: ignore[arg-type]  # whatever learns has what callbacks read
        try:
            if left > 0:
                agent.learn(left, callback=callback, reset_num_timesteps=not resumed)
            callback.finish()
        except StopTraining:
            _plot(run, sheet.examples if sheet is not None else (), None, None, getattr(agent, "kl_target", None))
            raise RunInterrupted(_advice(run), signal_of(request)) from None
        except Exception:
            with tolerance.of("a checkpoint of the last whole iteration", _UNRESCUED):
                callback.rescue()
            raise
    save_result(agent, run)
    if request.wanted:
        raise RunInterrupted(_advice(run), signal_of(request))


def show_results(training: Training, before: Evaluation, after: Evaluation) -> None:
    """Print the table and texts side by side."""
    console.heading(f"{len(before.texts)} unseen prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(training.eval_set, before, after, ("before", "after"), _SIDE_BY_SIDE)
    console.say(f"\nModel: {Path(training.run.shown) / 'model'}   curves: {Path(training.run.shown) / _PLOTS[0]}")


def _write_results(training: Training, before: Evaluation, after: Evaluation, seconds: float) -> None:
    """Write summary, model card, plots and the table of samples."""
    run, settings = training.run, training.settings
    trained = sum(value or 0.0 for row in run.log() for key, value in row.items() if key.startswith("seconds/"))
    times = {"before": before.seconds, "training": trained, "after": after.seconds, "total": seconds}
    summary = {**run.summary(), **summarise(before, after), "seconds": {**run.summary().get("seconds", {}), **times}}
    run.write_summary(summary)
    write_model_card(
        run.model,
        method=f"{_METHODS.get(settings.agent, settings.agent)}, {training.agent.num_timesteps:,} tokens",
        start_model=settings.model,
        data=describe_data(_task(training)),
        settings=asdict(settings),
        summary=summary,
        reward=reward_name(_task(training).reward) if settings.reward is None else settings.reward,
    )
    target = settings.options.get("kl_target")
    _plot(run, training.sheet.examples, before, after, None if target is None else float(target))


def _plot(
    run: RunFolder,
    examples: Sequence[Example],
    before: Evaluation | None,
    after: Evaluation | None,
    kl_target: float | None,
) -> None:
    """Plot the log, and write the table of the samples about some examples."""
    log, tolerance = run.log(), Tolerance()
    sides = [item.measures.intervals() if item else None for item in (before, after)]
    with tolerance.of("a plot"):
        plot_learning(run.path / _PLOTS[0], log, *sides)
        plot_kl(run.path / _PLOTS[1], log, kl_target)
    with tolerance.of("samples.md"):
        run.write_samples_table({example.key: example.text for example in examples})


def _make_env(settings: TrainSettings) -> VecEnv:
    return make_vec_env(
        token_level_id(settings.choice.env_id),
        n_envs=settings.n_envs,
        seed=settings.seed,
        model=settings.model,
        reward=guarded(settings.reward, settings.reward_timeout),
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        **settings.choice.env_kwargs(),
    )


def _make_evaluation_set(settings: TrainSettings, env: VecEnv) -> EvaluationSet:
    # The environment's reward object is used, so that a reward model is in memory once.
    return make_evaluation_set(
        settings.choice.make("test"),
        _core(env, "reward"),
        settings.eval_prompts,
        settings.seed,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
    )


def _make_sheet(settings: TrainSettings, eval_set: EvaluationSet) -> SampleSheet:
    validation = settings.choice.make("validation")
    examples = fixed_examples(validation.dataset, _SAMPLED_PROMPTS)
    return SampleSheet(validation, examples, replace(eval_set.sampling, temperature=1.0))


def _core(env: VecEnv, name: str) -> Any:
    return env.get_attr(name)[0]


def _task(training: Training) -> Task:
    task: Task = _core(training.env, "task")
    return task


def _make_agent(settings: TrainSettings, env: Any) -> Any:
    kind, options = resolve_agent(settings.agent), checked_options(settings.agent, settings.options)
    return kind.create(env, settings.model, seed=settings.seed, device=settings.device, **options)


def _require_context(agent: Any, env: VecEnv) -> None:
    if hasattr(agent, "text_model"):
        agent.text_model.require_context(_core(env, "max_prompt_tokens") + _core(env, "max_new_tokens"))


def _precision(settings: TrainSettings) -> Precision:
    return "bf16" if settings.options.get("precision") == "bf16" else "fp32"


def _advice(run: RunFolder) -> str:
    return f"Saved. Go on with: {how_to_resume(run, 'train')}"


def _guess(training: Training, iterations: int) -> str:
    if not hasattr(training.agent, "n_steps"):
        return "How long it takes is known after the first iterations."
    seconds = guess_training(training.agent, iterations, len(training.eval_set.examples))
    return f"About {console.duration(seconds)}."
