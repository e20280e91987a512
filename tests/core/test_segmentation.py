"""Alphabets, septets and segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core import segmentation
from sipsms.core.segmentation import LengthUnit
from tests.support.tools.weight import growth

ENCODINGS = {
    "": "gsm7",
    "Hello, world!": "gsm7",
    "@£$¥èéùìòÇ": "gsm7",
    "{[~]}\\|^€": "gsm7",
    "line\r\nline": "gsm7",
    "grüße": "gsm7",
    "ΔΦΓΛΩΠΨΣΘΞ": "gsm7",
    "`": "ucs2",
    "tab\t": "ucs2",
    "ç": "ucs2",  # only the capital is in the alphabet
    "\x1b": "ucs2",  # a bare escape is no character
    "Привет": "ucs2",
    "😀": "ucs2",
}


@pytest.mark.parametrize(("text", "encoding"), ENCODINGS.items())
def test_the_text_decides_the_encoding(text: str, encoding: str) -> None:
    assert segmentation.encoding_of(text) == encoding


def test_the_alphabet_has_its_size() -> None:
    assert len(segmentation.BASIC) == len(set(segmentation.BASIC)) == 127  # 128 less the escape
    assert not set(segmentation.BASIC) & set(segmentation.EXTENSION)


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("abc", 3), ("€", 2), ("a€[", 5), ("я" * 70, 160), ("😀" * 35, 160), ("я", 3)]
)
def test_the_length_in_septets_follows_the_encoding(text: str, expected: int) -> None:
    assert segmentation.septets(text) == expected


SEGMENTS = [
    ("", 1),
    ("a" * 160, 1),
    ("a" * 161, 2),
    ("a" * 306, 2),
    ("a" * 307, 3),
    ("€" * 80, 1),
    ("€" * 81, 2),
    ("€" * 152, 2),  # 76 escapes fit in 153: the odd septet stays empty
    ("€" * 153, 3),
    ("a" + "€" * 152, 2),  # 76 and 76, and the odd septet takes the letter
    ("я" * 70, 1),
    ("я" * 71, 2),
    ("я" * 134, 2),
    ("я" * 135, 3),
    ("😀" * 35, 1),
    ("😀" * 36, 2),
    ("😀" * 66, 2),  # 33 pairs a segment: the odd unit stays empty
    ("😀" * 67, 3),
    ("a" * 69 + "😀", 2),
]


@pytest.mark.req("C-099", "C-7")
@pytest.mark.parametrize(("text", "expected"), SEGMENTS)
def test_the_number_of_segments_follows_the_encoding(text: str, expected: int) -> None:
    assert segmentation.segments(text) == expected


def _pieces(text: str) -> list[int]:
    """The slow way: cut the text by hand and see that every piece fits."""
    encoding = segmentation.encoding_of(text)
    widths = [1 + (c in segmentation.EXTENSION if encoding == "gsm7" else c > "\uffff") for c in text]
    if sum(widths) <= segmentation.SINGLE[encoding]:
        return [sum(widths)]
    pieces = [0]
    for w in widths:
        if pieces[-1] + w > segmentation.PART[encoding]:
            pieces.append(0)
        pieces[-1] += w
    return pieces


@given(st.text(alphabet="ab€[я😀\n", min_size=0, max_size=400))
def test_the_number_of_segments_agrees_with_cutting_by_hand(text: str) -> None:
    assert segmentation.segments(text) == len(_pieces(text))


LENGTHS: list[tuple[str, LengthUnit, int]] = [
    ("a\r\nb", "characters", 3),
    ("a\nb\r", "characters", 4),
    ("😀" * 160, "characters", 160),
    ("€" * 160, "characters", 160),
    ("€", "septets", 2),
    ("a\r\nb", "septets", 3),
    ("é€😀", "bytes", 9),
    ("a\r\nb", "bytes", 3),
    ("\ud800", "bytes", 3),
]


@pytest.mark.req("S-089", "C-7", "C-098", "C-099")
@pytest.mark.parametrize(("text", "unit", "expected"), LENGTHS)
def test_the_length_follows_the_unit(text: str, unit: LengthUnit, expected: int) -> None:
    assert segmentation.length(text, unit) == expected


# --- pieces -----------------------------------------------------------------------------------------------------------


def cut(text: str, size: int = 160, unit: str = "septets") -> list[str]:
    return [text[start:end] for start, end in segmentation.pieces(text, size, unit)]  # type: ignore[arg-type]


@pytest.mark.req("S-032")
@pytest.mark.parametrize("text", ["", "a", "a" * 160, "€" * 80, "я" * 70, "😀" * 35])
def test_a_text_that_fits_is_one_piece(text: str) -> None:
    assert segmentation.pieces(text, 160) == [(0, len(text))]


@pytest.mark.req("S-032")
@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 161, [160, 1]),
        ("a" * 480, [160, 160, 160]),
        ("€" * 81, [80, 1]),
        ("a" + "€" * 80, [80, 1]),
        ("я" * 71, [70, 1]),
        ("😀" * 36, [35, 1]),
        ("a" * 69 + "😀" + "b", [69, 2]),
        ("a" * 100 + "я", [70, 31]),
        ("a" * 100 + " " + "b" * 100, [160, 41]),  # the space is too far away
    ],
)
def test_a_long_text_is_cut_into_pieces_of_160_septets(text: str, lengths: list[int]) -> None:
    assert [len(piece) for piece in cut(text)] == lengths


@pytest.mark.req("S-032")
def test_words_are_not_cut() -> None:
    assert cut("one two three four", 10, "characters") == ["one two ", "three four"]
    assert cut("one two three four five", 9, "characters") == ["one two ", "three ", "four five"]
    assert cut("0123456789 x", 10, "characters") == ["0123456789", " x"]
    assert cut("line one\nline two", 12, "characters") == ["line one\n", "line two"]


def test_grapheme_clusters_are_not_cut() -> None:
    family = "👨\u200d👩\u200d👧"
    assert cut("abc" + family + "d", 6, "characters") == ["abc", family + "d"]
    assert cut("abe\u0301x", 3, "characters") == ["ab", "e\u0301x"]
    assert cut("ab🇨🇦🇫🇷", 4, "characters") == ["ab🇨🇦", "🇫🇷"]
    assert cut("abc👍🏽d", 4, "characters") == ["abc", "👍🏽d"]
    assert cut("abc❤\ufe0fd", 4, "characters") == ["abc", "❤\ufe0fd"]
    assert cut("abc\r\nd", 4, "characters") == ["abc", "\r\nd"]
    assert cut("x\ud83d\ude00", 2, "characters") == ["x", "\ud83d\ude00"]


def test_a_grapheme_cluster_wider_than_a_piece_is_cut() -> None:
    assert cut("e" + "\u0301" * 9, 4, "characters") == ["e\u0301\u0301\u0301", "\u0301" * 4, "\u0301\u0301"]
    assert cut("😀😀", 1, "septets") == ["😀", "😀"]  # no room at all: still one at a time


def test_without_a_limit_a_text_is_one_piece() -> None:
    assert segmentation.pieces("a" * 1000, 0) == [(0, 1000)]


_MIXED = st.text(st.sampled_from("ab €{я😀👍🏽\u200d\u0301\ufe0f🇨🇦\r\n"), max_size=120)


@given(st.one_of(st.text(max_size=400), _MIXED), st.integers(5, 200), st.sampled_from(["characters", "septets"]))
def test_the_pieces_of_any_text_join_to_the_text_and_fit(text: str, size: int, unit: str) -> None:
    found = segmentation.pieces(text, size, unit)  # type: ignore[arg-type]
    assert "".join(text[start:end] for start, end in found) == text
    assert all(start < end for start, end in found) or found == [(0, 0)]
    room = size * 7 // 16 if segmentation.encoding_of(text) == "ucs2" and unit == "septets" else size
    for start, end in found:
        piece = text[start:end]
        if unit == "characters":
            used = len(piece)
        elif segmentation.encoding_of(text) == "ucs2":
            used = segmentation.utf16_units(piece)
        else:
            used = segmentation.septets(piece)
        assert used <= room or len(piece) == 1


@pytest.mark.parametrize("text", ["a" * 200_000, "\u0301" * 200_000, "👨\u200d" * 50_000, " " * 200_000, "🇨" * 100_000])
def test_cutting_takes_linear_time(text: str) -> None:
    assert "".join(cut(text)) == text
    assert growth(lambda count: cut(text[:count]), len(text) // 16) < 9, "linear, not quadratic"


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.req("P-13")
@pytest.mark.parametrize(
    ("parts", "total", "joined"),
    [
        ({1: "a", 2: "b", 3: "c"}, 3, "abc"),
        ({3: "c", 1: "a", 2: "b"}, 3, "abc"),
        ({1: "a", 3: "c"}, 3, "a[part 2 of 3 is missing]c"),
        ({2: "b"}, 2, "[part 1 of 2 is missing]b"),
        ({1: "a"}, 2, "a[part 2 of 2 is missing]"),
        ({1: "a", 5: "e"}, 6, "a[parts 2 to 4 of 6 are missing]e[part 6 of 6 is missing]"),
        ({2: "b"}, 255, "[part 1 of 255 is missing]b[parts 3 to 255 of 255 are missing]"),
        ({}, 2, "[parts 1 to 2 of 2 are missing]"),
        ({1: "a", 2: "b"}, 1, "ab"),
        ({}, 0, ""),
    ],
)
def test_missing_parts_are_marked_in_the_joined_text(parts: dict[int, str], total: int, joined: str) -> None:
    assert segmentation.join_parts(parts, total) == joined


# --- names as senders -------------------------------------------------------------------------------------------------


@pytest.mark.req("S-136", "S-137", "S-138", "S-139")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Wildix", "Wildix"),
        ("Ann Müller", "Ann Müller"),
        ("ÖSTERREICH", "öSTERREICH"),
        ("Ünal Ñandú", "ünal ñandu"),
        ("Château", "Chateau"),
        ("Łódź", "Lodz"),
        ("Ça va", "Ça va"),
        ("ça va", "Ça va"),
        ("O'Brien", "O?Brien"),
        ("Иван", "????"),
        ("😀 Bob", "? Bob"),
        ("Maximilian Mustermann", "Maximilian"),
        ("  two   words\n", "two words"),
        ("A\u200bB\x00C", "ABC"),
        ("u\u0308ber", "über"),
        ("", ""),
    ],
)
def test_a_sender_name_is_reduced_to_the_alphabet(name: str, shown: str) -> None:
    assert segmentation.sender_name(name) == shown


@pytest.mark.req("S-138", "S-139")
def test_a_sender_name_is_cut_to_its_maximum_length() -> None:
    assert segmentation.sender_name("a" * 20) == "a" * 11
    assert segmentation.sender_name("a" * 20, 10) == "a" * 10


@pytest.mark.req("S-136")
@given(st.text())
def test_any_sender_name_is_in_the_alphabet_and_fits(name: str) -> None:
    shown = segmentation.sender_name(name)
    assert set(shown) <= segmentation.SENDER_ALPHABET
    assert len(shown) <= 11


@pytest.mark.req("P-13", "G08")
@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 160, [160]),
        ("a" * 161, [153, 8]),
        ("word " * 40, [153, 47]),  # no word is kept whole: the phone joins them
        ("a" * 152 + "€" + "b" * 10, [152, 11]),  # an escape is not cut
        ("я" * 70, [70]),
        ("я" * 71, [67, 4]),
        ("я" * 66 + "😀" + "я" * 5, [66, 6]),  # nor is a surrogate pair
        ("", [0]),
    ],
)
def test_a_long_sms_is_cut_into_full_segments(text: str, lengths: list[int]) -> None:
    found = segmentation.pieces(text, 0, "segments")
    assert [end - start for start, end in found] == lengths
    assert segmentation.pieces(text, 7, "segments") == found, "the size says nothing"


@given(st.text(alphabet="a€[я😀 é\n", max_size=500))
def test_cutting_gives_as_many_segments_as_are_counted(text: str) -> None:
    found = segmentation.pieces(text, 0, "segments")
    assert "".join(text[start:end] for start, end in found) == text
    assert len(found) == segmentation.segments(text)
    assert segmentation.segments(text) == 1 or all(
        _pieces(text[a:b]) <= [segmentation.PART[segmentation.encoding_of(text)]] for a, b in found
    )
