"""Charsets: octets of a declared charset become text, and a text becomes one that can be stored. Pure.

Every way in reads its texts here, so a byte order mark, an unknown charset and octets that are no text mean the same
everywhere. A client that waits for an answer is told that its octets cannot be read. A carrier is not: it could only
repeat the message, so its octets are read in one way or another (`decode_anyhow`).
Sources: RFC 2046 section 4.1.2, RFC 2781 (UTF-16), RFC 3629 section 6 (byte order marks), RFC 7578 section 4.6.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_LE
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

MOST_OF_URL: Final = 100_000  # fields; a URL has fewer
Pairs = list[tuple[str, str]]
BOM: Final = "\ufeff"
_UTF8_BOM: Final = BOM_UTF8.decode("latin-1")

# Charset name -> Python codec. Only these: Python also has codecs that are no charsets (zip, rot13), and slow ones.
_CODECS: Final = {
    **dict.fromkeys(("utf-8", "utf8", "unicode-1-1-utf-8"), "utf-8"),
    **dict.fromkeys(("utf-16", "utf16", "utf-16be", "ucs-2", "ucs2", "ucs-2be", "iso-10646-ucs-2"), "utf-16-be"),
    **dict.fromkeys(("utf-16le", "ucs-2le"), "utf-16-le"),
    **dict.fromkeys(("us-ascii", "ascii"), "ascii"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "l1"), "latin-1"),
    **{f"iso-8859-{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{f"windows-{n}": f"cp{n}" for n in range(1250, 1259)},
    **{f"cp{n}": f"cp{n}" for n in range(1250, 1259)},
    **dict.fromkeys(("gbk", "gb2312"), "gbk"), "gb18030": "gb18030", "big5": "big5",
    **dict.fromkeys(("shift-jis", "sjis", "windows-31j"), "cp932"), "euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp",
    **dict.fromkeys(("euc-kr", "ks-c-5601-1987"), "cp949"), "koi8-r": "koi8-r", "koi8-u": "koi8-u",
}  # fmt: skip
_NEXT_FIELD: Final = re.compile(r";(?=[A-Za-z_][A-Za-z0-9_.\-]*=)")


def is_known(charset: str) -> bool:
    return _name(charset) in _CODECS


def _name(charset: str) -> str:
    return charset.strip(" \t\"'").lower().replace("_", "-")


def decode(octets: bytes, charset: str = "utf-8") -> str:
    """Decode octets of a known charset. Raises UnicodeDecodeError.

    A byte order mark gives the order of UTF-16, and stays: `storable` and `Outbound.send` remove it.
    """
    codec = _CODECS[_name(charset)]
    if codec == "utf-16-be" and octets.startswith(BOM_UTF16_LE):
        codec = "utf-16-le"
    return octets.decode(codec)


def decode_or_mark(octets: bytes, charset: str = "") -> str:
    """Decode octets in their declared charset, else in UTF-8.

    Octets that are no text become lone surrogates, for which `Outbound.send` refuses a text.
    """
    try:
        return decode(octets, charset if is_known(charset) else "utf-8")
    except UnicodeDecodeError:
        return octets.decode("utf-8", "surrogateescape")


def decode_anyhow(octets: bytes, charset: str = "") -> str:
    """Decode octets in their declared charset, else in UTF-8, else in windows-1252, the usual charset besides."""
    for name in (charset, "utf-8"):
        try:
            return decode(octets, name if is_known(name) else "utf-8")
        except UnicodeDecodeError:
            continue
    return octets.decode("cp1252", "replace")


def form(raw: bytes, charset: str = "", most: int = MOST_OF_URL) -> Pairs:
    """Return the fields of a client's urlencoded form or query. Raises ValueError for more than `most`."""
    return _form(raw.decode("latin-1"), decode_or_mark, charset, most)


def callback_form(raw: bytes, charset: str = "", most: int = MOST_OF_URL) -> Pairs:
    """Return the fields of a carrier's form or query, which may also be separated by `;`. Raises ValueError."""
    return _form(_NEXT_FIELD.sub("&", raw.decode("latin-1")), decode_anyhow, charset, most)


def _form(text: str, decode_value: Callable[[bytes, str], str], charset: str, most: int) -> Pairs:
    """Return the fields in order; each character of `text` is one octet.

    A field `_charset_` names the charset if nothing else does.
    """
    text = text.removeprefix(_UTF8_BOM)
    pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=most)
    charset = charset or next((value for name, value in pairs if name == "_charset_"), "")
    if not charset and text.isascii() and "%" not in text:
        return pairs
    return [(decode_value(name.encode("latin-1"), charset), decode_value(value.encode("latin-1"), charset))
            for name, value in pairs]  # fmt: skip


def for_json(octets: bytes, charset: str) -> str | bytes:
    """Return what `json.loads` reads: the octets, unless their declared charset is none of Unicode.

    Raises UnicodeDecodeError.
    """
    is_unicode = not is_known(charset) or _CODECS[_name(charset)].startswith("utf")
    return octets if is_unicode else decode(octets, charset)


def storable(text: str) -> str:
    r"""Return a text without its byte order mark, NUL and halves of surrogate pairs, which the store refuses.

    The halves of one pair (JSON's \ud83d\ude00) become their letter, others U+FFFD, as does NUL.
    """
    if text.isascii():
        return text.replace("\0", "\ufffd")
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.removeprefix(BOM).replace("\0", "\ufffd")
