"""Requests to carriers and the outcomes of their responses, common to every carrier's `send`.

If nothing was sent, the outcome is deferred. If something was sent and no complete response came, the outcome is
unknown. Otherwise the status decides by the table in `by_status`, unless the carrier's own word says more
(`by_meaning`). A reason must not contain the carrier's sentences, because some carriers repeat the request in them,
including key and text.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from sipsms.carriers.settings import Meaning
from sipsms.core.http_client import MAX_ANSWER, HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, Unknown

MAX_RETRY_AFTER: Final = 3600.0
NOBODY_KNOWS: Final = frozenset({504, 520, 522, 524})  # sent by proxies: the carrier behind them may have the message
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")


async def ask(
    client: HttpClient, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0
) -> HttpReply | Outcome:
    """Send a request once and never again; return the response, or the outcome if there is none."""
    try:
        return await client.request(method, url, headers=headers, body=body, timeout=timeout)
    except NotSent as error:
        return Deferred(f"not sent: {error}", scope=Scope.COURIER)
    except NoAnswer as error:
        return Unknown(f"no answer: {error}")


def by_status(answer: HttpReply) -> Outcome:
    """Return the outcome of a response that does not accept the message, by its status alone."""
    status = answer.status
    if 200 <= status < 300:
        return Unknown(f"answered {status} with a body that is not understood")
    if status in (401, 402, 403, 407):
        return Deferred(f"answered {status}: the carrier refuses our credentials", scope=Scope.COURIER)
    if status in NOBODY_KNOWS:
        return Unknown(f"answered {status}: something between us and the carrier had no answer from it")
    if 300 <= status < 400:
        return Deferred(f"answered {status}: the carrier is elsewhere", scope=Scope.COURIER)
    if status in (408, 429) or status >= 500:
        return Deferred(f"answered {status}", retry=retry_after(answer))
    return Rejected(f"answered {status}", code=str(status))


def by_meaning(meaning: Meaning, reason: str, code: str = "", retry_after: float | None = None) -> Outcome:
    """Return the outcome of a carrier's word by its meaning."""
    match meaning:
        case "taken":
            return Accepted()
        case "later":
            return Deferred(reason, retry_after)
        case "down":
            return Deferred(reason, retry_after, scope=Scope.COURIER)
        case "unknown":
            return Unknown(reason)
        case _:
            return Rejected(reason, code, opt_out=meaning == "opt_out")


def plain(word: str) -> str:
    """Return a carrier's word if it is short and plain enough for a reason, else a placeholder."""
    return word if _WORD.fullmatch(word) else "no plain word"


def json_of(answer: HttpReply) -> Any:
    """Return the body's JSON; None if it is invalid or incomplete."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def is_cut(answer: HttpReply, limit: int = MAX_ANSWER) -> bool:
    """Return True if the body reached the limit and may be incomplete."""
    return len(answer.body) >= limit


def retry_after(answer: HttpReply) -> float | None:
    """Return the seconds of Retry-After, or None; a date would need a clock that agrees with the carrier's."""
    value = answer.headers.get("retry-after", "")
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return None
    return min(float(value), MAX_RETRY_AFTER)


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header for Basic (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
