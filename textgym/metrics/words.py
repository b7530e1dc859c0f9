"""The words of a text in any script: those that ROUGE compares, and their number."""

from __future__ import annotations

import re
import unicodedata

import regex

# Scripts written without spaces between words (letters that join them, such as the long vowel mark, included).
_UNSPACED = "".join(
    rf"\p{{scx={script}}}"
    for script in (
        *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Tangut", "Nushu"),
        *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom"),
        *("Javanese", "Balinese"),
    )
)
_CHARACTER = rf"[[\p{{L}}\p{{Nl}}]&&[{_UNSPACED}]]\p{{M}}*"
_RUN = rf"(?:[[\p{{L}}\p{{N}}]--[[\p{{L}}\p{{Nl}}]&&[{_UNSPACED}]]]\p{{M}}*)+"
_WORD = regex.compile(f"{_CHARACTER}|{_RUN}", regex.V1)
_UNSPACED_CHARACTER = regex.compile(_CHARACTER, regex.V1)
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_PARTED = re.compile("[\u0f0b-\u0f0d\u1361\u200b]")  # marks that part words, or syllables, where no white space does
_INVISIBLE = regex.compile(r"[\p{Cf}--\u200b]", regex.V1)  # joiners, soft hyphens; a zero-width space parts words


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case: what ROUGE compares.

    A word is an unbroken run of letters, digits and the marks on them; everything else parts words, the underscore too.
    In scripts that put no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, ...) each character with
    its marks is a word. Characters that can be written in several ways are one (NFC), case is folded (so ``ß`` is
    ``ss``, and ``İ`` is ``i``), and invisible characters inside a word (joiners, soft hyphens) do not count.

    Example:
        >>> words_of("Don't PANIC_now: Straße, 今天, स्थिति")
        ['don', 't', 'panic', 'now', 'strasse', '今', '天', 'स्थिति']

    Args:
        text: Any text.

    References:
        Unicode Standard Annex 15 (normalization) and 29 (text segmentation).
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [match.group() for match in _WORD.finditer(_fold(text))]


def count_words(text: str) -> int:
    """Return how many words long a text is, as people count: its pieces between white space.

    A piece with characters of a script that puts no spaces between words may be a whole paragraph; there the words of
    :func:`words_of` count. So they do where other marks part them, as in Tibetan and in old Ethiopic texts.

    Example:
        >>> count_words("It's 3.5 km - really!"), count_words("今天天气很好。"), count_words("用Python3写")
        (5, 6, 3)
    """
    pieces = text.split()
    if not _has_words_within(text):
        return len(pieces)
    return sum(len(_WORD.findall(piece)) if _has_words_within(piece) else 1 for piece in pieces)


def is_unspaced(text: str) -> bool:
    """Return whether a text has characters of a script that puts no spaces between words.

    Example:
        >>> is_unspaced("今天 sunny"), is_unspaced("sunny")
        (True, False)
    """
    return not text.isascii() and _UNSPACED_CHARACTER.search(text) is not None


def first_words(text: str, n: int) -> str:
    """Return the first ``n`` words of a text, counted as by :func:`count_words`; a single space between two pieces.

    Example:
        >>> first_words("one two  three four", 3), first_words("今天天气很好。", 2)
        ('one two three', '今天')
    """
    taken: list[str] = []
    for piece in text.split():
        if n <= 0:
            break
        ends = [match.end() for match in _WORD.finditer(piece)] if _has_words_within(piece) else [len(piece)]
        taken.append(piece if len(ends) <= n else piece[: ends[n - 1]])
        n -= len(ends)
    return " ".join(taken)


def _has_words_within(piece: str) -> bool:
    """Return whether something without white space may have several words."""
    return is_unspaced(piece) or (not piece.isascii() and _PARTED.search(piece) is not None)


def _fold(text: str) -> str:
    """Return a text in one spelling; folding case takes the marks of some letters apart, so it is composed twice.

    Folding makes an ``i`` with a second dot of ``İ``, which ``str.lower`` does too: it is an ``i``, however it came.
    """
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", composed.casefold().replace("i\u0307", "i"))
