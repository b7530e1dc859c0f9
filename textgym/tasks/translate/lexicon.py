"""The words of the two languages, in pairs, each with all of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Row = tuple[str, ...]


class Noun(NamedTuple):
    """A noun in both languages; ``dative`` is the German dative plural. The singular is the same in all cases."""

    english: str
    english_plural: str
    gender: str
    german: str
    german_plural: str
    dative: str


class Verb(NamedTuple):
    """A transitive verb in both languages: its third persons, and the infinitive (German also: the participle)."""

    english: str
    english_s: str
    english_past: str
    english_participle: str
    german: str
    german_s: str
    past_s: str
    past_p: str
    participle: str


def _nouns(lines: str) -> tuple[Noun, ...]:
    return tuple(Noun(*line.split()) for line in lines.strip().splitlines())


PERSONS = _nouns("""
man men m Mann Männer Männern
woman women f Frau Frauen Frauen
child children n Kind Kinder Kindern
girl girls n Mädchen Mädchen Mädchen
son sons m Sohn Söhne Söhnen
daughter daughters f Tochter Töchter Töchtern
brother brothers m Bruder Brüder Brüdern
sister sisters f Schwester Schwestern Schwestern
father fathers m Vater Väter Vätern
mother mothers f Mutter Mütter Müttern
uncle uncles m Onkel Onkel Onkeln
aunt aunts f Tante Tanten Tanten
king kings m König Könige Königen
queen queens f Königin Königinnen Königinnen
guest guests m Gast Gäste Gästen
""")
THINGS = _nouns("""
table tables m Tisch Tische Tischen
chair chairs m Stuhl Stühle Stühlen
lamp lamps f Lampe Lampen Lampen
book books n Buch Bücher Büchern
picture pictures n Bild Bilder Bildern
car cars n Auto Autos Autos
bicycle bicycles n Fahrrad Fahrräder Fahrrädern
carpet carpets m Teppich Teppiche Teppichen
key keys m Schlüssel Schlüssel Schlüsseln
letter letters m Brief Briefe Briefen
cake cakes m Kuchen Kuchen Kuchen
flower flowers f Blume Blumen Blumen
boat boats n Boot Boote Booten
knife knives n Messer Messer Messern
basket baskets m Korb Körbe Körben
coat coats m Mantel Mäntel Mänteln
bottle bottles f Flasche Flaschen Flaschen
glass glasses n Glas Gläser Gläsern
spoon spoons m Löffel Löffel Löffeln
fork forks f Gabel Gabeln Gabeln
egg eggs n Ei Eier Eiern
apple apples m Apfel Äpfel Äpfeln
cupboard cupboards m Schrank Schränke Schränken
shirt shirts n Hemd Hemden Hemden
""")
PLACES = _nouns("""
house houses n Haus Häuser Häusern
church churches f Kirche Kirchen Kirchen
school schools f Schule Schulen Schulen
tower towers m Turm Türme Türmen
bridge bridges f Brücke Brücken Brücken
mill mills f Mühle Mühlen Mühlen
tree trees m Baum Bäume Bäumen
station stations m Bahnhof Bahnhöfe Bahnhöfen
""")
_VERBS = """
buy buys bought bought kaufen kauft kaufte kauften gekauft
sell sells sold sold verkaufen verkauft verkaufte verkauften verkauft
paint paints painted painted malen malt malte malten gemalt
find finds found found finden findet fand fanden gefunden
see sees saw seen sehen sieht sah sahen gesehen
bring brings brought brought bringen bringt brachte brachten gebracht
take takes took taken nehmen nimmt nahm nahmen genommen
wash washes washed washed waschen wäscht wusch wuschen gewaschen
steal steals stole stolen stehlen stiehlt stahl stahlen gestohlen
lose loses lost lost verlieren verliert verlor verloren verloren
repair repairs repaired repaired reparieren repariert reparierte reparierten repariert
need needs needed needed brauchen braucht brauchte brauchten gebraucht
hide hides hid hidden verstecken versteckt versteckte versteckten versteckt
"""
VERBS = tuple(Verb(*line.split()) for line in _VERBS.strip().splitlines())
ADJECTIVES_OF_PERSONS: Mapping[str, str] = {
    "old": "alt",
    "young": "jung",
    "small": "klein",
    "rich": "reich",
    "poor": "arm",
    "clever": "klug",
}
ADJECTIVES_OF_THINGS: Mapping[str, str] = {
    "old": "alt",
    "new": "neu",
    "small": "klein",
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "white": "weiß",
    "black": "schwarz",
    "cheap": "billig",
    "heavy": "schwer",
}
ADJECTIVES = {**ADJECTIVES_OF_PERSONS, **ADJECTIVES_OF_THINGS}
MODALS: Mapping[str, tuple[str, str]] = {
    "can": ("kann", "können"),
    "must": ("muss", "müssen"),
    "will": ("wird", "werden"),
}
TIMES: Mapping[str, Mapping[str, str]] = {
    "present": {"today": "heute", "now": "jetzt", "every day": "jeden Tag"},
    "past": {"yesterday": "gestern", "last week": "letzte Woche"},
    "modal": {"tomorrow": "morgen", "today": "heute", "next week": "nächste Woche"},
}
PREPOSITIONS: Mapping[str, tuple[str, str]] = {
    "for": ("für", "accusative"),
    "with": ("mit", "dative"),
    "behind": ("hinter", "dative"),
    "beside": ("neben", "dative"),
    "in front of": ("vor", "dative"),
}
PREPOSITIONS_OF_PERSONS = ("for", "with")
PREPOSITIONS_OF_PLACES = ("behind", "beside", "in front of")
NUMBERS: Mapping[str, str] = {"two": "zwei", "three": "drei"}
# Endings of what declines like "dieser", "der" and "ein", by case: masculine, feminine, neuter, plural.
CASES = ("nominative", "accusative", "dative")
GENDERS = "mfnp"
STRONG: Mapping[str, Row] = {
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("em", "er", "em", "en"),
}
THE: Mapping[str, Row] = {
    "nominative": ("der", "die", "das", "die"),
    "accusative": ("den", "die", "das", "die"),
    "dative": ("dem", "der", "dem", "den"),
}
BARE: Mapping[str, Row] = {
    "nominative": ("", "e", "", "e"),
    "accusative": ("en", "e", "", "e"),
    "dative": ("em", "er", "em", "en"),
}
# Endings of adjectives after "der" and "dieser", and after "ein" and "mein".
WEAK: Mapping[str, Row] = {
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}
MIXED: Mapping[str, Row] = {
    "nominative": ("er", "e", "es", "en"),
    "accusative": ("en", "e", "es", "en"),
    "dative": ("en", "en", "en", "en"),
}
