"""Fences of the queue's statements: an attempt that is over, or a state that has changed, cannot be written over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Direction, Message, State
from sipsms.core.queue_rows import Closing
from sipsms.store import queue
from sipsms.store.store import Store, open_store

ROWS = "SELECT state, attempts, last_error FROM deliveries ORDER BY id"
TRIES = "SELECT number, outcome FROM attempts ORDER BY delivery_id, number"


async def stored(folder: Path, count: int = 1) -> tuple[Store, list[Delivery]]:
    """A store with messages whose first attempt has begun."""
    store = open_store(f"sqlite:///{folder / 's.db'}", "node")
    made = []
    for number in range(count):
        text = f"text {number}"
        message = Message(
            Direction.OUT, "5550001111", "2125550123", text, "test", 1.0, "alice", "5550001111", None, None
        )
        lane = LaneKey(f"carrier:sim|{number}")
        delivery = Delivery(message, "carrier:sim", "2125550123", "5550001111", lane, 1e9, 1.0, due_at=1.0)
        accepted = await store.accept(message, (delivery,), 1.0)
        made += accepted.deliveries
        assert await store.begin(accepted.deliveries[0], 2.0)
    return store, made


async def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return await store.read(lambda db: [tuple(row) for row in db.exec_driver_sql(sql)])


def ends(delivery: Delivery, number: int, state: State) -> Closing:
    return Closing(delivery.id, number, state, str(state), "why", 9.0)


async def test_an_attempt_that_was_given_up_does_not_change_a_later_one(tmp_path: Path) -> None:
    """A process stood still, its attempt was recovered, the next one delivered; then it goes on and closes its own."""
    store, (delivery,) = await stored(tmp_path)
    await store.recover(["carrier:sim"], 3.0, own=True)
    assert await store.begin(delivery._replace(attempts=1), 4.0)
    assert await store.finish(ends(delivery, 2, State.DELIVERED)) is State.DELIVERED
    assert await store.finish(ends(delivery, 1, State.QUEUED)) is State.DELIVERED
    assert (await rows(store, ROWS))[0][:2] == ("delivered", 2)
    assert await rows(store, TRIES) == [(1, "queued"), (2, "delivered")]
    await store.close()


@pytest.mark.parametrize("late", [State.ACCEPTED, State.QUEUED, State.FAILED])
async def test_an_outcome_does_not_lower_what_a_receipt_has_raised(tmp_path: Path, late: State) -> None:
    store, (delivery,) = await stored(tmp_path)
    await store.write(lambda db: db.exec_driver_sql("UPDATE deliveries SET state = 'delivered'"))
    assert await store.finish(ends(delivery, 1, late)) is State.DELIVERED
    await store.close()


async def test_an_answer_that_comes_after_all_settles_an_unknown_outcome(tmp_path: Path) -> None:
    store, (delivery,) = await stored(tmp_path)
    await store.recover([], 3.0, own=True)
    assert (await rows(store, ROWS))[0][0] == "unknown"
    assert await store.finish(ends(delivery, 1, State.ACCEPTED)) is State.ACCEPTED
    assert (await rows(store, ROWS))[0][0] == "accepted"
    await store.close()


async def test_a_fenced_attempt_does_not_hold_up_the_others_of_its_batch(tmp_path: Path) -> None:
    store, made = await stored(tmp_path, 3)
    await store.write(
        lambda db: db.exec_driver_sql(f"UPDATE deliveries SET state = 'delivered' WHERE id = {made[1].id}")
    )
    closings = [store.writer.put(queue.finish_all, ends(one, 1, State.ACCEPTED)) for one in made]
    assert [await one for one in closings] == [State.ACCEPTED, State.DELIVERED, State.ACCEPTED]
    await store.close()
