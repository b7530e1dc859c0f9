"""A run that evaluates a language model, alone or beside the one it started from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from textgym import console
from textgym.checks import check_settings
from textgym.envs.choice import describe_data
from textgym.evaluation.acting import require_own_temperature
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, text_model_of
from textgym.evaluation.episodes import transcript
from textgym.evaluation.loading import load_model, require_context
from textgym.training.agents import ActorSettings, evaluation_of, find_agent, save_result
from textgym.training.from_run import run_of, say_cut_prompts, say_other_template
from textgym.training.recovery import advising_on_memory, check_data, describe_splits
from textgym.training.results import show_comparison, summarise, write_texts
from textgym.training.run_folder import RunFolder, value_of
from textgym.training.setup import make_agent, make_env, make_run_evaluation
from textgym.training.stored_settings import located
from textgym.training.train_settings import TrainSettings
from textgym.types import Agent

_SHOWN = 2
_BEGINNINGS = ("texts-after.jsonl", "agent")
_DOCUMENT_CHARS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings(ActorSettings):
    """Settings of ``textgym evaluate``, with those of :class:`~textgym.training.agents.ActorSettings`.

    Attributes:
        reference_model: The model to compare with; ``None`` is the one that the run of the model started from.
        reward: Name, ``module:attribute`` or folder of the reward; ``None`` is the task's default.
        prompts: Number of prompts of the split.
        temperature: Divides the logits; 0 takes the most likely token.
        metric: Measures beside those of the task, as :func:`~textgym.evaluation.metrics.named_metrics` reads them.
        out: Folder of the run; ``None`` makes one in ``runs/``.
    """

    reference_model: str | None = None
    reward: str | None = None
    prompts: int = 300
    temperature: float = 1.0
    metric: tuple[str, ...] = ()
    out: str | None = None

    def __post_init__(self) -> None:
        check_settings(self, counts=("prompts", "max_prompt_tokens", "max_new_tokens"), not_negative=("temperature",))


@advising_on_memory("evaluate")
def run_evaluate(settings: EvaluateSettings) -> RunFolder:
    """Measure one model, or a model and the one it started from, and write ``summary.json``."""
    start = time.perf_counter()
    found = find_agent(settings)
    if found.language_model is None:
        require_own_temperature(settings.temperature)
    eval_set = evaluation_of(
        settings, found, settings.reward, settings.prompts, temperature=settings.temperature, metrics=settings.metric
    )
    name = found.language_model or settings.agent
    start_name = settings.reference_model
    if start_name is None and found.language_model is not None:
        start_name = start_model_of(found.language_model)
    if found.language_model is not None:
        say_other_template(eval_set.task, found.language_model)
    against = f" and {start_name}, which it is compared with," if start_name is not None else ""
    console.say(
        f"Evaluating {name}{against} on {len(eval_set.examples)} prompts of {describe_data(eval_set.task)}, "
        f"temperature {settings.temperature:g}, reward {eval_set.reward_name!r}; seconds to minutes for small models."
    )
    agent = found.load()
    model = text_model_of(agent)
    reference = load_model(start_name, settings.device) if start_name is not None else None
    for network in filter(None, (model, reference)):
        require_context(network, eval_set.task)
    if model is not None:
        say_cut_prompts(eval_set.task, model.tokenizer, eval_set.examples)
    run = RunFolder.create(settings.out, "evaluate", asdict(located(settings)))
    with run:  # locked since it was made; the end of the block releases it
        known = {"splits": describe_splits((eval_set.task,)), "reward": eval_set.reward_name}
        run.write_config({**run.config(), **known})
        before = evaluate(reference, eval_set, reference=reference, title="before") if reference else None
        title = "after" if reference else "sampling"
        only = evaluate(agent, eval_set, reference=reference or model, title=title, tokenizer=found.tokenizer)
        first, second = (before, only) if before else (only, None)
        for side, evaluation in (("before", first), ("after", second)):
            if evaluation:
                write_texts(run, side, eval_set, evaluation)
        seconds = {"before": first.seconds, "after": second.seconds if second else 0.0}
        run.write_summary({**summarise(first, second), "seconds": {**seconds, "total": time.perf_counter() - start}})
    _show(eval_set, first, second)
    console.say(f"\nTexts and summary.json are in {run.path}")
    return run


@dataclass(frozen=True, slots=True)
class Untrained:
    """An agent that has nothing to train, what it is evaluated on, and where files go.

    Attributes:
        run: The folder; whoever is done with it releases its lock.
        settings: Settings of ``textgym train``.
        agent: The agent.
        eval_set: Prompts, reward and seeds.
    """

    run: RunFolder
    settings: TrainSettings
    agent: Agent
    eval_set: EvaluationSet


def run_without_training(
    settings: TrainSettings, run: RunFolder | None = None, *, accept_changed_data: bool = False
) -> RunFolder:
    """Evaluate an agent that has nothing to train, show the result, and leave the same run folder as training does.

    Args:
        settings: Settings of ``textgym train``.
        run: The folder, if there is one already; the caller holds its lock.
        accept_changed_data: Go on although the data is not what the run began with.

    Raises:
        DataError: The data has changed.
    """
    untrained = begin_without_training(settings, run, accept_changed_data=accept_changed_data)
    eval_set = untrained.eval_set
    with untrained.run:
        console.say(
            f"{type(untrained.agent).__name__} has nothing to train: it is evaluated on {len(eval_set.examples)} "
            f"prompts of {describe_data(eval_set.task)}, reward {eval_set.reward_name!r}. Files: {untrained.run.shown}"
        )
        _show(eval_set, complete_without_training(untrained), None)
    return untrained.run


def make_without_training(settings: TrainSettings) -> tuple[Agent, EvaluationSet]:
    """Make an agent that has nothing to train, and its evaluation; nothing is written.

    Raises:
        TextGymError, TypeError, ValueError: The settings do not fit together.
    """
    of_one = replace(settings, n_envs=1)
    env = make_env(of_one, settings.split)
    return make_agent(of_one, env), make_run_evaluation(settings, env)


def begin_without_training(
    settings: TrainSettings, run: RunFolder | None = None, *, accept_changed_data: bool = False
) -> Untrained:
    """Build agent and evaluation, and make the folder last; arguments and errors are those of a whole run."""
    agent, eval_set = make_without_training(settings)
    splits = describe_splits((eval_set.task,))
    run = run or RunFolder.create(settings.out, "train", asdict(settings), _BEGINNINGS)
    check_data(run, splits, eval_set.task.dataset.name, accept_changed_data)
    run.write_config({**run.config(), "splits": splits, "reward": eval_set.reward_name})
    return Untrained(run, settings, agent, eval_set)


def complete_without_training(untrained: Untrained) -> Evaluation:
    """Evaluate the agent, and write everything down; the caller holds the lock of the folder."""
    start, run, eval_set = time.perf_counter(), untrained.run, untrained.eval_set
    after = evaluate(untrained.agent, eval_set, title="sampling", tokenizer=untrained.settings.model)
    write_texts(run, "after", eval_set, after)
    save_result(untrained.agent, run)
    seconds = {"after": after.seconds, "total": time.perf_counter() - start}
    run.write_summary({**summarise(None, after), "seconds": seconds})
    return after


def _show(eval_set: EvaluationSet, first: Evaluation, second: Evaluation | None) -> None:
    if second:
        show_comparison(eval_set, first, second, ("before", "after"), _SHOWN)
        return
    console.print_measures({"mean, 95 % interval": first.measures.intervals()})
    for episode in first.episodes[:_SHOWN]:
        console.say()
        console.say(" ".join(episode.example.text.split())[:_DOCUMENT_CHARS], style="dim")
        console.say(f"-> {transcript(episode) or '(empty)'}")


def start_model_of(model: str) -> str | None:
    """Return the model that a run started from, if ``model`` is a run, or its model, that says so and it is there."""
    run = run_of(model)
    if run is None:
        return None
    settings = run.stored("settings", dict[str, object]())
    name = value_of(settings, "model", "")
    moved = name.startswith("/") and not Path(name).is_dir()
    return name if name and not moved else None
