"""The HTTP client as carriers and couriers see it: a Protocol, its answers and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class NotSent(Exception):
    """The request never left (name not resolved, connection refused, TLS refused): safe to try again."""


class Forbidden(NotSent):
    """The URL, or the address its name leads to, is none that this server calls. The text says why."""


class NoAnswer(Exception):
    """The request may have been read but no complete answer came: the result is not known."""


MAX_ANSWER: Final = 64 * 1024


class HttpClient(Protocol):
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = MAX_ANSWER,
    ) -> HttpReply:  # fmt: skip
        """One request, redirects not followed, `limit` bytes of the answer at most. Raises NotSent or NoAnswer."""
