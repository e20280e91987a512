"""The sweeper: the clock's part of the queue.

It finds lanes that fall due, expires old deliveries, and recovers attempts that nobody will close. Every courier's due
lanes are searched for at least every half minute.
"""

from __future__ import annotations

from collections.abc import Callable

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, State
from sipsms.messaging.queue.courier_state import CourierState
from sipsms.messaging.queue.dispatcher import PAGE, READY_LANES, Dispatcher
from sipsms.messaging.queue.wake_up import WakeUp
from sipsms.store.store import Store

TURN = 1.0  # seconds between looks for what has expired or fallen due
_SEARCH_AT_LEAST = 30.0  # seconds
_RECOVER_EVERY = 60.0


class Sweeper:
    def __init__(
        self, store: Store, clock: Clock, couriers: dict[str, CourierState], dispatcher: Dispatcher, wake_up: WakeUp, *,
        is_reachable: Callable[[LaneKey], bool], on_change: Callable[[Delivery, State, str], None],
    ) -> None:  # fmt: skip
        """`is_reachable` and `on_change`: as for `Queue`."""
        self._store = store
        self._clock = clock
        self._couriers = couriers
        self._dispatcher = dispatcher
        self._lanes = dispatcher.lanes
        self._wake_up = wake_up
        self._is_reachable = is_reachable
        self._on_change = on_change
        self._idempotent: list[str] = []
        self._recover_at = 0.0

    async def start(self, idempotent: list[str]) -> None:
        """Recover what a crash left half done, and learn which lanes wait. Raises Unavailable."""
        self._idempotent = idempotent
        await self._recover(own=True)
        await self._learn()

    def poll(self) -> None:
        """Look into the store at the next turn, which comes now."""
        for courier in self._couriers.values():
            courier.poll_at = 0.0
        self._wake_up.notify()

    async def _recover(self, *, own: bool) -> None:
        self._recover_at = self._clock() + _RECOVER_EVERY
        again, unknown = await self._store.recover(self._idempotent, self._clock(), own=own)
        if again or unknown:
            log.warning("recovered", sent_again=again, unknown=unknown)
            log.UNKNOWN.inc(unknown)
        if again:
            self._lanes.known = False

    async def _learn(self) -> None:
        """Learn which lanes wait in the store. Until that is known, every lane is read."""
        waiting = await self._store.waiting_lanes()
        self._lanes.learn(waiting)
        for key in filter(self._is_reachable, waiting):
            self._dispatcher.wake(key)
        self.poll()

    async def turn(self) -> None:
        """Do all that the clock asks for now. Raises Unavailable."""
        now = self._clock()
        at_work, waiting = self._lanes.count()
        log.LANES.labels("active").set(at_work)
        log.LANES.labels("waiting").set(waiting)
        if not self._lanes.known:
            await self._learn()
        if self._dispatcher.wakes:
            await self._dispatcher.write_wakes(now)
            self.poll()
        for delivery in await self._store.expire(now, 500):
            log.expired(delivery.message.id, delivery.id)
            self._on_change(delivery, State.EXPIRED, delivery.last_error)
        if now >= self._recover_at:
            await self._recover(own=False)
        for courier in list(self._couriers.values()):
            if self._dispatcher.is_still or courier.paused:
                continue
            if courier.open(now):
                self._dispatcher.fill(courier)
                if now >= courier.poll_at and len(courier.ready) < PAGE:
                    await self._search(courier, now)
            elif courier.line.breaker:
                if now >= courier.poll_at and len(courier.ready) < READY_LANES:
                    await self._search(courier, now, movable=True)
                await self._dispatcher.divert(courier, now)

    async def _search(self, courier: CourierState, now: float, *, movable: bool = False) -> None:
        """Look for lanes with something due: page by page, so that lanes which are at work already, and have many
        waiting, hide nobody. `movable`: only for what may go by another courier."""
        limit = PAGE + 2 * (len(courier.ready) + courier.active)
        courier.overflow, courier.poll_at = False, now + _SEARCH_AT_LEAST
        self._lanes.begin_search()
        try:
            due = await self._store.due(courier.name, now, limit, courier.cursor, movable=movable)
        except BaseException:
            courier.poll_at = now + TURN
            self._lanes.end_search(())
            raise
        found = due.lanes if not movable else [lane for lane in due.lanes if lane.deliveries]
        lanes, again = self._lanes.end_search(found)
        for lane in lanes:
            self._dispatcher.enter(courier, lane)
        courier.cursor = due.last
        courier.overflow = courier.overflow or again or due.last is not None
        courier.search_at(due.later)
        self._dispatcher.fill(courier)
