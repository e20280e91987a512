"""Fields and replies of Wildix' `originate/sms` (S-159..S-165), the replies word for word. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

MAX_NUMBERS: Final = 500
SOON: Final = 60.0  # seconds; a time within the current minute counts as now
LONGEST: Final = 366 * 86400.0  # seconds that a message may be postponed

SUCCESS: Final[dict[str, Any]] = {"type": "result", "result": "Success"}
_MOMENT: Final = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) ([0-9]{1,2}):([0-9]{2})")
_SPACES: Final = str.maketrans("'\"\\/", "    ")  # S-165
_CURL: Final = ("curl/", "asterisk-libcurl-agent/")


def warning(refused: Sequence[str]) -> dict[str, Any]:
    return {"type": "warning", "reason": "Unable to add a SMS to the queue", "result": list(refused)}


def error(reason: str) -> dict[str, Any]:
    return {"type": "error", "reason": reason, "result": None}


def as_curl_sends_it(message: str, user_agent: str) -> str:
    """Replace quotes, backslashes and slashes by spaces in messages sent by CURL, also Asterisk's (S-165)."""
    return message.translate(_SPACES) if user_agent.lower().startswith(_CURL) else message


def numbers_in(values: Iterable[str]) -> list[str]:
    """Return the distinct numbers of comma-separated lists; a space in front stands for an unencoded `+`."""
    found: dict[str, None] = {}
    for value in values:
        for one in value.split(","):
            bare = one.strip()
            if bare:
                found["+" + bare if one.startswith(" ") and bare[0] in "123456789" and len(bare) > 10 else bare] = None
    return list(found)


def moment(value: str, zone: tzinfo, now: float) -> float | None:
    """Parse `14/07/2014 15:35` (S-161) to seconds since the epoch; None for now. Raises ValueError."""
    text = value.strip()
    if not text:
        return None
    match = _MOMENT.fullmatch(text)
    try:
        day, month, year, hour, minute = (int(one) for one in match.groups()) if match else (0, 0, 0, 0, 0)
        at = datetime(year, month, day, hour, minute, tzinfo=zone).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("Postpone should be in the format dd/mm/YYYY HH:MM") from None
    if at < now - SOON:
        raise ValueError("Postpone is in the past")
    if at > now + LONGEST:
        raise ValueError("Postpone is more than a year ahead")
    return at if at > now else None
