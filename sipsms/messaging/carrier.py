"""The seams: what the core asks of the adapters, as Protocols. No implementation, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sipsms.core.clock import Clock
from sipsms.core.http_client import HttpClient
from sipsms.core.message import Delivery, Outcome
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.media import MediaStore


class Courier(Protocol):
    """A way out. It must never raise to say "later": `Deferred` says that."""

    async def deliver(self, delivery: Delivery) -> Outcome: ...


# --- carriers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HookRequest:
    """An HTTP request to /hooks/<carrier>/<secret>, as the carrier adapter sees it; the secret is already checked."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    url: str = ""  # as the carrier called it, from `web.url` of the configuration: some sign it
    received_at: float = 0.0  # seconds since the epoch, true wall clock


@dataclass(frozen=True, slots=True)
class InboundMedia:
    """A part of an MMS at the carrier; it is fetched after the message is stored."""

    url: str
    content_type: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a text that came in several SMS (3GPP TS 23.040 section 9.2.3.24.1)."""

    reference: str  # the same for all parts of one text
    number: int  # from 1
    total: int


@dataclass(frozen=True, slots=True)
class InboundSms:
    """An SMS a carrier hands us. Numbers are as the carrier writes them; the gateway normalises."""

    source: str
    destination: str
    text: str
    remote_id: str = ""  # the carrier's id
    media: Sequence[InboundMedia] = ()
    part: Part | None = None
    dedupe: str = ""  # what is the same on every way the carrier may tell us of it; empty: `remote_id`


@dataclass(frozen=True, slots=True)
class HookReply:
    status: int = 200
    body: str = "ok"
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Parsed:
    messages: Sequence[InboundSms] = ()
    receipts: Sequence[CarrierReceipt] = ()
    reply: HookReply = field(default_factory=HookReply)  # sent after all messages are committed


class HookError(Exception):
    """The hook's request cannot be understood. `status` and the text go back to the carrier; nothing was stored."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class NotThere(Exception):
    """The carrier looked, and it has no such message: it was never sent."""


class Carrier(Protocol):
    """A way to the telephone network. `BaseCarrier` has defaults for what not every carrier can do."""

    @property
    def name(self) -> str: ...

    @property
    def secret(self) -> str:
        """The secret part of its hook's path; empty: no hook."""

    @property
    def poll_every(self) -> float:
        """Seconds between looks for messages that no hook told us of; 0: it cannot be asked."""

    @property
    def can_look_up(self) -> bool:
        """Can it be asked what became of a message whose answer was lost?"""

    @property
    def drops_duplicates(self) -> bool:
        """Does its far side recognise a second copy, so that an unknown attempt may be sent again?"""

    @property
    def is_down(self) -> bool:
        """Can no message be sent now?"""

    @property
    def status(self) -> str:
        """Its state for `sipsms carriers`; empty: nothing to say."""

    def parse(self, request: HookRequest) -> Parsed:
        """Check the signature, then read. Pure. Raises HookError."""

    async def send(self, delivery: Delivery) -> Outcome:
        """`delivery.text` (a piece of the text, or all of it) with `delivery.message.media`, once."""

    async def poll(self, since: float) -> Sequence[InboundSms]:
        """Return messages since then (epoch seconds), oldest first. Raises NotSent or NoAnswer: ask later."""

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        """Look up the outcome of an attempt that began then; None: the carrier cannot say (yet).

        Raises NotThere where the carrier's own records say that it never had it; NotSent or NoAnswer: ask later.
        """

    def media_headers(self, url: str) -> Mapping[str, str]:
        """Return the headers for a request of an MMS part, if this URL is the carrier's own."""


# --- MMS -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CarrierTools:
    """Tools that a carrier works with: HTTP client, media store, clock."""

    client: HttpClient
    media: MediaStore
    clock: Clock
    hook_url: str = ""  # where the carrier reaches its hook, without the secret: https://sms.example.net/hooks/NAME
