"""The words of the built-in reports: people, towns, organisations, things, amounts, dates."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """
    Aaron Adam Adele Agnes Ahmed Aisha Alan Albert Alex Alice Alison Amanda Amina Amy Andrea Andrew Angela
    Anita Anna Anton Arthur Barbara Beatrice Ben Bernard Bianca Boris Brenda Brian Bruno Carla Carlos Carmen
    Carol Cecilia Chloe Claire Clara Clive Colin Conrad Daniel Daphne David Deborah Dennis Diana Diego Dora
    Doris Edgar Edith Edward Elena Elias Elisa Ella Emil Emily Emma Eric Erica Esther Ethan Eva Felix Fiona
    Flora Fred Gavin Gemma George Gerald Gina Gloria Greta Hannah Harold Harriet Hassan Heather Hector Helen
    Henry Hugo Ian Ibrahim Ida Igor Irene Irma Isaac Ivan Jacob Jane Janet Jason Jenny Joel Johan Jonas Joseph
    Judith Julia Julian Karen Karl Kate Keiko Kevin Lara Laura Leila Leo Lily Linda Lisa Louis Louise Lucas
    Lucy Luis Lydia Magda Marco Maria Marie Martha Martin Matteo Maya Megan Michael Mina Miriam Molly Monica
    Nadia Naomi Natasha Nathan Neil Nicola Nina Noah Nora Olga Oliver Omar Oscar Otto Paul Paula Pedro Peter
    Philip Rachel Ralph Raul Rebecca Rita Robert Robin Rosa Ruth Samuel Sandra Sara Simon Sofia Stella Susan
    Teresa Theo Tina Tom Vera Victor Viola Walter Wendy Yusuf Zara Zoe
    """
)

LAST_NAMES = _words(
    """
    Abbott Adams Adler Ahmad Alvarez Andersen Arnold Atkins Auster Baldwin Barker Barnes Barrett Bauer Becker
    Bennett Bishara Blake Bogdan Bowen Brennan Brooks Bryant Burke Burton Byrne Cabrera Calder Carver Castro
    Chandra Chavez Chen Clarke Collins Conway Cooper Costa Cruz Curtis Dalton Davies Dawson Delgado Desai
    Dixon Doyle Duarte Dubois Duncan Edwards Egan Ellis Erikson Evans Farrell Fernandes Fischer Fletcher
    Flores Foster Franklin Fraser Fuentes Garcia Gibson Gilbert Gomez Gordon Graham Greer Gupta Haas Hansen
    Harper Harris Hartley Harvey Hayes Herrera Hoffman Holmes Hopkins Howell Hughes Hussein Ingram Ivanov
    Jackson Jansen Jenkins Jensen Jimenez Johnson Jones Kapoor Keller Kelly Kemp Kennedy Khan Kimura Klein
    Kovacs Kowalski Kruger Lambert Larsen Lawson Leclerc Lehmann Lewis Lindgren Logan Lopez Lynch Marsden
    Martinez Mason Matthews Meyer Miller Mitchell Molina Moreno Morgan Morris Mueller Murphy Nakamura Nash
    Navarro Nelson Newman Nguyen Nolan Novak Okafor Oliveira Olsen Ortega Osborne Owens Palmer Patel Pearson
    Pereira Perry Petrov Phillips Porter Powell Quinn Ramirez Rashid Reed Reyes Richter Rivera Roberts Rogers
    Romero Rossi Russell Ryan Salazar Sanders Santos Sato Schmidt Schultz Scott Shah Sharma Shaw Silva Simpson
    Singh Smith Soto Spencer Stewart Suzuki Swanson Tanaka Taylor Thompson Torres Tucker Turner Vargas Vaughan
    Vogel Wagner Walker Wallace Watson Weber Webster Wells Williams Wilson Wright Yamada Zhang Zimmer
    """
)

_TOWN_STARTS = (
    "Ash Brad Carl Cran Dun Earl Elm Fair Glen Green Ham Hart Ket Lang Lin Mar Mel Nor Oak Pem Ross Stan Thorn"
)
_TOWN_ENDS = "bridge brook bury combe dale field ford ham mouth port stead wick worth"
TOWNS = tuple(a + b for a, b in product(_TOWN_STARTS.split(), _TOWN_ENDS.split()) if (a, b) != ("Ham", "ham"))

_ORG_STARTS = "Al Bel Cor Del Fal Gal Hal Kel Lum Mer Nov Or Pal Sol Tal Ver Zan"
_ORG_ENDS = "bro condo dera dian lex mira nova rano sana tera vex vima"
ORG_HEADS = tuple(a + b for a, b in product(_ORG_STARTS.split(), _ORG_ENDS.split()))
ORG_TAILS: dict[str, tuple[str, ...]] = {
    "company": _words("Motors Foods Systems Energy Textiles Robotics Tools Plastics Electric Industries"),
    "institute": _words("Institute University College Laboratory Academy"),
    "museum": _words("Museum Gallery Collection Archive"),
    "foundation": _words("Foundation Trust Society"),
    "employer": _words("Hospital Bank Airlines Hotels Theatre Zoo Orchestra Insurance Press"),
}


class Things(NamedTuple):
    """Things of one sort: every modifier goes with every noun, so a sort holds ``len(modifiers) * len(nouns)``."""

    modifiers: tuple[str, ...]
    nouns: tuple[str, ...]


def _things(modifiers: str, nouns: str) -> Things:
    """Modifiers are single words; nouns are separated by commas and may hold several words."""
    return Things(_words(modifiers), tuple(noun.strip() for noun in nouns.split(",")))


THINGS: dict[str, Things] = {
    "project": _things(
        "public riverside central community municipal modern covered",
        "library, swimming pool, playground, sports hall, bus station, skate park, youth club, health centre, car park,"
        " fire station, cycle path, footbridge, market hall, concert hall, nursery, allotment, bandstand, ice rink,"
        " dog park, recycling centre, tennis court, town square, school kitchen, water tower, solar farm, ferry pier",
    ),
    "contest": _things(
        "spring summer winter national junior senior regional veterans twilight charity",
        "marathon, bike race, rowing race, ski race, triathlon, swimming race, half marathon, hill run, canoe race,"
        " kayak race, sailing race, skating race, obstacle race, relay race, biathlon, sled race, go-kart race,"
        " mountain run, cross-country race, sprint",
    ),
    "hazard": _things(
        "severe sudden major freak violent winter summer spring fierce destructive brief big",
        "storm, flood, fire, landslide, gale, hailstorm, tornado, mudslide, earthquake, blizzard, gas blast, rockfall,"
        " power cut, wildfire, snowstorm, tidal wave",
    ),
    "product": _things(
        "small cheap light smart portable compact quiet foldable hybrid",
        "van, tractor, bicycle, scooter, washing machine, heater, kettle, printer, camera, telephone, oven, lawnmower,"
        " wheelchair, toy robot, fridge, pump, drone, microscope, vacuum cleaner, truck, keyboard, loudspeaker,"
        " motorcycle, coffee machine, solar panel, drill",
    ),
    "habit": _things(
        "regular daily weekly morning evening afternoon weekend",
        "walking, cycling, dancing, gardening, singing, swimming, reading, fishing, yoga, meditation, drumming,"
        " chess, baking, stretching, running, birdwatching, climbing, knitting, skipping, drawing",
    ),
    "benefit": _things(
        "long-term general overall",
        "memory, sleep quality, heart health, balance, eyesight, mood, blood pressure, hearing, attention, fitness,"
        " bone strength, lung health, joint health, digestion, creativity, skin health, patience, muscle strength,"
        " breathing, posture, reaction speed",
    ),
    "exhibit": _things(
        "rare Roman Viking silver bronze medieval Victorian miniature painted royal wooden",
        "coins, maps, masks, clocks, vases, swords, helmets, puppets, dolls, rings, bowls, chairs, ships, necklaces,"
        " shields, statues, posters, photographs, carpets, flutes, harps, lanterns, plates, spoons, gloves, crowns",
    ),
    "loot": _things(
        "rare vintage valuable famous costly Swiss Spanish French German",
        "watch, necklace, violin, guitar, painting, statue, laptop, trophy, ring, bracelet, clarinet, telescope,"
        " piano, sports car, speedboat, caravan, stamp album, chandelier, mirror, tapestry, cello, medal",
    ),
    "work": _things(
        "short debut comic historical political romantic second third recent",
        "novel, play, poem, opera, film, symphony, ballet, documentary, memoir, cookbook, biography, cartoon,"
        " sculpture, song, musical, thriller, ghost story, radio play, travel book, picture book, television series",
    ),
    "structure": _things(
        "northern southern western main old new historic",
        "bridge, tunnel, railway station, ring road, motorway, harbour, ferry terminal, tram line, railway line,"
        " airport, underpass, canal, cable car, bus lane, viaduct, high street, flyover, level crossing, metro station,"
        " towpath",
    ),
    "post": _things(
        "deputy regional acting senior joint permanent temporary",
        "director, finance director, press officer, treasurer, chairman, legal adviser, safety officer, head of sales,"
        " data analyst, personnel manager, spokesman, head of training, head of research, head chef, auditor,"
        " accountant, project manager, technical director, art director, secretary",
    ),
    "animal": _things(
        "young lost frightened wounded small tired large brown",
        "seal, owl, horse, deer, swan, fox, donkey, kitten, puppy, goat, badger, dolphin, hedgehog, pony, calf, lamb,"
        " goose, otter, stork, tortoise, heron, sheep, squirrel, pelican, falcon, cow",
    ),
}

# "May" and "March" are left out: without their capital they are ordinary verbs.
MONTHS = _words("January February April June July August September October November December")
WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONEY = (
    *(f"${n},000" for n in range(50, 100, 5)),
    *(f"${n},000" for n in range(100, 1000, 20)),
    *(f"${n / 10:g} million" for n in range(11, 99, 2)),
)
PRIZES = tuple(f"${n},{h}00" for n in range(1, 60) for h in (0, 5))
DAYS = tuple(range(1, 29))
TERMS = {
    "sentence": (*(f"{n} months" for n in range(3, 24)), *(f"{n} years" for n in range(3, 13))),
    "closure": (*(f"{n} days" for n in range(4, 31)), *(f"{n} weeks" for n in range(3, 20))),
}
