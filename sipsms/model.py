"""The nouns of sipsms: what every layer passes to the next.

Pure values: immutable (named tuples where one is made for every message: they cost a third of a frozen dataclass), no
behaviour beyond what follows from the fields. Numbers are strings as they stand in the store: ten digits for NANPA, `+`
and digits for other countries, else a short code or an alphanumeric sender. Times are seconds since the epoch (UTC);
nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


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


@dataclass(frozen=True, slots=True)
class Account:
    """A customer (parent is empty) or one of its subaccounts; both may register."""

    name: str
    parent: str = ""
    ha1_md5: str = ""
    ha1_sha256: str = ""
    caller_id: str = ""
    enabled: bool = True
    legacy_digest: bool = False
    presence: bool = True  # others of its customer may watch whether it is there
    copies: bool = False  # what one of its devices sends is shown on the others
    bulk: bool = False  # may write alike to many numbers
    shorteners: bool = False  # may send links of public shorteners
    api_hash: str = ""  # SHA-256 of its API password, in hex; empty: it has none
    api_daily_limit: int | None = None  # sends a day by the APIs, for all of a customer; None: as configured
    api_allow_ip: str = ""  # networks that may use its API password and tokens, by spaces; empty: all
    email: str = ""  # another name for it where an API asks for one
    reseller: str = ""  # the customer that manages this one
    app_messages: bool = False  # an app fetches its messages (Acrobits); they do not go to its phones by SIP
    since: float = 0.0  # made then: what is older was for another of its name
    smpp_rate: int | None = None  # messages a second by SMPP, for all of a customer; None: as configured

    @property
    def customer(self) -> str:
        """The customer who owns this account's DIDs and pays for its messages."""
        return self.parent or self.name


class Scope(StrEnum):
    """What an API token opens."""

    OPERATOR = "operator"  # everything
    RESELLER = "reseller"  # a customer and those that it manages
    CUSTOMER = "customer"  # a customer with its subaccounts and DIDs
    DID = "did"  # one DID: its messages, nothing else


@dataclass(frozen=True, slots=True)
class Token:
    name: str
    hash: str  # SHA-256 of the token, in hex
    account: str  # the customer; empty: the operator
    scope: Scope
    did: str = ""  # of a token for one DID
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A DID's URL callback (S-040..S-044): GET with {ID} {TIMESTAMP} {FROM} {TO} {MESSAGE} {MEDIA} filled in."""

    url: str
    retry: bool = True  # again until the page says `ok`
    disabled: str = ""  # why nothing is sent there any more


@dataclass(frozen=True, slots=True)
class Webhook:
    """A DID's JSON webhook in the 3CX/Telnyx shape (S-045)."""

    url: str
    bearer: str = ""
    secret: str = ""  # of Standard Webhooks: signs what is sent
    disabled: str = ""


@dataclass(frozen=True, slots=True)
class Smpp:
    """How a customer's SMPP programs get and send a DID's messages (S-071 to S-076)."""

    username: str = ""  # empty: the customer's name
    password: str = field(default="", repr=False)  # empty: none can bind
    url: str = field(default="", repr=False)  # the customer's server, which is bound to; empty: it binds to us
    enabled: bool = True

    @property
    def delivers(self) -> bool:
        """Do incoming messages go by SMPP?"""
        return self.enabled and bool(self.url or self.password)


@dataclass(frozen=True, slots=True)
class Did:
    """A number and all the places it delivers to, any number of them at once (S-047)."""

    number: str
    account: str  # the customer
    sip_account: str = ""  # where an incoming SMS is delivered; empty: kept, not delivered
    sms: bool = True
    mms: bool = True
    dialing_mode: str = ""  # how callback, webhook and APIs write numbers: nanpa or e164; empty: as usual there
    group: str = ""  # name of a group of accounts
    members: tuple[str, ...] = ()  # of that group
    emails: tuple[str, ...] = ()
    forward: str = ""  # a number
    callback: Callback | None = None
    webhook: Webhook | None = None
    since: float = 0.0  # its customer has it since then
    smpp: Smpp | None = None

    @property
    def smpp_username(self) -> str:
        """By which its customer's programs bind; empty: they cannot have SMPP."""
        return self.smpp.username or self.account if self.smpp is not None else ""


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


def is_copy(delivery: Delivery) -> bool:
    """What an account sent, shown on another of its own devices: says nothing about where the message stands."""
    message = delivery.message
    return message.direction is Direction.OUT and bool(message.did) and delivery.destination == message.account


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


@dataclass(slots=True)
class Binding:
    """One row of the location service (RFC 3261 section 10; the words are those of usrloc)."""

    aor: str  # account name
    contact: str  # the URI exactly as registered, without <>
    expires_at: float
    call_id: str
    cseq: int
    received: str  # "udp:192.0.2.1:5060": where the REGISTER came from
    path: tuple[str, ...] = ()
    q: float = 1.0
    instance: str = ""
    reg_id: int = 0
    user_agent: str = ""
    accept: str = ""
    flow: int = 0  # number of the connection in this process, 0 for UDP
    node: str = ""
    device: int = 0
    local: str = ""  # the listener that received it: "udp:0.0.0.0:5060"
    to_uri: str = ""  # the AOR as the phone wrote it in To; what it expects to see again
    params: tuple[tuple[str, str | None], ...] = field(default=())


def identity(binding: Binding) -> tuple[str, str, int]:
    """What makes it another binding of its AOR: contact, device, flow."""
    return binding.contact, binding.instance, binding.reg_id


@dataclass(frozen=True, slots=True)
class Device:
    """A phone that has registered before; remembered so that it gets what came while it was away."""

    id: int
    aor: str
    key: str  # its +sip.instance, else its contact
    user_agent: str
    first_seen: float
    last_seen: float
    stable: bool  # has an instance id, so the key survives a restart of the phone
