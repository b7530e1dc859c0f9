"""METEOR 1.5 for English: words aligned with those of a reference by form, stem and synonyms."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import NamedTuple

import regex

from textgym.metrics.references import score_each
from textgym.metrics.wordnet import find_wordnet, load_wordnet
from textgym.types import Example, FloatArray

STAGES: dict[str, float] = {"exact": 1.0, "stem": 0.6, "synonym": 0.8}
"""The ways in which two words match, in their order, and what each counts (English, 1.5)."""
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_BEAM = 40
_CLOSED_CLASSES = {
    "determiners": "a all an another any both each either every few many more most much neither no other several some "
    "such that the these this those",
    "pronouns": "anybody anyone anything everybody everyone everything he her hers herself him himself his i it its "
    "itself me mine my myself nobody none nothing one our ours ourselves she somebody someone something their theirs "
    "them themselves there they us we what whatever which whichever who whoever whom whose you your yours yourself "
    "yourselves",
    "prepositions": "about above across after against along among around as at before behind below beneath beside "
    "besides between beyond by despite down during except for from in inside into near of off on onto out outside over "
    "per since than through throughout till to toward towards under until up upon via with within without",
    "conjunctions and question words": "although and because but how if nor once or so though unless when whenever "
    "where whereas wherever whether while why yet",
    "auxiliary verbs": "am are be been being can could did do does had has have is may might must ought shall should "
    "was were will would",
    "negation and clitics": "not 'd 'll 'm 're 's 't 've",
}
_FUNCTION_WORDS = frozenset(word for words in _CLOSED_CLASSES.values() for word in words.split(" "))
_PLAIN_QUOTES = str.maketrans("‘’“”", "''\"\"")
_HYPHEN = regex.compile(r"(?<=[\p{L}\p{N}])-(?=[\p{L}\p{N}])")
_ACRONYM = regex.compile(r"(?<![\p{L}\p{N}])(?:\p{L}\.){2,}")
_TOKEN = regex.compile(
    r"(?:mr|mrs|ms|dr|prof|st|jr|sr|gen|gov|sen|rep|lt|col|capt|sgt|rev)\.(?!\p{L})"
    r"|\p{N}+(?:[.,]\p{N}+)*(?:[\p{L}\p{M}\p{N}]+)?"
    r"|(?<=[\p{L}\p{N}])'\p{L}+(?:'\p{L}+)*"
    r"|[\p{L}\p{M}\p{N}]+(?:\.[\p{L}\p{M}\p{N}]+)*"
    r"|\.{2,}|-{2,}|[^\s\p{L}\p{N}]"
)
Synsets = Callable[[str], Collection[str]]


class Meteor:
    """METEOR of each text against the best reference of its example, as a reward and as a metric.

    Words match if they are equal, have one stem (Snowball's English stemmer), or are synonyms or forms of synonyms
    (WordNet). The score is a weighted F-mean of the matched words that favours recall, and is lowered where they stand
    in another order. The paraphrase stage, a table of 60 MB, is left out.

    Two words match in the first stage that they can. Of all alignments that is taken which covers most words, then the
    one of fewest chunks, then the one of least distance, by a beam search.

    The paper takes as function words those with a relative frequency above 0.001 in a large corpus. Here they are the
    words of English that belong to closed classes (determiners, pronouns, prepositions, conjunctions, auxiliary verbs,
    clitics), as grammars name them, and punctuation. Frequent words of other classes ("said", "year") are content words
    here, and so scores differ a little from those of the authors' program (see ``docs/metrics.md``).

    Attributes:
        name: ``"meteor"``.
        stages: The stages in use.

    References:
        Banerjee and Lavie, "METEOR: an automatic metric for MT evaluation with improved correlation with human
        judgments" (2005). Denkowski and Lavie, "Meteor 1.3: automatic metric for reliable optimization and evaluation
        of machine translation systems" (2011): the alignment; "Meteor universal: language specific translation
        evaluation for any target language" (2014): the parameters. Closed classes: Quirk et al., "A comprehensive
        grammar of the English language" (1985), chapter 2.
    """

    name = "meteor"

    def __init__(self, *, stages: str = "", wordnet: str = "", synsets: Synsets | None = None) -> None:
        """Choose the stages; WordNet is read when first needed.

        Args:
            stages: Names of :data:`STAGES` with commas between: ``"exact,stem,synonym"``. Without it, all for which the
                data are installed; a warning says so if there are no synonyms.
            wordnet: Folder of WordNet's files; see :func:`~textgym.metrics.wordnet.find_wordnet`.
            synsets: In place of WordNet: returns keys of the sets of synonyms that a word is in.

        Raises:
            ValueError: There is no such stage, or synonyms are asked for where there are none.
            DataError: The folder has no WordNet files.
        """
        wanted = [each.strip() for each in stages.split(",") if each.strip()] or list(STAGES)
        if not set(wanted) <= set(STAGES):
            raise ValueError(
                f"expected stages of METEOR from {', '.join(STAGES)}, got {stages!r}; leave out the others"
            )
        self._synsets = (synsets or _synsets_of(wordnet)) if "synonym" in wanted else None
        if self._synsets is None and "synonym" in wanted:
            if stages:
                raise ValueError(f"expected WordNet for the stages {stages!r} of METEOR, got none; {_REMEDY}")
            wanted.remove("synonym")
            warnings.warn(f"METEOR without synonyms (stages: {', '.join(wanted)}), as {_MISSING}", stacklevel=2)
        self.stages = tuple(stage for stage in STAGES if stage in wanted)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return METEOR in ``[0, 1]`` of ``n`` responses, shape ``(n,)``; higher is better.

        Raises:
            DataError: An example has no references.
        """
        return score_each(self._best, "METEOR", responses, examples)

    def _best(self, response: str, references: Sequence[str]) -> float:
        return max(self.of_words(meteor_words(response), meteor_words(reference)) for reference in references)

    def of_words(self, response: Sequence[str], reference: Sequence[str]) -> float:
        """Return METEOR of two lists of words."""
        matches = _align(self._options(response, reference))
        if not matches:
            return 0.0
        weights = [STAGES[match.stage] for match in matches]
        precision = _share(response, [match.place for match in matches], weights)
        recall = _share(reference, [match.target for match in matches], weights)
        mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
        chunks = _chunks(matches)
        if chunks == 1 and len(matches) == len(response) == len(reference):
            return mean  # nothing is fragmented: a text that is its reference scores 1
        penalty: float = _GAMMA * (chunks / len(matches)) ** _BETA
        return (1 - penalty) * mean

    def _options(self, response: Sequence[str], reference: Sequence[str]) -> list[list[_Match]]:
        """Return the matches of each word of the reference; two words match in the first stage that they can."""
        options: list[dict[int, _Match]] = [{} for _ in reference]
        for stage in self.stages:
            found, wanted = ([self._keys(stage, word) for word in words] for words in (response, reference))
            for target, keys in enumerate(wanted):
                for place in (place for place, own in enumerate(found) if not keys.isdisjoint(own)):
                    options[target].setdefault(place, _Match(stage, place, target))
        return [list(matches.values()) for matches in options]

    def _keys(self, stage: str, word: str) -> frozenset[str]:
        """Return what one of two words must share with the other to match."""
        match stage:
            case "exact":
                return frozenset([word])
            case "stem":
                return frozenset([_stem(word)])
        return frozenset(self._synsets(word)) if self._synsets is not None else frozenset()


def meteor_words(text: str) -> list[str]:
    """Return the words that METEOR compares, in lower case, with punctuation normalized (``-norm`` of its program).

    Punctuation and endings such as ``'s`` are words of their own, hyphens part words, acronyms have no full stops.

    >>> meteor_words("It's the U.S. army's 3,000.5 half-track tanks - really!")
    ['it', "'s", 'the', 'us', 'army', "'s", '3,000.5', 'half', 'track', 'tanks', '-', 'really', '!']
    """
    plain = _HYPHEN.sub(" ", text.lower().translate(_PLAIN_QUOTES))
    words: list[str] = _TOKEN.findall(_ACRONYM.sub(lambda found: found[0].replace(".", "") + " ", plain))
    return words


class _Match(NamedTuple):
    """A word of the response (at ``place``) that matches one of the reference (at ``target``)."""

    stage: str
    place: int
    target: int


class _Path(NamedTuple):
    """An alignment of the first words of a reference; the first three fields are what the beam search compares.

    Attributes:
        matched: Number of matches, negative.
        chunks: Number of chunks that have ended.
        distance: Sum of distances between the places of matched words.
        end: Place after the last match, where a chunk goes on; -1 after a word without a match.
        used: The matched words of the response, as the bits of a number.
        matches: The matches.
    """

    matched: int
    chunks: int
    distance: int
    end: int
    used: int
    matches: tuple[_Match, ...]

    def having(self, match: _Match) -> _Path:
        """Return the path that goes on with a match."""
        return _Path(
            self.matched - 1,
            self.chunks + (self.end not in (-1, match.place)),
            self.distance + abs(match.target - match.place),
            match.place + 1,
            self.used | 1 << match.place,
            (*self.matches, match),
        )

    def closed(self) -> _Path:
        """Return the path after a word without a match."""
        return self._replace(chunks=self.chunks + (self.end != -1), end=-1)


_rank = itemgetter(0, 1, 2)


def _align(options: Sequence[Sequence[_Match]]) -> tuple[_Match, ...]:
    """Return the best alignment by beam search over the words of the reference.

    Every largest alignment has the matches that compete with no other; their words are taken from the start.
    """
    times = Counter(match.place for of_word in options for match in of_word)
    fixed = {of_word[0] for of_word in options if len(of_word) == 1 and times[of_word[0].place] == 1}
    paths = [_Path(0, 0, 0, -1, 0, ())]
    for of_word in options:
        if of_word and of_word[0] in fixed:
            paths = [path.having(of_word[0]) for path in paths]
        else:
            paths = sorted((longer for path in paths for longer in _continued(path, of_word)), key=_rank)[:_BEAM]
    return min((path.closed() for path in paths), key=_rank).matches


def _continued(path: _Path, of_word: Sequence[_Match]) -> list[_Path]:
    """Return a path with each match of a word that is free, and without any."""
    return [*(path.having(match) for match in of_word if not path.used >> match.place & 1), path.closed()]


def _chunks(matches: Sequence[_Match]) -> int:
    """Return the number of runs of matches that are neighbours in the same order on both sides."""
    pairs = itertools.pairwise(matches)
    return 1 + sum((b.place - a.place, b.target - a.target) != (1, 1) for a, b in pairs)


def _share(words: Sequence[str], places: Sequence[int], weights: Sequence[float]) -> float:
    """Return the share of matched words, function words counted for less."""
    worth = [1 - _DELTA if _is_function_word(word) else _DELTA for word in words]
    return sum(weight * worth[place] for place, weight in zip(places, weights, strict=True)) / sum(worth)


def _is_function_word(word: str) -> bool:
    return word in _FUNCTION_WORDS or not any(map(str.isalnum, word))


def _synsets_of(wordnet: str) -> Synsets | None:
    folder = find_wordnet(wordnet or None)
    return None if folder is None else load_wordnet(folder).synsets


def _stem(word: str) -> str:
    return _stemmer()(word)


@cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.snowball import EnglishStemmer  # type: ignore[import-untyped]  # lazy: a second to import

    return lru_cache(maxsize=2**16)(EnglishStemmer().stem)


_REMEDY = "download it with: python -m nltk.downloader wordnet"
_MISSING = f"WordNet is not installed; {_REMEDY}"
