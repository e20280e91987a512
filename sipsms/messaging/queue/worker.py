"""The worker makes one attempt to deliver: it begins in the store, goes to the courier, and is closed in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.message import (
    EVENT,
    Accepted,
    Attempt,
    Deferred,
    Delivered,
    Delivery,
    Outcome,
    Rejected,
    Scope,
    State,
    Unknown,
)
from sipsms.core.queue_rows import Closing
from sipsms.messaging.queue import backoff, failover
from sipsms.messaging.queue.courier_state import CourierState
from sipsms.messaging.settings import QueueSettings
from sipsms.store.store import Store

_CLOSE_AGAIN = 1.0  # seconds


class Worker:
    def __init__(
        self, store: Store, clock: Clock, settings: QueueSettings, jitter: Callable[[], float],
        couriers: failover.Couriers, on_change: Callable[[Delivery, State, str], None],
    ) -> None:  # fmt: skip
        """`on_change`: a delivery, its state after the attempt, and why."""
        self._store = store
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._couriers = couriers
        self._on_change = on_change

    async def deliver(self, courier: CourierState, delivery: Delivery) -> Closing | None:
        """Make one attempt and return how it ended. None: another component has changed the delivery.

        Raises Unavailable if the attempt could not begin.
        """
        if delivery.state is State.QUEUED:
            if not await self._store.begin(delivery, self._clock()):
                return None
            delivery = delivery._replace(attempts=delivery.attempts + 1, state=State.SENDING)
        message, key, name = delivery.message.id, delivery.id, courier.name
        log.attempt(message, key, name, delivery.attempts)
        started = time.monotonic()
        outcome = await self._attempt(courier, delivery)
        closing = failover.elsewhere(self._closing(courier, delivery, outcome), delivery, outcome, self._couriers)
        state = await self._close(closing)
        log.outcome(message, key, name, closing.outcome, closing.detail, time.monotonic() - started)
        courier.counts[closing.outcome] += 1
        self._on_change(delivery, state, closing.detail)
        if courier.note(outcome):
            courier.close_for(self._delay(courier, delivery.attempts, outcome), closing.now)
        return closing

    async def _attempt(self, courier: CourierState, delivery: Delivery) -> Outcome:
        if courier.courier is None:
            return Deferred("this carrier is not configured any more")
        try:
            return await courier.courier.deliver(delivery)
        except Exception as error:  # a bug in a courier: the bytes may have left
            log.crash("courier_failed", error, message=delivery.message.id, delivery=delivery.id)
            return Unknown(f"internal error: {type(error).__name__}")

    def _closing(self, courier: CourierState, delivery: Delivery, outcome: Outcome) -> Closing:
        key, number, now = delivery.id, delivery.attempts, self._clock()
        match outcome:
            case Delivered(detail):
                return Closing(key, number, State.DELIVERED, "delivered", detail, now)
            case Accepted(remote_id):
                return Closing(key, number, State.ACCEPTED, "accepted", "", now, remote_id=remote_id)
            case Rejected(reason, code):
                return Closing(key, number, State.FAILED, "failed", f"{code} {reason}".strip(), now)
            case Unknown(reason):
                return Closing(key, number, State.UNKNOWN, "unknown", reason, now)
            case Deferred(reason, retry):
                due = None if retry == EVENT else now + self._delay(courier, number, outcome)
                untried = outcome.attempt is Attempt.NOT_MADE
                return Closing(key, number, State.QUEUED, "deferred", reason, now, due, untried=untried)

    def _delay(self, courier: CourierState, number: int, outcome: Outcome) -> float:
        """Return seconds until the next attempt: as the courier asks, else a back-off.

        It counts the delivery's own attempts, or the courier's failures in a row if the courier as such fails.
        """
        own = False
        if isinstance(outcome, Deferred):
            if outcome.retry is not None:
                return max(outcome.retry, 1.0)
            own = outcome.scope is not Scope.COURIER and not courier.why
        tries = number if own else courier.failures + 1
        return backoff.delay(tries, self._settings.retry_min, self._settings.retry_max, self._jitter())

    async def _close(self, closing: Closing) -> State:
        """Write the result down, however long that takes: until then the attempt counts as unknown."""
        while True:
            try:
                return await self._store.finish(closing)
            except Unavailable as error:
                log.warning("store_unavailable", why=str(error), delivery=closing.delivery_id)
                await asyncio.sleep(_CLOSE_AGAIN)
