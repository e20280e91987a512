"""The dispatcher gives lanes their turn at their courier, and performs what the machine of the lanes says."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.message import Delivery, State
from sipsms.core.queue_rows import Closing
from sipsms.messaging.queue import failover
from sipsms.messaging.queue.courier_state import CourierState
from sipsms.messaging.queue.lanes import CHUNK, ENTER, LOAD, MAKE_DUE, SEARCH, START, Action, Lane, Lanes, is_due
from sipsms.messaging.queue.wake_up import WakeUp
from sipsms.messaging.queue.worker import Worker
from sipsms.store.store import Store

READY_LANES = 5000  # lanes of one courier that wait in memory for their turn
PAGE = 500  # deliveries fetched in one search
_PAUSE = 1.0  # seconds before a lane asks again for a store that is away


class Dispatcher:
    def __init__(
        self, store: Store, clock: Clock, retry: float, worker: Worker, couriers: dict[str, CourierState],
        wake_up: WakeUp,
    ) -> None:  # fmt: skip
        """`retry`: seconds until a lane is looked at again on which another node is working."""
        self.lanes = Lanes()
        self.wakes: list[str] = []  # lanes whose heads are to be made due
        self.is_still = False  # nothing new may leave: not yet, or no more
        self._store = store
        self._clock = clock
        self._retry = retry
        self._worker = worker
        self._couriers = couriers
        self._wake_up = wake_up
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by lane
        self._stop = asyncio.Event()

    async def drain(self, seconds: float) -> None:
        """Start nothing new; wait for what is out."""
        self.is_still = True
        self._stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)

    def stored(self, delivery: Delivery) -> None:
        """Take a delivery that was committed: it starts if it is due, or is searched for when it is."""
        courier = self._couriers.get(delivery.courier)
        if courier is None or not is_due(delivery, self._clock()):
            self.lanes.park(delivery.lane)
            if courier is not None:
                courier.search_at(delivery.due_at)
        elif len(courier.ready) >= READY_LANES:
            self.lanes.park(delivery.lane)
            courier.overflow = True
        elif self.lanes.stored(delivery) is ENTER:
            self.enter(courier, self.lanes[delivery.lane])

    def enter(self, courier: CourierState, lane: Lane) -> None:
        """Give a lane its turn as soon as its courier has room."""
        if courier.has_room and courier.open(self._clock()) and not self.is_still:
            self.launch(courier, lane)
        else:
            courier.ready.append(lane)

    def fill(self, courier: CourierState) -> None:
        """Give lanes that wait in memory their turn, and search for more if few are left."""
        if self.is_still:
            return
        now = self._clock()
        while courier.ready and courier.has_room and courier.open(now):
            self.launch(courier, courier.ready.popleft())
        if courier.overflow and len(courier.ready) < PAGE // 2:
            courier.poll_at = 0.0
            self._wake_up.notify()

    def drop(self, courier: CourierState, lane: Lane) -> None:
        """Take a lane's turn away; what it holds is in the store, too."""
        self._leave(courier, lane.key, self.lanes.stopped(lane, undone=False))

    def _leave(self, courier: CourierState, key: str, action: Action) -> None:
        if action is SEARCH:
            courier.overflow = True
        elif action is MAKE_DUE:
            self._to_wake(key)

    # --- events ---

    def wake(self, key: str) -> None:
        """Take the event that a lane waits for."""
        if self.lanes.wake(key) is MAKE_DUE:
            self._to_wake(key)

    def _to_wake(self, key: str) -> None:
        self.wakes.append(key)
        self._wake_up.notify()

    async def write_wakes(self, now: float) -> None:
        """Write down that events have come; a search finds what is due then."""
        keys, self.wakes = self.wakes[:PAGE], self.wakes[PAGE:]
        try:
            await self._store.make_due(keys, now)
        except BaseException:
            self.wakes += keys
            raise
        for key in keys:
            if self.lanes.written(key) is MAKE_DUE:
                self._to_wake(key)

    # --- work ---

    def launch(self, courier: CourierState, lane: Lane, begun: Delivery | None = None) -> None:
        """Work on a lane. `begun`: a delivery whose attempt is committed, and which counts as active already."""
        if begun is None:
            courier.active += 1
        self._tasks[lane.key] = asyncio.create_task(self._work(courier, lane, begun))

    async def _work(self, courier: CourierState, lane: Lane, begun: Delivery | None) -> None:
        """Do with a lane what its machine says until it loses its turn."""
        try:
            action = self.lanes.turn(lane) if begun is None else await self._send(courier, lane, begun)
            while action is START or action is LOAD:
                if not self._may_start(courier):
                    action = self.lanes.stopped(lane)
                elif action is LOAD:
                    action = await self._load(courier, lane)
                else:
                    action = await self._start(courier, lane)
        except Exception as error:
            if isinstance(error, Unavailable):
                log.warning("store_unavailable", why=str(error))
            else:
                log.crash("queue_turn_failed", error)
            await self._pause(_PAUSE)
            action = self.lanes.stopped(lane)
        del self._tasks[lane.key]
        courier.active -= 1
        self._leave(courier, lane.key, action)
        self.fill(courier)

    def _may_start(self, courier: CourierState) -> bool:
        return not self.is_still and courier.open(self._clock())

    async def _load(self, courier: CourierState, lane: Lane) -> Action:
        now = self._clock()
        rows = await self._store.load_lane(lane.key, CHUNK, now)
        if rows is None:
            courier.search_at(now + self._retry)
        elif rows and not lane.may_start(rows[0], now) and any(is_due(row, now) for row in rows):
            await self._store.hold_back(lane.key, rows[0].due_at)
        return self.lanes.loaded(lane, rows, now)

    async def _start(self, courier: CourierState, lane: Lane) -> Action:
        wait = courier.take_slot(self._clock())
        if wait > 0:
            await self._pause(wait)
            if not self._may_start(courier):
                return self.lanes.stopped(lane)
        delivery = lane.take()
        if delivery.expires_at <= self._clock():
            return self.lanes.skipped(lane)
        return await self._send(courier, lane, delivery)

    async def _send(self, courier: CourierState, lane: Lane, delivery: Delivery) -> Action:
        closing = await self._worker.deliver(courier, delivery)
        if closing is None:
            return self.lanes.refused(lane)
        if closing.state is not State.QUEUED or self.moved(delivery, closing):
            return self.lanes.sent(lane)
        courier.search_at(closing.due_at)
        return self.lanes.deferred(lane)

    def moved(self, delivery: Delivery, closing: Closing) -> bool:
        """Let a delivery go on in another lane; False if it is in its own."""
        moved = failover.moved(delivery, closing)
        if moved is not None:
            self.stored(moved)
        return moved is not None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # --- a courier that is closed ---

    async def divert(self, courier: CourierState, now: float) -> None:
        """Let what may go by another courier do so: it need not wait for this one to fail for it, too."""
        lanes = [lane for lane in courier.ready if self._way_out(courier, lane, now) is not None]
        for lane in lanes:
            courier.ready.remove(lane)
        await asyncio.gather(*(self._divert(courier, lane, now) for lane in lanes))

    def _way_out(self, courier: CourierState, lane: Lane, now: float) -> Closing | None:
        """Return where the lane's first delivery can go instead."""
        if not lane.pending:
            return None
        head = lane.pending[0]
        closing = Closing(head.id, head.attempts, State.QUEUED, "diverted", courier.why, now)
        return failover.to_next(closing, head, self._couriers)

    async def _divert(self, courier: CourierState, lane: Lane, now: float) -> None:
        self.lanes.turn(lane)
        try:
            while (closing := self._way_out(courier, lane, now)) is not None:
                delivery = lane.pending[0]
                is_moved = await self._store.divert(delivery, closing)
                lane.take()
                lane.going = True  # as behind a delivery that was sent
                if is_moved:
                    self.moved(delivery, closing)
        finally:
            self.drop(courier, lane)
            self.fill(courier)
