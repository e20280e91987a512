"""Alphabets, septets and segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms import text as sms
from sipsms.text import LengthUnit

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
def test_encoding_of(text: str, encoding: str) -> None:
    assert sms.encoding_of(text) == encoding


def test_the_alphabet_has_its_size() -> None:
    assert len(sms.BASIC) == len(set(sms.BASIC)) == 127  # 128 less the escape
    assert not set(sms.BASIC) & set(sms.EXTENSION)


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("abc", 3), ("€", 2), ("a€[", 5), ("я" * 70, 160), ("😀" * 35, 160), ("я", 3)]
)
def test_septets(text: str, expected: int) -> None:
    assert sms.septets(text) == expected


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
def test_segments(text: str, expected: int) -> None:
    assert sms.segments(text) == expected


def _pieces(text: str) -> list[int]:
    """The slow way: cut the text by hand and see that every piece fits."""
    encoding = sms.encoding_of(text)
    widths = [1 + (c in sms.EXTENSION if encoding == "gsm7" else c > "\uffff") for c in text]
    if sum(widths) <= sms.SINGLE[encoding]:
        return [sum(widths)]
    pieces = [0]
    for w in widths:
        if pieces[-1] + w > sms.PART[encoding]:
            pieces.append(0)
        pieces[-1] += w
    return pieces


@given(st.text(alphabet="ab€[я😀\n", min_size=0, max_size=400))
def test_segments_agree_with_cutting(text: str) -> None:
    assert sms.segments(text) == len(_pieces(text))


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
def test_length(text: str, unit: LengthUnit, expected: int) -> None:
    assert sms.length(text, unit) == expected
