"""The dispatcher on a real store: turns of lanes, searches, draining, and a courier that is closed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Callback, Did
from sipsms.core.message import Accepted, Deferred, Delivery, Direction, Message, Outcome, Scope
from sipsms.core.queue_rows import Due
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.queue.courier_state import CourierLimits
from tests.support.messaging.core import BACK_OFF, Core, ScriptedCourier, core
from tests.support.messaging.traffic import accepted

AWAY = Deferred("not sent: cannot connect", scope=Scope.COURIER)
BREAKER = CourierLimits(breaker=True)
STATES = "SELECT state, attempts, courier FROM deliveries ORDER BY id"


def two(first: ScriptedCourier, second: ScriptedCourier) -> dict[str, ScriptedCourier]:
    return {"carrier:first": first, "carrier:second": second}


class Looks:
    """Counts how often the queue looks into the store for what is due."""

    def __init__(self, here: Core) -> None:
        self.count, self._due = 0, here.store.due
        here.store.due = self._look  # type: ignore[method-assign]

    async def _look(self, *arguments: Any, **named: Any) -> Due:
        self.count += 1
        return await self._due(*arguments, **named)


@pytest.mark.req("S-135", "F-10")
async def test_only_deliveries_with_another_carrier_are_diverted(tmp_path: Path) -> None:
    """One without stands behind one with, in the same lane: it waits for its carrier."""
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        await accepted(here, "m0", "2125550199")
        await second.wait(1)
        assert not here.queue.is_open("carrier:first")
        here.clock.now += 31
        here.queue._couriers["carrier:first"].close_for(30, here.clock.now)
        did, to, key = "5550001111", "2125550123", "carrier:first/5550001111/2125550123"
        for others in ("carrier:second", ""):
            message = Message(Direction.OUT, did, to, f"by {others}", "test", 1.0, "alice", did)
            new = Delivery(message, "carrier:first", to, did, key, 2e6, 1e6, due_at=1e6, others=others)
            here.queue.offer((await here.store.accept(message, [new], here.clock.now)).deliveries)
        await here.queue.sweeper.turn()
        await second.wait(2)
        assert second.texts[-1] == "by carrier:second"
        here.clock.now += 31
        here.queue.poll()
        await first.wait(2)
        assert first.texts[-1] == "by "


@pytest.mark.req("I2")
@pytest.mark.parametrize("change", ["state = 'expired'", "state = 'delivered'", "attempts = 5"])
async def test_a_delivery_that_changed_in_the_store_is_not_diverted(tmp_path: Path, change: str) -> None:
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER, run=False) as here:
        state = here.queue._couriers["carrier:first"]
        state.close_for(30, here.clock.now)
        did, to, key = "5550001111", "2125550123", "carrier:first/5550001111/2125550123"
        message = Message(Direction.OUT, did, to, "x", "test", 1.0, "alice", did)
        new = Delivery(message, "carrier:first", to, did, key, 2e6, 1e6, due_at=1e6, others="carrier:second")
        here.queue.offer((await here.store.accept(message, [new], here.clock.now)).deliveries)
        await here.store.write(lambda db: db.exec_driver_sql(f"UPDATE deliveries SET {change}"))
        await here.queue.sweeper.turn()
        assert await here.rows("SELECT courier FROM deliveries") == [("carrier:first",)]
        assert second.seen == []


@pytest.mark.req("F-10")
async def test_deliveries_without_another_carrier_do_not_hide_those_with_one(tmp_path: Path) -> None:
    first, second = ScriptedCourier(*[AWAY] * 100), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER, run=False) as here:
        for number in range(1500):
            did, to = "5550001111", f"212{number:07}"
            message = Message(Direction.OUT, did, to, "x", "test", 1.0, "alice", did)
            others = "carrier:second" if number >= 1490 else ""
            new = Delivery(message, "carrier:first", to, did, f"carrier:first/{did}/{to}", 2e6, 1e6, due_at=1e6,
                           others=others)  # fmt: skip
            await here.store.accept(message, [new], here.clock.now)
        state = here.queue._couriers["carrier:first"]
        state.close_for(30, here.clock.now)
        await here.queue.sweeper.turn()
        await second.wait(10)


@pytest.mark.req("A-40", "F-10")
async def test_a_crowded_lane_neither_delays_other_lanes_nor_costs_queries(tmp_path: Path) -> None:
    """700 wait behind one slow server's message; another DID's, put off for two seconds, is tried then."""
    gate = asyncio.Event()

    class Mixed:
        async def deliver(self, delivery: Delivery) -> Outcome:
            if delivery.message.did == "5550001111":
                await gate.wait()
                return Accepted()
            return Deferred("not ok", retry=2, scope=Scope.MESSAGE) if delivery.attempts == 1 else Accepted()

    def prepare(here: Core) -> None:
        dids = [Did(number, "demo", callback=Callback("http://x/")) for number in ("5550001111", "5550002222")]
        here.directory.update(2, False, [], dids, frozenset())

    async with core(tmp_path, {"callback": Mixed()}, line=CourierLimits(concurrency=1000), prepare=prepare) as here:
        for number in range(700):
            await here.messaging.inbound.receive(InboundSms("2125550123", "5550001111", f"m{number}"), "test")
        await here.messaging.inbound.receive(InboundSms("2125550123", "5550002222", "the other"), "test")
        await here.until("SELECT state, attempts FROM deliveries ORDER BY id DESC LIMIT 1", [("queued", 1)])
        here.clock.now += 3
        here.queue.poll()
        await here.until("SELECT state, attempts FROM deliveries ORDER BY id DESC LIMIT 1", [("accepted", 2)])
        looks = Looks(here)
        for _ in range(20):
            await here.queue.sweeper.turn()
        assert looks.count <= 2
        gate.set()
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(701,)], seconds=90)


@pytest.mark.req("F-10")
@pytest.mark.parametrize("backlog", [4, 600])
async def test_the_queue_does_not_query_the_store_while_all_carriers_are_down(tmp_path: Path, backlog: int) -> None:
    first, second = ScriptedCourier(*[AWAY] * 100), ScriptedCourier(*[AWAY] * 100)
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        for number in range(backlog):
            await accepted(here, f"m{number}", f"2125551{number % 7:03}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'queued'", [(backlog,)])
        for _ in range(10):
            await here.queue.sweeper.turn()
        looks = Looks(here)
        for _ in range(30):
            await here.queue.sweeper.turn()
        assert looks.count <= 4


async def test_draining_does_not_wait_for_slots_of_the_rate(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, line=CourierLimits(8, rate=0.01)) as here:
        for number in range(3):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await sim.wait(1)
        async with asyncio.timeout(2):
            await here.queue.drain(10)
    assert len(sim.seen) == 1
