"""The table of runs, as wide as the terminal allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from textgym import console
from textgym.files.paths import user_path
from textgym.security.escaping import printable
from textgym.text.plurals import counted
from textgym.training.run_facts import Change, RunFacts, list_runs

RUNS = "runs"
"""The folder that commands make new runs in."""
_GAP = "  "


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        title: Title of the column.
        cell: Text about a run; empty where it has none.
        rank: Place in the order in which columns are kept where room is scarce.
    """

    title: str
    cell: Callable[[RunFacts], str]
    rank: int


def run_runs(folder: str, *, as_json: bool = False) -> list[RunFacts]:
    """Print the runs in a folder, the newest first, and why some failed or cannot be read.

    Args:
        folder: The folder; nothing in it yet is no mistake where it is that of new runs.
        as_json: Print a list in JSON instead.
    """
    found = list_runs(folder) if folder != RUNS or user_path(folder).exists() else []
    if as_json:
        console.say(json.dumps([facts.as_json() for facts in found], indent=2))
        return found
    if not found:
        console.say(f"No runs in {folder} yet; `textgym train` makes one, `textgym demo` shows all of it.")
        return found
    for line in lines_of(found, console.width()):
        console.say(line)
    troubled = [facts for facts in found if facts.reason]
    if troubled:
        console.say()
    for facts in troubled:
        console.say(f"{facts.folder} ({facts.state}): {facts.reason}")
    return found


def lines_of(runs: Sequence[RunFacts], width: int | None) -> list[str]:
    """Return the lines of the table, and one that names the columns for which there is no room.

    Args:
        runs: The runs.
        width: Columns of the terminal; ``None`` for a file or a pipe, which has room for all.
    """
    cells = {column: [printable(column.cell(facts)) for facts in runs] for column in COLUMNS}
    filled = {column: [column.title, *texts] for column, texts in cells.items() if any(texts)}
    widths = {column: max(map(cell_len, texts)) for column, texts in filled.items()}
    kept: list[Column] = []
    room = 0
    for column in sorted(filled, key=lambda each: each.rank):
        room += widths[column] + len(_GAP) * bool(kept)
        if width is not None and kept and room > width:
            break
        kept.append(column)
    shown = [column for column in filled if column in kept]
    lines = [
        _GAP.join(_padded(filled[column][row], widths[column]) for column in shown).rstrip()
        for row in range(len(runs) + 1)
    ]
    left_out = [column.title for column in filled if column not in kept]
    if left_out:
        lines.append(f"No room for: {', '.join(left_out)}. A wider terminal, a pipe and --json have all.")
    return lines


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _changed(change: Change) -> str:
    """Return a mean before and after, or the only one that is known.

    >>> _changed(Change(0.25, 0.5)), _changed(Change(None, 0.5)), _changed(Change())
    ('0.250 -> 0.500', '0.500', '')
    """
    first, last = (None if each is None else console.number(each) for each in change)
    if first is None:
        return last or ""
    return f"{first} -> {last or '?'}"


def _reward(facts: RunFacts) -> str:
    accuracy = "" if facts.accuracy is None else f"accuracy {console.number(facts.accuracy)}"
    return _changed(facts.rewards) or accuracy


def _trained(facts: RunFacts) -> str:
    return "" if facts.trained is None else counted(int(facts.trained), facts.unit)


COLUMNS = (
    Column("run", lambda facts: facts.folder, 0),
    Column("state", lambda facts: facts.state, 1),
    Column("command", lambda facts: facts.command, 6),
    Column("task", lambda facts: facts.task, 4),
    Column("agent", lambda facts: facts.agent, 3),
    Column("reward", lambda facts: facts.reward, 9),
    Column("reward before -> after", _reward, 2),
    Column("gold before -> after", lambda facts: _changed(facts.gold), 5),
    Column("trained", _trained, 8),
    Column("time", lambda facts: "" if facts.seconds is None else console.duration(facts.seconds), 10),
    Column("started", lambda facts: facts.started[:16], 7),
)
