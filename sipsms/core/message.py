"""Messages, deliveries and outcomes of attempts: the values that all layers pass on.

Pure immutable values; a value made for every message is a named tuple, which costs a third of a frozen dataclass.
Numbers are texts in stored form: ten digits for NANPA, `+` and digits for other countries, else a short code or an
alphanumeric sender. Times are seconds since the epoch (UTC). This module must not read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from math import inf
from typing import Final, NamedTuple

from sipsms.core.courier_id import CourierId
from sipsms.core.lane_key import LaneKey
from sipsms.core.report_request import ReportRequest

HTTP_APIS: Final = frozenset({"rest", "v1", "v2", "originate", "acrobits", "sendsms"})  # origins of messages


class Direction(StrEnum):
    IN = "in"  # from the telephone network to an account (carriers: MO)
    OUT = "out"  # from an account to the telephone network (carriers: MT)


class State(StrEnum):
    """State of a delivery: open while `QUEUED` or `SENDING`, then final except for a later receipt."""

    QUEUED = "queued"
    SENDING = "sending"  # an attempt row is committed; the answer is awaited
    ACCEPTED = "accepted"  # the far side took responsibility; a receipt may follow
    DELIVERED = "delivered"
    UNKNOWN = "unknown"  # bytes may have left, no answer came: must never be re-sent automatically
    FAILED = "failed"
    EXPIRED = "expired"


class MessageKind(StrEnum):
    """Kind of a message, by content type; only `TEXT` is from or to a person."""

    TEXT = ""
    IMDN = "message/imdn+xml"  # a delivery notification for a phone (RFC 5438)
    STATUS = "application/x-sipsms-status+json"  # a report for a DID's webhook
    DLR = "text/x-sipsms-dlr"  # a report as a URL to be called (Kannel's dlr-url)
    SMPP = "application/x-sipsms-smpp-receipt+json"  # a receipt for an ESME
    ALARM = "text/x-sipsms-alarm"  # an e-mail to the operator


class Media(NamedTuple):
    """A file of an MMS: `token` names it in our store, `url` at the carrier until it is fetched."""

    content_type: str = ""
    name: str = ""
    size: int = 0  # bytes
    token: str = ""
    url: str = ""


class Message(NamedTuple):
    direction: Direction
    source: str
    destination: str
    text: str
    origin: str  # the API or listener it came through: "sip", "hook:acme", "cli", ...
    received_at: float
    account: str = ""  # the account that sent it, or that owns the DID it came to
    did: str = ""
    expires_at: float | None = None  # the sender's own expiry (RFC 3428 section 4, Expires)
    dedupe_key: bytes | None = None
    remote_id: str = ""  # the carrier's id, for incoming messages
    kind: MessageKind = MessageKind.TEXT
    device: int = 0  # the sending device of `account`, to which an IMDN notification returns
    report: ReportRequest | None = None  # who is told what becomes of it
    media: tuple[Media, ...] = ()
    id: int = 0
    answering: tuple[str, ...] = ()  # accounts that answer its sender from its DID; noted with it, not part of its row

    @property
    def is_mms(self) -> bool:
        return bool(self.media)


class Route(NamedTuple):
    """A route of the dialplan: a courier with a destination, and the reason."""

    courier: CourierId
    destination: str  # account name for "sip", number for a carrier
    source: str  # the From to display
    why: str = ""


class Delivery(NamedTuple):
    """A message to a single destination (for SIP: to a single device) by one courier."""

    message: Message
    courier: CourierId
    destination: str
    source: str
    lane: LaneKey  # deliveries of one lane are sent one at a time, in order of id
    expires_at: float
    created_at: float
    device: int = 0  # SIP: the device's id; 0 while no device of the account is known
    state: State = State.QUEUED
    attempts: int = 0
    due_at: float | None = None  # None: waits for an event (the device's REGISTER)
    last_error: str = ""
    remote_id: str = ""
    others: str = ""  # couriers to try after this one, in order, separated by commas
    open: bool = False  # SIP: no device was known on arrival, so every later device gets a copy
    start: int = 0  # the segment of the text from here ...
    end: int = 0  # ... to here, in characters; 0: the whole text
    id: int = 0

    @property
    def text(self) -> str:
        return self.message.text[self.start : self.end] if self.end else self.message.text


def is_copy_of(direction: str, did: str, courier: str, destination: str, account: str) -> bool:
    """Return whether a delivery is a copy for other devices of its sender, which says nothing about its state.

    `store.rows.IS_COPY` is the same as SQL."""
    return direction == "out" and bool(did) and courier == "sip" and destination == account


def is_copy(delivery: Delivery) -> bool:
    message = delivery.message
    return is_copy_of(message.direction, message.did, delivery.courier, delivery.destination, message.account)


_BEST: Final = (
    State.DELIVERED, State.ACCEPTED, State.SENDING, State.QUEUED, State.UNKNOWN, State.EXPIRED, State.FAILED,
)  # fmt: skip
_WORST: Final = (
    State.FAILED, State.EXPIRED, State.UNKNOWN, State.SENDING, State.QUEUED, State.ACCEPTED, State.DELIVERED,
)  # fmt: skip


def state_of(deliveries: Iterable[tuple[State, bool]]) -> State:
    """Return a message's state from its deliveries, copies left out: (state, is it a segment of a long text?).

    A long text has arrived when all its segments have, so their worst state counts. Else the best state counts: of
    several ways one is enough. A message without deliveries is stored, and nothing is left to do.
    """
    found = list(deliveries)
    segments = {state for state, is_segment in found if is_segment}
    states = segments or {state for state, _ in found}
    return next((state for state in (_WORST if segments else _BEST) if state in states), State.DELIVERED)


# --- outcomes of an attempt: values, not exceptions -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination itself has the message."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The carrier took responsibility; `remote_id` is its id of the message."""

    remote_id: str = ""


EVENT: Final = inf  # as `Deferred.retry`: when an event comes (a REGISTER, a bind), not at a time


class Scope(Enum):
    """Deliveries that a deferred one holds up."""

    MESSAGE = auto()  # only itself: it moves to a lane of its own
    LANE = auto()  # those behind it in its lane
    COURIER = auto()  # all lanes of its courier: the far side is unreachable as a whole


class Attempt(Enum):
    """Effect of a deferred attempt."""

    NOT_MADE = auto()  # nothing was sent, and the attempt does not count
    FAILED = auto()
    MAYBE_ARRIVED = auto()  # the far side would detect a second copy: it may be sent again there, and nowhere else


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not delivered; to be tried again."""

    reason: str
    retry: float | None = None  # seconds; None: the queue's back-off
    scope: Scope = Scope.LANE
    attempt: Attempt = Attempt.FAILED


@dataclass(frozen=True, slots=True)
class Rejected:
    """Certainly not delivered, and never will be.

    `opt_out`: the recipient wants no messages from this sender. `unsent`: we did not send it to the far side."""

    reason: str
    code: str = ""
    opt_out: bool = False
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes may have reached the far side, but its answer did not reach us."""

    reason: str


Outcome = Delivered | Accepted | Deferred | Rejected | Unknown
