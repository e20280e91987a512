"""What a text costs on the air: alphabet, septets, segments.

One SMS carries 140 octets: 160 septets of the GSM default alphabet (3GPP TS 23.038) or 70 units of UCS-2. A longer
text travels in segments, each of which gives 6 octets to the concatenation header: 153 septets or 67 units. A segment
never ends inside an extension escape or a surrogate pair, so the count comes from packing and not from a division.
Texts are counted as they stand; only `length`, which a limit is compared with, first turns CRLF into LF. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

Encoding = Literal["gsm7", "ucs2"]
LengthUnit = Literal["characters", "septets", "bytes"]
PieceUnit = Literal["characters", "septets", "segments"]

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


# --- long texts in pieces ---------------------------------------------------------------------------------------------

_ZWJ: Final = "\u200d"
_BACK: Final = 20  # characters; a word that would be cut goes to the next piece if it begins within these
_SPACES: Final = " \n\t"


def pieces(text: str, size: int, unit: PieceUnit = "septets") -> list[tuple[int, int]]:
    """(start, end) of the parts that a text goes in as SMS of their own, in order, without a gap.

    `size` is what one holds: code points, or septets: 160 are one SMS of the GSM alphabet, or 70 units of UCS-2 as soon
    as the text has any other letter. A part ends behind a space if there is one near, and never within a letter:
    escapes, surrogate pairs, marks on their letter and emoji of several stay together as long as they fit. At least one
    part; 0 is no limit. Unit `segments`: those of one long SMS, whatever the size; see `_segments_of`.
    """
    if unit == "segments":
        return _segments_of(text)
    width, room = _measure(text, size, unit)
    if size <= 0 or sum(map(width, text)) <= room:
        return [(0, len(text))]
    found, start, used = [], 0, 0
    letters = deque(_letters(text, width, room))
    while letters:
        begin, _, wide = letters[0]
        if not used or used + wide <= room:
            used += wide
            letters.popleft()
            continue
        cut = _near_space(text, start, begin)
        found.append((start, cut))
        start, used = cut, sum(map(width, text[cut:begin]))
    return [*found, (start, len(text))]


def _segments_of(text: str) -> list[tuple[int, int]]:
    """All of it if it is one SMS, else full segments: the phone joins them, so a cut may go through a word."""
    encoding = encoding_of(text)
    width, _ = _measure(text, 0, "septets")
    if sum(map(width, text)) <= SINGLE[encoding]:
        return [(0, len(text))]
    found, start, used = [], 0, 0
    for at, char in enumerate(text):
        wide = width(char)
        if used + wide > PART[encoding]:
            found.append((start, at))
            start, used = at, 0
        used += wide
    return [*found, (start, len(text))]


def _measure(text: str, size: int, unit: str) -> tuple[Callable[[str], int], int]:
    if unit == "characters":
        return (lambda c: 1), size
    if _is_gsm(text):
        return (lambda c: 1 + (c in EXTENSION)), size
    return (lambda c: 1 + (c > "\uffff")), size * 7 // 16


def _near_space(text: str, start: int, cut: int) -> int:
    """Where to cut instead, so that no word is; `cut` if none begins near."""
    if text[cut] in _SPACES or text[cut - 1] in _SPACES:
        return cut
    spaces = (text.rfind(space, max(start, cut - _BACK), cut) for space in _SPACES)
    behind = max(spaces) + 1
    return behind if behind > start else cut


def _letters(text: str, width: Callable[[str], int], room: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, width) of what a reader sees as one letter; of its characters if it is too wide for a part."""
    start = flags = 0
    for end in range(1, len(text) + 1):
        flags = flags + 1 if _is_flag(text[end - 1]) else 0
        if end < len(text) and _belongs(text[end - 1], text[end], flags):
            continue
        wide = sum(map(width, text[start:end]))
        if wide <= room:
            yield start, end, wide
        else:
            yield from ((at, at + 1, width(text[at])) for at in range(start, end))
        start, flags = end, 0


def _is_flag(char: str) -> bool:
    """A regional indicator: two of them are a flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _belongs(before: str, char: str, flags: int) -> bool:
    """A simple reading of Unicode's rules for grapheme clusters (UAX #29)."""
    if char.isascii():
        return before == "\r" and char == "\n"
    if char == _ZWJ or unicodedata.category(char) in ("Mn", "Me", "Mc"):
        return before not in _SPACES
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":  # colour of skin, tags of flags
        return True
    if "\ud800" <= before <= "\udbff":
        return "\udc00" <= char <= "\udfff"
    return before == _ZWJ or (_is_flag(char) and flags == 1)


_HALVES: Final = 0xF0000 - 0xD800  # from a surrogate to where it is kept: a plane for private use
_keep: Final = {code: code + _HALVES for code in range(0xD800, 0xE000)}
_find_kept: Final = re.compile("[\U000f0000-\U000f07ff]").search
_mend: Final = {code + _HALVES: code for code in range(0xD800, 0xE000)}


def keep_halves(text: str) -> str:
    """A part of a text that was cut through a letter outside the BMP: its half as something that can be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_keep)
    return text


def whole_letters(text: str) -> str:
    """Without halves: two that belong together are a letter, one alone is U+FFFD."""
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")


def _join_halves(text: str) -> str:
    return whole_letters(text.translate(_mend)) if _find_kept(text) else text


def join_parts(parts: Mapping[int, str], total: int) -> str:
    """The parts of a long text (from 1), as far as they came, with a note where some did not."""
    joined, missing = [], 0
    for number in range(1, max(total, *parts, 1) + 1 if parts else total + 1):
        if number not in parts:
            missing += 1
            continue
        joined += [_gap(number - missing, missing, total), parts[number]]
        missing = 0
    return _join_halves("".join([*joined, _gap(total - missing + 1, missing, total)]))


def _gap(first: int, count: int, total: int) -> str:
    if count < 2:
        return f"[part {first} of {total} is missing]" if count else ""
    return f"[parts {first} to {first + count - 1} of {total} are missing]"


# --- names as senders -------------------------------------------------------------------------------------------------

SENDER_ALPHABET: Final = frozenset(  # S-136
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    '@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&()*+,-./:;<>=?¡äöñüà'
)
# What Unicode does not take apart.
_NEAREST: Final = dict(zip("łŁđĐðÐþÞœŒıħĦŧŦ‐‑‒–—“”„«»", 'lLdDdDpPoOihHtT-----"""""', strict=True))


def sender_name(name: str, limit: int = 11) -> str:
    """A name as the handset shows it instead of a number (S-136 to S-139), cut to `limit` characters.

    A capital that the alphabet lacks becomes small (Ö: ö), another letter its nearest (â: a), and what
    has none `?`.
    """
    words = " ".join(unicodedata.normalize("NFC", name[:256]).split())
    return "".join(map(_sender_letter, words))[:limit].strip()


def _sender_letter(char: str) -> str:
    for near in (char, char.lower(), char.upper(), _NEAREST.get(char, ""), unicodedata.normalize("NFKD", char)[:1]):
        if near in SENDER_ALPHABET:
            return near
    return "" if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc") else "?"
