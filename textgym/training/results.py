"""Files of evaluations in a run folder, and their display."""

from __future__ import annotations

import numpy as np

from textgym import console
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.episodes import episode_as_json, episode_from_json, transcript
from textgym.evaluation.measures import Measures, compare
from textgym.tasks.base import prompt_text
from textgym.training.run_folder import RunFolder, intervals_as_json, value_of

_TEXTS = "texts-{}.jsonl"


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


def summarise(before: Evaluation | None, after: Evaluation | None) -> dict[str, object]:
    """Return the measures of both sides, their paired difference and spreads, as they stand in ``summary.json``."""
    sides = {"before": before, "after": after}
    summary: dict[str, object] = {
        side: intervals_as_json(item.measures.intervals()) if item else {} for side, item in sides.items()
    }
    if before and after:
        summary["difference"] = intervals_as_json(compare(before=before, after=after))
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
