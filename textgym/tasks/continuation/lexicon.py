"""The things that the built-in reviews are about: what is said of them first, and what can be liked or disliked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Aspect:
    """A side of a thing that opinions are about.

    Attributes:
        name: Its noun, which ``the`` goes before.
        plural: Whether ``were`` goes behind it.
        good, bad: Adjectives that praise it and that blame it.
    """

    name: str
    plural: bool
    good: tuple[str, ...]
    bad: tuple[str, ...]

    @property
    def verb(self) -> str:
        """The form of "to be" that agrees with the noun."""
        return "were" if self.plural else "was"

    @cached_property
    def polarity(self) -> Mapping[str, int]:
        """Adjective -> 1 if it praises, -1 if it blames."""
        return {**dict.fromkeys(self.good, 1), **dict.fromkeys(self.bad, -1)}


@dataclass(frozen=True)
class Kind:
    """A kind of thing that reviews are about.

    Attributes:
        openings: First sentences, with ``{name}``, ``{town}``, ``{month}``, ``{number}`` and ``{who}``.
        aspects: Name -> side.
    """

    openings: tuple[str, ...]
    aspects: Mapping[str, Aspect]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _aspect(line: str) -> Aspect:
    """Read a line such as ``"guides* : kind | rude"``, where a star marks a plural."""
    name, words = (part.strip() for part in line.split(":"))
    good, bad = (_words(part) for part in words.split("|"))
    return Aspect(name.rstrip("*"), name.endswith("*"), good, bad)


def _kind(openings: tuple[str, ...], lines: str) -> Kind:
    aspects = [_aspect(line) for line in lines.strip().splitlines()]
    return Kind(openings, {aspect.name: aspect for aspect in aspects})


KINDS: Mapping[str, Kind] = {
    "hotel": _kind(
        (
            "We stayed {number} nights at the {name} Hotel in {town} in {month}.",
            "In {month} I spent {number} nights at the {name} Hotel in {town} with my {who}.",
        ),
        """
        room: spotless bright quiet spacious | dirty dark noisy cramped
        bed: soft comfortable cosy warm | lumpy hard narrow creaky
        breakfast: fresh tasty generous varied | stale tasteless meagre cold
        staff*: friendly helpful polite cheerful | rude careless grumpy slow
        view: beautiful wide stunning lovely | dull dreary ugly grey
        pool: clean inviting large warm | filthy freezing crowded tiny
        """,
    ),
    "restaurant": _kind(
        (
            "In {month} {number} of us had dinner at the {name} in {town}.",
            "My {who} took me to the {name} in {town} for {number} dinners in {month}.",
        ),
        """
        soup: tasty hot rich fresh | salty cold watery tasteless
        dessert: delicious light creamy generous | dry tiny sticky bland
        waiters*: friendly quick polite attentive | rude slow clumsy careless
        menu: varied clear inventive interesting | short confusing dull tired
        wine: fruity smooth excellent rich | sour flat awful sharp
        prices*: fair low reasonable honest | high absurd outrageous steep
        """,
    ),
    "headphones": _kind(
        (
            "I bought these {name} headphones in {town} {number} months ago, in {month}.",
            "My {who} gave me these {name} headphones in {month}, and I wear them {number} hours a day in {town}.",
        ),
        """
        sound: clear rich warm crisp | muffled flat tinny harsh
        battery: reliable lasting strong efficient | weak unreliable feeble useless
        cable: sturdy long flexible tough | flimsy short stiff brittle
        cushions*: soft comfortable cosy gentle | hard scratchy tight sweaty
        microphone: sensitive sharp excellent reliable | dull faulty awful useless
        manual: clear helpful short complete | confusing useless vague wrong
        """,
    ),
    "novel": _kind(
        (
            "My {who} lent me the novel {name} in {month}, and I read it in {number} days in {town}.",
            "I read {name} in {number} evenings in {month}, for a reading circle in {town}.",
        ),
        """
        plot: gripping clever original exciting | boring silly predictable slow
        characters*: believable lovable vivid funny | flat wooden annoying lifeless
        ending: surprising moving perfect satisfying | weak rushed abrupt disappointing
        dialogues*: witty lively natural sharp | stiff clumsy endless lifeless
        style: elegant clear fresh graceful | dry pompous heavy clumsy
        cover: beautiful striking tasteful lovely | ugly cheap dull tacky
        """,
    ),
    "dentist": _kind(
        (
            "I have seen the dentist {name} in {town} {number} times since {month}.",
            "In {month} my {who} sent me to the dentist {name} in {town} for {number} fillings.",
        ),
        """
        treatment: painless quick gentle thorough | painful rough slow careless
        receptionist: friendly patient polite helpful | rude impatient grumpy careless
        waiting room: bright quiet cosy clean | dark noisy cramped dirty
        explanations*: clear honest patient complete | confusing vague hasty short
        equipment: modern clean new reliable | old rusty faulty dirty
        bill: fair low reasonable honest | high absurd outrageous wrong
        """,
    ),
    "bicycle": _kind(
        (
            "I have ridden this {name} bicycle for {number} months in {town}, since {month}.",
            "In {month} my {who} and I bought {number} bicycles by {name} in {town}.",
        ),
        """
        brakes*: strong reliable quiet sharp | weak noisy faulty dangerous
        saddle: comfortable soft sturdy elegant | hard narrow wobbly painful
        frame: light sturdy stiff elegant | heavy brittle rusty ugly
        gears*: smooth precise quick reliable | rough noisy slow faulty
        lights*: bright strong useful sturdy | dim weak flimsy useless
        paint: beautiful glossy tough lovely | dull thin ugly patchy
        """,
    ),
    "museum": _kind(
        (
            "In {month} we spent {number} hours in the {name} Museum in {town}.",
            "My {who} and I went to the {name} Museum in {town} {number} times in {month}.",
        ),
        """
        exhibits*: fascinating rare beautiful varied | boring dusty dull broken
        guide: funny patient lively helpful | rude boring impatient grumpy
        labels*: clear helpful complete witty | confusing tiny wrong vague
        cafe: cosy cheerful cheap quiet | dirty noisy crowded gloomy
        shop: interesting tasteful varied cheap | tacky dull crowded tiny
        building: stunning elegant bright spacious | ugly gloomy cramped dark
        """,
    ),
    "coffee machine": _kind(
        (
            "We have had this {name} coffee machine in our office in {town} for {number} months, since {month}.",
            "In {month} my {who} and I chose this {name} coffee machine for {number} people in {town}.",
        ),
        """
        coffee: strong hot tasty rich | weak bitter watery cold
        pump: quiet reliable quick strong | noisy faulty slow feeble
        buttons*: clear sturdy sensitive large | stiff wobbly tiny confusing
        tank: large clean sturdy handy | tiny leaky brittle dirty
        display: bright clear sharp helpful | dim confusing faulty useless
        lid: sturdy tight light handy | loose flimsy wobbly leaky
        """,
    ),
}

LEADS: Mapping[int, tuple[str, ...]] = {
    1: ("luckily", "happily", "to my delight"),
    0: ("in the end", "on the whole", "as it turned out"),
    -1: ("sadly", "unfortunately", "to my dismay"),
}
"""What may stand before an opinion: polarity (0: any) -> phrases."""

VERBS: Mapping[str, int] = {"loved": 1, "liked": 1, "enjoyed": 1, "hated": -1, "disliked": -1, "regretted": -1}
FEELINGS: Mapping[str, int] = {
    **dict.fromkeys(("happy", "pleased", "delighted"), 1),
    **dict.fromkeys(("unhappy", "annoyed", "disappointed"), -1),
}
DEGREES = ("very", "really", "surprisingly", "quite")
DENIALS = ("never", "anything but", "not at all")

FILLERS = (
    "I am writing this on the train.",
    "My neighbour asked me about it.",
    "It rained most of the time.",
    "I do not write many reviews.",
    "You can find the address on the web.",
    "A friend of mine wants to know more.",
    "It was a Tuesday, I think.",
    "I have told my whole family.",
)

_STARTS = "Al Bel Cor Dal Fen Gar Hol Kes Lor Mar Nor Pel Quin Ros Sil Tor Ul Ver Wil Zan"
_ENDS = "bena dora fex gant lia mond nova rick sano ton vara wyn"
NAMES = tuple(first + last for first in _STARTS.split() for last in _ENDS.split())
_TOWN_STARTS = "Ash Brook Clay Dun Elm Ford Glen Hart Kirk Lang Mill North Oak Pen Stan"
_TOWN_ENDS = "bury combe dale field ham mouth port stead ton wick"
TOWNS = tuple(first + last for first in _TOWN_STARTS.split() for last in _TOWN_ENDS.split())
MONTHS = _words("January February March April June July August September October November December")
NUMBERS = _words("two three four five six seven eight")
WHO = _words("sister brother mother father cousin aunt uncle wife husband daughter son colleague")
