"""PPO on a text environment, from a language model and a reward to a better language model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from textgym import console
from textgym.agents.causal_lm_policy import Critic
from textgym.agents.checkpoint import newest_checkpoint
from textgym.agents.ppo import PPO
from textgym.agents.vec_env import make_vec_env
from textgym.consent import check_repeated, names_from, resume_command
from textgym.errors import CheckpointError
from textgym.evaluation import fixed_examples
from textgym.models.device import pick_device
from textgym.models.language_model import LanguageModel, Precision
from textgym.pipelines.callbacks import RunCallback, SampleSheet, StopTraining
from textgym.pipelines.estimate import guess_training
from textgym.pipelines.evaluate import (
    Evaluation,
    Exam,
    make_exam,
    read_texts,
    show_comparison,
    sit_exam,
    summarise,
    write_texts,
)
from textgym.pipelines.interrupts import RunInterrupted, StopRequest, stop_on_request
from textgym.pipelines.model_card import write_model_card
from textgym.pipelines.settings import check_settings
from textgym.pipelines.setup import (
    TaskChoice,
    describe_data,
    load_model,
    located,
    settings_from_json,
    token_level_id,
)
from textgym.plots import plot_kl, plot_learning
from textgym.rewards import reward_name
from textgym.runs import RunFolder, RunFolderError
from textgym.types import Task

_SAMPLED_PROMPTS = 4
_SAMPLE_MOMENTS = 10
_SIDE_BY_SIDE = 3


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of ``textgym train``; the agent's are explained at :class:`textgym.agents.ppo.PPO`.

    Attributes:
        choice: Task and data.
        model: Start model.
        reference_model: What the KL is to, in the penalty and in what is measured; ``None`` is the start model. One of
            the same architecture.
        reward: Name, ``module:attribute`` or folder; ``None`` is the task's default.
        steps: Tokens to train on; whole iterations of ``n_envs * n_steps`` tokens are made.
        n_steps: Tokens per environment and iteration; ``None`` is the budget of a response.
        temperature: Of the policy in training; evaluation is at temperature 1.
        eval_prompts: Prompts of the test split to measure on, before and after.
        save_every: Iterations between checkpoints.
    """

    choice: TaskChoice
    model: str = "tiny"
    reference_model: str | None = None
    reward: str | None = None
    steps: int = 200_000
    learning_rate: float = 1e-4
    kl_coef: float = 0.05
    kl_target: float | None = None
    n_envs: int = 64
    n_steps: int | None = None
    batch_size: int = 768
    epochs: int = 4
    micro_batch_size: int | None = None
    missing_eos_penalty: float = 0.0
    gae_lambda: float = 0.95
    vf_coef: float = 0.1
    whiten_rewards: bool = False
    temperature: float = 1.0
    critic: Critic = "detached"
    lora_rank: int | None = None
    precision: Precision = "fp32"
    compile: bool = False
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    eval_prompts: int = 300
    seed: int = 0
    save_every: int = 10
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        budgets = ("max_prompt_tokens", "max_new_tokens", "n_steps", "micro_batch_size", "lora_rank")
        check_settings(
            self,
            counts=("steps", "n_envs", "batch_size", "epochs", "eval_prompts", "save_every", *budgets),
            positive=("learning_rate", "kl_target", "temperature"),
            not_negative=("kl_coef", "gae_lambda", "vf_coef"),
        )
        if self.gae_lambda > 1:
            raise ValueError(f"expected gae_lambda of at most 1, got {self.gae_lambda}; lower it")
        if self.batch_size < 2 or self.n_envs * (2 if self.n_steps is None else self.n_steps) < 2:
            raise ValueError(
                "expected at least 2 tokens per optimiser step and iteration, to normalise advantages over, got "
                f"batch_size={self.batch_size}, n_envs={self.n_envs}, n_steps={self.n_steps}; raise them"
            )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainSettings:
        """Read what ``dataclasses.asdict`` wrote."""
        return settings_from_json(cls, record)


@dataclass(frozen=True, slots=True)
class Training:
    """A run that is under way: the agent with its environment, what it is examined on, and where files go."""

    run: RunFolder
    settings: TrainSettings
    agent: PPO
    exam: Exam
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
    training = begin(located(settings), None)
    announce(training)
    finish(training)
    return training.run


def run_resume(path: str, consent: Collection[str] = ()) -> RunFolder:
    """Go on with an interrupted run, from its newest checkpoint that is whole; otherwise as :func:`resume`."""
    with names_from(path, resume_command("train", path, {}), consent):
        training = resume(path, consent)
        announce(training)
        finish(training)
    return training.run


