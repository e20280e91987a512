"""Texts as SMPP octets: data_coding, the GSM alphabet, user data headers. Pure.

Sources: SMPP v3.4 section 5.2.19, 3GPP TS 23.038 section 4, TS 23.040 9.2.3.24. Two systems must agree on the meaning
of data_coding 0. For data_coding 1 some libraries send GSM octets instead of the specified IA5. Each bind may therefore
have its own table, and `ia5` reads octets as GSM that can be no ASCII text, see `_from_gsm`.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF16_LE
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from sipsms.core.segmentation import BASIC, CHARSETS, EXTENSION, Charset, encoding_of, keep_escape, keep_halves, pieces
from sipsms.smpp.pdu import MAX_SHORT

UDHI: Final = 0x40  # bit of esm_class: short_message begins with a user data header
RECEIPT: Final = 0x04  # bit of esm_class: the message is a delivery receipt
NOTIFICATION: Final = 0x20  # bit of esm_class: intermediate notification
TYPE: Final = 0x3C  # bits of esm_class that are 0 in a message from a person

_ALPHABET: Final = BASIC[:27] + "\x1b" + BASIC[27:]
_EXTENDED: Final = dict(zip(EXTENSION, (0x0A, 0x14, 0x28, 0x29, 0x2F, 0x3C, 0x3D, 0x3E, 0x40, 0x65), strict=True))
_TO_GSM: Final = {
    **{ord(char): chr(code) for code, char in enumerate(_ALPHABET)},
    **{ord(char): "\x1b" + chr(code) for char, code in _EXTENDED.items()},
}
_FROM_GSM: Final = dict(enumerate(_ALPHABET))
_FROM_EXTENSION: Final = {chr(code): char for char, code in _EXTENDED.items()}
_SAME: Final = re.compile(rb"[\n\r !\"#%&'()*+,\-./0-9:;<=>?A-Za-z]*").fullmatch  # the same in GSM and ASCII
_same_text: Final = re.compile(r"[\n\r !\"#%&'()*+,\-./0-9:;<=>?A-Za-z]*").fullmatch
_ESCAPE: Final = re.compile("\x1b(.?)", re.DOTALL)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]").search  # no text in ASCII, letters in GSM
Readable = Charset | Literal["iso-8859-5", "iso-8859-8", "jis", "euc-kr"]  # the others are only read, never written
_CODECS: Final[Mapping[Readable, str]] = {
    "latin1": "latin-1", "utf8": "utf-8", "ucs2": "utf-16-be", "iso-8859-5": "iso-8859-5", "iso-8859-8": "iso-8859-8",
    "jis": "iso2022_jp_ext", "euc-kr": "cp949",
}  # fmt: skip


class CodingError(ValueError):
    """Octets that are no text of the alphabet, or a broken user data header."""


def decode(octets: bytes, charset: Readable) -> str:
    """Decode octets; half of a surrogate pair, continued in the next segment, is kept. Raises CodingError.

    A byte order mark is no part of the text; FF FE means little-endian (RFC 2781 section 3.2)."""
    match charset:
        case "gsm" | "ia5":
            return _from_gsm(octets, ia5=charset == "ia5")
        case "ucs2":
            if len(octets) % 2:
                raise CodingError("an odd number of octets in UCS-2")
            order = "utf-16-le" if octets.startswith(BOM_UTF16_LE) else "utf-16-be"
            return octets.decode(order, "surrogatepass").removeprefix("\ufeff")
        case "jis" if not octets.isascii():
            return _japanese(octets)
        case _:
            return octets.decode(_CODECS[charset], "replace").removeprefix("\ufeff")


def decode_segment(octets: bytes, charset: Readable) -> str:
    """Decode one segment of a longer text: what is cut at its end waits for the next segment. Raises CodingError."""
    text = keep_halves(decode(octets, charset))
    is_escaped = charset in ("gsm", "ia5") and octets.isascii() and octets.endswith(b"\x1b")
    return keep_escape(text) if is_escaped else text


def _from_gsm(octets: bytes, *, ia5: bool) -> str:
    """Decode GSM octets, one septet in each octet; Latin-1 if an octet is above 0x7F.

    `ia5`: the specification says IA5, but node-smpp sends the GSM alphabet. Only octets that are no text in ASCII, as
    the escape, mean GSM."""
    if _SAME(octets):
        return octets.decode("ascii")
    if not octets.isascii():
        return octets.decode("latin-1")
    text = octets.decode("ascii")
    if ia5 and not _CONTROL(octets):
        return text
    if "\x1b" not in text:
        return text.translate(_FROM_GSM)
    # An unknown escape shows the character after it (TS 23.038 section 6.2.1.1).
    parts = _ESCAPE.split(text)
    found = [parts[0].translate(_FROM_GSM)]
    for escaped, rest in zip(parts[1::2], parts[2::2], strict=True):
        found += [_FROM_EXTENSION.get(escaped) or escaped.translate(_FROM_GSM), rest.translate(_FROM_GSM)]
    return "".join(found)


def _japanese(octets: bytes) -> str:
    """Decode JIS octets above 0x7F: EUC-JP if they can be that, else Shift JIS."""
    try:
        return octets.decode("euc_jp")
    except UnicodeDecodeError:
        return octets.decode("cp932", "replace")


def encode(text: str, charset: Charset) -> bytes | None:
    """Encode a text; None if the alphabet lacks a character."""
    if charset in ("gsm", "ia5"):
        if _same_text(text):
            return text.encode("ascii")
        if charset == "ia5":
            return text.encode("ascii") if text.isascii() else None
        return text.translate(_TO_GSM).encode("latin-1") if encoding_of(text) == "gsm7" else None
    try:
        return text.encode(_CODECS[charset])
    except UnicodeEncodeError:
        return None


def choose(text: str, charsets: Mapping[int, Charset] = CHARSETS) -> tuple[int, bytes]:
    """Return (data_coding, octets) in GSM (or the charset of data_coding 0), else in UCS-2."""
    octets = encode(text, charsets.get(0, "gsm"))
    if octets is not None:
        return 0, octets
    coding = next((coding for coding, charset in charsets.items() if charset == "ucs2"), 8)
    return coding, text.encode("utf-16-be", "replace")


_SELDOM: Final[Mapping[int, Readable]] = {  # section 5.2.19
    5: "jis", 6: "iso-8859-5", 7: "iso-8859-8", 10: "jis", 13: "jis", 14: "euc-kr",
}  # fmt: skip


def charset_of(data_coding: int, charsets: Mapping[int, Charset] = CHARSETS) -> Readable | None:
    """Return the charset of a data_coding; None for binary, compressed and reserved codings.

    Codings below 0x10 are SMPP's own (section 5.2.19). The others are of 3GPP TS 23.038 section 4, whose default
    alphabet is that of data_coding 0: with a message class or for automatic deletion, message waiting indications."""
    found = charsets.get(data_coding) or _SELDOM.get(data_coding)
    if found is not None or data_coding < 0x10:
        return found
    default, group = charsets.get(0, "gsm"), data_coding & 0xF0
    wide = charsets.get(8, "ucs2")
    if group in (0x10, 0x40, 0x50):  # general: bits 3 and 2 are the alphabet
        return (default, None, wide, None)[data_coding >> 2 & 3]
    return {0xC0: default, 0xD0: default, 0xE0: wide, 0xF0: None if data_coding & 0x04 else default}.get(group)


# --- user data headers -----------------------------------------------------------------------------------------------


class Concat(NamedTuple):
    """Number of a segment within its long text (section 9.2.3.24.1 and .8)."""

    reference: int
    total: int
    number: int  # from 1
    wide: bool = False  # the reference has 16 bits


class UserData(NamedTuple):
    """Content after a user data header, with the header's elements."""

    octets: bytes  # without the header
    concat: Concat | None = None
    others: bool = False  # for a program at a port of the phone: WAP push, a ringtone


