"""The kinds of conversations: what a user wants settled, and how users and assistants say and ask it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

Forms = tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A fact about what the user wants; ``{v}`` stands for its value in all forms.

    Attributes:
        label: Name.
        values: Value -> pattern that finds it in a text in lower case.
        user, assistant: Part of the user's opening, and of the assistant's last word, that states it.
        answers: Answers of the user who is asked.
        vague: First answer of a user who answers only half.
        questions: Questions of an assistant.
        asked: Pattern of a question about it, in lower case.
    """

    label: str
    values: Mapping[str, str]
    user: str
    assistant: str
    answers: Forms
    vague: str
    questions: Forms
    asked: str

    @cached_property
    def asks(self) -> re.Pattern[str]:
        """Pattern of a question about it."""
        return re.compile(self.asked)

    @cached_property
    def found(self) -> Mapping[str, re.Pattern[str]]:
        """Value -> compiled pattern."""
        return {value: re.compile(rf"\b(?:{pattern})\b") for value, pattern in self.values.items()}


@dataclass(frozen=True)
class Kind:
    """A kind of conversation.

    Attributes:
        name: ``"booking"``, ``"support"`` or ``"small talk"``.
        opening: Beginnings of the user's first sentence, which goes on with the facts that it tells.
        closing: Texts around what the assistant states in its last sentence.
        closes: Pattern of a sentence that settles the matter, in lower case.
        slots: All facts, in the order in which sentences state them.
    """

    name: str
    opening: Forms
    closing: tuple[tuple[str, str], ...]
    closes: str
    slots: tuple[Slot, ...]

    @cached_property
    def settled(self) -> re.Pattern[str]:
        """Compiled pattern of a sentence that settles the matter."""
        return re.compile(rf"\b(?:{self.closes})\b")


_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_HOURS = {"1": "one", "2": "two", "5": "five", "6": "six", "7": "seven", "8": "eight", "9": "nine"}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _words(values: str) -> dict[str, str]:
    """Return values that are said as they are."""
    return {value: value.lower() for value in values.split()}


