"""Parameters of Kannel's `sendsms`. Pure.

https://www.kannel.org/download/kannel-userguide, section "sendsms". Texts arrive percent-encoded in the charset that
the request names; without one UTF-8, or UTF-16BE with coding=2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from sipsms.core.charset import decode, is_known

ACCEPTED: Final = "0: Accepted for delivery"
QUEUED: Final = "3: Queued for later delivery"
MAX_NUMBERS: Final = 100
_LONGEST: Final = 366 * 1440  # minutes; the longest deferral and validity
_NAMES: Final = {"user": "username", "pass": "password", "dlrmask": "dlr-mask", "dlrurl": "dlr-url"}


class Rejected(Exception):
    """A request that is rejected. The text is the body of the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    numbers: tuple[str, ...]
    source: str
    text: str
    mask: int = 0  # dlr-mask: requested delivery reports
    url: str = ""  # dlr-url: receives the delivery reports
    deferred: int = 0  # minutes
    validity: int = 0  # minutes; 0: the default


def parameters(query: str, body: str = "") -> dict[str, str]:
    """Return parameters with names in lower case.

    Each byte of a value is one character here, because only the charset parameter tells its meaning."""
    found: dict[str, str] = {}
    for part in (query, body):
        for name, value in parse_qsl(part, keep_blank_values=True, encoding="latin-1", max_num_fields=100):
            found.setdefault(_NAMES.get(name.lower(), name.lower()), value)
    return found


def with_text(query: str, body: str, charset: str = "") -> dict[str, str]:
    """Return the parameters of a POST; its body is the text if the query names receivers but no text."""
    found = parameters(query)
    if "to" not in found or "text" in found:
        return parameters(query, body)
    return {"charset": charset, **found, "text": body}


def credentials(found: Mapping[str, str]) -> tuple[str, str]:
    return tuple(_utf8(found.get(name, "")) for name in ("username", "password"))  # type: ignore[return-value]


def read(found: Mapping[str, str]) -> Request:
    """Return the checked request. Raises Rejected."""
    numbers = tuple(dict.fromkeys(_numbers(found.get("to", ""))))
    if not numbers:
        raise Rejected("Missing receiver number, rejected")
    if len(numbers) > MAX_NUMBERS:
        raise Rejected(f"Too many receivers, at most {MAX_NUMBERS}, rejected")
    if found.get("udh") or found.get("coding") == "1":
        raise Rejected("Binary messages are not supported, rejected")
    mask, url = _number(found, "dlr-mask", 31), _utf8(found.get("dlr-url", ""))
    return Request(
        numbers, _utf8(found.get("from", "")), _text(found), mask if url else 0, url,
        _number(found, "deferred", _LONGEST), _number(found, "validity", _LONGEST),
    )  # fmt: skip


def _numbers(value: str) -> list[str]:
    """Return the receivers, separated by spaces. An unencoded `+` (`to=+1555...`) arrives as a space."""
    return ["+" + one if value.startswith(" ") and len(one) > 10 and one.isdigit() else one for one in value.split()]


def _text(found: Mapping[str, str]) -> str:
    wide = found.get("coding") == "2"
    name = found.get("charset", "").strip() or ("utf-16be" if wide else "utf-8")
    if not is_known(name):
        raise Rejected("Unknown charset, rejected")
    try:
        return decode(found.get("text", "").encode("latin-1"), name)
    except UnicodeDecodeError:
        raise Rejected("Charset conversion failed, rejected") from None


def _utf8(value: str) -> str:
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def _number(found: Mapping[str, str], name: str, most: int) -> int:
    value = found.get(name, "").strip() or "0"
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or int(value) > most:
        raise Rejected(f"Invalid {name}, rejected")
    return int(value)
