"""Words of any script."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.metrics.words import count_words, first_words, words_of

HINDI = "सरकार ने नई नीति की घोषणा की"
THAI = "สวัสดีครับ"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't PANIC_now, 3.5 km", ["don", "t", "panic", "now", "3", "5", "km"]),
        ("की का", ["की", "का"]),
        ("今天天气很好。", ["今", "天", "天", "气", "很", "好"]),
        ("コーヒーを飲む", ["コ", "ー", "ヒ", "ー", "を", "飲", "む"]),
        (THAI, ["ส", "วั", "ส", "ดี", "ค", "รั", "บ"]),
        ("ສະບາຍດີ", ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ខ្ញុំ", ["ខ្", "ញុំ"]),
        ("오늘 날씨가 좋다", ["오늘", "날씨가", "좋다"]),
        ("用Python3写代码", ["用", "python3", "写", "代", "码"]),
        ("İstanbul'da güzel", ["istanbul", "da", "güzel"]),
        ("I\u0307stanbul", ["istanbul"]),
        ("İSTANBUL İ\u0301".lower(), ["istanbul", "í"]),  # `lower` leaves an i with two dots
        ("Straße ΣΑΣ σας", ["strasse", "σασ", "σασ"]),
        ("می\u200cخواهم Zusam\u00admen", ["میخواهم", "zusammen"]),
        ("😀🎉 — …", []),
        ("\ud800a\udfff é", ["a", "é"]),
    ],
)
def test_words_of_known_texts(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_words_do_not_depend_on_how_characters_are_composed(text: str) -> None:
    assert words_of(unicodedata.normalize("NFD", text)) == words_of(text)


@given(st.text(st.characters(codec="ascii")), st.sampled_from([" é", " का", " 今"]))
def test_ascii_words_are_the_same_beside_other_scripts(text: str, other: str) -> None:
    assert words_of(text + other) == [*words_of(text), other.strip()]


def test_lengths_are_counted_in_words_of_any_script() -> None:
    assert count_words("It's 3.5 km - really!") == 5
    assert count_words(HINDI) == 7
    assert count_words("今天天气很好。我们去公园") == 11
    assert count_words("用Python3写 now") == 4
    assert count_words("བོད་སྐད་ནི་ཡག་པོ་རེད།") == 6
    assert count_words("ሰላም፡ለዓለም፡ሁሉ") == 3
    assert first_words("བོད་སྐད་ནི་ཡག་པོ", 2) == "བོད་སྐད"
    assert [count_words(text) for text in ("", " \n", "。", "😀")] == [0, 0, 1, 1]


@given(st.text(st.characters(codec="latin-1")))
def test_length_is_the_number_of_pieces_where_spaces_part_words(text: str) -> None:
    assert count_words(text) == len(text.split())


@given(st.text(st.sampled_from("ab 今天。\n用ก็")), st.integers(0, 12))
def test_first_words_have_that_length(text: str, n: int) -> None:
    beginning = first_words(text, n)
    assert count_words(beginning) == min(n, count_words(text))
    assert "".join(text.split()).startswith("".join(beginning.split()))
