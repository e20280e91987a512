"""Records of messages at VoIP.ms: rows of getSMS and getMMS, and their times. Pure.

    {"id": "10456720", "date": "2026-10-02 14:24:31", "type": "1", "did": "4505550194", "contact": "4385550107",
     "message": "text or null", "col_media1": "https://...", "col_media2": "", "media": ["https://..."]}

Times are local times of New York, requested with `timezone=-5`, and include daylight saving time. One hour of the year
therefore occurs twice. A row of that hour can mean either of two moments, and counts as inside a window if one of the
two moments is inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sipsms.carriers import payload
from sipsms.core.charset import storable
from sipsms.core.clock import new_york
from sipsms.core.e164 import normalise
from sipsms.messaging.carrier import HookError, InboundMedia, InboundSms

TIMEZONE: Final = "-5"  # Eastern time, as in the carrier's own application
MAX_DAYS: Final = 92  # days of one request; more is refused with `invalid_daterange`
_COLUMN: Final = re.compile(r"col_media[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Row:
    """Record of one message."""

    id: str
    at: tuple[float, float]  # seconds since the epoch; two moments in the hour that occurs twice
    did: str
    contact: str
    text: str
    media: tuple[InboundMedia, ...] = ()

    def is_after(self, moment: float) -> bool:
        return max(self.at) >= moment

    def distance(self, moment: float) -> float:
        return min(abs(one - moment) for one in self.at)


def days(first: float, last: float) -> list[tuple[str, str]]:
    """Split a time range into date ranges of the length that the carrier allows."""
    begin, end = (datetime.fromtimestamp(one, new_york()).date() for one in (first, last))
    ranges = []
    while begin <= end:
        until = min(end, begin + timedelta(days=MAX_DAYS - 1))
        ranges.append((begin.isoformat(), until.isoformat()))
        begin = until + timedelta(days=1)
    return ranges


def halves(begin: str, end: str) -> list[tuple[str, str]]:
    """Return the two halves of a range whose response was too large; empty for a single day."""
    first, last = datetime.fromisoformat(begin).date(), datetime.fromisoformat(end).date()
    if first >= last:
        return []
    middle = first + (last - first) // 2
    return [(begin, middle.isoformat()), ((middle + timedelta(days=1)).isoformat(), end)]


def rows(answer: Mapping[str, Any]) -> list[Row]:
    """Return the readable rows, oldest first; getMMS may also use the key `sms`."""
    found = answer.get("sms")
    if not isinstance(found, list):
        found = payload.sequence(answer.get("mms"))
    return sorted(_readable(found), key=lambda row: (row.at, row.id))


def _readable(found: list[Any]) -> Iterator[Row]:
    for one in found:
        row = _row(payload.mapping(one))
        if row is not None:
            yield row


def _row(row: Mapping[str, Any]) -> Row | None:
    text = row.get("message")
    try:
        return Row(
            payload.number_of(row.get("id"), "id"),
            moments(payload.text_of(row.get("date"), "date")),
            payload.number_of(row.get("did"), "did"),
            payload.number_of(row.get("contact"), "contact"),
            storable(text) if isinstance(text, str) else "",
            media_in(row),
        )
    except HookError:
        return None


def moments(date: str) -> tuple[float, float]:
    """Return the moment of `2026-10-02 14:24:31`, or its two possible moments. Raises HookError."""
    try:
        wall = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=new_york())
        return wall.timestamp(), wall.replace(fold=1).timestamp()
    except (ValueError, OverflowError, OSError):
        raise HookError(400, "date is not YYYY-MM-DD HH:MM:SS") from None


def media_in(row: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    """Return the media: `media` as a list or object, else the columns, without empty slots."""
    found = row.get("media")
    if isinstance(found, dict):
        found = list(found.values())
    listed = payload.media_of((url, None, None) for url in payload.sequence(found))
    if listed:
        return listed
    return payload.media_of((row[key], None, None) for key in sorted(row) if _COLUMN.fullmatch(key))


def inbound(row: Row) -> InboundSms:
    return InboundSms(row.contact, row.did, row.text, row.id, row.media, dedupe=dedupe(row.id, row.contact, row.did))


def dedupe(remote_id: str, source: str, destination: str) -> str:
    """Return a key that is the same for the URL callback, the webhook and the records.

    Their different spellings of numbers are normalised. The key contains both numbers, because SMS and MMS may have
    separate id sequences.
    """
    return f"{remote_id}/{normalise(source) or source}/{normalise(destination) or destination}"


def letters(text: str) -> str:
    """Return the ASCII letters and digits of a text, which no carrier changes."""
    return "".join(c for c in text if c.isascii() and c.isalnum()).lower()
