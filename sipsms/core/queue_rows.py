"""Values that pass between the store and the queue, the gateway and the carriers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, State
from sipsms.core.report_request import ReportRequest

_SMALL: Final = {capital: capital + 32 for capital in range(ord("A"), ord("Z") + 1)}


def fold_id(remote_id: str) -> str:
    """Return a carrier's message id in small letters, without leading zeros, as the store's index has it."""
    return remote_id.translate(_SMALL).lstrip("0")


@dataclass(frozen=True, slots=True)
class CarrierReceipt:
    """A carrier's delivery receipt (DLR) for an accepted message.

    Receipts may come in any order and repeatedly. `state`: DELIVERED, FAILED, EXPIRED, or ACCEPTED for "still under
    way". `opt_out`: failed because the recipient wants no messages from this sender. `alternatives`: other forms of
    `remote_id`, folded, tried after it among the messages between the two numbers. `recipient`, `sender` (our number),
    in stored form: the receipt can only mean a message between these numbers; empty: any number.
    """

    remote_id: str
    state: State
    detail: str = ""
    opt_out: bool = False
    alternatives: tuple[str, ...] = ()
    recipient: str = ""
    sender: str = ""


class PushToken(NamedTuple):
    """A token to wake an app by push."""

    selector: str  # name of the account within the app
    app: str
    token: str


class Stored(NamedTuple):
    """The result of `accept`. A duplicate has the first message's id and no deliveries."""

    message_id: int
    deliveries: tuple[Delivery, ...] = ()
    duplicate: bool = False


class Closing(NamedTuple):
    """The end of an attempt, and the new state of its delivery."""

    delivery_id: int
    number: int
    state: State
    outcome: str
    detail: str
    now: float
    due_at: float | None = None
    remote_id: str = ""
    moved: tuple[str, LaneKey, str] | None = None  # new courier, new lane, and the couriers after it; None: not moved
    untried: bool = False  # no attempt was made: delete its row and reuse its number


class DueLane(NamedTuple):
    """A lane with a due delivery, and its first deliveries; none if its head is not due yet."""

    lane: str
    deliveries: Sequence[Delivery]
    more: bool  # the lane holds further deliveries


class Due(NamedTuple):
    """A page of due lanes."""

    lanes: Sequence[DueLane]
    last: tuple[float, int] | None  # (due time, id) of the last delivery if the limit was reached: continue after it
    later: float | None  # the next due time after now


class Past(NamedTuple):
    """A message that an API sent just before the start."""

    message: int
    due_at: float = 0.0  # 0: not scheduled
    sizes: tuple[int, ...] = ()  # sizes of its files in bytes, ascending


LOOK_BACK: Final = 3 * 86400.0  # seconds; an older unknown outcome stays unknown


class Doubt(NamedTuple):
    """A delivery whose outcome is unknown, and when its attempt began."""

    delivery: Delivery
    began: float


class StoredPart(NamedTuple):
    """A segment of a long text that waits for the other segments."""

    origin: str  # the carrier's, or smpp
    source: str
    destination: str
    reference: str
    number: int
    total: int
    text: str
    remote_id: str  # the carrier's id
    received_at: float
    joined: bool = False
    account: str = ""  # the sending account; empty: incoming
    expires_at: float | None = None
    report: ReportRequest | None = None
