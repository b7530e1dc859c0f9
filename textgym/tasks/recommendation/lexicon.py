"""Titles, attributes and wordings of the built-in catalogue of films."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TITLES = _words(
    """
    Acorn Anchor Apple Arrow Autumn Badger Balcony Bamboo Barley Basket Beacon Bridge Butter Cabin Camel Canal Candle
    Castle Cedar Chapel Cherry Circus Clover Cobalt Comet Copper Coral Cotton Crane Dolphin Dragon Eagle Ember Engine
    Falcon Feather Ferry Forest Fountain Garden Garnet Ginger Granite Hammer Harbour Harvest Hazel Heron Honey Island
    Ivory Jungle Kettle Ladder Lantern Lemon Lighthouse Lizard Magnet Maple Marble Market Meadow Mirror Monsoon Mountain
    Needle Olive Orchard Otter Oyster Paper Parrot Pepper Pilot Pocket Prairie Puzzle Quartz Rabbit Ribbon River Rocket
    Saddle Sailor Salmon Shadow Silver Sparrow Spider Summer Temple Thunder Ticket Tiger Timber Tunnel Turtle Valley
    Velvet Violin Walnut Whistle Willow Window Winter Zebra
    """
)
FACETS = (
    _words("funny sad scary tender tense dreamy clever gloomy playful bitter"),
    _words("French Polish Greek Danish Kenyan Indian Cuban Irish Korean Turkish"),
    _words("short long slow fast quiet loud silent colourful"),
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
