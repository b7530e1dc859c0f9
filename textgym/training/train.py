"""PPO on a text environment, from a language model and a reward to a better language model."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from textgym import console
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ppo import PPO
from textgym.envs.choice import describe_data, token_level_id
from textgym.errors import CheckpointError, NoCheckpointError
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.reward_guard import guarded
from textgym.models.checkpoint import load_newest, set_aside_newer
from textgym.models.device import pick_device
from textgym.models.text_model import TextModel
from textgym.plots import plot_kl, plot_learning
from textgym.rewards.core import reward_name
from textgym.security.consent import check_repeated
from textgym.training.callbacks import RunCallback, SampleSheet, StopTraining
from textgym.training.estimate import guess_training
from textgym.training.interrupts import RunInterrupted, StopRequest, signal_of, signals_as_interrupts, stop_on_request
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
from textgym.training.train_settings import TrainSettings
from textgym.types import Task

__all__ = ["TrainSettings", "Training", "begin", "complete", "finish", "resume", "run_resume", "run_train"]

_SAMPLED_PROMPTS = 4
_SAMPLE_MOMENTS = 10
_SIDE_BY_SIDE = 3
_UNRESCUED = "what came after the checkpoint before it, if there is one, is lost"
_PLOTS = ("learning_curve.png", "kl.png")
_LOGS = ("log.jsonl", "samples.jsonl", "samples.md", "tensorboard", *_PLOTS)
_BEGINNINGS = (*_LOGS, "summary.json", "texts-before.jsonl", "checkpoints")  # of a run without a checkpoint


@dataclass(frozen=True, slots=True)
class Training:
    """A run that is under way: the agent with its environment, what it is evaluated on, and where files go."""

    run: RunFolder
    settings: TrainSettings
    agent: PPO
    eval_set: EvaluationSet
    sheet: SampleSheet
    resumed: bool = False

    @property
    def iteration(self) -> int:
        """Tokens per iteration."""
        return self.agent.n_steps * self.agent.n_envs

    @property
    def iterations(self) -> int:
        """Number of iterations in all."""
        return -(-self.settings.steps // self.iteration)


def run_train(settings: TrainSettings) -> RunFolder:
    """Train from the start."""
    with signals_as_interrupts(), advising_on_memory("train"):
        training = begin(located(settings), None)
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
    agent = PPO(
        "CausalLMPolicy",
        env,
        learning_rate=settings.learning_rate,
        n_steps=_core(env, "max_new_tokens") if settings.n_steps is None else settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        kl_coef=settings.kl_coef,
        kl_target=settings.kl_target,
        missing_eos_penalty=settings.missing_eos_penalty,
        gae_lambda=settings.gae_lambda,
        vf_coef=settings.vf_coef,
        scale_rewards=settings.whiten_rewards,
        micro_batch_size=settings.micro_batch_size,
        policy_kwargs={
            "model": settings.model,
            "critic": settings.critic,
            "temperature": settings.temperature,
            "precision": settings.precision,
            "lora_rank": settings.lora_rank,
            "compile": settings.compile,
            "tolerate_mismatch": settings.tolerate_mismatch,
        },
        seed=settings.seed,
        device=pick_device(settings.device),
    )
    if settings.reference_model is not None:
        agent.set_reference(load_model(settings.reference_model, str(agent.device)))
    agent.policy.model.require_context(_core(env, "max_prompt_tokens") + _core(env, "max_new_tokens"))
    eval_set = _make_evaluation_set(settings, env)
    sheet = _make_sheet(settings, eval_set)
    splits = describe_splits((_core(env, "task"), sheet.task, eval_set.task))
    if run is None:
        run = RunFolder.create(settings.out, "train", asdict(settings), _BEGINNINGS)
    check_data(run.config().get("splits"), splits, _core(env, "task").dataset.name, accept_changed_data)
    run.write_config({**run.config(), "train": asdict(settings), "splits": splits})
    agent.tensorboard_log = str(run.tensorboard)
    return Training(run, settings, agent, eval_set, sheet)


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
    agent.policy.model.source = settings.model
    agent.tensorboard_log = str(run.tensorboard)
    run.truncate_logs(agent.num_timesteps)
    set_aside_newer(folder)
    console.say(f"Resuming {run.shown} from {folder.name} ({agent.num_timesteps:,} of {settings.steps:,} tokens).")
    return Training(run, settings, agent, eval_set, sheet, resumed=True)


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


def _load_newest(run: RunFolder, env: VecEnv, settings: TrainSettings) -> tuple[PPO, Path]:
    """Load the newest checkpoint that can be used, and say which ones cannot.

    Raises:
        NoCheckpointError: None can.
    """
    load = partial(PPO.load, env=env, device=pick_device(settings.device))
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
    parameters = sum(parameter.numel() for parameter in agent.policy.parameters()) / 1e6
    console.say(
        f"PPO: {settings.model} ({parameters:.1f} M parameters) on {describe_data(_task(training))}, reward "
        f"{reward_name(_core(agent.env, 'reward'))!r}: {left} iterations of {training.iteration:,} tokens, with "
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
    after = evaluate(training.agent, training.eval_set, reference=_load_reference(training), title="after")
    write_texts(training.run, "after", training.eval_set, after)
    _write_results(training, before, after, time.perf_counter() - start)
    return before, after


def _load_reference(training: Training) -> TextModel:
    """Load what the KL is to."""
    settings = training.settings
    name = settings.model if settings.reference_model is None else settings.reference_model
    return load_model(name, str(training.agent.device), settings.precision)


def measure_before(training: Training) -> Evaluation:
    """Measure the start model, or read what was measured before an interruption."""
    known = read_texts(training.run, "before", training.eval_set)
    if known is not None:
        return known
    if training.resumed:
        settings = training.settings
        start = load_model(settings.model, str(training.agent.device), settings.precision)
    else:
        start = training.agent.policy.model
    is_start = training.settings.reference_model in (None, training.settings.model)
    reference = start if is_start else _load_reference(training)
    before = evaluate(start, training.eval_set, reference=reference, title="before")
    write_texts(training.run, "before", training.eval_set, before)
    summary = training.run.summary()
    seconds = {**summary.get("seconds", {}), "before": before.seconds}
    training.run.write_summary({**summary, **summarise(before, None), "seconds": seconds})
    return before


def learn(training: Training) -> None:
    """Run what is left of the training; checkpoints are made on the way.

    After an error, as of a reward, the last whole iteration is saved. Errors of logs stop nothing.

    Raises:
        RunInterrupted: The user stopped it.
    """
    agent, settings, tolerance = training.agent, training.settings, Tolerance()
    agent.set_logger(tolerant_logger(agent.tensorboard_log, tolerance, resumed=training.resumed))
    left = settings.steps - agent.num_timesteps
    todo = training.iterations * training.iteration - agent.num_timesteps
    with (
        stop_on_request("finishing this iteration and saving a checkpoint") as request,
        console.progress("training", max(todo, 1), "tokens") as ticker,
    ):
        callback = _make_callback(training, request, ticker, tolerance)
        callback.init_callback(agent)
        try:
            if left > 0:
                agent.learn(left, reset_num_timesteps=not training.resumed, callback=callback)
            callback.finish()
        except StopTraining:
            _write_plots(training, None, None)
            raise RunInterrupted(_advice(training.run), signal_of(request)) from None
        except Exception:
            with tolerance.of("a checkpoint of the last whole iteration", _UNRESCUED):
                callback.rescue()
            raise
    agent.policy.save_pretrained(training.run.model)
    if request.wanted:
        raise RunInterrupted(_advice(training.run), signal_of(request))


def show_results(training: Training, before: Evaluation, after: Evaluation) -> None:
    """Print the table and texts side by side."""
    console.heading(f"{len(before.texts)} unseen prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(training.eval_set, before, after, ("before", "after"), _SIDE_BY_SIDE)
    console.say(f"\nModel: {Path(training.run.shown) / 'model'}   curves: {Path(training.run.shown) / _PLOTS[0]}")


def _make_callback(
    training: Training, request: StopRequest, ticker: console.Ticker, tolerance: Tolerance
) -> RunCallback:
    return RunCallback(
        training.run,
        training.sheet,
        request,
        ticker,
        tolerance,
        save_every=training.settings.save_every,
        sample_every=max(1, training.iterations // _SAMPLE_MOMENTS),
    )


def _write_results(training: Training, before: Evaluation, after: Evaluation, seconds: float) -> None:
    """Write summary, model card, plots and the table of samples."""
    run, settings = training.run, training.settings
    trained = sum(value or 0.0 for row in run.log() for key, value in row.items() if key.startswith("seconds/"))
    times = {"before": before.seconds, "training": trained, "after": after.seconds, "total": seconds}
    summary = {**run.summary(), **summarise(before, after), "seconds": {**run.summary().get("seconds", {}), **times}}
    run.write_summary(summary)
    write_model_card(
        run.model,
        method=f"PPO with a KL penalty, {training.agent.num_timesteps:,} tokens",
        start_model=settings.model,
        data=describe_data(_task(training)),
        settings=asdict(settings),
        summary=summary,
        reward=_task(training).default_reward if settings.reward is None else settings.reward,
    )
    _write_plots(training, before, after)


def _write_plots(training: Training, before: Evaluation | None, after: Evaluation | None) -> None:
    run, log, tolerance = training.run, training.run.log(), Tolerance()
    sides = [item.measures.intervals() if item else None for item in (before, after)]
    with tolerance.of("a plot"):
        plot_learning(run.path / _PLOTS[0], log, *sides)
        plot_kl(run.path / _PLOTS[1], log, training.settings.kl_target)
    with tolerance.of("samples.md"):
        run.write_samples_table({example.key: example.prompt for example in training.sheet.examples})


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


def _core(env: VecEnv | None, name: str) -> Any:
    assert env is not None
    return env.get_attr(name)[0]


def _task(training: Training) -> Task:
    task: Task = _core(training.agent.env, "task")
    return task


def _advice(run: RunFolder) -> str:
    return f"Saved. Go on with: {how_to_resume(run, 'train')}"


def _guess(training: Training, iterations: int) -> str:
    seconds = guess_training(training.agent, iterations, len(training.eval_set.examples))
    return f"About {console.duration(seconds)}."
