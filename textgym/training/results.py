"""Files of evaluations in a run folder, and their display."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from textgym import console
from textgym.errors import DataError
from textgym.evaluation.core import OF_GENERATION, Evaluation, EvaluationSet
from textgym.evaluation.episodes import episode_as_json, episode_from_json, transcript
from textgym.evaluation.measures import Measures, compare, compare_significance
from textgym.models.stored_values import Check, fields, listed, mapped, one_of, plain
from textgym.tasks.base import describe_task, prompt_text
from textgym.training.run_folder import RunFolder, intervals_as_json, value_of
from textgym.types import Episode, JsonObject, Task
from textgym.values import is_number

_TEXTS = "texts-{}.jsonl"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_MESSAGE = fields({"role": _is_text, "content": _is_text})
_OF_EPISODE: Mapping[str, Check] = {
    "finish_reason": one_of("eos", "stop", "length"),
    "turns": listed(_MESSAGE),
    "state": mapped(plain),
    "turn_return": is_number,
}


def write_texts(run: RunFolder, side: str, eval_set: EvaluationSet, evaluation: Evaluation) -> None:
    """Keep every episode with its measures in ``texts-before.jsonl`` or ``texts-after.jsonl``."""
    names = evaluation.measures.names()
    columns = [evaluation.measures.values[name] for name in names]
    rows = zip(evaluation.episodes, *columns, strict=True)
    run.write_rows(
        _TEXTS.format(side),
        [
            {
                "task_key": episode.example.key,
                **episode_as_json(episode),
                "measures": dict(zip(names, numbers, strict=True)),
            }
            for episode, *numbers in rows
        ],
    )


def read_texts(run: RunFolder, side: str, eval_set: EvaluationSet) -> Evaluation | None:
    """Return what :func:`write_texts` kept, and the seconds that the summary has; ``None`` if of other examples."""
    rows = run.read_rows(_TEXTS.format(side))
    if [row["task_key"] for row in rows] != [example.key for example in eval_set.examples]:
        return None
    prompts = [prompt_text(eval_set.task, example) for example in eval_set.examples]
    values = {
        name: np.array([np.nan if row["measures"].get(name) is None else row["measures"][name] for row in rows])
        for name in rows[0]["measures"]
    }
    episodes = [episode_from_json(example, row) for example, row in zip(eval_set.examples, rows, strict=True)]
    seconds = value_of(value_of(run.summary(), "seconds", dict[str, object]()), side, 0.0)
    return Evaluation(episodes, Measures(values, prompts), seconds)


def text_files(run: RunFolder) -> dict[str, Path]:
    """Return the files of episodes in a run by their side, such as ``"after"``, in the order of their names."""
    files = sorted(run.path.glob(_TEXTS.format("*")), key=lambda file: (file.stem != "texts-before", file.name))
    return {file.stem.partition("-")[2]: file for file in files}


def read_episodes(file: Path, task: Task) -> Evaluation:
    """Return the episodes in a file that :func:`write_texts` wrote, to be scored again.

    Args:
        file: JSON lines with ``task_key``, ``text``, and the turns of episodes that have several.
        task: Task on the split whose examples they are about.

    Returns:
        The episodes, with those of their measures that were taken in generation: ``length`` and ``kl``.

    Raises:
        DataError: It has no episodes, a line is none, or the data have no example of its key.
    """
    rows = RunFolder(file.parent).read_rows(file.name)
    if not rows:
        raise DataError(f"expected lines of JSON with episodes in {str(file)!r}, got none; check the path")
    episodes = [_episode(task, row, f"{file}:{number}") for number, row in enumerate(rows, start=1)]
    measures = [value_of(row, "measures", dict[str, object]()) for row in rows]
    values = {
        name: np.array([_number(each.get(name)) for each in measures], dtype=np.float64)
        for name in OF_GENERATION
        if any(name in each for each in measures)
    }
    prompts = [prompt_text(task, episode.example) for episode in episodes]
    return Evaluation(episodes, Measures(values, prompts), 0.0, task.name)


def _episode(task: Task, row: JsonObject, place: str) -> Episode:
    """Return the episode of a line.

    Raises:
        DataError: It is of another form, or about an example that the data do not have.
    """
    lacking = [name for name in ("task_key", "text") if not isinstance(row.get(name), str)]
    if lacking:
        raise DataError(
            f"expected the texts {' and '.join(lacking)} in {place}, as `textgym evaluate` writes them, got the "
            f"columns {', '.join(sorted(row)) or 'none'}; give a file texts-....jsonl of a run"
        )
    wrong = [name for name, check in _OF_EPISODE.items() if name in row and not check(row[name])]
    if wrong or ("turns" in row and not {"state", "turn_return"} <= row.keys()):
        name = wrong[0] if wrong else "turns without state and turn_return"
        raise DataError(f"expected an episode in {place}, got another kind of {name}; restore the file")
    try:
        example = task.dataset.find(row["task_key"])
    except KeyError:
        raise DataError(
            f"expected an example of {describe_task(task)} in {place}, got the key {row['task_key']!r}, which is not "
            "in these data; name the environment, data and split that the texts were written for"
        ) from None
    return episode_from_json(example, row)


def _number(value: object) -> float:
    return float(value) if is_number(value) else math.nan


def summarise(before: Evaluation | None, after: Evaluation | None) -> dict[str, object]:
    """Return the measures of both sides, their paired difference and spreads, as they stand in ``summary.json``."""
    sides = {"before": before, "after": after}
    summary: dict[str, object] = {
        side: intervals_as_json(item.measures.intervals()) if item else {} for side, item in sides.items()
    }
    if before and after:
        tests = compare_significance(before=before, after=after)
        summary["difference"] = intervals_as_json({name: test.difference for name, test in tests.items()})
        summary["p_values"] = {name: test.p_value for name, test in tests.items()}
    summary["standard_deviations"] = {side: item.measures.spreads() for side, item in sides.items() if item}
    summary["prompts"] = len((after or before).texts) if (after or before) else 0  # type: ignore[union-attr]
    return summary


def show_comparison(
    eval_set: EvaluationSet, before: Evaluation, after: Evaluation, names: tuple[str, str], shown: int
) -> None:
    """Print the table of both models, then some of their texts side by side."""
    console.print_measures(
        {
            names[0]: before.measures.intervals(),
            names[1]: after.measures.intervals(),
            "difference": compare(before=before, after=after),
        }
    )
    for place in range(min(shown, len(eval_set.examples))):
        written = (transcript(before.episodes[place]), transcript(after.episodes[place]))
        console.print_side_by_side(names, eval_set.examples[place].text, written)
