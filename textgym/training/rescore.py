"""A run that scores the episodes of another one with a reward and measures of its own; nothing is generated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from textgym import console
from textgym.envs.choice import EnvChoice, describe_data
from textgym.errors import DataError
from textgym.evaluation.core import DEFAULT, Evaluation, EvaluationSet, make_evaluation_set, rescore
from textgym.files.paths import suggested_folder, user_path
from textgym.text.plurals import counted
from textgym.training.evaluate_several import show_table, summary_of, tests_of
from textgym.training.from_run import choice_of_run, run_of
from textgym.training.recovery import describe_splits
from textgym.training.results import read_episodes, summarise, text_files, write_texts
from textgym.training.run_folder import RunFolder, value_of
from textgym.training.stored_settings import located
from textgym.types import Split, Task

_SIDES = {"before", "after"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """Settings of ``textgym score``.

    Attributes:
        choice: Environment and data that the episodes are of.
        episodes: Run folder, or a file ``texts-....jsonl``.
        reward: Name, ``module:attribute`` or folder of the reward; ``None`` is the task's default.
        metric: Measures beside those of the task, as :func:`~textgym.evaluation.metrics.named_metrics` reads them.
        split: The split of the data that the episodes are about.
        out: Folder of the run; ``None`` makes one in ``runs/``.
    """

    choice: EnvChoice
    episodes: str
    reward: str | None = None
    metric: tuple[str, ...] = ()
    split: Split = "test"
    out: str | None = None


def require_task(episodes: str | None, given: Mapping[str, object]) -> str | None:
    """Return the run that episodes lie in, whose task and data they are of; ``None`` if they lie in none.

    Args:
        episodes: Run folder or file; ``None`` if the user named none.
        given: Options that the user gave.

    Raises:
        ValueError: The user named none.
        DataError: There is no such file, or it lies in no run, and the user names no environment.
    """
    if episodes is None:
        raise ValueError("expected a run folder or a file of episodes, got none; name one: textgym score RUN")
    path = user_path(episodes)
    if not path.exists():
        raise DataError(
            f"expected a run folder or a file of episodes, got {episodes!r}, which does not exist; check the path."
            f"{suggested_folder(episodes)}"
        )
    folder = path if path.is_dir() else path.parent
    if run_of(str(folder)) is not None:
        return str(folder)
    if path.is_dir() or "env_id" not in given:
        what = "a run of textgym" if path.is_dir() else "an environment beside a file that lies in no run"
        raise DataError(
            f"expected {what}, got {episodes!r} alone; name both: textgym score FILE ENV_ID, with the --data that the "
            "episodes are about"
        )
    return None


def run_score(settings: ScoreSettings) -> RunFolder:
    """Score all episodes of a run, or those of one file, and write them with their new measures, and a summary.

    Raises:
        DataError: There are no episodes, or they are about other data than those that are given.
        RewardError: The reward lacks something in them.
    """
    start = time.perf_counter()
    settings = replace(settings, episodes=str(user_path(settings.episodes).absolute()))
    task = settings.choice.make(settings.split)
    found = _read(Path(settings.episodes), task, settings)
    eval_set = _evaluation_set(settings, task, next(iter(found.values())))
    count = sum(len(each.episodes) for each in found.values())
    console.say(
        f"Scoring {counted(count, 'episodes')} about {describe_data(task)} with the reward {eval_set.reward_name!r}; "
        "nothing is generated."
    )
    scored = {name: rescore(each, eval_set) for name, each in found.items()}
    run = RunFolder.create(settings.out, "score", asdict(located(settings)))
    with run:
        run.write_config({**run.config(), "splits": describe_splits((task,)), "reward": eval_set.reward_name})
        is_pair = scored.keys() <= _SIDES
        for number, (name, evaluation) in enumerate(scored.items(), start=1):
            write_texts(run, name if is_pair else str(number), eval_set, evaluation)
        run.write_summary(_summary(scored, time.perf_counter() - start))
    _show(scored)
    console.say(f"\nTexts and summary.json are in {run.path}")
    return run


def _read(path: Path, task: Task, settings: ScoreSettings) -> dict[str, Evaluation]:
    """Return the episodes by who wrote them: ``"before"`` and ``"after"``, or names of models and agents.

    Raises:
        DataError: There are none, or the data of the run have changed.
    """
    run = RunFolder(path if path.is_dir() else path.parent)
    files = text_files(run) if path.is_dir() else {path.stem.removeprefix("texts-"): path}
    if not files:
        raise DataError(
            f"expected episodes in {run.shown!r}, files texts-....jsonl, got none; `textgym evaluate` and the end of a "
            "training write them"
        )
    _require_same_data(run, task, settings)
    names = _names_in(run)
    return {names.get(file.name, side): read_episodes(file, task) for side, file in files.items()}


def _require_same_data(run: RunFolder, task: Task, settings: ScoreSettings) -> None:
    """Raise if the examples of a run are others by now than those that the episodes were written about."""
    own, now = choice_of_run(str(run.path)), settings.choice.located()
    if own is None or any(getattr(own, name) != getattr(now, name) for name in ("env_id", "data", "task_options")):
        return
    before = run.stored("splits", dict[str, object]()).get(settings.split)
    if before is not None and before != describe_splits((task,))[settings.split]:
        raise DataError(
            f"expected the examples that the episodes in {run.shown!r} were written about, got others in the "
            f"{settings.split} split of {task.dataset.name!r} (rows added, removed or changed); restore the data"
        )


def _names_in(run: RunFolder) -> dict[str, str]:
    """Return the names of the models and agents that were compared in a run, by their files."""
    models = value_of(run.summary(), "models", dict[str, object]())
    return {value_of(each, "texts", ""): name for name, each in models.items() if isinstance(each, dict)}


def _evaluation_set(settings: ScoreSettings, task: Task, episodes: Evaluation) -> EvaluationSet:
    """Return the reward and the measures, for the examples that the episodes are about."""
    reward = DEFAULT if settings.reward is None else settings.reward
    made = make_evaluation_set(task, reward, 1, metrics=settings.metric)
    return replace(made, examples=[episode.example for episode in episodes.episodes])


def _summary(scored: Mapping[str, Evaluation], seconds: float) -> dict[str, object]:
    if scored.keys() <= _SIDES:
        return {**summarise(scored.get("before"), scored.get("after")), "seconds": {"total": seconds}}
    return summary_of(scored, tests_of(scored), seconds)


def _show(scored: Mapping[str, Evaluation]) -> None:
    if len(scored) == 1:
        console.print_measures({"mean, 95 % interval": next(iter(scored.values())).measures.intervals()})
    else:
        show_table(scored, tests_of(scored))
