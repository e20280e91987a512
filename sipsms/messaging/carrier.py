"""The seams: what the core asks of the adapters, as Protocols. No implementation, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sipsms.core.clock import Clock
from sipsms.core.directory_rows import Block
from sipsms.core.http_client import HttpClient
from sipsms.core.message import Delivery, Message, Outcome, State
from sipsms.core.queue_rows import CarrierReceipt, Closing, Doubt, Due, Stored, StoredPart
from sipsms.core.segmentation import PieceUnit
from sipsms.messaging.media import MediaStore


class Courier(Protocol):
    """A door out. Never raises to say "later": that is what `Deferred` is for."""

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


class CarrierLimits(NamedTuple):
    """Limits of a carrier: length of a text, MMS."""

    max_text: int = 0  # a longer text goes in pieces of this size; 0: as it is
    unit: PieceUnit = "septets"  # what max_text counts; segments: it takes real ones, max_text says nothing
    long_as_mms: bool = False  # instead of in pieces
    mms: bool = False  # it takes media


class NotThere(Exception):
    """The carrier looked, and it has no such message: it was never sent."""


class Carrier(Protocol):
    """`carriers.base.BaseCarrier` has the usual answers to what not every carrier can do."""

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


# --- HTTP out ---------------------------------------------------------------------------------------------------------


# --- MMS -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CarrierTools:
    """Tools that a carrier works with: HTTP client, media store, clock."""

    client: HttpClient
    media: MediaStore
    clock: Clock
    hook_url: str = ""  # where the carrier reaches its hook, without the secret: https://sms.example.net/hooks/NAME


# --- apps -------------------------------------------------------------------------------------------------------------


# --- the store --------------------------------------------------------------------------------------------------------


class QueueStore(Protocol):
    """Statements of the store that the queue uses."""

    async def begin(self, delivery: Delivery, now: float) -> bool:
        """Commit an attempt row and take the delivery to `sending`. False: it is not ours to send any more."""

    async def divert(self, delivery: Delivery, closing: Closing) -> bool:
        """Give a queued delivery to another courier. False: it is not as it was any more."""

    async def finish(self, closing: Closing) -> State:
        """The delivery's state then: a receipt that was quicker than the answer may have had the last word."""

    async def load_lane(self, lane: str, limit: int, now: float) -> list[Delivery] | None:
        """The lane's queued deliveries in order, whether due or not. None: another node is working on it."""

    async def due(
        self, courier: str, now: float, limit: int, after: tuple[float, int] | None = None, *, movable: bool = False
    ) -> Due:
        """Lanes of the `limit` deliveries that have been due longest, or of those `after` the last ones of a look.

        `movable`: only of those that another courier may take.
        """

    async def make_due(self, keys: Sequence[str], now: float) -> None:
        """The oldest queued delivery of each of these lanes is due now."""

    async def hold_back(self, lane: str, until: float | None) -> None:
        """The lane's head is not due before `until` (None: waits for an event): nor is what stands behind it."""

    async def expire(self, now: float, limit: int) -> list[Delivery]:
        """End what has waited too long."""

    async def recover(self, idempotent: Sequence[str], now: float, *, own: bool) -> tuple[int, int]:
        """Attempts that nobody will close become `unknown`, or queued again where that is harmless: this node's
        after a restart (`own`), anybody's once the lease is over. How many were queued again, how many are unknown.
        """

    async def waiting_lanes(self) -> list[str]:
        """Every lane with a queued delivery."""

    async def claim_new(self) -> list[Delivery]:
        """Queued deliveries that a command beside the server has committed, taken over by this node."""


class GatewayStore(Protocol):
    async def add(
        self, message: Message, deliveries: Sequence[Delivery], fetcher: str, now: float
    ) -> tuple[Delivery, ...]:
        """The media of a message have been fetched by courier `fetcher`: store them and, once, its deliveries."""

    async def receipt(self, courier: str, receipt: CarrierReceipt, now: float) -> Delivery | None:
        """Let a carrier's receipt change its delivery, which comes back in its new state if that is another.

        One that matches none is kept for a while: it may have been quicker than the answer that names it.
        """

    async def doubts(self, courier: str, since: float, after: int, limit: int) -> list[Doubt]:
        """Deliveries created since then whose answer was lost, oldest first, from behind the delivery `after`."""

    async def settle(self, closing: Closing) -> bool:
        """Write the outcome of an unknown delivery. False: something else has settled it."""

    async def set_block(self, block: Block, reason: str, now: float) -> bool:
        """False: it was so already."""

    async def disable_target(self, did: str, kind: str, why: str) -> bool:
        """A DID's callback or webhook gets nothing any more, until its owner sets it again. False: it was off."""

    async def outcome(self, message: int) -> State:
        """Return the state of a message (see `core.message.state_of`)."""

    async def is_cancelled(self, message: int) -> bool:
        """Was all of it called back before it left?"""

    async def add_part(self, part: StoredPart) -> list[StoredPart]:
        """Keep a part; all of them, when the last has come. One that was there already changes nothing.

        Another text under the same number is of the next message: what there is of the one before comes back, to be
        delivered as it is, and then the part has to be added again.
        """

    async def late_parts(self, before: float, whole: float = 0.0) -> list[list[StoredPart]]:
        """Texts of which no part has come since then; `whole`: since when, of those that lack none."""

    async def joined(self, parts: Sequence[StoredPart]) -> None:
        """Mark these parts as stored in one message."""

    async def noticed(self, message: int) -> None:
        """Its sender has been told that it was delivered."""

    async def unnoticed(self) -> list[tuple[Message, str]]:
        """Delivered messages whose sender has not been told so, with whom they went to."""

    async def unnoticed_losses(self) -> list[tuple[Message, str, bool]]:
        """The same for those that failed or expired, and whether a carrier ever took them."""

    async def accept(self, message: Message, deliveries: Sequence[Delivery], now: float) -> Stored: ...

    async def find_duplicate(self, dedupe_key: bytes) -> int | None:
        """The id of the message with this key."""

    async def adopt_open(self, account: str, device: int, lane: str, now: float) -> int:
        """Give a new device what came while no device of its account was known; how many deliveries."""

    async def move_lane(self, old_device: int, old_lane: str, device: int, lane: str, now: float) -> int:
        """Move what waits for one device to another, but for messages that the other already has or had."""
