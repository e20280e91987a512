"""Failover: where a delivery goes that its courier certainly did not send. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sipsms.core.courier_id import CourierId
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Attempt, Deferred, Delivery, Outcome, Rejected, Scope, State
from sipsms.core.queue_rows import Closing


class Candidate(Protocol):
    """The state of a courier, as far as failover goes by it."""

    def serves(self) -> bool: ...

    def open(self, now: float) -> bool: ...


Couriers = Mapping[str, Candidate]


def elsewhere(closing: Closing, delivery: Delivery, outcome: Outcome, couriers: Couriers) -> Closing:
    """Send a delivery that certainly did not leave to the next courier, or let it step aside in its lane."""
    match outcome:
        case Deferred(attempt=Attempt.MAYBE_ARRIVED):
            return closing._replace(moved=(delivery.courier, delivery.lane, ""))
        case Rejected(opt_out=False):
            return to_next(closing, delivery, couriers, refused=True) or closing
        case Deferred(scope=Scope.COURIER):
            return to_next(closing, delivery, couriers) or closing
        case Deferred(scope=Scope.MESSAGE) if not delivery.lane.is_aside:
            return closing._replace(moved=(delivery.courier, delivery.lane.aside(delivery.id), delivery.others))
    return closing


def to_next(closing: Closing, delivery: Delivery, couriers: Couriers, *, refused: bool = False) -> Closing | None:
    """Move a delivery to the next courier that is there.

    A courier that is only away now stays behind the others; where none of them is up, waiting here is as good. A
    courier that has refused the message is done with it.
    """
    others = [name for name in delivery.others.split(",") if name]
    here = [name for name in others if name in couriers and couriers[name].serves()]
    chosen = next((name for name in here if couriers[name].open(closing.now)), here[0] if refused and here else None)
    if chosen is None:
        return None
    others.remove(chosen)
    if not refused and delivery.courier not in others:
        others.append(delivery.courier)
    lane = LaneKey.between(chosen, delivery.source, delivery.destination)
    return closing._replace(state=State.QUEUED, due_at=closing.now, moved=(chosen, lane, ",".join(others)))


def moved(delivery: Delivery, closing: Closing) -> Delivery | None:
    """Return the delivery as it waits in another lane now; None if it stays in its own or has ended."""
    if closing.moved is None or closing.moved[1] == delivery.lane:
        return None
    courier, lane, others = closing.moved
    return delivery._replace(
        courier=CourierId(courier), lane=lane, others=others, state=State.QUEUED, due_at=closing.due_at,
        attempts=closing.number - closing.untried,
    )  # fmt: skip
