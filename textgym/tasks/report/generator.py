"""Generator of tables, each with two reports that state it and one writer's draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, draws_of, joined, name_of_level, owns
from textgym.tasks.report.lexicon import INVENTIONS, KINDS, Kind, Row
from textgym.types import Split

NAME = "tables"
UNKNOWN = "unknown"
MOST_BEFORE, MOST_AFTER = 1, 2  # rows stated before and after the noun of the first sentence
STATES, FLATTERS, INVENTS = 0.4, 0.65, 0.65
"""Shares of drafts: that state a row (each row by itself), flatter where a row can be flattered, invent something."""


class Level(NamedTuple):
    """Lengths of tables: rows with a value, name and type included, and rows whose value is not known."""

    least: int
    most: int
    unknown: int


SIZES: Mapping[str, Level] = {"easy": Level(3, 4, 0), "medium": Level(5, 6, 0), "hard": Level(4, 8, 2)}


def tables(split: Split, *, difficulty: str = "medium") -> GeneratedDataset:
    """Return one split of the built-in tables of a level."""
    return GeneratedDataset(name_of_level(NAME, difficulty, "medium"), split, partial(make_item, SIZES[difficulty]))


def make_item(level: Level, seed: int, split: Split, position: int) -> Item:
    """Make up a table, reports and a draft. ``extra["facts"]`` has the known rows, name and type first."""
    draws = draws_of(seed, split, position)
    while True:  # facts alone, which are cheap, until the split owns them
        kind = draws.pick(KINDS)
        facts = _facts(draws, kind, draws.whole(level.least, level.most) - 2)
        identity = joined(sorted(map(":".join, facts.items())))
        if owns(split, identity):
            break
    blank = [row.label for row in kind.rows if row.label not in facts][: draws.whole(0, level.unknown)]
    first, second, *rest = facts.items()
    lines = [first, second, *draws.shuffled([*rest, *((label, UNKNOWN) for label in blank)])]
    table = "\n".join(f"{label}: {value}" for label, value in lines)
    references = (_report(draws, kind, facts), _report(draws, kind, facts))
    return Item(identity, table, references, (_draft(draws, kind, facts),), {"facts": facts})


def _facts(draws: Draws, kind: Kind, rows: int) -> dict[str, str]:
    name = draws.pick(kind.names)
    values = {row.label: _value(draws, row, name) for row in draws.sample(kind.rows, rows)}
    return {"name": name, "type": draws.pick(kind.types), **values}


def _value(draws: Draws, row: Row, name: str) -> str:
    while (value := draws.pick(row.values)) == name:
        pass
    return value


def _draft(draws: Draws, kind: Kind, facts: Mapping[str, str]) -> str:
    """Report as a writer does in a hurry: by half, flattering, and with an invention at the end."""
    flattering = {row.label: row.flattering for row in kind.rows if row.flattering}
    told = {
        label: flattering[label] if label in flattering and draws.chance(FLATTERS) else value
        for label, value in facts.items()
        if label in ("name", "type") or draws.chance(STATES)
    }
    return _report(draws, kind, told, draws.pick(INVENTIONS) if draws.chance(INVENTS) else "")


def _report(draws: Draws, kind: Kind, facts: Mapping[str, str], invention: str = "") -> str:
    """State facts: one sentence with the name, then "It ..." for what found no place in it."""
    before, after, says = list[str](), list[str](), list[str]()
    places = {row.label: number for number, row in enumerate(kind.rows)}
    for label in draws.shuffled([label for label in facts if label in places]):
        wording = kind.rows[places[label]].worded(facts[label])
        if wording.before and len(before) < MOST_BEFORE and draws.chance(0.6):
            part, forms = before, wording.before
        elif wording.after and len(after) < MOST_AFTER and draws.chance(0.7):
            part, forms = after, wording.after
        else:
            part, forms = says, wording.says
        part.append(draws.pick(forms).format(v=facts[label]))
    says += [f"has {invention}"] if invention else []
    return plain(_sentences(facts["name"], [*before, facts["type"], *after], says))


def _sentences(name: str, noun: Sequence[str], says: Sequence[str]) -> str:
    article = "an" if noun[0].strip("[")[0] in "aeiouAEIOU" else "a"
    pairs = [" and ".join(says[at : at + 2]) for at in range(0, len(says), 2)]
    return " ".join([f"{name} is {article} {' '.join(noun)}.", *(f"It {pair}." for pair in pairs)])


def plain(wording: str) -> str:
    """Return a wording without its brackets."""
    return wording.replace("[", "").replace("]", "")
