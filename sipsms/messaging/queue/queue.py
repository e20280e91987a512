"""The queue: takes deliveries from the store to their couriers, in order within a lane, and writes down how it went.

A lane (one device, or one DID and peer at a carrier) has one delivery out at a time. `lanes` is its machine, with the
two rules that hold whatever happens; `dispatcher` gives lanes their turn, `worker` makes an attempt, and `sweeper` does
what the clock asks for. This module is what others see.

The attempt is committed before the courier is called and closed after; an attempt that is never closed is `unknown`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId
from sipsms.core.errors import Unavailable
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, State
from sipsms.messaging.carrier import Courier
from sipsms.messaging.queue.courier_state import CourierLimits, CourierState, Health
from sipsms.messaging.queue.dispatcher import Dispatcher
from sipsms.messaging.queue.lanes import IDLE, is_due
from sipsms.messaging.queue.sweeper import TURN, Sweeper
from sipsms.messaging.queue.wake_up import LocalWakeUp, WakeUp
from sipsms.messaging.queue.worker import Worker
from sipsms.messaging.settings import QueueSettings
from sipsms.store.store import Store

_USUAL = CourierLimits()


class Queue:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: QueueSettings,
        jitter: Callable[[], float] = random.random,
        is_reachable: Callable[[LaneKey], bool] = lambda lane: False,
        on_change: Callable[[Delivery, State, str], None] = lambda delivery, state, detail: None,
        wake_up: WakeUp | None = None,
    ) -> None:
        """`is_reachable`: has the event come that this lane may wait for? Asked at the start for each that waits.
        `on_change`: a delivery, its state after an attempt or when it expired, and why.
        """
        self._store = store
        self._clock = clock
        self._couriers: dict[str, CourierState] = {}
        self._wake_up = wake_up or LocalWakeUp()
        worker = Worker(store, clock, settings, jitter, self._couriers, on_change)
        self._dispatcher = Dispatcher(store, clock, settings.retry_min, worker, self._couriers, self._wake_up)
        self._lanes = self._dispatcher.lanes
        self.sweeper = Sweeper(
            store,
            clock,
            self._couriers,
            self._dispatcher,
            self._wake_up,
            is_reachable=is_reachable,
            on_change=on_change,
        )

    # --- couriers ---

    def set_courier(self, name: str, courier: Courier, line: CourierLimits = _USUAL) -> None:
        """Add a courier, or replace one in place."""
        courier_state = self._couriers.get(name)
        if courier_state is None:
            self._couriers[name] = CourierState(name, courier, line)
        else:
            courier_state.replace(courier, line)
            self.poll()

    def remove_courier(self, name: str) -> None:
        """Remove a courier. Its attempts end; what waits stays in the store until a courier of that name is set."""
        courier_state = self._couriers.get(name)
        if courier_state is None:
            return
        courier_state.courier = None
        courier_state.poll_at = 0.0  # what has another way need not wait
        while courier_state.ready:
            self._dispatcher.drop(courier_state, courier_state.ready.popleft())

    def set_paused(self, couriers: Iterable[str]) -> None:
        paused = set(couriers)
        for courier_state in self._couriers.values():
            courier_state.paused = courier_state.name in paused
        self.poll()

    def is_open(self, name: str) -> bool:
        """Would a delivery by this courier be tried now?"""
        courier_state = self._couriers.get(name)
        return courier_state is not None and courier_state.open(self._clock())

    def is_away(self, name: str) -> bool:
        """Is its far side not there, or is it not configured? (One that is paused holds messages: it is not away.)"""
        courier_state = self._couriers.get(name)
        return courier_state is None or (not courier_state.paused and not courier_state.open(self._clock()))

    def health(self) -> dict[CourierId, Health]:
        """Return the health of each courier, by name."""
        now = self._clock()
        return {CourierId(name): courier_state.health(now) for name, courier_state in self._couriers.items()}

    # --- life ---

    async def start(self, idempotent: Iterable[str], *, hold: bool = False) -> None:
        """Recover what a crash left half done, and learn which lanes wait. Raises Unavailable.

        `idempotent`: couriers whose far side drops what it has already. `hold`: nothing leaves before `run`, since the
        sockets it would leave by are not open yet.
        """
        self._dispatcher.is_still = hold
        await self.sweeper.start(list(idempotent))

    async def run(self) -> None:
        """Find lanes that fall due and expire old deliveries, until cancelled."""
        self._dispatcher.is_still = False
        while True:
            try:
                await self.sweeper.turn()
            except Unavailable as error:
                log.warning("store_unavailable", why=str(error))
            except Exception as error:
                log.crash("queue_turn_failed", error)
            await self._wake_up.wait(TURN)

    async def drain(self, seconds: float) -> None:
        """Start nothing new; wait for what is out."""
        await self._dispatcher.drain(seconds)

    # --- what comes in ---

    def reserve(self, delivery: Delivery) -> Delivery:
        """Reserve a delivery's place before the commit; if its lane is free, it comes back as `sending`.

        Then the commit that stores it begins its attempt, too. The caller must later call `offer` (committed) or
        `release` (not committed): until then no other delivery of this lane may start.
        """
        courier, now = self._couriers.get(delivery.courier), self._clock()
        if (
            courier is None
            or self._dispatcher.is_still
            or not is_due(delivery, now)
            or delivery.expires_at <= now
            or self._lanes.state_of(delivery.lane) is not IDLE
            or not courier.is_free(now)
        ):
            self._lanes.reserve(delivery.lane)
            return delivery
        courier.active += 1
        courier.take_slot(now)
        self._lanes.begin(delivery.lane)
        return delivery._replace(state=State.SENDING, attempts=1)

    def release(self, planned: Iterable[Delivery]) -> None:
        """Undo `reserve` for deliveries that were not committed."""
        for delivery in planned:
            if delivery.state is State.SENDING:
                courier = self._couriers[delivery.courier]
                courier.active -= 1
                self._dispatcher.drop(courier, self._lanes[delivery.lane])
                self._dispatcher.fill(courier)
            else:
                self._lanes.release(delivery.lane)

    def offer(self, deliveries: Iterable[Delivery], planned: Iterable[Delivery] = ()) -> None:
        """Take deliveries just committed. They start at once if their lane is free. `planned`: from `reserve`."""
        for delivery in deliveries:
            if delivery.state is State.SENDING:
                self._dispatcher.launch(self._couriers[delivery.courier], self._lanes[delivery.lane], delivery)
            else:
                self._dispatcher.stored(delivery)
        for delivery in planned:
            if delivery.state is not State.SENDING:
                self._lanes.release(delivery.lane)

    def wake(self, key: str) -> None:
        """Take the event a lane waits for: its device registered."""
        self._dispatcher.wake(key)

    def expect(self, key: str) -> None:
        """Mark a lane as non-empty before another component inserts deliveries: later ones queue behind."""
        self._lanes.park(key)

    def forget(self, key: str) -> None:
        """Forget a lane whose deliveries were closed by another component."""
        self._lanes.forget(key)

    def is_working_on(self, key: str) -> bool:
        return self._lanes.is_at_work(key)

    async def take_new(self) -> list[Delivery]:
        """Learn what a command beside the server has committed, and let it go."""
        found = await self._store.claim_new()
        self.offer(found)
        return found

    def poll(self) -> None:
        """Look into the store now: somebody else may have written."""
        self.sweeper.poll()
