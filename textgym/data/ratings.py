"""Tables of ratings: who gave what how many stars."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from textgym.data.dataset import LoadReport, prompt_digest, split_of
from textgym.data.files import Problem, Row
from textgym.data.refusals import RATERS, is_ratings
from textgym.data.source import find_rows
from textgym.types import Data, Split

_ITEMS = (
    "item",
    "itemid",
    "item_id",
    "film",
    "movie",
    "movieid",
    "movie_id",
    "book",
    "product",
    "asin",
    "title",
    "name",
)
_STARS = ("rating", "ratings", "stars")
_TITLES = ("title", "name")
_ATTRIBUTES = ("genres", "genre", "categories", "category", "tags", "attributes")
_TIMES = ("time", "timestamp", "date")
_BETWEEN = re.compile(r"\s*[|;,]\s*")
_ARTICLE = re.compile(r"(.+), (The|A|An)((?: \(.*\))?)")
_FIRST_ROWS = 50
_PROBLEMS_KEPT = 20


class Rating(NamedTuple):
    """The stars that somebody gave to something.

    Attributes:
        user, item: Names in the table.
        title: Title of the item; its name where there is none.
        attributes: Kinds that it is of, such as genres.
        stars: The rating.
        time: Time when it was given; the place in the table where that is not said.
        home: Split that the file of the row is named after; ``None``: the user decides.
    """

    user: str
    item: str
    title: str
    attributes: tuple[str, ...]
    stars: float
    time: float
    home: Split | None = None

    @property
    def split(self) -> Split:
        """Split of the rating: that of its file, or else by a hash of the user, 80/10/10."""
        return self.home or split_of(prompt_digest(self.user))


class Columns(NamedTuple):
    """Columns of a table of ratings; ``None`` where there is none of the kind."""

    user: str
    item: str
    stars: str
    title: str | None
    attributes: str | None
    time: str | None

    def __str__(self) -> str:
        return ", ".join(f"{kind} from {name}" for kind, name in self._asdict().items() if name is not None)


class RatingsTable(NamedTuple):
    """A table of ratings, in its own order, and how reading it went."""

    name: str
    ratings: Sequence[Rating]
    report: LoadReport


def load_ratings(data: Data) -> RatingsTable | None:
    """Read a table of ratings: a file, folder, Hub id or list of rows with columns such as user, item and rating.

    Columns are known by their names: ``user``, ``userId``, ``reviewerID``; ``item``, ``movieId``, ``film``, ``asin``;
    ``rating``, ``stars``; and, if there are any, ``title``, ``genres`` (several with ``|`` between) and ``time``.

    Returns:
        The table; ``None`` where the rows are something else.

    Raises:
        DataError: As :func:`~textgym.data.source.load_examples`, where there is no such data.
    """
    found = find_rows(data)
    if found is None:
        return None
    name, parts = found
    divided = len({part.home for part in parts}) > 1
    ratings, problems, columns, number = list[Rating](), list[Problem](), None, 0
    for part in parts:
        items = iter(part.rows)
        first = list(itertools.islice(items, _FIRST_ROWS))
        columns = _columns([each for each in first if isinstance(each, Row)])
        if columns is None:
            return None
        for each in itertools.chain(first, items):
            number += 1
            read = each if isinstance(each, Problem) else _rating(each, columns, number, part.home if divided else None)
            if isinstance(read, Problem):
                problems.append(read)
            else:
                ratings.append(read)
    return RatingsTable(name, ratings, _report(number, problems, f"a table of ratings: {columns}"))


def by_user(ratings: Iterable[Rating]) -> Mapping[str, list[Rating]]:
    """Return the ratings of every user, by time; of two of one title, the later one alone."""
    found: dict[str, dict[str, Rating]] = {}
    for rating in sorted(ratings, key=lambda each: each.time):
        own = found.setdefault(rating.user, {})
        own.pop(rating.title, None)
        own[rating.title] = rating
    return {user: list(own.values()) for user, own in found.items()}


def _report(rows: int, problems: Sequence[Problem], remark: str) -> LoadReport:
    skipped = Counter(problem.kind for problem in problems)
    first = tuple(f"{each.where}: {each.kind}: {each.detail}" for each in problems[:_PROBLEMS_KEPT])
    return LoadReport(rows, rows - len(problems), 0, dict(skipped), first, remarks=(remark,))


def _columns(rows: Sequence[Row]) -> Columns | None:
    """Return the columns of a table of ratings by their names; ``None`` where it is none."""
    names = {name.lower(): name for row in rows for name in row.values}
    if not is_ratings({name: () for name in names}):
        return None
    user, item, stars = (_first(names, known) for known in (RATERS, _ITEMS, _STARS))
    if user is None or item is None or stars is None:
        return None
    return Columns(user, item, stars, *(_first(names, known) for known in (_TITLES, _ATTRIBUTES, _TIMES)))


def _first(names: Mapping[str, str], known: Sequence[str]) -> str | None:
    return next((names[name] for name in known if name in names), None)


def _rating(row: Row, columns: Columns, number: int, home: Split | None) -> Rating | Problem:
    user, item, stars = (str(row.values.get(name, "") or "").strip() for name in columns[:3])
    found = _number(stars)
    if not user or not item or found is None:
        return Problem(row.where, "no rating", f"expected a user, an item and a number, got {[user, item, stars]}")
    title = str(row.values.get(columns.title or "") or item).strip()
    listed = row.values.get(columns.attributes or "") or ()
    attributes = _BETWEEN.split(listed.strip()) if isinstance(listed, str) else listed
    when = _number(str(row.values.get(columns.time or "", "")))
    known = tuple(str(each) for each in attributes) if isinstance(attributes, list | tuple) else ()
    return Rating(user, item, spoken(title), known, found, number if when is None else when, home)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def spoken(title: str) -> str:
    """Return a title with its article where it is said.

    >>> spoken("Usual Suspects, The (1995)"), spoken("Dumbo")
    ('The Usual Suspects (1995)', 'Dumbo')
    """
    found = _ARTICLE.fullmatch(title)
    return f"{found[2]} {found[1]}{found[3]}" if found else title
