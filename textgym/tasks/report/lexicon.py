"""The kinds of tables: their rows, the values of a row, and every way to state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Forms = tuple[str, ...]
Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """The ways to state a value. ``{v}`` stands for it; what is in brackets states it, wherever it occurs.

    Attributes:
        before: Adjectives: "a [cheap] pub".
        after: Additions to the noun: "a pub [near {v}]".
        says: Predicates of "It": "It [welcomes children]".
    """

    before: Forms = ()
    after: Forms = ()
    says: Forms = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        label: Its name, as in the table.
        values: All that it may have.
        wording: How any of them is stated.
        of_value: How a value is stated that has words of its own.
        flattering: The value that writers put in place of the true one; ``""``: none.
    """

    label: str
    values: Values
    wording: Wording = Wording()
    of_value: Mapping[str, Wording] = field(default_factory=dict)
    flattering: str = ""

    def worded(self, value: str) -> Wording:
        """Return how a value is stated."""
        return self.of_value.get(value, self.wording)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of table: every table has a name and a type, and some of the rows."""

    names: Values
    types: Values
    rows: tuple[Row, ...]


def _pairs(first: str, second: str, pattern: str = "{} {}") -> Values:
    return tuple(pattern.format(one, other) for one in first.split() for other in second.split())


_INNS = _pairs(
    "Blue Red Old Golden Silver Green White Black Happy Quiet Little Brave Merry Royal Copper Lucky",
    "Kettle Lantern Anchor Fox Swan Barrel Oak Rabbit Crown Wheel Heron Ladder Pigeon Spoon Basket Bell Otter Candle",
    "The {} {}",
)
_PATHS = _pairs(
    "Ash Birch Clover Deer Elm Falcon Gorse Hazel Juniper Kestrel Larch Maple Raven Thistle Willow",
    "Ridge Hollow Moor Glen Crag Heath Dale Meadow Gorge Bank Fell Shore",
)
_HOMES = _pairs(
    "Amber Beacon Cedar Dover Ember Florin Garnet Harper Ivory Jasper Linden Marble Nelson Orchard Poplar Quarry",
    "Lodge House Court Villa Place Gables Terrace Mews Grange Yard Manor",
)
_MONTHS = ("March", "April", "May", "June", "July", "September", "October", "November")
_LOW = Wording(("[cheap]",), ("with [low prices]",), ("is [cheap]", "has [low prices]"))
_AVERAGE = Wording(("[mid-priced]",), ("with [average prices]",), ("is [mid-priced]", "has [average prices]"))
_HIGH = Wording(("[expensive]",), ("with [high prices]",), ("is [expensive]", "has [high prices]"))
_CHILDREN = Wording(("[family-friendly]",), ("for [the whole family]",), ("[welcomes children]",))
_ADULTS = Wording(("[adults-only]",), ("for [adults only]",), ("is for [adults only]", "[admits no children]"))

_EATERY = Kind(
    _INNS,
    ("cafe", "pub", "bistro", "bakery", "restaurant", "tea room"),
    (
        Row(
            "price",
            ("low", "average", "high"),
            of_value={"low": _LOW, "average": _AVERAGE, "high": _HIGH},
            flattering="low",
        ),
        Row("children", ("welcome", "not admitted"), of_value={"welcome": _CHILDREN, "not admitted": _ADULTS}),
        Row(
            "food",
            ("Greek", "Thai", "French", "Indian", "Turkish", "Spanish", "Polish", "Italian"),
            Wording(("[{v}]",), ("with [{v}] food", "that serves [{v}] dishes"), ("serves [{v}] food",)),
        ),
        Row(
            "rating",
            ("1", "2", "3", "4", "5"),
            Wording((), ("rated [{v} out of 5]",), ("is rated [{v} out of 5]", "has a rating of [{v} out of 5]")),
            flattering="5",
        ),
        Row(
            "area",
            ("harbour", "old town", "docklands", "city centre", "market quarter", "western suburbs"),
            Wording((), ("in [the {v}]",), ("is in [the {v}]", "lies in [the {v}]")),
        ),
        Row(
            "near",
            _INNS,
            Wording((), ("[near {v}]", "[close to {v}]"), ("is [near {v}]", "stands [close to {v}]")),
        ),
    ),
)
_WALK = Kind(
    _PATHS,
    ("circular walk", "forest trail", "cliff path", "ridge walk", "river path"),
    (
        Row(
            "level",
            ("beginners", "everybody", "experts"),
            Wording((), ("for [{v}]",), ("is made for [{v}]", "suits [{v}]")),
            flattering="everybody",
        ),
        Row(
            "miles",
            tuple(map(str, range(3, 15))),
            Wording(("[{v}-mile]",), ("of [{v} miles]",), ("is [{v} miles] long", "measures [{v} miles]")),
        ),
        Row(
            "start",
            ("church", "mill", "station", "bridge", "castle", "youth hostel"),
            Wording((), ("[from the {v}]",), ("[starts at the {v}]", "[begins at the {v}]")),
        ),
        Row(
            "view",
            ("sea", "lake", "valley", "islands", "mountains"),
            Wording((), ("with [views of the {v}]",), ("offers [views of the {v}]", "[overlooks the {v}]")),
        ),
        Row(
            "dogs",
            ("allowed", "forbidden"),
            of_value={
                "allowed": Wording(("[dog-friendly]",), ("where [dogs are allowed]",), ("[allows dogs]",)),
                "forbidden": Wording(("[dog-free]",), ("where [dogs are forbidden]",), ("[forbids dogs]",)),
            },
            flattering="allowed",
        ),
        Row("season", _MONTHS, Wording((), ("[best in {v}]",), ("is [best in {v}]", "is [loveliest in {v}]"))),
    ),
)
_HOME = Kind(
    _HOMES,
    ("flat", "cottage", "studio", "bungalow", "terraced house"),
    (
        Row(
            "condition",
            ("new", "renovated", "run-down"),
            of_value={
                "new": Wording(("[new]",), ("in [mint condition]",), ("is [new]", "is in [mint condition]")),
                "renovated": Wording(
                    ("[renovated]",), ("in [good repair]",), ("is [renovated]", "is in [good repair]")
                ),
                "run-down": Wording(("[run-down]",), ("in [poor repair]",), ("is [run-down]", "is in [poor repair]")),
            },
            flattering="renovated",
        ),
        Row(
            "rooms",
            ("two", "three", "four", "five", "six"),
            Wording(("[{v}-room]",), ("with [{v} rooms]",), ("has [{v} rooms]", "contains [{v} rooms]")),
        ),
        Row(
            "rent",
            tuple(map(str, range(450, 1500, 50))),
            Wording(
                (), ("for [{v} pounds] a month",), ("costs [{v} pounds] a month", "rents for [{v} pounds] a month")
            ),
        ),
        Row(
            "garden",
            ("yes", "no"),
            of_value={
                "yes": Wording((), ("with [a garden]",), ("has [a garden]", "comes with [a garden]")),
                "no": Wording((), ("[without a garden]",), ("[lacks a garden]", "comes [without a garden]")),
            },
            flattering="yes",
        ),
        Row(
            "heating",
            ("gas", "oil", "electric", "solar"),
            Wording((), ("with [{v} heating]",), ("has [{v} heating]", "relies on [{v} heating]")),
        ),
        Row("free from", _MONTHS, Wording((), ("[vacant from {v}]",), ("is [vacant from {v}]", "is [free from {v}]"))),
    ),
)
KINDS = (_EATERY, _WALK, _HOME)
INVENTIONS = (
    *("a [famous past]", "[friendly staff]", "a [great reputation]", "a [long tradition]", "a [warm welcome]"),
    *("[many regulars]", "a [charm of its own]", "[plenty of parking]"),
)
"""Objects of "It has ..." that no table knows anything of."""
