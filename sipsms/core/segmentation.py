"""Alphabets, septets and segments of SMS texts. Pure.

One SMS carries 140 octets: 160 septets of the GSM default alphabet (3GPP TS 23.038) or 70 units of UCS-2. A longer text
travels in segments, each of which gives 6 octets to the concatenation header: 153 septets or 67 units. A segment must
not end inside an extension escape or a surrogate pair, so segments are counted by packing and not by division. Texts
are counted as they are. Only `length`, which is compared with limits, first turns CRLF into LF.
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
Charset = Literal["gsm", "ia5", "latin1", "ucs2", "utf8"]
CHARSETS: Final[Mapping[int, Charset]] = {0: "gsm", 1: "ia5", 3: "latin1", 8: "ucs2"}  # SMPP 3.4 section 5.2.19

BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION: Final = "\f^{}\\[~]|€"  # each after an escape: two septets

SINGLE: Final = {"gsm7": 160, "ucs2": 70}
PART: Final = {"gsm7": 153, "ucs2": 67}

# A character class with * cannot backtrack, and runs at the speed of C for ordinary ASCII text.
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
    """Return how many of an SMS' 160 septets a text needs; 70 units of UCS-2 are exactly 160."""
    if _is_basic(text):
        return len(text)
    if _is_gsm(text):
        return len(text) + len(_find_extension(text))
    return -(-utf16_units(text) * 16 // 7)


def segments(text: str) -> int:
    """Return the number of SMS that a text needs; an empty text needs one."""
    if _is_basic(text):
        return 1 if len(text) <= SINGLE["gsm7"] else -(-len(text) // PART["gsm7"])
    if _is_gsm(text):
        return _segments(len(text) + len(_find_extension(text)), "gsm7", (1 + (c in EXTENSION) for c in text))
    return _segments(utf16_units(text), "ucs2", (1 + (c > "\uffff") for c in text))


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
    """Return the length to compare with a limit, by default in code points (decision C-7)."""
    return _LENGTH[unit](unix_newlines(text))


# --- splitting long texts ---------------------------------------------------------------------------------------------

_ZWJ: Final = "\u200d"
_BACK: Final = 20  # characters; a word moves to the next part if it begins within these
_SPACES: Final = " \n\t"


def pieces(text: str, size: int, unit: PieceUnit = "septets") -> list[tuple[int, int]]:
    """Return (start, end) of the parts of a text that are sent as separate SMS.

    The parts are in order and without gaps. `size` is the capacity of one part: code points, or septets. 160 septets
    are one SMS of the GSM alphabet, or 70 units of UCS-2 if the text has any other letter. A part ends after a space if
    there is one near, and never within a letter: escapes, surrogate pairs, combining marks and composed emoji stay
    together as long as they fit. There is at least one part; size 0 means no limit. Unit `segments`: the segments of
    one long SMS, whatever the size; see `_segments_of`.
    """
    if unit == "segments":
        return _segments_of(text)
    width, room = _measure(text, size, unit)
    if size <= 0 or sum(map(width, text)) <= room:
        return [(0, len(text))]
    found, start, used = [], 0, 0
    waiting = deque(letters(text, width, room))
    while waiting:
        begin, _, wide = waiting[0]
        if not used or used + wide <= room:
            used += wide
            waiting.popleft()
            continue
        cut = _near_space(text, start, begin)
        found.append((start, cut))
        start, used = cut, sum(map(width, text[cut:begin]))
    return [*found, (start, len(text))]


def _segments_of(text: str) -> list[tuple[int, int]]:
    """Return the segments of one long SMS. The phone joins them, so a cut may go through a word."""
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
    """Return a cut near `cut` that does not split a word; `cut` if no word begins near."""
    if text[cut] in _SPACES or text[cut - 1] in _SPACES:
        return cut
    spaces = (text.rfind(space, max(start, cut - _BACK), cut) for space in _SPACES)
    behind = max(spaces) + 1
    return behind if behind > start else cut


def letters(text: str, width: Callable[[str], int], room: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, width) of each letter as a reader sees it, in characters if wider than a part."""
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
    """Return whether a character is a regional indicator; two of them are a flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _belongs(before: str, char: str, flags: int) -> bool:
    """Return whether `char` continues a letter: a simplified form of grapheme clusters (UAX #29)."""
    if char.isascii():
        return before == "\r" and char == "\n"
    if char == _ZWJ or unicodedata.category(char) in ("Mn", "Me", "Mc"):
        return before not in _SPACES
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":  # skin tones, tags of flags
        return True
    if 0xD800 <= ord(before) <= 0xDBFF:  # halves of a surrogate pair
        return 0xDC00 <= ord(char) <= 0xDFFF
    return before == _ZWJ or (_is_flag(char) and flags == 1)


_HALVES: Final = 0xF0000 - 0xD800  # offset from a surrogate to its place in a plane for private use
_ESCAPE: Final = "\U000f0800"  # stands for an escape at the end of a segment: its letter is in the next one
_keep: Final = {code: code + _HALVES for code in range(0xD800, 0xE000)}
_find_kept: Final = re.compile("[\U000f0000-\U000f0800]").search
_mend: Final = {code + _HALVES: code for code in range(0xD800, 0xE000)}
_escaped: Final = re.compile(f"{_ESCAPE}(.?)", re.DOTALL).sub
# What an escape makes of the next letter (3GPP TS 23.038 section 6.2.1.1); @ is 0x40 in ASCII.
_EXTENDED: Final = {**dict(zip("\nΛ()/<=>¡e", EXTENSION, strict=True)), "@": "|"}


def keep_halves(text: str) -> str:
    """Replace lone surrogates, halves of cut letters, by characters for private use, which can be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_keep)
    return text


def keep_escape(text: str) -> str:
    """Return the text of a segment that ended with an escape, which waits for the next segment."""
    return text + _ESCAPE


def whole_letters(text: str) -> str:
    """Join surrogate halves to letters; a lone half becomes U+FFFD."""
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")


def _join_halves(text: str) -> str:
    if not _find_kept(text):
        return text
    text = _escaped(lambda escaped: _EXTENDED.get(escaped[1], escaped[1]), text)
    return whole_letters(text.translate(_mend))


def join_parts(parts: Mapping[int, str], total: int) -> str:
    """Join the segments of a long text (numbered from 1), with a note for missing segments."""
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
# Letters that Unicode does not decompose.
_NEAREST: Final = dict(zip("łŁđĐðÐþÞœŒıħĦŧŦ‐‑‒–—“”„«»", 'lLdDdDpPoOihHtT-----"""""', strict=True))


def sender_name(name: str, limit: int = 11) -> str:
    """Return a name as the handset displays it instead of a number (S-136 to S-139).

    The name has at most `limit` characters. A capital outside the alphabet becomes small (Ö: ö), another letter its
    nearest (â: a), and a letter without a nearest becomes `?`.
    """
    words = " ".join(unicodedata.normalize("NFC", name[:256]).split())
    return "".join(map(_sender_letter, words))[:limit].strip()


def _sender_letter(char: str) -> str:
    for near in (char, char.lower(), char.upper(), _NEAREST.get(char, ""), unicodedata.normalize("NFKD", char)[:1]):
        if near in SENDER_ALPHABET:
            return near
    return "" if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc") else "?"