_PORTS: Final = frozenset({0x04, 0x05})  # any other element that is not known is skipped (section 9.2.3.24)


def read_user_data(octets: bytes) -> UserData:
    """Split a user data header from its content. Raises CodingError."""
    if not octets or octets[0] + 1 > len(octets):
        raise CodingError("the user data header is longer than the message")
    end, at = octets[0] + 1, 1
    concat, others = None, False
    while at < end:
        if at + 2 > end or at + 2 + octets[at + 1] > end:
            raise CodingError("an element of the user data header has no end")
        kind, value = octets[at], octets[at + 2 : at + 2 + octets[at + 1]]
        at += 2 + len(value)
        if kind == 0x00 and len(value) == 3:
            concat = Concat(value[0], value[1], value[2])
        elif kind == 0x08 and len(value) == 4:
            concat = Concat(value[0] << 8 | value[1], value[2], value[3], wide=True)
        others = others or kind in _PORTS
    return UserData(octets[end:], _possible(concat), others)


def _possible(concat: Concat | None) -> Concat | None:
    """Return None for impossible numbers, which count as absent (section 9.2.3.24.1)."""
    return concat if concat is not None and 1 <= concat.number <= concat.total else None


def concat_header(reference: int, total: int, number: int) -> bytes:
    """Return a header with an 8-bit reference, because some phones support no other."""
    return bytes((5, 0, 3, reference & 0xFF, total, number))


def is_receipt(esm_class: int) -> bool:
    """Return True for a delivery receipt or an intermediate notification."""
    return esm_class & TYPE in (RECEIPT, NOTIFICATION)


class Segment(NamedTuple):
    """Content of one PDU of a text."""

    esm_class: int
    data_coding: int
    octets: bytes


def segments_of(text: str, reference: int, charsets: Mapping[int, Charset] = CHARSETS) -> list[Segment]:
    """Split a text that is too long for one PDU into segments with headers (3GPP TS 23.040 9.2.3.24.1)."""
    spans = pieces(text, 0, "segments")
    coding, whole = choose(text, charsets)
    if len(spans) == 1 and len(whole) <= MAX_SHORT:
        return [Segment(0, coding, whole)]
    charset = charsets.get(coding, "ucs2")
    found = []
    for index, (start, end) in enumerate(spans):
        part = text[start:end]
        octets = encode(part, charset) or part.encode("utf-16-be", "replace")
        found.append(Segment(UDHI, coding, concat_header(reference, len(spans), index + 1) + octets))
    return found