def begin(settings: TrainSettings, run: RunFolder | None) -> Training:
    """Build environment and agent; the folder is made last, so that mistakes leave none behind.

    Args:
        settings: What to do.
        run: The folder, if there is one already.
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
        whiten_rewards=settings.whiten_rewards,
        micro_batch_size=settings.micro_batch_size,
        policy_kwargs={
            "model": settings.model,
            "critic": settings.critic,
            "temperature": settings.temperature,
            "precision": settings.precision,
            "lora_rank": settings.lora_rank,
            "compile": settings.compile,
        },
        seed=settings.seed,
        device=pick_device(settings.device),
    )
    if settings.reference_model is not None:
        agent.set_reference(load_model(settings.reference_model, str(agent.device)))
    agent.policy.model.require_context(_core(env, "max_prompt_tokens") + _core(env, "max_new_tokens"))
    exam = _make_exam(settings, env)
    sheet = _make_sheet(settings, exam)
    if run is None:
        run = RunFolder.create(settings.out, "train", asdict(settings))
    run.write_config({**run.config(), "train": asdict(settings)})
    agent.tensorboard_log = str(run.tensorboard)
    return Training(run, settings, agent, exam, sheet)


def resume(path: str, consent: Collection[str] = ()) -> Training:
    """Load the newest valid checkpoint of a run and forget what was logged after it.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no training run.
        CheckpointError: No checkpoint is whole.
    """
    with names_from(path, resume_command("train", path, {}), consent):
        return _resume(RunFolder.open(path), path, consent)


def _resume(run: RunFolder, path: str, consent: Collection[str]) -> Training:
    record = run.config().get("train")
    if record is None:
        raise RunFolderError(f"expected a training run to resume, got {path!r}, which never began to train; start anew")
    check_repeated(consent, record)
    settings = TrainSettings.from_json(record)
    folder, problems = newest_checkpoint(run.checkpoints)
    for problem in problems:
        console.warn(f"passed over a damaged checkpoint: {problem}")
    if folder is None:
        raise CheckpointError(f"expected a checkpoint in {str(run.checkpoints)!r}, got none that is whole; start anew")
    env = _make_env(settings)
    exam = _make_exam(settings, env)
    agent = PPO.load(folder, env=env, device=pick_device(settings.device))
    # The checkpoint's own tokenizer files vanish with the checkpoint.
    agent.policy.model.source = settings.model
    agent.tensorboard_log = str(run.tensorboard)
    run.truncate_logs(agent.num_timesteps)
    _set_aside_newer(folder)
    console.say(f"Resuming {run.path} from {folder.name} ({agent.num_timesteps:,} of {settings.steps:,} tokens).")
    return Training(run, settings, agent, exam, _make_sheet(settings, exam), resumed=True)


def _set_aside_newer(checkpoint: Path) -> None:
    """Rename damaged checkpoints that are newer than the one in use, so that they do not count as the newest."""
    for other in checkpoint.parent.glob("step-*"):
        if other.name > checkpoint.name:
            aside = other.with_name(f"damaged-{other.name}")
            shutil.rmtree(aside, ignore_errors=True)
            other.rename(aside)


def announce(training: Training) -> None:
    """Say what will happen and how long it takes."""
    settings, agent = training.settings, training.agent
    left = training.iterations - agent.num_timesteps // training.iteration
    parameters = sum(parameter.numel() for parameter in agent.policy.parameters()) / 1e6
    console.say(
        f"PPO: {settings.model} ({parameters:.1f} M parameters) on {describe_data(_task(training))}, reward "
        f"{reward_name(_core(agent.env, 'reward'))!r}: {left} iterations of {training.iteration:,} tokens, with "
        f"{len(training.exam.examples)} unseen prompts before and after. {_guess(training, left)} "
        f"Files: {training.run.path}"
    )


def finish(training: Training) -> tuple[Evaluation, Evaluation]:
    """Do what is left of a run, and show what came of it; otherwise as :func:`complete`."""
    with _advising(training.run):
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
    after = sit_exam(training.exam, training.agent.policy.model, "after", _load_reference(training))
    write_texts(training.run, "after", training.exam, after)
    _write_results(training, before, after, time.perf_counter() - start)
    return before, after


def _load_reference(training: Training) -> LanguageModel:
    """Load what the KL is to."""
    settings = training.settings
    name = settings.model if settings.reference_model is None else settings.reference_model
    return load_model(name, str(training.agent.device), settings.precision)


def measure_before(training: Training) -> Evaluation:
    """Measure the start model, or read what was measured before an interruption."""
    known = read_texts(training.run, "before", training.exam)
    if known is not None:
        return known
    if training.resumed:
        settings = training.settings
        start = load_model(settings.model, str(training.agent.device), settings.precision)
    else:
        start = training.agent.policy.model
    is_start = training.settings.reference_model in (None, training.settings.model)
    reference = start if is_start else _load_reference(training)
    before = sit_exam(training.exam, start, "before", reference)
    write_texts(training.run, "before", training.exam, before)
    summary = training.run.summary()
    seconds = {**summary.get("seconds", {}), "before": before.seconds}
    training.run.write_summary({**summary, **summarise(before, None), "seconds": seconds})
    return before


def learn(training: Training) -> None:
    """Run what is left of the training; checkpoints are made on the way.

    Raises:
        RunInterrupted: The user stopped it.
    """
    agent, settings = training.agent, training.settings
    left = settings.steps - agent.num_timesteps
    todo = training.iterations * training.iteration - agent.num_timesteps
    with (
        stop_on_request("finishing this iteration and saving a checkpoint") as request,
        console.progress("training", max(todo, 1), "tokens") as ticker,
    ):
        callback = _make_callback(training, request, ticker)
        callback.init_callback(agent)
        try:
            if left > 0:
                agent.learn(left, reset_num_timesteps=not training.resumed, callback=callback)
        except StopTraining:
            _write_pictures(training, None, None)
            raise RunInterrupted(_advice(training.run)) from None
        callback.flush()
        callback.write_samples()
        callback.save_checkpoint()
    agent.policy.save_pretrained(training.run.model)
    if request.wanted:
        raise RunInterrupted(_advice(training.run))


def show_results(training: Training, before: Evaluation, after: Evaluation) -> None:
    """Print the table and texts side by side."""
    console.heading(f"{len(before.texts)} unseen prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(training.exam, before, after, ("before", "after"), _SIDE_BY_SIDE)
    console.say(f"\nModel: {training.run.model}   curves: {training.run.path / 'learning_curve.png'}")


def _make_callback(training: Training, request: StopRequest, ticker: console.Ticker) -> RunCallback:
    return RunCallback(
        training.run,
        training.sheet,
        request,
        ticker,
        save_every=training.settings.save_every,
        sample_every=max(1, training.iterations // _SAMPLE_MOMENTS),
    )


def _write_results(training: Training, before: Evaluation, after: Evaluation, seconds: float) -> None:
    """Write summary, model card, pictures and the table of samples."""
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
    _write_pictures(training, before, after)


def _write_pictures(training: Training, before: Evaluation | None, after: Evaluation | None) -> None:
    run, log = training.run, training.run.log()
    sides = [item.measures.intervals() if item else None for item in (before, after)]
    plot_learning(run.path / "learning_curve.png", log, *sides)
    plot_kl(run.path / "kl.png", log, training.settings.kl_target)
    run.write_samples_table({example.key: example.prompt for example in training.sheet.examples})


def _make_env(settings: TrainSettings) -> VecEnv:
    return make_vec_env(
        token_level_id(settings.choice.env_id),
        n_envs=settings.n_envs,
        seed=settings.seed,
        model=settings.model,
        reward=settings.reward,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        **settings.choice.env_kwargs(),
    )


def _make_exam(settings: TrainSettings, env: VecEnv) -> Exam:
    # The environment's reward object is used, so that a reward model is in memory once.
    return make_exam(
        settings.choice.make("test"),
        _core(env, "reward"),
        settings.eval_prompts,
        settings.seed,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
    )


def _make_sheet(settings: TrainSettings, exam: Exam) -> SampleSheet:
    validation = settings.choice.make("validation")
    examples = fixed_examples(validation.dataset, _SAMPLED_PROMPTS)
    return SampleSheet(validation, examples, replace(exam.sampling, temperature=1.0))


def _core(env: VecEnv | None, name: str) -> Any:
    assert env is not None
    return env.get_attr(name)[0]


def _task(training: Training) -> Task:
    task: Task = _core(training.agent.env, "task")
    return task


@contextmanager
def _advising(run: RunFolder) -> Iterator[None]:
    """Tell a user who stops a run at once how to go on, if there is a checkpoint."""
    try:
        yield
    except RunInterrupted:
        raise
    except KeyboardInterrupt:
        if not any(run.checkpoints.glob("step-*")):
            raise
        raise RunInterrupted(f"Go on from the last checkpoint with: {_resume_command(run)}") from None


def _advice(run: RunFolder) -> str:
    return f"Saved. Go on with: {_resume_command(run)}"


def _resume_command(run: RunFolder) -> str:
    return resume_command("train", run.path, run.config().get("train", {}))


def _guess(training: Training, iterations: int) -> str:
    seconds = guess_training(training.agent, iterations, len(training.exam.examples))
    return f"About {console.duration(seconds)}."
