"""The two rules of the queue, and that nothing is left lying, in any order of events, answers and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipsms.core import log
from sipsms.core.courier_id import CourierId
from sipsms.core.errors import Unavailable
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import (
    EVENT,
    Accepted,
    Attempt,
    Deferred,
    Delivery,
    Direction,
    Message,
    Outcome,
    Rejected,
    Scope,
    State,
    Unknown,
)
from sipsms.messaging.queue import dispatcher
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.settings import QueueSettings
from tests.support.messaging.model_store import ModelStore

LANES = st.sampled_from(["a", "a", "a", "b"])
OUTCOMES = st.sampled_from([
    Accepted("r"), Accepted("r"), Accepted("r"), Rejected("no"), Unknown("?"), Deferred("gone", retry=EVENT),
    Deferred("busy", retry=20.0), Deferred("busy"), Deferred("full", scope=Scope.MESSAGE),
    Deferred("down", scope=Scope.COURIER), Deferred("not now", attempt=Attempt.NOT_MADE),
    Deferred("lost", attempt=Attempt.MAYBE_ARRIVED),
])  # fmt: skip


class Ticks:
    """The wake-up of a queue, whose pauses end else only when the test says so."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        await self._event.wait()
        self._event.clear()


class Courier:
    """Answers when the test says so, and checks the two rules at each attempt."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def deliver(self, delivery: Delivery) -> Outcome:
        store, out = self._machine.store, self._machine.out
        before = [row for row in store.of_lane(delivery.lane) if row.id < delivery.id]
        if before:
            self._machine.wrong.append(f"{delivery.id} overtakes {before[0].id}")
        if any(other.lane == delivery.lane for other, _ in out):
            self._machine.wrong.append(f"two of {delivery.lane} are out")
        if store.rows[delivery.id].state is not State.SENDING:
            self._machine.wrong.append(f"{delivery.id} is sent without a begun attempt")
        self._machine.owed.pop(delivery.lane, None)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        out.append((delivery, answer))
        return await answer


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.store, self.ticks = ModelStore(), Ticks()
        self.out: list[tuple[Delivery, asyncio.Future[Outcome]]] = []
        self.wrong: list[str] = []
        self.owed: dict[str, int] = {}  # by lane: its head when its event came, and no attempt since
        self.tasks: list[asyncio.Task[Any]] = []
        self.do(self._set_up)
        self.spawn(self.queue.start([]))
        self.go_on()
        self.spawn(self.queue.run())

    def _set_up(self) -> None:
        log.crash = lambda event, error, **_: self.wrong.append(f"{event}: {error!r}")  # type: ignore[assignment]
        settings = QueueSettings(retry_min=5, retry_max=30)
        store: Any = self.store
        self.queue = Queue(store, lambda: self.now, settings, lambda: 0.5, wake_up=self.ticks)
        for name in ("one", "two"):
            self.queue.set_courier(name, Courier(self), CourierLimits(2, breaker=True))

    def do(self, action: Callable[[], Any]) -> None:
        """Perform an action in the loop, and all that follows from it at once."""

        async def perform() -> None:
            action()
            for _ in range(20):
                await asyncio.sleep(0)

        self.loop.run_until_complete(perform())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def watched() -> None:
            try:
                await work
            except Exception as error:
                self.wrong.append(repr(error))

        self.do(lambda: self.tasks.append(self.loop.create_task(watched())))

    # --- what happens ---

    @rule(lanes=st.lists(LANES, min_size=1, max_size=2), waits=st.booleans(), others=st.sampled_from(["", "two"]))
    def submit(self, lanes: list[str], waits: bool, others: str) -> None:
        due, others = (None, "") if waits else (self.now, others)  # a phone has no other courier
        message = Message(Direction.OUT, "1", "2", "x", "test", self.now)
        new = [
            Delivery(message, CourierId("one"), "2", lane, LaneKey(lane), 1e9, self.now, due_at=due, others=others)
            for lane in lanes
        ]
        self.spawn(self._submit(new))

    async def _submit(self, new: list[Delivery]) -> None:
        planned = [self.queue.reserve(delivery) for delivery in new]
        try:
            stored = await self.store.accept(planned)
        except Unavailable:
            self.queue.release(planned)
        else:
            self.queue.offer(stored, planned)

    @rule(lane=LANES)
    def insert(self, lane: str) -> None:
        """Another component stores something that waits, and wakes the lane."""
        message = Message(Direction.OUT, "1", "2", "x", "test", self.now)
        new = Delivery(message, CourierId("one"), "2", lane, LaneKey(lane), 1e9, self.now)
        self.spawn(self._insert(new))

    async def _insert(self, new: Delivery) -> None:
        self.queue.expect(new.lane)
        with suppress(Unavailable):
            await self.store.accept([new])
        self._wake(new.lane)

    @precondition(lambda self: self.store.operations)
    @rule(choices=st.lists(st.integers(0, 2), min_size=4, max_size=12))
    def steps(self, choices: list[int]) -> None:
        for choice in choices:
            self.do(lambda chosen=choice: self.store.step(chosen))

    @precondition(lambda self: self.store.operations)
    @rule(choice=st.integers(0, 3))
    def fail(self, choice: int) -> None:
        self.do(lambda: self.store.step(choice, fails=True))

    @precondition(lambda self: self.out)
    @rule(choice=st.integers(0, 3), outcome=OUTCOMES)
    def answer(self, choice: int, outcome: Outcome) -> None:
        _, future = self.out.pop(choice % len(self.out))
        self.do(lambda: future.set_result(outcome))

    @precondition(lambda self: self.out or self.store.operations)
    @rule()
    def go_on(self) -> None:
        """All that is under way ends."""
        while self.out or self.store.operations:
            if self.out:
                self.answer(0, Accepted("r"))
            self.steps([0])

    @rule(lane=LANES)
    def wake(self, lane: str) -> None:
        self.do(lambda: self._wake(lane))

    def _wake(self, lane: str) -> None:
        queued = [row.id for row in self.store.of_lane(lane) if row.state is State.QUEUED]
        if queued:
            self.owed[lane] = queued[0]
        self.queue.wake(lane)

    @rule(seconds=st.sampled_from([0.0, 0.0, 1.0, 6.0, 35.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.ticks.notify)

    @rule(names=st.sampled_from([[], [], ["one"], ["two"]]))
    def pause(self, names: list[str]) -> None:
        self.do(lambda: self.queue.set_paused(names))

    @rule(name=st.sampled_from(["one", "two"]), back=st.sampled_from([True, True, False]))
    def replace(self, name: str, back: bool) -> None:
        if back:
            self.do(lambda: self.queue.set_courier(name, Courier(self), CourierLimits(2, breaker=True)))
        else:
            self.do(lambda: self.queue.remove_courier(name))

    # --- what must hold ---

    @invariant()
    def keeps_the_rules(self) -> None:
        assert self.wrong == []

    def teardown(self) -> None:
        try:
            self._calm()
            late = [row for row in self.store.queued() if self.store.of_lane(row.lane)[0].due_at is not None]
            assert late == [], "what is due leaves"
            owed = [row for row in self.store.queued() if self.owed.get(row.lane) == row.id]
            assert owed == [], "an event is not lost"
            for lane in {row.lane for row in self.store.queued()}:
                self.wake(lane)
            self._calm()
            assert self.store.queued() == []
            assert self.queue._lanes._lanes == {}
            assert not any(courier.active for courier in self.queue._couriers.values())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.do(lambda: None)
            self.loop.close()

    def _calm(self) -> None:
        """All goes well, for as long as it takes."""
        self.pause([])
        for name in ("one", "two"):
            self.replace(name, back=True)
        for _ in range(40):
            self.go_on()
            if not self.store.queued() and not self.queue._lanes._lanes:
                return
            self.tick(35.0)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane asks at once again for a store that is away; what the machine puts in place of `log.crash` goes again."""
    monkeypatch.setattr(log, "crash", log.crash)
    monkeypatch.setattr(dispatcher, "_PAUSE", 0.0)


TestRules = Machine.TestCase
TestRules.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, phases=[Phase.generate])
