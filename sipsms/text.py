"""What a text costs on the air: alphabet, septets, segments.

One SMS carries 140 octets: 160 septets of the GSM default alphabet (3GPP TS 23.038) or 70 units of UCS-2. A longer
text travels in segments, each of which gives 6 octets to the concatenation header: 153 septets or 67 units. A segment
never ends inside an extension escape or a surrogate pair, so the count comes from packing and not from a division.
Texts are counted as they stand; only `length`, which a limit is compared with, first turns CRLF into LF. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Literal

Encoding = Literal["gsm7", "ucs2"]
LengthUnit = Literal["characters", "septets", "bytes"]

BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION: Final = "\f^{}\\[~]|€"  # each behind an escape: two septets

SINGLE: Final = {"gsm7": 160, "ucs2": 70}
PART: Final = {"gsm7": 153, "ucs2": 67}

# A character class with * cannot backtrack, and runs at the speed of C for the usual ASCII text.
_is_basic: Final = re.compile(f"[{re.escape(BASIC)}]*").fullmatch
_is_gsm: Final = re.compile(f"[{re.escape(BASIC + EXTENSION)}]*").fullmatch
_find_extension: Final = re.compile(f"[{re.escape(EXTENSION)}]").findall
_find_astral: Final = re.compile("[\U00010000-\U0010ffff]").findall


def unix_newlines(text: str) -> str:
    return text.replace("\r\n", "\n")


def encoding_of(text: str) -> Encoding:
    return "gsm7" if _is_gsm(text) else "ucs2"


def utf16_units(text: str) -> int:
    return len(text) if text.isascii() else len(text) + len(_find_astral(text))


def septets(text: str) -> int:
    """How much of the 160 septets a text takes.

    UCS-2 is measured in the same room, 16 bits a unit: 70 units are exactly 160 septets, so that a limit of 160 means
    "one SMS" in either alphabet.
    """
    if _is_basic(text):
        return len(text)
    if _is_gsm(text):
        return len(text) + len(_find_extension(text))
    return -(-utf16_units(text) * 16 // 7)


def segments(text: str) -> int:
    """How many SMS a text becomes; an empty one still is one."""
    if _is_basic(text):
        return _count(len(text), "gsm7")
    if _is_gsm(text):
        return _segments(len(text) + len(_find_extension(text)), "gsm7", (1 + (c in EXTENSION) for c in text))
    return _segments(utf16_units(text), "ucs2", (1 + (c > "\uffff") for c in text))


def _count(units: int, encoding: Encoding) -> int:
    return 1 if units <= SINGLE[encoding] else -(-units // PART[encoding])


def _segments(units: int, encoding: Encoding, widths: Iterable[int]) -> int:
    if units <= SINGLE[encoding]:
        return 1
    room = PART[encoding]
    count, used = 1, 0
    for width in widths:
        if used + width > room:
            count, used = count + 1, 0
        used += width
    return count


_LENGTH: Final[dict[LengthUnit, Callable[[str], int]]] = {
    "characters": len,
    "septets": septets,
    "bytes": lambda text: len(text.encode("utf-8", "surrogatepass")),
}


def length(text: str, unit: LengthUnit = "characters") -> int:
    """The length a limit is compared with (decision C-7): Unicode code points unless the operator chose otherwise."""
    return _LENGTH[unit](unix_newlines(text))
