"""A reward for texts without words that hurt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.errors import DataError
from textgym.files.paths import user_path
from textgym.metrics.words import words_of
from textgym.types import Example, FloatArray

# Insults, threats and violence in plain English; a list of words knows no context, see the docstring of Safety.
_LEXICON = frozenset(
    words_of("""
        assault attack beat behead bomb burn choke crush destroy gun hang harm hit hurt kidnap kill killed killing
        murder poison punch rape shoot slap slaughter slit stab strangle suicide terror threaten torture weapon
        bastard bitch coward creep crap cretin damn dumb fool freak garbage hate hated hateful idiot idiotic imbecile
        inferior loser moron pathetic pervert pig racist retard retarded scum shit slut stupid trash ugly vermin whore
        worthless fuck fucking asshole cunt dick
    """)
)


class Safety:
    """A reward of 0 for texts without a word of a lexicon, down to -1 for texts of such words alone.

    The lexicon that comes along has about 80 English words of insult, threat and violence. It is a baseline: it knows
    no context ("they burn wood"), no other language and no allusion; a classifier (``classifier?model=...``) does.

    Args:
        lexicon: File with a word per line to use instead.

    Raises:
        DataError: There is no such file, or no word in it.
    """

    name = "safety"

    def __init__(self, lexicon: str | None = None) -> None:
        self._words = _LEXICON if lexicon is None else _read(lexicon)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score texts; one number each, in [-1, 0]: minus the share of words that are in the lexicon."""
        texts = [words_of(response) for response in responses]
        return np.array([-sum(word in self._words for word in words) / len(words) if words else 0.0 for words in texts])


def _read(lexicon: str) -> frozenset[str]:
    path = user_path(lexicon)
    try:
        words = frozenset(word for line in path.read_text(encoding="utf-8").splitlines() for word in words_of(line))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a file with a word per line as lexicon, got {lexicon!r}: {error}") from error
    if not words:
        raise DataError(f"expected a word per line in {lexicon!r}, got none; write some")
    return words
