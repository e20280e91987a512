"""Parameters, status words and times of VoIP.ms' REST API. Pure.

Every value becomes a bounded text without NUL and lone surrogates here, so later code need not check it. Only
`Params.raw` returns the value as it came, because the sender judges the text of a message itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sipsms.core.account import Account
from sipsms.core.clock import new_york
from sipsms.core.e164 import normalise
from sipsms.web.request import Fields

EASTERN: Final = -5.0  # the value of `timezone` for New York, daylight saving included
MAX_DAYS: Final = 92
MAX_VALUE: Final = 4096  # characters of a parameter other than a message or file
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[ T][0-9:.]{0,15})?")
_HOURS: Final = re.compile(r"[+-]?[0-9]{1,2}(?:\.[0-9]{1,2})?")
_ON: Final = frozenset({"1", "true", "yes", "on", "y"})
_OFF: Final = frozenset({"0", "false", "no", "off", "n"})

Row = dict[str, Any]
Answer = Row | bytes  # the fields beside `status`, or the whole answer as bytes


class Refused(Exception):
    """A rejected call: `word` is the status of the answer, `reason` is for the client's author."""

    def __init__(self, word: str, reason: str = "") -> None:
        super().__init__(word)
        self.word = word
        self.reason = reason


class Params:
    """The parameters of one request; of several values the first."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def given(self, *names: str) -> bool:
        """Return whether one of these parameters is present, even if empty; a JSON null is not."""
        return any(value is not None for name in names for value in self._fields.get(name, ()))

    def raw(self, *names: str) -> str | bytes:
        """Return the first value that is not empty, a text or the bytes of a file; else an empty text."""
        for name in names:
            for value in self._fields.get(name, ()):
                if found := _plain(value):
                    return found
        return ""

    def text(self, *names: str) -> str:
        value = self.raw(*names)
        if isinstance(value, bytes):
            value = value[: 4 * MAX_VALUE].decode("utf-8", "replace")
        return value[:MAX_VALUE].encode("utf-8", "replace").decode().replace("\0", "\ufffd").strip()

    def whole(self, word: str, *names: str) -> str:
        """Return a text that will be stored. Raises Refused if the text would have to be cut."""
        if len(self.raw(*names)) > MAX_VALUE:
            raise Refused(word, f"{names[0]} is longer than {MAX_VALUE} characters")
        return self.text(*names)

    def flag(self, word: str, *names: str) -> bool | None:
        """Return the value of a flag; None if absent. Raises Refused."""
        text = self.text(*names).lower()
        if not text:
            return None
        if text not in _ON | _OFF:
            raise Refused(word, f"{names[0]} is 1 or 0")
        return text in _ON

    def number(self, word: str, *names: str) -> str:
        """Return a telephone number in stored form; empty if absent. Raises Refused."""
        text = self.whole(word, *names)
        number = normalise(text) if text else ""
        if number is None:
            raise Refused(word, f"{text[:32]} is not a telephone number")
        return number


def _plain(value: Any) -> str | bytes:
    """Return a JSON number or boolean as text; a list or object counts as empty."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    return value if isinstance(value, (str, bytes)) else ""


@dataclass(slots=True)
class Call:
    """A customer's request. `answered` is called once the client has probably received the answer."""

    account: Account
    params: Params
    address: str
    answered: Callable[[], None] | None = None


Method = Callable[[Call], Awaitable[Answer]]


# --- times -----------------------------------------------------------------------------------------------------------


def shift_of(params: Params) -> timedelta:
    """Return the offset from New York's clock: `timezone=N` adds N + 5 hours. Raises Refused."""
    text = params.text("timezone")
    if not text:
        return timedelta()
    if not _HOURS.fullmatch(text) or not -12 <= float(text) <= 14:
        raise Refused("invalid_timezone", "timezone is a number of hours from -12 to 14")
    return timedelta(hours=float(text) - EASTERN)


def wall(moment: float, shift: timedelta = timedelta()) -> str:
    """Return the time on New York's clock in the API's format."""
    return f"{datetime.fromtimestamp(moment, new_york()).replace(tzinfo=None) + shift:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Days:
    """A range of whole days (ISO dates) on a clock that differs from New York's by `shift`."""

    first: str
    last: str
    shift: timedelta

    def has(self, shown: str) -> bool:
        """Return whether a time in the format of `wall` is in the range."""
        return self.first <= shown[:10] <= self.last

    def bounds(self) -> tuple[float, float]:
        """Return times before and after the range, with a margin for changes of daylight saving time."""
        begin = datetime.fromisoformat(self.first) - self.shift - timedelta(hours=2)
        end = datetime.fromisoformat(self.last) - self.shift + timedelta(hours=26)
        return begin.replace(tzinfo=new_york()).timestamp(), end.replace(tzinfo=new_york()).timestamp()


def days_of(params: Params, now: float) -> Days:
    """Return the days from `from` to `to`, by default today or the other date. Raises Refused."""
    shift = shift_of(params)
    today = date.fromisoformat(wall(now, shift)[:10])
    begin = _date(params.text("from", "date_from"), "invalid_date_from")
    end = _date(params.text("to", "date_to"), "invalid_date")
    last = end or max(begin or today, today)
    first = begin or min(last, today)
    if not 0 <= (last - first).days <= MAX_DAYS:
        raise Refused("invalid_daterange", f"from {first} to {last}: at most {MAX_DAYS} days, the earlier date first")
    return Days(first.isoformat(), last.isoformat(), shift)


def _date(text: str, word: str) -> date | None:
    """Return a date; None if absent. Raises Refused."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        found = date(*map(int, match.groups())) if match else None
    except ValueError:
        found = None
    if found is None or not 1990 <= found.year <= 2200:
        raise Refused(word, f"{text[:32]} is not a date: YYYY-MM-DD")
    return found


def on(value: object) -> str:
    return "1" if value else "0"
