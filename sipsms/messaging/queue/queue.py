"""The queue: takes deliveries from the store to their couriers, in order within a lane, and writes down how it went.

A lane (one device, or one DID and peer at a carrier) has one delivery out at a time. Only lanes that are being worked
on are in memory, so a million waiting messages cost nothing; what waits in the store is known by its lane's hash.
The attempt is committed before the courier is called and closed after; an attempt that is never closed is `unknown`.

The store is the truth, memory only makes it quick: a lane may go when the oldest delivery in it is due, whatever stands
behind; every courier's due lanes are looked for at least every half minute; and a wake is written down as a due time.
So what memory misses is late, and never lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId
from sipsms.core.errors import Unavailable
from sipsms.core.lane_key import LaneKey
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
from sipsms.messaging.carrier import Courier
from sipsms.messaging.queue.courier_state import CourierLimits, CourierState, Health, Lane
from sipsms.messaging.settings import QueueSettings
from sipsms.store.store import Store

_LANE_CHUNK = 50  # deliveries of one lane in memory
_READY_LANES = 5000  # lanes of one courier that wait in memory for their turn
_POLL = 500  # deliveries fetched in one look
_LOOK_AT_LEAST = 30.0  # seconds
_RECOVER_EVERY = 60.0
_USUAL = CourierLimits()
_SWEEP = 1.0  # seconds between looks for what has expired or fallen due


class Queue:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: QueueSettings,
        jitter: Callable[[], float] = random.random,
        is_reachable: Callable[[LaneKey], bool] = lambda lane: False,
        on_change: Callable[[Delivery, State, str], None] = lambda delivery, state, detail: None,
    ) -> None:
        """`is_reachable`: has the event come that this lane may wait for? Asked at the start for each that waits.
        `on_change`: a delivery, its state after an attempt or when it expired, and why.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._is_reachable = is_reachable
        self._on_change = on_change
        self._wakes: set[str] = set()  # lanes whose event has come, but is not written down yet
        self._waking: set[str] = set()  # and those for which it is being written down
        self._couriers: dict[str, CourierState] = {}
        self._lanes: dict[str, Lane] = {}  # lanes that are ready or at work
        self._waiting: set[int] = set()  # hashes of lanes with deliveries in the store only
        self._scanned = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._poke = asyncio.Event()
        self._coming: Counter[str] = Counter()  # deliveries by lane that are being stored and have not begun
        self._stopping = False
        self._held = False
        self._stop = asyncio.Event()
        self._idempotent: list[str] = []
        self._recover_at = 0.0

    # --- life ---

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
            lane = courier_state.ready.popleft()
            del self._lanes[lane.key]
            self._waiting.add(hash(lane.key))

    def set_paused(self, couriers: Iterable[str]) -> None:
        stopped = set(couriers)
        for courier_state in self._couriers.values():
            courier_state.paused = courier_state.name in stopped
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

    async def start(self, idempotent: Iterable[str], *, hold: bool = False) -> None:
        """Recover what a crash left half done, and learn which lanes wait. Raises Unavailable.

        `idempotent`: couriers whose far side drops what it has already. `hold`: nothing leaves before `run`, since the
        sockets it would leave by are not open yet.
        """
        self._held = hold
        self._idempotent = list(idempotent)
        await self._recover(own=True)
        self._recover_at = self._clock() + _RECOVER_EVERY
        await self._learn_lanes()

    async def _recover(self, *, own: bool) -> None:
        again, unknown = await self._store.recover(self._idempotent, self._clock(), own=own)
        if again or unknown:
            log.warning("recovered", sent_again=again, unknown=unknown)
            log.UNKNOWN.inc(unknown)
        if again and not own:
            self._scanned = False
            scan = asyncio.create_task(self._scan())
            self._tasks.add(scan)
            scan.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Find lanes that fall due and expire old deliveries, until cancelled."""
        self._held = False
        scan = asyncio.create_task(self._scan())
        try:
            while True:
                self._poke.clear()  # what comes during the turn counts for the next
                await self._guarded(self._turn)
                try:
                    async with asyncio.timeout(_SWEEP):
                        await self._poke.wait()
                except TimeoutError:
                    continue
        finally:
            scan.cancel()

    async def drain(self, seconds: float) -> None:
        """Start nothing new; wait for what is out."""
        self._stopping = True
        self._stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _scan(self) -> None:
        """Learn which lanes wait in the store. Until that is known, every lane is asked for."""
        while not self._scanned:
            try:
                await self._learn_lanes()
            except Unavailable:
                await asyncio.sleep(_SWEEP)

    async def _learn_lanes(self) -> None:
        lanes = await self._store.waiting_lanes()
        self._waiting.update(map(hash, lanes))
        self._scanned = True
        for key in filter(self._is_reachable, lanes):
            self.wake(key)
        self.poll()

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
            return True
        except Unavailable as error:
            log.warning("store_unavailable", why=str(error))
        except Exception as error:
            log.crash("queue_turn_failed", error)
        return False

    # --- what comes in ---

    def reserve(self, delivery: Delivery) -> Delivery:
        """Reserve a delivery's place before the commit; if its lane is free, it comes back as `sending`.

        Then the commit that stores it begins its attempt, too. The caller must later call `offer` (committed) or
        `release` (not committed): until then no other delivery of this lane may start.
        """
        courier_state, now = self._couriers.get(delivery.courier), self._clock()
        is_due = delivery.due_at is not None and delivery.due_at <= now < delivery.expires_at
        if (
            courier_state is None
            or self._is_still
            or not is_due
            or not self._is_idle(delivery.lane)
            or not courier_state.is_free(now)
        ):
            self._coming[delivery.lane] += 1
            return delivery
        courier_state.active += 1
        courier_state.take_slot(now)
        self._lanes[delivery.lane] = Lane(delivery.lane)
        if courier_state.touched is not None:
            courier_state.touched.add(delivery.lane)
        return delivery._replace(state=State.SENDING, attempts=1)

    def release(self, planned: Iterable[Delivery]) -> None:
        """Undo `reserve` for deliveries that were not committed."""
        for delivery in planned:
            if delivery.state is State.SENDING:
                courier_state = self._couriers[delivery.courier]
                self._leave(courier_state, self._lanes[delivery.lane])
            else:
                self._arrived(delivery.lane)

    @property
    def _is_still(self) -> bool:
        """Nothing new may leave: not yet, or no more."""
        return self._stopping or self._held

    def _arrived(self, key: str) -> None:
        self._coming[key] -= 1
        if self._coming[key] <= 0:
            del self._coming[key]

    def _is_idle(self, key: str) -> bool:
        """Nothing of this lane is at work, waits, or is being stored."""
        return self._scanned and key not in self._lanes and key not in self._coming and hash(key) not in self._waiting

    def offer(self, deliveries: Iterable[Delivery], planned: Iterable[Delivery] = ()) -> None:
        """Deliveries just committed. They start at once if their lane is free. `planned`: what `reserve` gave back."""
        for delivery in planned:
            if delivery.state is not State.SENDING:
                self._arrived(delivery.lane)
        for delivery in deliveries:
            if delivery.state is State.SENDING:
                self._lanes[delivery.lane].pending.appendleft(delivery)
                self._begin_work(self._couriers[delivery.courier], self._lanes[delivery.lane])
            elif delivery.due_at is None:
                self._waiting.add(hash(delivery.lane))
            elif delivery.due_at > self._clock():
                self._wait_until(delivery)
            else:
                self._offer(delivery)

    def _wait_until(self, delivery: Delivery) -> None:
        """Its time is yet to come; the poll finds it then."""
        self._waiting.add(hash(delivery.lane))
        courier_state = self._couriers.get(delivery.courier)
        if courier_state is not None and delivery.due_at is not None:
            courier_state.poll_at = min(courier_state.poll_at, delivery.due_at)

    def _offer(self, delivery: Delivery) -> None:
        key = delivery.lane
        lane = self._lanes.get(key)
        if lane is not None:
            if lane.more or len(lane.pending) >= _LANE_CHUNK:
                lane.more = True
            else:
                lane.pending.append(delivery)
            return
        courier_state = self._couriers.get(delivery.courier)
        if courier_state is None or len(courier_state.ready) >= _READY_LANES:
            self._leave_in_store(courier_state, key)
            return
        behind = not self._scanned or hash(key) in self._waiting
        lane = Lane(key, more=True) if behind else Lane(key, deque((delivery,)))
        self._enter(courier_state, lane)

    def _leave_in_store(self, courier_state: CourierState | None, key: str) -> None:
        self._waiting.add(hash(key))
        if courier_state is not None:
            courier_state.overflow = True

    def wake(self, key: str) -> None:
        """The event a lane waits for has come: its device registered."""
        lane = self._lanes.get(key)
        if lane is not None:
            lane.woken = lane.more = True
        elif not self._scanned or hash(key) in self._waiting:
            self._wakes.add(key)
            self._poke.set()

    def expect(self, key: str) -> None:
        """Mark a lane as non-empty before another component inserts deliveries: later ones queue behind."""
        self._waiting.add(hash(key))

    def forget(self, key: str) -> None:
        """Forget a lane whose deliveries were closed by another component."""
        if key not in self._lanes:
            self._waiting.discard(hash(key))

    def is_working_on(self, key: str) -> bool:
        return key in self._lanes

    async def take_new(self) -> list[Delivery]:
        """Learn what a command beside the server has committed, and let it go."""
        found = await self._store.claim_new()
        self.offer(found)
        return found

    def poll(self) -> None:
        """Look into the store now: somebody else may have written."""
        for courier_state in self._couriers.values():
            courier_state.poll_at = 0.0
        self._poke.set()

    # --- lanes ---

    def _enter(self, courier_state: CourierState, lane: Lane) -> None:
        self._lanes[lane.key] = lane
        if courier_state.touched is not None:
            courier_state.touched.add(lane.key)
        if courier_state.has_room and courier_state.open(self._clock()) and not self._is_still:
            self._launch(courier_state, lane)
        else:
            courier_state.ready.append(lane)

    def _launch(self, courier_state: CourierState, lane: Lane) -> None:
        courier_state.active += 1
        self._begin_work(courier_state, lane)

    def _begin_work(self, courier_state: CourierState, lane: Lane) -> None:
        task = asyncio.create_task(self._work(courier_state, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, courier_state: CourierState, lane: Lane) -> None:
        try:
            if not await self._guarded(lambda: self._work_lane(courier_state, lane)):
                lane.more = True  # what was being sent is still in the store
        finally:
            self._leave(courier_state, lane)

    def _leave(self, courier_state: CourierState, lane: Lane) -> None:
        """The lane is done with for now; what it still holds is found again in the store."""
        courier_state.active -= 1
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
        if courier_state.touched is not None:
            courier_state.touched.add(lane.key)
        if lane.pending or lane.more:
            self._waiting.add(hash(lane.key))
            courier_state.overflow = True
            if lane.woken or lane.going:  # its next one may have no due time of its own
                self._wakes.add(lane.key)
        self._fill(courier_state)

    def _fill(self, courier_state: CourierState) -> None:
        if self._is_still:
            return
        now = self._clock()
        while courier_state.ready and courier_state.has_room and courier_state.open(now):
            self._launch(courier_state, courier_state.ready.popleft())
        if courier_state.overflow and len(courier_state.ready) < _POLL // 2:
            courier_state.poll_at = 0.0
            self._poke.set()

    async def _work_lane(self, courier_state: CourierState, lane: Lane) -> None:
        """Deliver what the lane holds, one by one, until it is empty or something has to wait."""
        while lane.pending or not self._stopping:
            begun = bool(lane.pending) and lane.pending[0].state is State.SENDING
            if not begun and (self._stopping or not courier_state.open(self._clock())):
                return
            if not lane.pending:
                if not lane.more:
                    return
                if not await self._load(courier_state, lane):
                    return
                if not lane.pending:  # its event came while we looked: once more
                    continue
            if not begun and not await self._slot(courier_state):
                return
            delivery = lane.pending.popleft()
            now = self._clock()
            if delivery.expires_at <= now and delivery.state is State.QUEUED:
                continue  # the sweep writes it down
            if not await self._deliver(courier_state, lane, delivery, now):
                return

    async def _slot(self, courier_state: CourierState) -> bool:
        """Wait until the courier's rate lets one go. False: it does not go any more."""
        wait = courier_state.take_slot(self._clock())
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stop.wait()
        return not self._stopping and courier_state.open(self._clock())

    async def _load(self, courier_state: CourierState, lane: Lane) -> bool:
        """Fetch the lane's next deliveries; False if none is to be sent now."""
        lane.more = False
        now, woken = self._clock(), lane.key in self._wakes or lane.key in self._waking
        rows = await self._store.load_lane(lane.key, _LANE_CHUNK, now)
        if rows is None:  # another node is at it
            self._waiting.add(hash(lane.key))
            courier_state.poll_at = min(courier_state.poll_at, now + self._settings.retry_min)
            return False
        if not rows:
            self._waiting.discard(hash(lane.key))
            return lane.more
        if not lane.going and not self._is_due(rows[0]):
            if woken:  # its event was not written down yet when this was read
                self._wakes.discard(lane.key)
                lane.woken = True
            return await self._not_yet(lane, rows)
        known = {row.id for row in rows}
        late = [delivery for delivery in lane.pending if delivery.id not in known]  # committed after we looked
        lane.pending = deque(rows)
        if len(rows) < _LANE_CHUNK:
            self._waiting.discard(hash(lane.key))
            lane.pending.extend(late)
        else:
            lane.more = True
        return True

    def _is_due(self, head: Delivery) -> bool:
        return head.due_at is not None and head.due_at <= self._clock()

    async def _not_yet(self, lane: Lane, rows: list[Delivery]) -> bool:
        """The head has to wait: so does what stands behind it."""
        self._waiting.add(hash(lane.key))
        if any(self._is_due(row) for row in rows):
            await self._store.hold_back(lane.key, rows[0].due_at)
        return await self._woken(lane)

    async def _woken(self, lane: Lane) -> bool:
        """Its event has come meanwhile: the head is due after all. Once for each event."""
        if not lane.woken:
            return False
        lane.woken = lane.going = False
        await self._store.make_due([lane.key], self._clock())
        lane.pending.clear()  # what was committed meanwhile stands behind what the store holds
        lane.more = True
        return True

    # --- one delivery ---

    async def _deliver(self, courier_state: CourierState, lane: Lane, delivery: Delivery, now: float) -> bool:
        """Make one attempt. False: the lane has to wait."""
        if delivery.state is State.QUEUED:
            if not await self._store.begin(delivery, now):
                return True  # expired, or somebody else has it
            delivery = delivery._replace(attempts=delivery.attempts + 1, state=State.SENDING)
        number = delivery.attempts
        log.attempt(delivery.message.id, delivery.id, courier_state.name, number)
        started = time.monotonic()
        outcome = await self._attempt(courier_state, delivery)
        closing = self._elsewhere(self._closing(courier_state, delivery, number, outcome), delivery, outcome)
        state = await self._close(closing)
        log.outcome(
            delivery.message.id,
            delivery.id,
            courier_state.name,
            closing.outcome,
            closing.detail,
            time.monotonic() - started,
        )
        courier_state.counts[closing.outcome] += 1
        self._on_change(delivery, state, closing.detail)
        if courier_state.note(outcome):
            courier_state.close_for(self._delay(courier_state, number, outcome), closing.now)
        leaves = closing.moved is not None and closing.moved[1] != lane.key
        if leaves:
            self._go_on(delivery, closing)
        if not isinstance(outcome, Deferred) or leaves:
            lane.going = True
            return True
        self._put_off(courier_state, lane, closing)
        return await self._woken(lane)

    def _go_on(self, delivery: Delivery, closing: Closing) -> None:
        """In another lane, now or later."""
        assert closing.moved is not None
        courier, key, others = closing.moved
        moved = delivery._replace(
            courier=CourierId(courier), lane=key, others=others, state=State.QUEUED, due_at=closing.due_at,
            attempts=closing.number - closing.untried,
        )  # fmt: skip
        if closing.due_at is not None and closing.due_at <= self._clock():
            self._offer(moved)
            return
        self._waiting.add(hash(key))
        courier_state = self._couriers.get(courier)
        if courier_state is not None and closing.due_at is not None:
            courier_state.poll_at = min(courier_state.poll_at, closing.due_at)

    def _put_off(self, courier_state: CourierState, lane: Lane, closing: Closing) -> None:
        lane.pending.clear()  # order: nothing of this lane passes its head
        lane.going = False
        self._waiting.add(hash(lane.key))
        if closing.due_at is not None:
            courier_state.poll_at = min(courier_state.poll_at, closing.due_at)

    def _elsewhere(self, closing: Closing, delivery: Delivery, outcome: Outcome) -> Closing:
        """Certainly not sent, and there is another carrier: it goes on there. Or it steps aside in its lane."""
        match outcome:
            case Deferred(attempt=Attempt.MAYBE_ARRIVED):
                return closing._replace(moved=(delivery.courier, delivery.lane, ""))
            case Rejected(opt_out=False):
                return self._to_next(closing, delivery, refused=True) or closing
            case Deferred(scope=Scope.COURIER):
                return self._to_next(closing, delivery) or closing
            case Deferred(scope=Scope.MESSAGE) if not delivery.lane.is_aside:
                return closing._replace(moved=(delivery.courier, delivery.lane.aside(delivery.id), delivery.others))
        return closing

    def _to_next(self, closing: Closing, delivery: Delivery, *, refused: bool = False) -> Closing | None:
        """To the next courier that is there. One that is only away now stays behind the others; where none of them is
        up, waiting here is as good. One that has refused the message is done with it.
        """
        others, now = list(filter(None, delivery.others.split(","))), self._clock()
        here = [name for name in others if name in self._couriers and self._couriers[name].serves()]
        chosen = next((name for name in here if self._couriers[name].open(now)), here[0] if refused and here else None)
        if chosen is None:
            return None
        others.remove(chosen)
        if not refused and delivery.courier not in others:
            others.append(delivery.courier)
        lane = LaneKey.between(chosen, delivery.source, delivery.destination)
        return closing._replace(state=State.QUEUED, due_at=closing.now, moved=(chosen, lane, ",".join(others)))

    async def _attempt(self, courier_state: CourierState, delivery: Delivery) -> Outcome:
        if courier_state.courier is None:
            return Deferred("this carrier is not configured any more")
        try:
            return await courier_state.courier.deliver(delivery)
        except Exception as error:  # a bug in a courier: the bytes may have left
            log.crash("courier_failed", error, message=delivery.message.id, delivery=delivery.id)
            return Unknown(f"internal error: {type(error).__name__}")

    async def _close(self, closing: Closing) -> State:
        """Write the result down, however long that takes: until then the attempt counts as unknown."""
        while True:
            try:
                return await self._store.finish(closing)
            except Unavailable as error:
                log.warning("store_unavailable", why=str(error), delivery=closing.delivery_id)
                await asyncio.sleep(_SWEEP)

    def _closing(self, courier_state: CourierState, delivery: Delivery, number: int, outcome: Outcome) -> Closing:
        now = self._clock()
        match outcome:
            case Delivered(detail):
                return Closing(delivery.id, number, State.DELIVERED, "delivered", detail, now)
            case Accepted(remote_id):
                return Closing(delivery.id, number, State.ACCEPTED, "accepted", "", now, remote_id=remote_id)
            case Rejected(reason, code):
                return Closing(delivery.id, number, State.FAILED, "failed", f"{code} {reason}".strip(), now)
            case Unknown(reason):
                return Closing(delivery.id, number, State.UNKNOWN, "unknown", reason, now)
            case Deferred():
                due = None if outcome.retry == EVENT else now + self._delay(courier_state, number, outcome)
                closing = Closing(delivery.id, number, State.QUEUED, "deferred", outcome.reason, now, due)
                return closing._replace(untried=outcome.attempt is Attempt.NOT_MADE)

    def _delay(self, courier_state: CourierState, number: int, outcome: Outcome) -> float:
        """Exponential from retry_min to retry_max, with up to a fifth of jitter."""
        if isinstance(outcome, Deferred) and outcome.retry is not None:
            return max(outcome.retry, 1.0)
        own = isinstance(outcome, Deferred) and outcome.scope is not Scope.COURIER and not courier_state.why
        tries = number if own else courier_state.failures + 1
        delay: float = min(self._settings.retry_max, self._settings.retry_min * 2 ** min(tries - 1, 20))
        return delay * (0.9 + 0.2 * self._jitter())

    # --- the clock's part ---

    async def _turn(self) -> None:
        now = self._clock()
        log.LANES.labels("active").set(len(self._lanes))
        log.LANES.labels("waiting").set(len(self._waiting))
        if self._wakes:
            await self._wake_all(now)
        for delivery in await self._store.expire(now, 500):
            log.expired(delivery.message.id, delivery.id)
            self._on_change(delivery, State.EXPIRED, delivery.last_error)
        if now >= self._recover_at:
            self._recover_at = now + _RECOVER_EVERY
            await self._recover(own=False)
        for courier_state in list(self._couriers.values()):
            if self._stopping or courier_state.paused:
                continue
            if not courier_state.open(now):
                await self._divert(courier_state, now)
                continue
            self._fill(courier_state)
            if now >= courier_state.poll_at and len(courier_state.ready) < _POLL:
                await self._poll_courier(courier_state, now)

    async def _divert(self, courier_state: CourierState, now: float) -> None:
        """Nothing goes by this carrier now: what may go by another one does, and need not wait for the first to fail
        for it, too. What is only in the store follows bit by bit."""
        if not courier_state.line.breaker:
            return
        if now >= courier_state.poll_at and len(courier_state.ready) < _READY_LANES:
            await self._poll_courier(courier_state, now, movable=True)
        lanes = [
            lane
            for lane in courier_state.ready
            if lane.pending and self._elsewhere_of(courier_state, lane, now) is not None
        ]
        for lane in lanes:
            courier_state.ready.remove(lane)
        await asyncio.gather(*(self._divert_lane(courier_state, lane, now) for lane in lanes))

    def _elsewhere_of(self, courier_state: CourierState, lane: Lane, now: float) -> Closing | None:
        """Return where the lane's first delivery can go instead."""
        head = lane.pending[0]
        return self._to_next(Closing(head.id, 0, State.QUEUED, "diverted", courier_state.why, now), head)

    async def _divert_lane(self, courier_state: CourierState, lane: Lane, now: float) -> None:
        try:
            while lane.pending and (closing := self._elsewhere_of(courier_state, lane, now)) is not None:
                delivery = lane.pending[0]
                moved = await self._store.divert(delivery, closing)
                lane.pending.popleft()
                if moved:
                    self._go_on(delivery, closing._replace(number=delivery.attempts))
        finally:
            if lane.pending:  # it has no other way: it waits here
                courier_state.ready.append(lane)
            else:
                courier_state.active += 1  # as if it had been at work
                self._leave(courier_state, lane)

    async def _wake_all(self, now: float) -> None:
        """Write down that events have come; the poll finds what is due then."""
        keys = list(self._wakes)[:_POLL]
        self._wakes.difference_update(keys)  # before the store is asked: an event that comes meanwhile is another one
        self._waking = set(keys)
        try:
            await self._store.make_due(keys, now)
        except BaseException:
            self._wakes.update(keys)
            raise
        finally:
            self._waking = set()
        self.poll()

    async def _poll_courier(self, courier_state: CourierState, now: float, *, movable: bool = False) -> None:
        """Look for lanes with something due: page by page, so that lanes which are at work already, and have many
        waiting, hide nobody."""
        limit = _POLL + 2 * (len(courier_state.ready) + courier_state.active)
        courier_state.overflow, courier_state.poll_at, courier_state.touched = False, now + _LOOK_AT_LEAST, set()
        try:
            found = await self._store.due(courier_state.name, now, limit, courier_state.cursor, movable=movable)
        except BaseException:
            courier_state.poll_at = now + _SWEEP
            raise
        finally:
            touched, courier_state.touched = courier_state.touched, None
        for due in found.lanes:
            lane = self._lanes.get(due.lane)
            if lane is not None:
                lane.more = True
            elif due.lane in touched:  # what was read of it is old
                courier_state.overflow = True
            elif movable and not due.deliveries:  # its head has no other way
                continue
            else:
                if not due.more:
                    self._waiting.discard(hash(due.lane))
                self._enter(courier_state, Lane(due.lane, deque(due.deliveries), more=due.more))
        courier_state.cursor = found.last
        courier_state.overflow = courier_state.overflow or found.last is not None
        if found.later is not None:
            courier_state.poll_at = min(courier_state.poll_at, found.later)
        self._fill(courier_state)
