"""The seams: what the core asks of the adapters, as Protocols. No implementation, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sipsms.model import Delivery, Outcome


class Clock(Protocol):
    def __call__(self) -> float:
        """Seconds since the epoch."""


class Courier(Protocol):
    """A door out. Never raises to say "later": that is what `Deferred` is for."""

    async def deliver(self, delivery: Delivery) -> Outcome: ...


# --- carriers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HookRequest:
    """An HTTP request to /hooks/<carrier>/<secret>, as the carrier adapter sees it; the secret is already checked."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class InboundSms:
    """An SMS a carrier hands us. Numbers are as the carrier writes them; the gateway normalises."""

    source: str
    destination: str
    text: str
    remote_id: str = ""  # the carrier's id; the same id twice is one message


@dataclass(frozen=True, slots=True)
class HookReply:
    status: int = 200
    body: str = "ok"
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Parsed:
    messages: Sequence[InboundSms] = ()
    reply: HookReply = field(default_factory=HookReply)  # sent after all messages are committed


class HookError(Exception):
    """The hook's request cannot be understood. `status` and the text go back to the carrier; nothing was stored."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Carrier(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def secret(self) -> str:
        """The secret part of its hook's path; empty: no hook."""

    def parse(self, request: HookRequest) -> Parsed:
        """Pure. Raises HookError."""

    async def send(self, delivery: Delivery) -> Outcome: ...


# --- HTTP out ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class NotSent(Exception):
    """The request never left (name not resolved, connection refused, TLS refused): safe to try again."""


class NoAnswer(Exception):
    """The request may have been read but no complete answer came: the result is not known."""


class HttpClient(Protocol):
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0
    ) -> HttpReply:
        """One request, redirects not followed, body of the answer capped at 64 KiB. Raises NotSent or NoAnswer."""
