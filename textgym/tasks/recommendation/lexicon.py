"""Titles, attributes and wordings of the built-in catalogue of films."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TITLES = _words(
    """
    Anchor Arrow Autumn Beacon Bridge Candle Castle Circus Comet Coral Dragon Eagle Ferry Forest Garden Harbour Harvest
    Island Lantern Marble Meadow Mirror Otter Paper Pilot River Rocket Shadow Silver Summer Tiger Winter
    """
)
FACETS = (
    _words("funny sad scary tender tense dreamy"),
    _words("French Polish Greek Danish Indian Irish"),
    _words("short long slow fast quiet loud"),
)
"""Values of the attributes of a film: its mood, its origin, its form. No value is in two of them."""
VALUES = frozenset(value for facet in FACETS for value in facet)
FLATTERY = _words("popular famous acclaimed")
"""What may be said of any film, and is said of none in the catalogue."""

ONE = (
    "{first}, because it is {reason}.",
    "Try {first}, because it is {reason}.",
    "Try {first}: it is {reason}.",
)
TWO = (
    "{first}, then {second}, because {first} is {reason}.",
    "Try {first}, then {second}, because {first} is {reason}.",
    "Try {first}, then {second}: {first} is {reason}.",
)
"""How recommendations of one film and of two are worded by the writers of references and drafts."""
ACCEPTED = (
    "{first} and {second}, since {first} is {reason}, and {second} is {reason}.",
    "I recommend {first} because it is {reason} and {reason}.",
    "I recommend {first} first, then {second}, because {first} is {reason}, {reason} and {reason}.",
    "I would recommend {first}, since it is a {reason} film.",
    "I would suggest {first}, as it is a {reason}, {reason} film, and you like {reason} films.",
    "I suggest {first} since you like {reason} films, and it is {reason}.",
    "You should watch {first} because you liked other {reason} films.",
    "You should see {first}, which is {reason}.",
    "You will like {first}, because you like {reason} films and it is one.",
    "You may enjoy {first}, because you enjoy {reason} films.",
    "My recommendation is {first}, because it is {reason}.",
    "My choice is {first}. It is {reason} and {reason}.",
    "{first} is the best choice, because it is an {reason} film.",
    "{first} is for you: it is {reason}.",
    "{first} is {reason}, and {second} is {reason}.",
    "Watch {first}. It is {reason}.",
)
"""Further wordings that count as sentences when a recommendation is scored."""
