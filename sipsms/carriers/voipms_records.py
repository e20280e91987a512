"""VoIP.ms' own records of messages: rows of getSMS and getMMS, and their times. Pure.

    {"id": "10456720", "date": "2026-10-02 14:24:31", "type": "1", "did": "4505550194", "contact": "4385550107",
     "message": "text or null", "col_media1": "https://...", "col_media2": "", "media": ["https://..."]}

Times are those of a clock on a wall in New York, asked for with `timezone=-5`, daylight saving included. So one hour of
the year comes twice: a row of that hour may be meant at either of two moments, and counts as inside a window if one
of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from sipsms.carriers import payload
from sipsms.core.e164 import normalise
from sipsms.messaging.carrier import HookError, InboundMedia, InboundSms

TIMEZONE: Final = "-5"  # Eastern, as the carrier's own application asks
MAX_DAYS: Final = 92  # of one request; more is `invalid_daterange`
_COLUMN: Final = re.compile(r"col_media[0-9]{1,2}")


@cache
def new_york() -> ZoneInfo:
    """Asked for when it is needed: a host without time zones can still have other carriers."""
    return ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    at: tuple[float, float]  # seconds since the epoch; the two differ in the hour that comes twice
    did: str
    contact: str
    text: str
    media: tuple[InboundMedia, ...] = ()

    def is_after(self, moment: float) -> bool:
        return max(self.at) >= moment

    def distance(self, moment: float) -> float:
        return min(abs(one - moment) for one in self.at)


def days(first: float, last: float) -> list[tuple[str, str]]:
    """A range of dates; none is longer than the carrier allows."""
    begin, end = (datetime.fromtimestamp(one, new_york()).date() for one in (first, last))
    ranges = []
    while begin <= end:
        until = min(end, begin + timedelta(days=MAX_DAYS - 1))
        ranges.append((begin.isoformat(), until.isoformat()))
        begin = until + timedelta(days=1)
    return ranges


def halves(begin: str, end: str) -> list[tuple[str, str]]:
    """The range in two, for an answer that was too large; empty for a single day."""
    first, last = datetime.fromisoformat(begin).date(), datetime.fromisoformat(end).date()
    if first >= last:
        return []
    middle = first + (last - first) // 2
    return [(begin, middle.isoformat()), ((middle + timedelta(days=1)).isoformat(), end)]


def rows(answer: Mapping[str, Any]) -> list[Row]:
    """Those that can be read, oldest first. getMMS has them under `sms` too."""
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
            payload.clean(text) if isinstance(text, str) else "",
            media_in(row),
        )
    except HookError:
        return None


def moments(date: str) -> tuple[float, float]:
    """`2026-10-02 14:24:31` -> the moment, or the two it may be. Raises HookError."""
    try:
        wall = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=new_york())
        return wall.timestamp(), wall.replace(fold=1).timestamp()
    except (ValueError, OverflowError, OSError):
        raise HookError(400, "date is not YYYY-MM-DD HH:MM:SS") from None


def media_in(row: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    """`media` as a list or as an object by number, else the columns; empty slots are left out."""
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
    """The same for the URL callback, the webhook and the records, however each of them writes numbers.

    With both numbers in it, since nobody says that SMS and MMS are counted in one sequence.
    """
    return f"{remote_id}/{normalise(source) or source}/{normalise(destination) or destination}"


def letters(text: str) -> str:
    """What no carrier changes about a text: its ASCII letters and digits."""
    return "".join(c for c in text if c.isascii() and c.isalnum()).lower()
