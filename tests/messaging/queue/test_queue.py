"""The queue on a real store: order, expiry, stored attempts, and recovery after a crash."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sipsms.core.message import Deferred, Delivered, Delivery, Direction, Message, Rejected, Scope, State, Unknown
from sipsms.messaging.queue.courier_state import CourierLimits
from tests.support.messaging.core import BACK_OFF, ScriptedCourier, core
from tests.support.messaging.traffic import accepted

STATES = "SELECT state, attempts FROM deliveries ORDER BY id"


async def test_the_attempt_is_stored_before_the_courier_is_called(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await accepted(here, "one")
        await sim.wait(1)
        assert await here.rows(STATES) == [("sending", 1)]
        assert await here.rows("SELECT number, outcome FROM attempts") == [(1, "")]
        sim.gate.set()
        await here.until(STATES, [("accepted", 1)])
        assert await here.rows("SELECT number, outcome FROM attempts") == [(1, "accepted")]
        assert await here.rows("SELECT remote_id FROM deliveries") == [("r1",)]


async def test_deliveries_keep_order_within_a_lane_and_not_between_lanes(tmp_path: Path) -> None:
    sim = ScriptedCourier(Deferred("busy", retry=1000))
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        for text in ("a1", "a2", "a3"):
            await accepted(here, text)
        await accepted(here, "b1", "2125550199")
        await sim.wait(2)
        await here.until(STATES, [("queued", 1), ("queued", 0), ("queued", 0), ("accepted", 1)])
        assert sim.texts == ["a1", "b1"]
        here.clock.now += 1001
        here.queue.poll()
        await sim.wait(5)
        assert sim.texts == ["a1", "b1", "a1", "a2", "a3"]


async def test_back_off_grows_and_is_capped(tmp_path: Path) -> None:
    sim = ScriptedCourier(*[Deferred("busy")] * 6)
    async with core(tmp_path, {"carrier:sim": sim}, settings=BACK_OFF) as here:
        await accepted(here, "one")
        for attempt, delay in enumerate([5, 10, 20, 40, 60, 60], start=1):
            await here.until(STATES, [("queued", attempt)])
            assert await here.rows("SELECT due_at FROM deliveries") == [(here.clock.now + delay,)]
            here.clock.now += delay
            here.queue.poll()
        await here.until(STATES, [("accepted", 7)])


@pytest.mark.req("F-11", "F-14")
async def test_an_unknown_delivery_is_not_sent_again_and_does_not_block_its_lane(tmp_path: Path) -> None:
    sim = ScriptedCourier(Unknown("no answer"), Rejected("bad number", "400"))
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        for text in ("one", "two", "three"):
            await accepted(here, text)
        await here.until(STATES, [("unknown", 1), ("failed", 1), ("accepted", 1)])
        here.clock.now += 86400 * 2
        here.queue.poll()
        assert sim.texts == ["one", "two", "three"]


async def test_a_courier_that_fails_is_closed_as_a_whole(tmp_path: Path) -> None:
    sim = ScriptedCourier(Deferred("refused", scope=Scope.COURIER))
    async with core(tmp_path, {"carrier:sim": sim}, settings=BACK_OFF, line=CourierLimits(1)) as here:
        await accepted(here, "one")
        await here.until(STATES, [("queued", 1)])
        await accepted(here, "two", "2125550199")
        here.queue.poll()
        await here.rows(STATES)
        assert sim.texts == ["one"]
        here.clock.now += 6
        here.queue.poll()
        await sim.wait(3)
        assert sorted(sim.texts) == ["one", "one", "two"]


@pytest.mark.req("F-40")
async def test_the_next_carrier_takes_what_the_first_certainly_did_not_send(tmp_path: Path) -> None:
    first = ScriptedCourier(Rejected("no", "403"), Unknown("no answer"), Deferred("down", scope=Scope.COURIER))
    second = ScriptedCourier()
    async with core(tmp_path, {"carrier:a": first, "carrier:b": second}) as here:
        for text in ("refused", "unclear", "unreachable"):
            await accepted(here, text)
        await second.wait(2)
        await here.until("SELECT courier, state FROM deliveries ORDER BY id", [
            ("carrier:b", "accepted"), ("carrier:a", "unknown"), ("carrier:b", "accepted"),
        ])  # fmt: skip
        assert second.texts == ["refused", "unreachable"]


async def test_an_expired_message_is_never_sent(tmp_path: Path) -> None:
    sim = ScriptedCourier(Deferred("busy", retry=90000))
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await accepted(here, "one")
        await here.until(STATES, [("queued", 1)])
        here.clock.now += 86401
        here.queue.poll()
        await here.until(STATES, [("expired", 1)])
        here.clock.now += 90000
        here.queue.poll()
        assert sim.texts == ["one"]


async def test_a_paused_courier_sends_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        here.queue.set_paused(["carrier:sim"])
        for number in range(20):
            await accepted(here, f"{number}", f"21255501{number % 3}0")
        assert sim.seen == []
        here.queue.set_paused([])
        await sim.wait(20)
        for lane in range(3):
            ours = [int(one.message.text) for one in sim.seen if one.destination == f"21255501{lane}0"]
            assert ours == sorted(ours)


@pytest.mark.req("F-01", "F-10")
async def test_a_restart_sends_the_backlog_and_leaves_open_attempts_unknown(tmp_path: Path) -> None:
    """What a crash leaves: queued rows, and attempts nobody closed."""
    stuck = ScriptedCourier()
    stuck.gate = asyncio.Event()
    async with core(tmp_path, {"carrier:sim": stuck, "carrier:again": stuck}, run=False) as here:
        await accepted(here, "out")
        await stuck.wait(1)
        for number in range(200):
            await accepted(here, f"{number}", f"212555{number % 7:04d}")
        rows = await here.rows("SELECT count(*) FROM deliveries WHERE state = 'sending'")
        assert rows[0][0] >= 1
        for task in here.queue._dispatcher._tasks.values():  # the process is gone
            task.cancel()
        sending = rows[0][0]
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await sim.wait(201 - sending)
        await here.until("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state", [
            ("accepted", 201 - sending), ("unknown", sending),
        ])  # fmt: skip
        for lane in range(7):
            ours = [int(one.message.text) for one in sim.seen if one.destination == f"212555{lane:04d}"]
            assert ours == sorted(ours)


async def test_open_attempts_of_an_idempotent_courier_are_sent_again(tmp_path: Path) -> None:
    stuck = ScriptedCourier()
    stuck.gate = asyncio.Event()
    async with core(tmp_path, {"carrier:sim": stuck}, run=False) as here:
        await accepted(here, "out")
        await stuck.wait(1)
        for task in here.queue._dispatcher._tasks.values():
            task.cancel()
    sim = ScriptedCourier(Delivered())
    async with core(tmp_path, {"carrier:sim": sim}, idempotent=("carrier:sim",)) as here:
        await here.until(STATES, [("delivered", 2)])
        assert [one.id for one in sim.seen] == [one.id for one in stuck.seen]


async def test_a_lane_longer_than_memory_holds_keeps_its_order(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        for number in range(180):
            await accepted(here, f"{number}")
        lane = here.queue._lanes["carrier:sim/5550001111/2125550123"]
        assert len(lane.pending) <= 50
        sim.gate.set()
        await sim.wait(180)
        assert sim.texts == [f"{number}" for number in range(180)]


async def test_a_message_with_a_known_key_is_a_duplicate(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        first, *others = await asyncio.gather(*(accepted(here, "once", dedupe_key=b"k") for _ in range(20)))
        assert {one.message for one in others} == {first.message}
        assert [first.duplicate, *(one.duplicate for one in others)].count(False) == 1
        await here.until(STATES, [("accepted", 1)])
        assert await here.store.find_duplicate(b"k") == first.message
        assert await here.store.find_duplicate(b"other") is None


@pytest.mark.req("I6", "F-01")
async def test_no_delivery_overtakes_one_of_its_lane_that_is_being_stored(tmp_path: Path) -> None:
    """Just after the start, say: the first could not begin with its commit, the second could, and is in the same."""
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        now, queue = here.clock.now, here.queue
        message = Message(Direction.OUT, "5550001111", "2125550123", "m", "test", now, "alice", "5550001111")
        delivery = Delivery(message, "carrier:sim", "2125550123", "5550001111", "lane", now + 60, now, due_at=now)
        queue.expect("lane")
        first = queue.reserve(delivery)
        queue.forget("lane")
        second = queue.reserve(delivery)
        assert (first.state, second.state) == (State.QUEUED, State.QUEUED)
        queue.release([first])
        assert queue.reserve(delivery).state is State.QUEUED, "the second is not there yet"
        queue.release([second, delivery])
        queue.forget("lane")
        third = queue.reserve(delivery)
        assert third.state is State.SENDING
        queue.release([third])