_DAY = Slot(
    "day",
    {day: f"{day.lower()}s?" for day in _DAYS},
    "on {v}",
    "on {v}",
    ("On {v}.", "{v} suits me."),
    "This week.",
    ("Which day would you like", "What day suits you"),
    r"(?<!of )(?<!of the )\bdays?\b|\bdate\b|\bwhen\b",
)
BOOKING = Kind(
    "booking",
    ("I would like to book a table", "I want to book a table", "Can I book a table"),
    (("A table ", " is booked."), ("Your table ", " is reserved.")),
    "booked|reserved|confirmed|noted|arranged|all set",
    (
        _DAY,
        Slot(
            "time",
            {"noon": "noon|midday|12 ?(?:pm|o'clock)|twelve o'clock"}
            | {f"{hour} pm": rf"(?:{hour}|{word})(?:[:.]00)? ?(?:pm|p\.m|o'clock)" for hour, word in _HOURS.items()},
            "at {v}",
            "at {v}",
            ("At {v}.", "{v} would be good."),
            "Not too early.",
            ("What time would you like", "At what time will you come"),
            r"\btimes?\b|\bhour\b|o'clock|\bwhen\b",
        ),
        Slot(
            "guests",
            {
                word: rf"(?:{word}|{number}) (?:people|persons|guests|of (?:us|you))|party of (?:{word}|{number})"
                for word, number in _NUMBERS.items()
            },
            "for {v} people",
            "for {v} people",
            ("We are {v} people.", "For {v} people."),
            "A few of us.",
            ("How many people will come", "For how many people is it"),
            r"\bhow many\b|\bpeople\b|\bguests\b|\bparty\b|\bnumber\b",
        ),
        Slot(
            "seat",
            {
                "by the window": "window",
                "on the terrace": "terrace|outside|outdoors",
                "in the garden": "garden",
                "near the bar": "bar",
                "in a quiet corner": "corner|quiet",
                "near the stage": "stage",
            },
            "{v}",
            "{v}",
            ("I like to sit {v}.", "We would sit {v}."),
            "Somewhere nice.",
            ("Where would you like to sit", "Which seats do you prefer"),
            r"\bwhere\b|\bsit\b|\bseat|\bprefer|\bwish|\bspecial\b|\banything else\b",
        ),
    ),
)
SUPPORT = Kind(
    "support",
    ("I need a repair", "I want to order a repair", "Please send somebody for a repair"),
    (("A repair ", " is arranged."), ("The repair ", " is noted.")),
    "arranged|noted|booked|confirmed|scheduled|ordered",
    (
        Slot(
            "device",
            _words("kettle printer heater fridge lamp phone oven radio toaster boiler freezer camera")
            | {"washing machine": "washing machine", "door bell": "door ?bell"},
            "of my {v}",
            "of your {v}",
            ("It is my {v}.", "My {v} is broken."),
            "Something in the house.",
            ("Which device is it", "What is broken"),
            r"\bdevice\b|\bmachine\b|\bbroken\b|\bappliance\b|\bproduct\b|\brepaired\b",
        ),
        Slot(
            "fault",
            {
                "leaks": "leak(?:s|ing)?",
                "smells": "smells?|smelling",
                "is loud": "loud|noisy|noise",
                "stays cold": "cold",
                "gets too hot": "hot|overheats",
                "turns itself off": "off",
            },
            "because it {v}",
            "because it {v}",
            ("It {v}.", "I think that it {v}."),
            "It does not work.",
            ("What is wrong with it", "What is the problem"),
            r"\bwrong\b|\bproblem\b|\bfault\b|\bmatter\b|\bhappen|\bsymptom",
        ),
        _DAY,
        Slot(
            "hours",
            _words("morning afternoon evening night"),
            "in the {v}",
            "in the {v}",
            ("In the {v}.", "The {v} is best."),
            "When I am at home.",
            ("What time of day is best", "At what time of the day"),
            r"\btimes?\b|\bhours?\b|\bwhen\b|\bpart of the day\b",
        ),
    ),
)
SMALL_TALK = Kind(
    "small talk",
    ("I was away last week", "I had some days off", "I had a holiday"),
    (("So you were away ", ", how lovely."), ("So you had days off ", ", that sounds good.")),
    "how (?:lovely|nice|good|wonderful)|sounds|what a (?:lovely|nice|good|wonderful)",
    (
        Slot(
            "place",
            {
                **{f"at the {name}": name for name in ("lake", "coast", "river", "castle", "harbour")},
                **{f"in {name}": name.lower() for name in ("Rome", "Oslo", "Wales", "Lisbon", "Vienna")},
                **{f"in the {name}": name for name in ("hills", "forest", "desert", "village")},
            },
            "{v}",
            "{v}",
            ("I was {v}.", "We stayed {v}."),
            "Not far from here.",
            ("Where did you go", "Where were you"),
            r"\bwhere\b|\bplace\b|\bdestination\b",
        ),
        Slot(
            "company",
            _words("sister brother uncle aunt cousin daughter son neighbour") | {"dog": "dogs?", "friend": "friends?"},
            "with my {v}",
            "with your {v}",
            ("With my {v}.", "My {v} came along."),
            "Not alone.",
            ("Who came along", "Who was with you"),
            r"\bwho\b|\bwhom\b|\banyone\b|\balone\b|\bcompany\b",
        ),
        Slot(
            "activity",
            {
                "swam": "swam|swim(?:ming)?",
                "hiked": "hik(?:ed|ing)|walked",
                "painted": "paint(?:ed|ing)",
                "fished": "fish(?:ed|ing)",
                "danced": "danc(?:ed|ing)",
                "cooked": "cook(?:ed|ing)",
                "sailed": "sail(?:ed|ing)",
                "climbed": "climb(?:ed|ing)",
            },
            "and {v}",
            "and {v}",
            ("We {v}.", "Mostly we {v}."),
            "This and that.",
            ("What did you do there", "What did you do"),
            r"\bwhat (?:else )?did you\b|\bdo there\b|\bactivit|\bspend\b|\benjoy\b",
        ),
        Slot(
            "weather",
            {"sunny": "sunny|sun", "rainy": "rain(?:y|ed)?", "windy": "wind(?:y)?", "cloudy": "cloud(?:y|s)?"}
            | {"snowy": "snow(?:y|ed)?"},
            "and it was {v}",
            "and it was {v}",
            ("It was {v}.", "Mostly {v}."),
            "As always.",
            ("How was the weather", "What was the weather like"),
            r"\bweather\b",
        ),
    ),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (BOOKING, SUPPORT, SMALL_TALK)}

ALL: Mapping[str, Mapping[str, Slot]] = {
    name: {slot.label: slot for slot in kind.slots} for name, kind in KINDS.items()
}
"""Name of the kind -> label -> slot."""
IDLE = ("It is a fine day today.", "I am here all day.", "There is much to do here.", "I see.")
"""Sentences of an assistant that help nobody."""
COURTEOUS = re.compile(
    r"\b(?:please|thank you|thanks|welcome|gladly|my pleasure|sorry|kindly|certainly|of course|with pleasure)\b"
)
RUDE = re.compile(
    r"\b(?:stupid|idiot|shut up|nonsense|hurry up|silly|rubbish|boring|who cares|whatever|not my problem|"
    r"make up your mind|stop wasting|you fool|dumb|damn|go away)\b"
)
DENIES = re.compile(r"\b(?:not|no|never|cannot|neither|nor|without)\b|n't\b")
