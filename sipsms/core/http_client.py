"""The HTTP client as carriers and couriers use it: a Protocol, its answers and its errors."""

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
    """The request never left (name not resolved, connection or TLS refused) and may safely be sent again."""


class Forbidden(NotSent):
    """The server must not call the URL, or the address of its name. The text says why."""


class NoAnswer(Exception):
    """The request may have been read, but no complete answer came: the outcome is unknown."""


MAX_ANSWER: Final = 64 * 1024


class HttpClient(Protocol):
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = MAX_ANSWER,
    ) -> HttpReply:  # fmt: skip
        """Send one request, follow no redirect, read at most `limit` bytes. Raises NotSent or NoAnswer."""
