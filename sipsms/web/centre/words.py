"""States, times, amounts and events as words that people read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sipsms.core.user import Role


class Look(NamedTuple):
    """A state on a page: never by colour alone."""

    icon: str
    tone: str  # ok, warn, bad; empty: plain
    words: str


# The states of a message (`core.message.State`, and `held` for one that waits for its time).
STATES: Final[Mapping[str, Look]] = {
    "held": Look("calendar", "", "Scheduled"),
    "queued": Look("clock", "", "Waiting"),
    "sending": Look("sending", "", "Sending"),
    "accepted": Look("check", "", "Sent"),
    "delivered": Look("checks", "ok", "Delivered"),
    "unknown": Look("help", "warn", "May have arrived"),
    "failed": Look("alert", "bad", "Not delivered"),
    "expired": Look("alert", "bad", "Not sent in time"),
    "cancelled": Look("x", "", "Cancelled"),
    "received": Look("", "", "Received"),
}

ROLES: Final[Mapping[Role, str]] = {
    Role.OPERATOR: "Operator: the whole server",
    Role.RESELLER: "Reseller: a customer and its clients",
    Role.CUSTOMER: "Manager: all numbers and people",
    Role.USER: "User: the numbers that are given",
}
THEMES: Final[Mapping[str, str]] = {"": "As the device", "light": "Light", "dark": "Dark"}
LANGUAGES: Final[Mapping[str, str]] = {"en": "English"}

# What a page says after a change, by the word in its address (`?said=`).
SAID: Final[Mapping[str, str]] = {
    "signed-out": "You are signed out.",
    "password-set": "Your password is set. Sign in with it.",
    "password": "Your password is changed. Other browsers are signed out.",
    "totp-off": "The authenticator app is off.",
    "ended": "That browser is signed out.",
    "ended-others": "All other browsers are signed out.",
    "look": "Saved.",
    "saved": "Saved.",
    "removed": "Removed.",
    "sessions-ended": "All their browsers are signed out.",
    "totp-reset": "Their authenticator app is removed, and their browsers are signed out.",
    "view-ended": "You see your own pages again.",
}

ACTIONS: Final[Mapping[str, str]] = {
    "user_added": "added a person",
    "user_changed": "changed a person",
    "user_removed": "removed a person",
    "link_made": "made a link to set a password",
    "password_set": "set a password",
    "sessions_ended": "signed a person out everywhere",
    "totp_on": "switched an authenticator app on",
    "totp_off": "switched an authenticator app off",
    "totp_reset": "removed a lost authenticator app",
    "recovery_codes": "made new recovery codes",
    "view_as": "began to view the pages of",
    "view_as_ended": "ended the view of",
}


def action(name: str) -> str:
    return ACTIONS.get(name, name.replace("_", " "))


def count(number: int, one: str, many: str = "") -> str:
    """Return `1 person`, `1,204 people`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a time to wait in words, rounded up: `40 seconds`, `2 minutes`, `3 hours`."""
    whole = max(int(-(-seconds // 1)), 1)
    if whole < 60:
        return count(whole, "second")
    minutes = -(-whole // 60)
    return count(minutes, "minute") if minutes < 60 else count(-(-minutes // 60), "hour")


def moment(at: float, zone: str, now: float) -> str:
    """Return a time in a zone, as short as it is clear: `14:03`, `28 Nov, 14:03`, `28 Nov 2025, 14:03`."""
    when, today = _local(at, zone), _local(now, zone)
    clock = when.strftime("%H:%M")
    if when.date() == today.date():
        return clock
    day = f"{when.day} {when.strftime('%b')}"
    return f"{day}, {clock}" if when.year == today.year else f"{day} {when.year}, {clock}"


def iso(at: float, zone: str = "UTC") -> str:
    """Return a time for the attribute `datetime` of <time>."""
    return _local(at, zone).isoformat(timespec="seconds")


def _local(at: float, zone: str) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone or "UTC"))


def money(amount: float, currency: str = "$", digits: int = 2) -> str:
    """Return an amount: `$1,204.50`, `-$0.0075` with four digits."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{currency}{abs(amount):,.{digits}f}"


def number(digits: str) -> str:
    """Return a number of the North American plan in groups; any other as it is."""
    bare = digits.removeprefix("+")
    bare = bare[1:] if len(bare) == 11 and bare.startswith("1") else bare
    if len(bare) == 10 and bare.isascii() and bare.isdigit():
        return f"{bare[:3]} {bare[3:6]} {bare[6:]}"
    return digits


def browser(agent: str) -> str:
    """Return the name of a browser and its system, as its User-Agent says them."""
    name = next((words for mark, words in _BROWSERS if mark in agent), "")
    system = next((words for mark, words in _SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, (name, system))) or agent[:60] or "An unknown browser"


_BROWSERS: Final = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def sign_in_refused(pause: float, tries: int, *, paused: bool, what: str) -> str:
    """Return the sentence for a wrong name, password or code. `what`: the first sentence, if it was looked at."""
    if paused:
        return f"There were too many wrong tries. Wait {duration(pause)}, then try again."
    if pause > 0:
        return f"{what} Wait {duration(pause)} before the next try."
    return f"{what} {count(tries, 'more try', 'more tries')}, then a pause of one minute."


def initials(name: str) -> str:
    parts = [part for part in name.replace(".", " ").replace("-", " ").replace("_", " ").split() if part]
    return "".join(part[0] for part in parts[:2]).upper() or "?"
