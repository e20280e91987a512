"""The nouns of sipsms: what every layer passes to the next.

Pure values: immutable (named tuples where one is made for every message: they cost a third of a frozen dataclass), no
behaviour beyond what follows from the fields. Numbers are strings as they stand in the store: ten digits for NANPA, `+`
and digits for other countries, else a short code or an alphanumeric sender. Times are seconds since the epoch (UTC);
nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Direction(StrEnum):
    IN = "in"  # from the telephone network to an account (MO in carriers' words)
    OUT = "out"  # from an account to the telephone network (MT)


class State(StrEnum):
    """Where a delivery stands. Only `QUEUED` and `SENDING` are open; the others are final but for a later receipt."""

    QUEUED = "queued"
    SENDING = "sending"  # an attempt row is committed, its answer is awaited
    ACCEPTED = "accepted"  # the far side took responsibility; a receipt may follow
    DELIVERED = "delivered"
    UNKNOWN = "unknown"  # bytes may have left, no answer came: never re-sent blindly
    FAILED = "failed"
    EXPIRED = "expired"


class Media(NamedTuple):
    """A part of an MMS. `token` names it in our store; until it is fetched there is only `url`, the carrier's."""

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
    origin: str  # the door it came through: "sip", "hook:acme", "cli", ...
    received_at: float
    account: str = ""  # the account that sent it, or that owns the DID it came to
    did: str = ""
    expires_at: float | None = None  # the sender's own limit (RFC 3428 section 4, Expires)
    dedupe_key: bytes | None = None
    remote_id: str = ""  # the id the carrier gave it, for incoming messages
    content_type: str = ""  # of `text`; empty: text/plain
    device: int = 0  # of `account`: which one sent it, where a notice must find back there
    notify: str = ""  # the sender's imdn.Message-ID, if it wants to know when this is delivered (RFC 5438)
    media: tuple[Media, ...] = ()
    id: int = 0

    @property
    def kind(self) -> str:
        return "mms" if self.media else "sms"


class Route(NamedTuple):
    """The dialplan's answer for one way out."""

    courier: str  # "sip" or "carrier:NAME"
    destination: str  # account name for "sip", number for a carrier
    source: str  # the From to show
    why: str = ""


class Delivery(NamedTuple):
    """One message to one destination (for SIP: to one device) by one courier."""

    message: Message
    courier: str
    destination: str
    source: str
    lane: str  # deliveries of one lane leave one at a time, in order of id
    expires_at: float
    created_at: float
    device: int = 0  # SIP: the device's row, 0 while no device of the account is known
    state: State = State.QUEUED
    attempts: int = 0
    due_at: float | None = None  # None: waits for an event (the device's REGISTER)
    last_error: str = ""
    remote_id: str = ""
    others: str = ""  # couriers to try after this one, in order, by commas
    open: bool = False  # SIP: came while no device of the account was known, so every later one gets a copy
    start: int = 0  # of the text, the piece from here ...
    end: int = 0  # ... to here, in characters; 0: all of it
    id: int = 0

    @property
    def text(self) -> str:
        return self.message.text[self.start : self.end] if self.end else self.message.text


def is_copy_of(direction: str, did: str, courier: str, destination: str, account: str) -> bool:
    """Return whether a delivery only shows what an account sent on another of its own devices.

    A copy says nothing about the state of its message. `store.rows.IS_COPY` is the same as SQL.
    """
    return direction == "out" and bool(did) and courier == "sip" and destination == account


def is_copy(delivery: Delivery) -> bool:
    """Return whether a delivery is a copy (see `is_copy_of`)."""
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


# --- what an attempt came to: values, not exceptions ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination itself has it."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The carrier took responsibility; `remote_id` is its name for the message."""

    remote_id: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Certainly not delivered; may be tried again. `retry_after` in seconds (None: the queue's back-off).

    `parked`: wait for an event instead of a time. `whole_courier`: the far side as such is unreachable, so the
    courier's other lanes would fare no better now. `aside`: what stands behind it in its lane need not wait for it.
    `untried`: nothing was sent at all, and this does not count as an attempt. `maybe`: it may have got through, and the
    far side would know a second copy; so it is tried again there, and nowhere else.
    """

    reason: str
    retry_after: float | None = None
    parked: bool = False
    whole_courier: bool = False
    aside: bool = False
    untried: bool = False
    maybe: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Certainly not delivered, and never will be. `opt_out`: because the recipient wants nothing of this sender.
    `unsent`: we did not even ask.
    """

    reason: str
    code: str = ""
    opt_out: bool = False
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes may have reached the far side but its answer did not reach us."""

    reason: str


Outcome = Delivered | Accepted | Deferred | Rejected | Unknown
