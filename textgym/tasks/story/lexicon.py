"""The words of the built-in stories and poems: what they are, where they belong, and how they are pronounced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Genre(NamedTuple):
    """The words of a genre, all of two syllables, of which the first is stressed.

    Attributes:
        actors, things: Nouns.
        adjectives: Adjectives.
    """

    actors: tuple[str, ...]
    things: tuple[str, ...]
    adjectives: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of them: the words that a text may be asked to use."""
        return (*self.actors, *self.things, *self.adjectives)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GENRES: Mapping[str, Genre] = {
    "sea": Genre(
        _words("captain sailor pirate seagull mermaid dolphin helmsman fisher"),
        _words("anchor harbour lantern compass rudder island barrel lighthouse galley cannon"),
        _words("salty silver stormy foaming sunken rusty distant windy"),
    ),
    "forest": Genre(
        _words("hunter badger raven woodsman rabbit squirrel hermit robin"),
        _words("acorn cabin clearing mushroom thicket bramble pinecone meadow pathway hollow"),
        _words("mossy shady golden tangled leafy hidden gentle hungry"),
    ),
    "city": Genre(
        _words("driver baker student doctor painter tailor porter waiter"),
        _words("tower market window station garden statue taxi fountain corner pavement"),
        _words("busy crowded shiny dusty narrow modern noisy hurried"),
    ),
    "castle": Genre(
        _words("monarch jester dragon servant archer wizard lady soldier"),
        _words("banner portal dungeon courtyard goblet sceptre mirror chamber drawbridge turret"),
        _words("noble ancient mighty velvet wicked precious gilded secret"),
    ),
    "space": Genre(
        _words("pilot robot ranger trader settler scholar mutant gunner"),
        _words("rocket comet planet engine crater signal saucer capsule shuttle module"),
        _words("frozen lunar solar silent glowing metal endless burning"),
    ),
    "mystery": Genre(
        _words("suspect lawyer butler witness sergeant widow banker stranger"),
        _words("letter candle ledger pistol portrait staircase cellar pocket wallet dagger"),
        _words("broken missing guilty nervous faded empty bitter muddy"),
    ),
}


class Rhymes(NamedTuple):
    """Words of one syllable that rhyme with one another.

    Attributes:
        nouns, adjectives: Nouns, adjectives.
        verbs: Forms of the past of verbs without an object.
    """

    nouns: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


def _rhymes(line: str) -> Rhymes:
    """Read a line of nouns, adjectives and verbs, with bars between them."""
    return Rhymes(*(_words(part) for part in line.split("|")))


RHYMES: tuple[Rhymes, ...] = tuple(
    _rhymes(line)
    for line in (
        "night light kite knight | bright white slight |",
        "day bay way tray | grey | lay",
        "wall hall ball shawl | tall small |",
        "fold mould | cold old bold |",
        "bell well shell spell | | fell",
        "wood hood | good | stood",
        "crew view shoe queue | new blue true | flew grew",
        "flame game name frame | tame lame | came",
        "gang fang | | rang sang sprang",
        "oak cloak joke yoke | | spoke woke broke",
        "| | slept crept wept leapt",
        "sea tree key bee | free |",
        "rain train chain lane | plain vain |",
        "door shore floor store | raw | swore",
        "town crown gown clown | brown |",
        "sound ground mound hound | round |",
        "street sheet seat fleet | sweet neat |",
        "nest chest guest vest | | pressed",
        "book brook hook crook | | shook",
        "tide side bride guide | wide | cried sighed died",
        "park lark ark mark | dark stark |",
        "star car jar bar | far |",
        "land hand band strand | grand |",
        "hill mill grill | still ill |",
        "bed shed thread sled | red dead | fled",
    )
)
RHYME_OF: Mapping[str, int] = {word: place for place, each in enumerate(RHYMES) for part in each for word in part}
"""End word -> number of its rhyme."""

ARTICLES = ("the", "a", "an")
TRANSITIVE = _words("found saw heard held sought knew loved left crossed feared chased watched missed")
INTRANSITIVE = (*(word for each in RHYMES for word in each.verbs), *_words("sat walked danced dreamed slipped"))
ADVERBS = _words("slowly softly boldly sadly gently swiftly calmly proudly")
PREPOSITIONS = _words("beside beneath above behind beyond across around")
NEAR = ("near", "past")
BEGINNINGS, MIDDLES, ENDINGS = ("once", "one day"), ("then", "soon"), ("at last", "in the end")
"""What the first sentence of a story, the ones in the middle and the last one begin with."""

ARTICLE, ADJECTIVE, SHORT, ACTOR, THING, NOUN = "D", "J", "j", "A", "O", "N"
VERB, INTRANSITIVE_VERB, ADVERB, PREPOSITION, NEARBY, WAS = "V", "I", "R", "P", "Q", "B"
# Stress of the words of a class: "/" for a stressed syllable, "x" for another one.
STRESS: Mapping[str, str] = {
    **dict.fromkeys((ADJECTIVE, ACTOR, THING, ADVERB), "/x"),
    **dict.fromkeys((SHORT, NOUN, VERB, INTRANSITIVE_VERB, NEARBY), "/"),
    **dict.fromkeys((ARTICLE, WAS), "x"),
    PREPOSITION: "x/",
}


def _classes(by_class: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    return {word: name for name, words in by_class for word in words}


_COMMON: Mapping[str, str] = _classes(
    (
        (ARTICLE, ARTICLES),
        (SHORT, (word for each in RHYMES for word in each.adjectives)),
        (NOUN, (word for each in RHYMES for word in each.nouns)),
        (VERB, TRANSITIVE),
        (INTRANSITIVE_VERB, INTRANSITIVE),
        (ADVERB, ADVERBS),
        (PREPOSITION, PREPOSITIONS),
        (NEARBY, NEAR),
        (WAS, ("was",)),
    )
)
CLASSES: Mapping[str, Mapping[str, str]] = {
    name: {**_COMMON, **_classes(((ACTOR, genre.actors), (THING, genre.things), (ADJECTIVE, genre.adjectives)))}
    for name, genre in GENRES.items()
}
"""Genre -> word -> class of the word."""
