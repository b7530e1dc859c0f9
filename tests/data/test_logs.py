"""Logs of states, actions and rewards, from tables and from saved episodes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from textgym.data import DataWarning
from textgym.data.logs import LoggedStep, read_log
from textgym.errors import DataError
from textgym.types import Example, Message


def write(folder: Path, rows: Sequence[Any], name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(state: str, action: str, reward: float, **more: Any) -> dict[str, Any]:
    return {"state": state, "action": action, "reward": reward, **more}


def told(episodes: Any) -> list[list[tuple[Any, str, float, bool]]]:
    """Episodes with the prompt of an example in place of the example."""
    return [
        [(("new", step.given.prompt) if isinstance(step.given, Example) else step.given, *step[1:]) for step in episode]
        for episode in episodes
    ]


def test_a_row_is_an_episode(tmp_path: Path) -> None:
    path = write(tmp_path, [row("Hello?", "Hi.", 1), row("Hello?", "", -0.5, finish_reason="length")])
    assert told(read_log(path)) == [[(("new", "Hello?"), "Hi.", 1.0, True)], [(("new", "Hello?"), "", -0.5, False)]]


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.json", "log.jsonl", "log.parquet"])
def test_every_kind_of_file(name: str, tmp_path: Path) -> None:
    rows = [row("one, two", "three\n", 0.25), row("x", "y", -1.0)]
    path = tmp_path / name
    if name.endswith(("csv", "tsv")):
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if name.endswith("tsv") else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith("parquet"):
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if name.endswith("json") else "\n".join(map(json.dumps, rows)))
    expected = [[(("new", each["state"]), each["action"], each["reward"], True)] for each in rows]
    assert told(read_log(path)) == expected


def test_names_of_other_tools(tmp_path: Path) -> None:
    path = write(tmp_path, [{"Prompt": "a", "completion": "b", "REWARD": 1}])
    assert told(read_log(path)) == [[(("new", "a"), "b", 1.0, True)]]


def test_rows_of_an_episode_by_name_and_step(tmp_path: Path) -> None:
    rows = [
        row("q=a", "b", 1.0, episode=1, step=1),
        row("Hi", "yes", 0.5, episode="x"),
        row("q=", "a", 0.0, episode=1, step=0),
        row("Hi yes. And now?", "no", 0.0, episode="x"),
    ]
    assert told(read_log(write(tmp_path, rows))) == [
        [(("new", "q="), "a", 0.0, False), ("", "b", 1.0, True)],  # a letter at a time: the text goes on
        [(("new", "Hi"), "yes", 0.5, True), (("new", "Hi yes. And now?"), "no", 0.0, True)],  # another state
    ]


def test_what_is_said_between_two_actions(tmp_path: Path) -> None:
    rows = [row("Hi", " yes", 0.5, episode=1), row("Hi yes And now?", " no", 0.0, episode=1)]
    assert told(read_log(write(tmp_path, rows))) == [
        [(("new", "Hi"), " yes", 0.5, True), (" And now?", " no", 0.0, True)]
    ]


def test_rows_that_go_on_in_the_next_one(tmp_path: Path) -> None:
    by_state = [
        row("q=", "a", 0.0, next_state="q=a"),
        row("q=a", "b", 1.0, next_state=""),
        row("q=", "c", 0.0, next_state="q=c"),
        row("other", "d", 0.0, next_state=""),
    ]
    by_done = [row("q=", "a", 0, done=False), row("q=a", "b", 1, done=True), row("q=", "c", 0, done="True")]
    first = [(("new", "q="), "a", 0.0, False), ("", "b", 1.0, True)]
    alone = [(("new", "q="), "c", 0.0, True)]
    assert told(read_log(write(tmp_path, by_state))) == [first, alone, [(("new", "other"), "d", 0.0, True)]]
    assert told(read_log(write(tmp_path, by_done))) == [first, alone]


def test_rows_that_cannot_be_used_are_left_out_with_their_episodes(tmp_path: Path) -> None:
    rows = [
        row("a", "b", 1.0),
        row("a", "b", float("nan")),
        {"state": 3, "action": "b", "reward": 1},
        "broken",
        row("c", "d", 0.0, episode="x", step=0),
        row("cd", "e", "many", episode="x", step=1),  # type: ignore[arg-type]
        row("f", "g", 2.0, done=False),
        row("fg", "h", None),  # type: ignore[arg-type]
        row("i", "j", 3.0),
    ]
    with pytest.warns(
        DataWarning, match=r"left out 5 rows of .*log\.jsonl:4: .*log\.jsonl:2: expected a finite number"
    ):
        episodes = read_log(write(tmp_path, rows))
    assert [step.action for episode in episodes for step in episode] == ["b", "j"]


def test_what_is_left_of_a_broken_episode_is_no_episode(tmp_path: Path) -> None:
    """Rows behind one that cannot be used still belong to its episode, also where it cannot even be read."""

    def letters(*rewards: Any) -> list[Any]:
        last = len(rewards) - 1
        return [row("abc=" + "abc"[:at], "abc"[at], each, done=at == last) for at, each in enumerate(rewards)]

    whole, lost = letters(0, 0, 1), "{broken"
    kept = [(("new", "abc="), "a", 0.0, False), ("", "b", 0.0, False), ("", "c", 1.0, True)]
    for broken in (
        letters(None, 0, 1),
        letters(0, "x", 1),
        letters(0, 0, None),
        [lost, *whole[1:]],
        [whole[0], lost, whole[2]],
        [whole[0], lost, whole[1], whole[2]],
        [{**whole[0], "done": "maybe"}, *whole[1:]],
    ):
        with pytest.warns(DataWarning, match="left out 1 row of"):
            assert told(read_log(write(tmp_path, [*whole, *broken, *whole]))) == [kept, kept]
    # what stood in the lost row is not known: it may have ended its episode, or have gone on in the next
    with pytest.warns(DataWarning, match="left out 1 row of"):
        assert told(read_log(write(tmp_path, [*whole[:2], lost, *whole, *whole]))) == [kept]
    named = [[{**each, "episode": name} for each in whole] for name in "xyz"]
    with pytest.warns(DataWarning, match="left out 1 row of"):
        assert told(read_log(write(tmp_path, [*named[0][:2], lost, *named[0][2:], *named[1]]))) == [kept]
    with pytest.warns(DataWarning, match="left out 1 row of"):
        assert told(read_log(write(tmp_path, [*named[0], lost, *named[1][1:], *named[2]]))) == [kept]
    alone = [row("a", "b", 1.0), lost, row("a", "c", 1.0)]  # rows of a log that says nothing of others
    with pytest.warns(DataWarning, match="left out 1 row of"):
        assert [step.action for [step] in read_log(write(tmp_path, alone))] == ["b", "c"]


def test_what_a_row_says_of_its_place_is_understood_or_left_out(tmp_path: Path) -> None:
    for no, yes in (("no", "yes"), ("F", "T"), (" false ", "TRUE"), ("0", "1.0"), (0, 1)):
        path = write(tmp_path, [row("q=", "a", 0, done=no), row("q=a", "b", 1, done=yes), row("q", "c", 1)])
        assert [len(episode) for episode in read_log(path)] == [2, 1]
    for columns, words in (
        ({"done": "nope"}, "expected true or false in column done, got 'nope'"),
        ({"step": "first"}, "expected a finite number in column step, got 'first'"),
        ({"next_state": 3}, "expected a text in column next_state, got 3"),
        ({"finish_reason": ["length"]}, r"expected a text in column finish_reason, got \['length'\]"),
    ):
        with pytest.raises(DataError, match=words):
            read_log(write(tmp_path, [row("q=", "a", 0, **columns)]))
    empty = row("q=", "a", 0, done=float("nan"), next_state=None, step=None, finish_reason=float("nan"))
    assert told(read_log(write(tmp_path, [empty]))) == [[(("new", "q="), "a", 0.0, True)]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"state": "a", "action": "b"}], r"columns state, action and reward in .*none called reward \(columns: state"),
        ([{"question": "a"}], "none called state or action or reward"),
        ([], "got no row that can be read"),
        (["broken"], "got no row that can be read"),
        ([row("a", "b", float("inf"))], "got no row that can be used"),
        ([{"task_key": "k", "text": "t", "measures": {"reward": 1}}], "give the environment that they were written in"),
    ],
)
def test_what_is_no_log(rows: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_log(write(tmp_path, rows))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected an existing file as a log"):
        read_log(tmp_path / "missing.csv")
    with pytest.raises(DataError, match=r"a run folder with texts-after\.jsonl or texts-before\.jsonl"):
        read_log(tmp_path)


EXAMPLES = {"k1": Example("k1", "First?"), "k2": Example("k2", "Second?")}


def test_saved_episodes_of_a_run(tmp_path: Path) -> None:
    turns = [
        {"role": "assistant", "content": "Five."},
        {"role": "user", "content": "No."},
        {"role": "assistant", "content": "Six."},
    ]
    rows = [
        {"task_key": "k1", "text": "One.", "finish_reason": "length", "measures": {"reward": 0.25, "gold": 1.0}},
        {"task_key": "k2", "text": "Six.", "finish_reason": "eos", "turns": turns, "measures": {"reward": 1}},
    ]
    write(tmp_path, rows, "texts-after.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_log(tmp_path, EXAMPLES.__getitem__)
    assert found == [
        (LoggedStep(EXAMPLES["k1"], "One.", 0.25, False),),
        (LoggedStep(EXAMPLES["k2"], "Five.", 0.0), LoggedStep((Message("user", "No."),), "Six.", 1.0)),
    ]


def test_saved_episodes_of_other_data(tmp_path: Path) -> None:
    rows = [{"task_key": key, "text": "t", "measures": {"reward": 1}} for key in ("k1", "other")]
    with pytest.warns(DataWarning, match=r"got the key 'other'; was it written on another split\?"):
        assert len(read_log(write(tmp_path, rows), EXAMPLES.__getitem__)) == 1
