"""Write docs/tasks.md: the table of tasks from the registry, and, with ``--measure``, those of scores.

    python -P tools/tasks_page.py                       # the table of tasks, in seconds
    python -P tools/tasks_page.py --measure             # and the scores of all tasks, in minutes
    python -P tools/tasks_page.py --measure TextQA-v0   # and the scores of some; the others stay

The page is written after each task, so that an interrupted measurement keeps what is done.
"""

from __future__ import annotations

import argparse
import inspect
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym

from textgym.cli.bench import load_benchmarks
from textgym.console import number
from textgym.envs.arguments import options_of
from textgym.envs.choice import EnvChoice, id_of_grain
from textgym.rewards import knows_gold, reward_name
from textgym.security.consent import load_attribute
from textgym.types import SPLITS, Interval

load_benchmarks()  # they are no part of what is installed
from benchmarks import tasks as scored  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.tasks import TaskScores

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tasks.md"
TASKS, SCORES = "tasks", "scores"
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
HEADER = ("ids", "task", "data", "training / validation / test", "gold", "metrics", "default reward", "start model")


def table_of_tasks() -> str:
    """Return the Markdown table of all tasks, and the options of those that have some."""
    tasks = _table(HEADER, [row_of(env_id) for env_id in scored.built_in_ids()])
    return "\n".join([*tasks, "", *_table(("id", "option", "values, the default first"), option_rows())])


def row_of(env_id: str) -> Sequence[str]:
    """Return what stands in the columns of :data:`HEADER` for a task, as Markdown."""
    choice = EnvChoice(env_id)
    tasks = [choice.make(split) for split in SPLITS]
    test = tasks[-1]
    gold = (getattr(test, "gold_meaning", "") or "known") if knows_gold(test) else "-"
    return (
        f"`{env_id}`, `{id_of_grain(env_id, 'episode')}`",
        _first_line(load_attribute(gym.registry[env_id].kwargs["task"])),
        f"`{test.dataset.name}`",
        " / ".join(f"{len(task.dataset):,}" for task in tasks),
        gold,
        ", ".join(f"`{name}`" for name in test.metrics),
        f"`{reward_name(test.reward)}`",
        f"`{choice.start_model()}`",
    )


def option_rows() -> list[Sequence[str]]:
    """Return id, name and values of the options of all tasks, as Markdown."""
    found = {env_id: options_of(gym.registry[env_id].kwargs["task"]) for env_id in scored.built_in_ids()}
    return [
        (f"`{env_id}`", f"`{name}`", ", ".join(f"`{value}`" for value in values))
        for env_id, options in found.items()
        for name, values in options.items()
    ]


def _first_line(task: object) -> str:
    text = (inspect.getdoc(task) or "").split("\n\n", maxsplit=1)[0]
    return _ROLE.sub(r"`\1`", " ".join(text.split())).removesuffix(".")


def table_of_scores(scores: TaskScores, day: str) -> str:
    """Return the Markdown tables of one task: writers by measures, and how far they are apart."""
    means, names = scores.means(), [scores.quality, "reward"]
    measures = list(dict.fromkeys(name for found in means.values() for name in found))
    leads = {name: scores.leads(name) for name in dict.fromkeys(names)}
    pairs = next(iter(leads.values()))
    remarks = [f"* {doubt[0].upper()}{doubt[1:]}." for doubt in scores.doubts()]
    if scored.REFERENCE not in scores.evaluations:
        remarks.append("* The data have no references: no answer is known to be good.")
    lines = [
        f"{len(scores.evaluations[scored.START].episodes)} test examples, {day}.",
        "",
        *_table(
            ("writer", *(_title(name, scores) for name in measures)),
            [(writer, *(_cell(found.get(name)) for name in measures)) for writer, found in means.items()],
        ),
        "",
        *_table(
            ("difference", *(_title(name, scores) for name in leads)),
            [
                (f"{first} minus {second}", *(_cell(leads[name][first, second]) for name in leads))
                for first, second in pairs
            ],
        ),
        *([""] if remarks else []),
        *remarks,
    ]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows)]


def _title(name: str, scores: TaskScores) -> str:
    return f"reward `{scores.reward}`" if name == "reward" else name.replace("_", " ")


def _cell(interval: Interval | None) -> str:
    return "-" if interval is None else f"{number(interval.mean)} ({number(interval.low)} to {number(interval.high)})"


def sections_of(scores: str) -> dict[str, str]:
    r"""Return what a part of the page has under each heading.

    >>> sections_of("### a\n\nx\n\n### b\n\ny")
    {'a': 'x', 'b': 'y'}
    """
    found = (section.partition("\n") for section in re.split(r"^### ", scores, flags=re.MULTILINE)[1:])
    return {title.strip(): body.strip() for title, _, body in found}


def with_scores(scores: str, measured: Mapping[str, str]) -> str:
    """Return the sections of tasks that are registered, those that were measured replaced, sorted by id."""
    sections = {**sections_of(scores), **measured}
    known = [env_id for env_id in scored.built_in_ids() if env_id in sections]
    return "\n\n".join(f"### {env_id}\n\n{sections[env_id]}" for env_id in known)


def part_of(page: str, name: str) -> str:
    """Return what stands between the markers of a part of the page.

    Raises:
        ValueError: The page lacks the markers.
    """
    found = re.search(_between(name), page, re.DOTALL)
    if found is None:
        raise ValueError(f"expected <!-- {name} --> and <!-- /{name} --> in {PAGE}, got a page without; put them back")
    return found[2].strip()


def with_part(page: str, name: str, text: str) -> str:
    """Return the page with a part replaced."""
    part_of(page, name)
    return re.sub(_between(name), lambda found: f"{found[1]}\n{text}\n{found[3]}", page, flags=re.DOTALL)


def _between(name: str) -> str:
    return rf"(<!-- {name} -->)\n(.*?)(<!-- /{name} -->)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measure", nargs="*", metavar="ID", help="score these tasks; all where none is named")
    parser.add_argument("--items", type=int, default=scored.ITEMS, help="test examples of each task")
    given = parser.parse_args(arguments)
    _write(TASKS, table_of_tasks())
    if given.measure is None:
        return
    for env_id in given.measure or scored.built_in_ids():
        measured = table_of_scores(scored.scores_of(env_id, given.items), time.strftime("%Y-%m-%d"))
        _write(SCORES, with_scores(part_of(PAGE.read_text(encoding="utf-8"), SCORES), {env_id: measured}))


def _write(name: str, text: str) -> None:
    PAGE.write_text(with_part(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")


if __name__ == "__main__":
    main()
