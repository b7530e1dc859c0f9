"""Logs of what somebody wrote and what it was worth: rows of state, action and reward, and saved episodes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from textgym.data.files import DataWarning, Problem, Row, is_encodable, read_file
from textgym.errors import DataError
from textgym.files.paths import user_path
from textgym.text.plurals import counted
from textgym.types import Example, Message, NameOrPath
from textgym.values import as_list, as_object, is_number

STATE, ACTION, REWARD = ("state", "prompt", "observation"), ("action", "response", "completion"), ("reward",)
"""Names of the columns of a log; the first that a row has counts."""
_SAVED = ("texts-after.jsonl", "texts-before.jsonl")  # of a run folder
_SHOWN = 3
_TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0", ""), False),
}


class LoggedStep(NamedTuple):
    """One action of a log.

    Attributes:
        given: Beginning of a text, as an example, whose prompt it is; or else the addition behind the action before: a
            text (``""``: nothing, the text goes on), or messages of the other side.
        action: Text that was written.
        reward: Reward of it.
        ended: Whether the text ended with it by itself, rather than by a budget, or not at all.
    """

    given: Example | tuple[Message, ...] | str
    action: str
    reward: float
    ended: bool = True


LoggedEpisode = tuple[LoggedStep, ...]
"""The actions of one episode, in order; the first is about an example."""


class _Record(NamedTuple):
    """A row that can be used; what it does not say is ``None``."""

    where: str
    state: str
    action: str
    reward: float
    step: float | None
    reason: str | None


class _Place(NamedTuple):
    """Place of a row, which may be of no use, in an episode; what it does not say is ``None``."""

    episode: str | None
    state: str | None = None
    next_state: str | None = None
    done: bool | None = None


def read_log(file: NameOrPath, find: Callable[[str], Example] | None = None) -> list[LoggedEpisode]:
    """Read a log from a CSV, TSV, JSON Lines, JSON or Parquet file, or the saved episodes of a run.

    A row has the columns ``state`` (or ``prompt``), ``action`` (or ``response``) and ``reward``. Rows are episodes of
    one action, unless a column says more: those of one ``episode`` belong together, in the order of ``step``; without
    that column a row goes on in the next one where its ``next_state`` is the state there, or where it is not ``done``.
    A later state that begins with the state and the action before it goes on behind these; another one begins a new
    text. ``finish_reason`` ``"length"`` says that a budget cut the action.

    Args:
        file: The file, or the folder of a run, whose ``texts-after.jsonl`` is read.
        find: Finds the example of a key, for saved episodes, which name examples instead of states; it raises
            ``KeyError`` for another key.

    Returns:
        The episodes; rows that cannot be used are left out with their episodes, and counted in a warning.

    Raises:
        FileNotFoundError: There is no file.
        DataError: It is no log, or no row can be used.
    """
    path = _file_of(user_path(file))
    if not path.exists():
        raise FileNotFoundError(f"expected an existing file as a log, got {str(file)!r}; check the path")
    read = [
        row if isinstance(row, Problem) else Row(row.where, {name.lower(): value for name, value in row.values.items()})
        for row in read_file(path, str(file), named=(*STATE, *ACTION, *REWARD))
    ]
    rows = [row for row in read if isinstance(row, Row)]
    problems = [row for row in read if isinstance(row, Problem)]
    if not rows:
        raise DataError(f"expected a log in {str(file)!r}, got no row that can be read{_first(problems)}")
    if "task_key" in rows[0].values:
        found = [_saved_episode(row, find) for row in rows]
        episodes = [episode for episode in found if not isinstance(episode, Problem)]
        problems += [episode for episode in found if isinstance(episode, Problem)]
    else:
        _require_columns(rows[0], str(file))
        groups, unusable = _grouped(read)
        episodes, problems = [_episode(group) for group in groups], problems + unusable
    if not episodes:
        raise DataError(f"expected a log in {str(file)!r}, got no row that can be used{_first(problems)}")
    if problems:
        warnings.warn(
            f"left out {counted(len(problems), 'rows')} of {str(file)!r}, and the episodes they belong to"
            f"{_first(problems)}",
            DataWarning,
            stacklevel=2,
        )
    return episodes


def _file_of(path: Path) -> Path:
    """Return the file of a path that may be a run folder."""
    if not path.is_dir():
        return path
    saved = next((path / name for name in _SAVED if (path / name).is_file()), None)
    if saved is None:
        raise DataError(
            f"expected a file, or a run folder with {' or '.join(_SAVED)}, got the folder {str(path)!r}; `textgym "
            "evaluate ENV_ID --split train --out FOLDER` writes one"
        )
    return saved


def _first(problems: Sequence[Problem]) -> str:
    shown = "; ".join(f"{where}: {detail}" for where, _, detail in problems[:_SHOWN])
    return f" ({shown})" if shown else ""


def _require_columns(row: Row, label: str) -> None:
    """Refuse a file that is no log.

    Raises:
        DataError: A column is missing.
    """
    lacking = [names[0] for names in (STATE, ACTION, REWARD) if not any(name in row.values for name in names)]
    if lacking:
        raise DataError(
            f"expected a log with the columns {STATE[0]}, {ACTION[0]} and {REWARD[0]} in {label!r}, got none called "
            f"{' or '.join(lacking)} (columns: {', '.join(row.values) or 'none'}); rename them"
        )


def _record(row: Row) -> _Record | Problem:
    """Return what a row says."""
    values = row.values
    texts = [_cell(values, names) for names in (STATE, ACTION)]
    for names, text in zip((STATE, ACTION), texts, strict=True):
        if not isinstance(text, str) or not is_encodable(text):
            return Problem(row.where, "not a text", f"expected a text in column {names[0]}, got {text!r:.60}")
    shown = _cell(values, REWARD)
    reward = _number(shown)
    if reward is None:
        return Problem(row.where, "no reward", f"expected a finite number in column {REWARD[0]}, got {shown!r:.60}")
    for name, read, kind in _ABOUT_PLACES:
        if _is_said(values.get(name)) and read(values[name]) is None:
            return Problem(row.where, f"no {name}", f"expected {kind} in column {name}, got {values[name]!r:.60}")
    step, reason = _number(values.get("step")), _text(values.get("finish_reason"))
    return _Record(row.where, str(texts[0]), str(texts[1]), reward, step, reason)


def _place(row: Row | Problem, is_marked: bool) -> _Place:
    """Return what a row says about its place; one that cannot be read may go on in the next, where rows say if so."""
    if isinstance(row, Problem):
        return _Place(None, done=False if is_marked else None)
    values, done = row.values, _truth(row.values.get("done"))
    if done is None and _is_said(values.get("done")):
        done = False
    state, next_state = _text(_cell(values, STATE)), _text(values.get("next_state"))
    return _Place(_name(values.get("episode")), state, next_state, done)


def _cell(values: Mapping[str, object], names: Sequence[str]) -> object:
    return next((values[name] for name in names if name in values), None)


def _number(value: object) -> float | None:
    """Return a finite number, also one that a table holds as text; ``None`` for anything else."""
    try:
        found = float(value) if isinstance(value, str) or is_number(value) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _truth(value: object) -> bool | None:
    """Return a truth value, also one that a table holds as text; ``None`` for anything else."""
    return value if isinstance(value, bool) else _TRUTH.get(str(value).strip().lower()) if _is_said(value) else None


def _text(value: object) -> str | None:
    """Return a text; ``None`` for anything else."""
    return value if isinstance(value, str) else None


def _is_said(value: object) -> bool:
    """Return whether a cell holds something; tables have NaN where it does not."""
    return value is not None and value == value  # NaN alone is not equal to itself


def _step(value: object) -> float | None:
    return 0.0 if value == "" else _number(value)


_ABOUT_PLACES: Sequence[tuple[str, Callable[[object], object], str]] = (
    ("step", _step, "a finite number"),
    ("done", _truth, "true or false"),
    ("next_state", _text, "a text"),
    ("finish_reason", _text, "a text"),
)
"""Columns that a row may have, with what reads them and what is expected there."""


def _grouped(rows: Sequence[Row | Problem]) -> tuple[list[list[_Record]], list[Problem]]:
    """Divide rows into episodes, those in which a row cannot be read or used left out; returns problems of use, too."""
    is_marked = any(name in row.values for row in rows if isinstance(row, Row) for name in ("done", "next_state"))
    keys = _keys([_place(row, is_marked) for row in rows])
    groups: dict[int | str, list[_Record]] = {}
    problems: list[Problem] = []
    broken: set[int | str] = set()
    for at, (row, key) in enumerate(zip(rows, keys, strict=True)):
        if isinstance(row, Problem):  # it may be of the episode with a name before it, or of that behind it
            broken.update(near for near in keys[max(0, at - 1) : at + 2] if near == key or isinstance(near, str))
            continue
        record = _record(row)
        if isinstance(record, Problem):
            problems.append(record)
            broken.add(key)
        else:
            groups.setdefault(key, []).append(record)
    return [sorted(group, key=_step_of) for key, group in groups.items() if key not in broken], problems


def _keys(places: Sequence[_Place]) -> list[int | str]:
    """Return the episode of every row: its name, or a number."""
    keys: list[int | str] = []
    number, before = 0, None
    for place in places:
        if place.episode is None and not (before is not None and _goes_on(before, place)):
            number += 1
        keys.append(number if place.episode is None else place.episode)
        before = place if place.episode is None else None
    return keys


def _name(value: object) -> str | None:
    """Return what an episode is called; ``None`` where a row does not say."""
    return None if value in (None, "") else str(value)


def _step_of(record: _Record) -> float:
    return 0.0 if record.step is None else record.step


def _goes_on(place: _Place, following: _Place) -> bool:
    """Return whether a row goes on in the next one; of what is not known, it may."""
    is_open = not place.done and (place.next_state is not None or place.done is False)
    return is_open and (None in (place.next_state, following.state) or place.next_state == following.state)


def _episode(records: Sequence[_Record]) -> LoggedEpisode:
    """Return the episode of rows in order."""
    first = records[0]
    givens: list[Example | str] = [_example(first)]
    for before, record in pairwise(records):
        written = before.state + before.action
        givens.append(record.state[len(written) :] if record.state.startswith(written) else _example(record))
    goes_on = [given == "" for given in givens[1:]] + [False]  # in the middle of a text
    return tuple(
        LoggedStep(given, record.action, record.reward, not (more or record.reason == "length"))
        for given, record, more in zip(givens, records, goes_on, strict=True)
    )


def _example(record: _Record) -> Example:
    return Example(f"log/{record.where}", record.state)


def _saved_episode(row: Row, find: Callable[[str], Example] | None) -> LoggedEpisode | Problem:
    """Return an episode that an evaluation or a training run wrote."""
    values: dict[str, Any] = row.values
    key, text = values["task_key"], values.get("text")
    reward = _number(as_object(values.get("measures")).get("reward"))
    if find is None:
        raise DataError(
            f"expected a log with states, got saved episodes in {row.where}, which name examples instead: give the "
            "environment that they were written in, too"
        )
    if not isinstance(text, str) or reward is None:
        return Problem(row.where, "no episode", f"expected text and measures.reward, got {sorted(values)}")
    try:
        example = find(str(key))
    except KeyError:
        detail = f"expected an example of the data, got the key {key!r}; was it written on another split?"
        return Problem(row.where, "unknown key", detail)
    ended = values.get("finish_reason") != "length"
    said = [Message(str(turn["role"]), str(turn["content"])) for turn in as_list(values.get("turns"))]
    return logged_turns(example, said or [Message("assistant", text)], reward, ended)


def logged_turns(example: Example, said: Sequence[Message], reward: float, ended: bool) -> LoggedEpisode:
    """Return the agent's turns of a conversation as a log; the reward of the whole is that of the last one.

    Args:
        example: Example that it is about.
        said: Messages after the prompt; the last one is the agent's.
        reward: Reward of the whole.
        ended: Whether the last turn ended by itself.
    """
    places = [place for place, message in enumerate(said) if message.role == "assistant"]
    steps: list[LoggedStep] = []
    for place, before in zip(places, [-1, *places[:-1]], strict=True):
        is_last = place == places[-1]
        given = tuple(said[before + 1 : place]) if steps else example
        steps.append(LoggedStep(given, said[place].content, reward if is_last else 0.0, ended or not is_last))
    return tuple(steps)
