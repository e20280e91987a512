"""Limits on calls to customers' servers, and the meaning of their answers.

An endpoint is a scheme, a host and a port. Each endpoint has its own limit of simultaneous calls and of waiting
calls. A call that finds the limit reached, or waits too long, is deferred. So a slow endpoint must never delay
another (A-40).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from sipsms.core.e164 import is_digits
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Attempt, Deferred, Scope

COME_BACK: Final = 15.0  # seconds
LONGEST_WAIT: Final = 86400.0  # seconds that Retry-After may ask for at most

Endpoint = tuple[str, str, int]


class Busy(Exception):
    """The endpoint has enough calls from us already. Nothing was sent."""


BUSY: Final = Deferred("the server is busy with others of our calls", COME_BACK, Scope.MESSAGE, Attempt.NOT_MADE)


@dataclass(slots=True)
class _Line:
    slots: asyncio.Semaphore
    inside: int = 0  # calls in progress and calls waiting


class EndpointLimits:
    def __init__(self, at_once: int = 5, waiting: int = 20, patience: float = 10.0) -> None:
        """Set the simultaneous calls of an endpoint, its waiting calls, and their wait in seconds."""
        self._at_once = at_once
        self._most = at_once + waiting
        self._patience = patience
        self._lines: dict[Endpoint, _Line] = {}

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """Wait until the call may be made; the call happens within the context. Raises Busy."""
        key = endpoint_of(url)
        line = self._lines.setdefault(key, _Line(asyncio.Semaphore(self._at_once)))
        if line.inside >= self._most:
            raise Busy
        line.inside += 1
        try:
            await self._wait(line)
            try:
                yield
            finally:
                line.slots.release()
        finally:
            line.inside -= 1
            if not line.inside:
                del self._lines[key]

    async def _wait(self, line: _Line) -> None:
        if not line.slots.locked():
            await line.slots.acquire()  # without waiting
            return
        try:
            await asyncio.wait_for(line.slots.acquire(), self._patience)
        except TimeoutError:
            raise Busy from None

    def __len__(self) -> int:
        """Endpoints with a call in progress."""
        return len(self._lines)


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint of a URL. Never raises: all invalid URLs share one endpoint."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return parts.scheme, (parts.hostname or "").removesuffix("."), port
    except ValueError:
        return "", "", 0


def retry_after(reply: HttpReply, now: float) -> float:
    """Return the seconds in Retry-After (RFC 9110 section 10.2.3), at most a day; 0 if absent or invalid."""
    value = reply.headers.get("retry-after", "").strip()[:64]
    if is_digits(value):
        return min(float(value), LONGEST_WAIT)
    try:
        return min(max(parsedate_to_datetime(value).timestamp() - now, 0.0), LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def told(reply: HttpReply) -> str:
    """Describe a failed call, without anything that the server wrote."""
    if 300 <= reply.status < 400:
        return f"the server answered {reply.status}: redirects are not followed"
    return f"the server answered {reply.status}"
