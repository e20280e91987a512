"""One attempt: begin, deliver, close, in this order."""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.core.courier_id import CourierId
from sipsms.core.errors import Unavailable
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Accepted, Deferred, Delivery, Direction, Message, Outcome, Scope, State
from sipsms.core.queue_rows import Closing
from sipsms.messaging.queue import worker
from sipsms.messaging.queue.courier_state import CourierLimits, CourierState
from sipsms.messaging.queue.worker import Worker
from sipsms.messaging.settings import QueueSettings

MESSAGE = Message(Direction.OUT, "1", "2", "x", "test", 1.0)
QUEUED = Delivery(MESSAGE, CourierId("one"), "2", "1", LaneKey("lane"), 1e9, 1.0, due_at=1.0, id=7)
BEGUN = QUEUED._replace(state=State.SENDING, attempts=1)


class Story:
    """Store and courier in one, and what happened to them in order."""

    def __init__(self, answer: Outcome | Exception, *, begins: bool = True, failures: int = 0) -> None:
        self.answer, self.begins, self.failures = answer, begins, failures
        self.told: list[str] = []
        self.courier = CourierState("one", self, CourierLimits())
        store: Any = self
        self.worker = Worker(
            store, lambda: 10.0, QueueSettings(), lambda: 0.5, {}, lambda _, state, why: self.told.append(f"{state}")
        )

    async def begin(self, delivery: Delivery, now: float) -> bool:
        self.told.append("begin")
        return self.begins

    async def deliver(self, delivery: Delivery) -> Outcome:
        self.told.append(f"deliver {delivery.attempts}")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def finish(self, closing: Closing) -> State:
        self.told.append("close")
        self.failures -= 1
        if self.failures >= 0:
            raise Unavailable("away")
        return closing.state


@pytest.mark.parametrize(
    ("story", "delivery", "told"),
    [
        (Story(Accepted("r")), QUEUED, ["begin", "deliver 1", "close", "accepted"]),
        (Story(Accepted("r")), BEGUN, ["deliver 1", "close", "accepted"]),
        (Story(Deferred("busy")), BEGUN, ["deliver 1", "close", "queued"]),
        (Story(ValueError("bug")), BEGUN, ["deliver 1", "close", "unknown"]),
        (Story(Accepted("r"), begins=False), QUEUED, ["begin"]),
        (Story(Accepted("r"), failures=2), BEGUN, ["deliver 1", "close", "close", "close", "accepted"]),
    ],
)
async def test_an_attempt_begins_is_delivered_and_is_closed(
    monkeypatch: pytest.MonkeyPatch, story: Story, delivery: Delivery, told: list[str]
) -> None:
    monkeypatch.setattr(worker, "_CLOSE_AGAIN", 0.0)
    closing = await story.worker.deliver(story.courier, delivery)
    assert story.told == told
    assert (closing is None) is not story.begins


@pytest.mark.parametrize(
    ("outcome", "attempts", "failures", "seconds"),
    [
        (Deferred("busy"), 3, 0, 20),
        (Deferred("down", scope=Scope.COURIER), 3, 0, 5),
        (Deferred("down", scope=Scope.COURIER), 1, 2, 20),
        (Deferred("busy", retry=1800), 3, 0, 1800),
        (Deferred("busy", retry=0), 3, 0, 1),
    ],
)
async def test_the_back_off_counts_attempts_or_failures_of_the_courier(
    outcome: Outcome, attempts: int, failures: int, seconds: float
) -> None:
    story = Story(outcome)
    story.courier.failures = failures
    closing = await story.worker.deliver(story.courier, BEGUN._replace(attempts=attempts))
    assert closing is not None
    assert closing.due_at == pytest.approx(10 + seconds)


async def test_without_its_courier_a_delivery_waits() -> None:
    story = Story(Accepted("r"))
    story.courier.courier = None
    closing = await story.worker.deliver(story.courier, BEGUN)
    assert closing is not None
    assert (closing.state, story.told) == (State.QUEUED, ["close", "queued"])
