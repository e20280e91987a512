"""Deliveries of a message: by which courier, to which device, in which lane and until when. Pure.

The planner must not ask the store, the queue or the location service: `Facts` hold all that it needs to know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from sipsms.core.courier_id import APP, CALLBACK, MAIL, SIP, WEBHOOK, CourierId
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Direction, Message, MessageKind, Route
from sipsms.core.segmentation import PieceUnit, pieces

# Seconds that a delivery is tried, where that is not as long as a message is kept.
PATIENCE = {CALLBACK: 3 * 86400.0, WEBHOOK: 4 * 86400.0, MAIL: 5 * 86400.0}
RECEIPT_LANES = 32  # of a DID: receipts need no order, and none waits for a lost answer to another


class TextLimit(NamedTuple):
    """The longest text that a carrier takes; a longer text goes in pieces."""

    size: int  # 0 with unit segments: as many segments of one SMS as it takes
    unit: PieceUnit


@dataclass(slots=True)
class Limits:
    """Limits of deliveries, as the settings have them; a reload changes them in place."""

    keep: float  # seconds a message waits for its destination before it expires
    patience: dict[CourierId, float] = field(default_factory=PATIENCE.copy)
    texts: Mapping[CourierId, TextLimit] = field(default_factory=dict)  # of carriers that do not take any text
    without_mms: Collection[CourierId] = ()  # carriers that take no media

    def expiry(self, message: Message, courier: CourierId, now: float) -> float:
        """Return when a delivery expires: after its time in the queue, or earlier if the sender says so."""
        until = now + self.patience.get(courier, self.keep)
        return min(message.expires_at or until, until)


class Phone(NamedTuple):
    """A known device of an account."""

    device: int
    is_ready: bool  # it is registered, and no older message has to reach it first


class Facts(NamedTuple):
    """State that the plan of a message depends on."""

    now: float
    phones: Mapping[str, Sequence[Phone]] = {}  # of each account that a route names
    apps: Collection[str] = ()  # those of the accounts whose app fetches messages
    away: Collection[CourierId] = ()  # carriers that cannot be reached


def plan(message: Message, routes: Sequence[Route], facts: Facts, limits: Limits) -> list[Delivery]:
    """Return the deliveries of a message: to all destinations, or to a number by one carrier.

    That is the first carrier that can be reached; the others are tried after it. A long text goes in pieces.
    """
    if message.direction is Direction.IN or not message.did or not routes:
        return [delivery for route in routes for delivery in _deliveries(message, route, facts, limits)]
    if facts.away:
        routes = sorted(routes, key=lambda route: route.courier in facts.away)
    others = ",".join([route.courier for route in routes[1:]])
    delivery = _delivery(message, routes[0], facts.now, limits, others)
    spans = spans_of(message, routes, limits)
    return [delivery._replace(start=start, end=end) for start, end in spans] if spans else [delivery]


def spans_of(message: Message, routes: Sequence[Route], limits: Limits) -> list[tuple[int, int]]:
    """Return the pieces (start, end) of a long text, so that each carrier takes them; empty: it goes as it is."""
    found: list[tuple[int, int]] = []
    for route in routes:
        if not message.media and (limit := limits.texts.get(route.courier)) is not None:
            found = max(found, pieces(message.text, *limit), key=len)
    return found if len(found) > 1 else []


def _deliveries(message: Message, route: Route, facts: Facts, limits: Limits) -> list[Delivery]:
    """To all phones of an account, or by one of the other ways."""
    if route.courier != SIP:
        return [_delivery(message, route, facts.now, limits)]
    if route.destination in facts.apps and not message.kind:
        return [_delivery(message, route._replace(courier=APP), facts.now, limits)]
    phones, expires_at = facts.phones[route.destination], limits.expiry(message, SIP, facts.now)
    if message.kind and message.device:  # a notice is for the phone that wanted it
        phones = [phone for phone in phones if phone.device == message.device]
    elif not phones:
        lane = LaneKey.to(SIP, route.destination)
        return [Delivery(message, SIP, route.destination, route.source, lane, expires_at, facts.now, open=True)]
    return [_to_phone(message, route.destination, route.source, phone, expires_at, facts.now) for phone in phones]


def copies(message: Message, phones: Sequence[Phone], now: float, limits: Limits) -> list[Delivery]:
    """Return copies of a message for the sender's other devices, whatever the message's own expiry."""
    until = now + limits.keep
    return [_to_phone(message, message.account, message.destination, phone, until, now) for phone in phones]


def _to_phone(message: Message, account: str, source: str, phone: Phone, expires_at: float, now: float) -> Delivery:
    lane, due_at = LaneKey.of_device(phone.device), now if phone.is_ready else None
    return Delivery(message, SIP, account, source, lane, expires_at, now, phone.device, due_at=due_at)


def _delivery(message: Message, route: Route, now: float, limits: Limits, others: str = "") -> Delivery:
    """By anything but SIP, as soon as may be."""
    courier, destination, source = route.courier, route.destination, route.source
    if message.direction is Direction.OUT:
        lane = LaneKey.between(courier, source, destination)
    else:
        lane = LaneKey.to(courier, destination)
    if message.kind is MessageKind.SMPP:
        lane = lane.branch(crc32(message.dedupe_key or b"") % RECEIPT_LANES)
    expires_at = limits.expiry(message, courier, now)
    return Delivery(message, courier, destination, source, lane, expires_at, now, due_at=now, others=others)


def held(delivery: Delivery, due_at: float) -> Delivery:
    """Return a delivery that starts at `due_at`, in a lane of its own: messages sent meanwhile do not wait for it."""
    later = delivery.expires_at + due_at - delivery.created_at
    expires_at = min(later, delivery.message.expires_at or later)  # the sender's expiry is a time, and does not move
    return delivery._replace(lane=delivery.lane.held(due_at), due_at=due_at, expires_at=expires_at)
