"""Values that pass between the store and the queue, the gateway and the carriers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sipsms.core.message import Delivery, State


@dataclass(frozen=True, slots=True)
class CarrierReceipt:
    """What a carrier says later of a message it took (DLR). In any order, any number of times.

    `state`: DELIVERED, FAILED, EXPIRED, or ACCEPTED for "still under way". `opt_out`: failed because the recipient
    wants nothing of this sender. `alternatives`: other forms of `remote_id` (hexadecimal, decimal), tried after it.
    `recipient`, `sender`: only a message to this number, from that one of ours, can be meant, as the store writes
    them; empty: whoever it went to, whoever sent it.
    """

    remote_id: str
    state: State
    detail: str = ""
    opt_out: bool = False
    alternatives: tuple[str, ...] = ()
    recipient: str = ""
    sender: str = ""


class PushToken(NamedTuple):
    """Where an app wants to be woken up."""

    selector: str  # the account within the app
    app: str
    token: str


class Stored(NamedTuple):
    """What `accept` committed. A duplicate brings the first message's id and no deliveries."""

    message_id: int
    deliveries: tuple[Delivery, ...] = ()
    duplicate: bool = False


class Closing(NamedTuple):
    """How an attempt ended, and where that leaves its delivery."""

    delivery_id: int
    number: int
    state: State
    outcome: str
    detail: str
    now: float
    due_at: float | None = None
    remote_id: str = ""
    moved: tuple[str, str, str] | None = None  # to another courier: its name, the new lane, the couriers after it
    untried: bool = False  # the attempt never was: its row goes, its number is free again


class DueLane(NamedTuple):
    """A lane with something due. `deliveries` are its first ones; empty if its head is not due yet."""

    lane: str
    deliveries: Sequence[Delivery]
    more: bool  # the lane holds others besides


class Due(NamedTuple):
    lanes: Sequence[DueLane]
    last: tuple[float, int] | None  # (due time, id) of the last one where the limit was reached: there may be more
    later: float | None  # when the next one that is not due yet will be


class Past(NamedTuple):
    """A message that an API has sent just before the start."""

    message: int
    due_at: float = 0.0  # 0: it was not held
    sizes: tuple[int, ...] = ()  # of its files in bytes, the smallest first


LOOK_BACK: Final = 3 * 86400.0  # seconds; an answer that was lost longer ago stays lost


class Doubt(NamedTuple):
    """A delivery whose answer was lost, and when the attempt began."""

    delivery: Delivery
    began: float


class StoredPart(NamedTuple):
    """A part of a long text that waits for the others."""

    carrier: str  # the origin, where it goes out
    source: str
    destination: str
    reference: str
    number: int
    total: int
    text: str
    remote_id: str  # `notify` of the message, where it goes out
    received_at: float
    joined: bool = False
    account: str = ""  # who sends it; empty: it came in
    expires_at: float | None = None
