"""The queue on a real store: rates and circuit breakers of carriers, failover, and deliveries that step aside."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Callback, Did
from sipsms.core.message import (
    Accepted,
    Attempt,
    Deferred,
    Delivery,
    Direction,
    Message,
    Outcome,
    Rejected,
    Scope,
    Unknown,
)
from sipsms.core.queue_rows import Due
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.queue.courier_state import CourierLimits, Lane
from tests.support.messaging.core import BACK_OFF, Core, ScriptedCourier, core
from tests.support.messaging.traffic import accepted

STATES = "SELECT state, attempts, courier FROM deliveries ORDER BY id"
AWAY = Deferred("not sent: cannot connect", scope=Scope.COURIER)


def two(first: ScriptedCourier, second: ScriptedCourier) -> dict[str, ScriptedCourier]:
    return {"carrier:first": first, "carrier:second": second}


BREAKER = CourierLimits(breaker=True)


@pytest.mark.req("S-135", "F-10")
async def test_a_carrier_that_is_down_is_not_tried_again_for_every_message(tmp_path: Path) -> None:
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    async with core(tmp_path, two(first, second), line=BREAKER) as here:
        for number in range(5):
            await accepted(here, f"m{number}")
            await second.wait(number + 1)
        assert first.texts == ["m0"]
        assert second.texts == [f"m{number}" for number in range(5)]
        assert here.queue.health()["carrier:first"].state == "down"


@pytest.mark.req("F-10")
async def test_queued_deliveries_of_a_carrier_that_fails_leave_by_the_next_carrier(tmp_path: Path) -> None:
    """Without an attempt of its own at the first, and in order."""
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    first.gate = asyncio.Event()
    async with core(tmp_path, two(first, second), line=CourierLimits(concurrency=1, breaker=True)) as here:
        await here.queue._scan()
        for number in range(6):
            await accepted(here, f"m{number}", "2125550123" if number % 2 else "2125550124")
        await first.wait(1)
        first.gate.set()
        await second.wait(6)
        assert first.texts == ["m0"]
        assert sorted(second.texts) == [f"m{number}" for number in range(6)]
        for parity in (0, 1):
            mine = [text for text in second.texts if int(text[1:]) % 2 == parity]
            assert mine == sorted(mine)
        await here.until(
            "SELECT count(*) FROM deliveries WHERE state = 'accepted' AND courier = 'carrier:second'", [(6,)]
        )


@pytest.mark.req("F-10")
async def test_after_the_pause_the_queue_sends_one_probe_before_the_rest(tmp_path: Path) -> None:
    sim = ScriptedCourier(AWAY)
    async with core(tmp_path, {"carrier:sim": sim}, settings=BACK_OFF, line=CourierLimits(8, breaker=True)) as here:
        await here.queue._scan()
        await accepted(here, "m0", "2125550100")
        await here.until(STATES, [("queued", 1, "carrier:sim")])
        for number in range(1, 4):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        assert len(sim.seen) == 1
        sim.gate = asyncio.Event()
        here.clock.now += 6
        here.queue.poll()
        await sim.wait(2)
        await here.store.ping()
        assert len(sim.seen) == 2, "only one while nobody knows whether the carrier is back"
        sim.gate.set()
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(4,)])


@pytest.mark.req("F-11", "F-40")
async def test_a_carrier_that_never_answers_is_closed_after_three_unknown_deliveries(tmp_path: Path) -> None:
    """Three messages are in doubt, not three hundred; none of them goes by the other carrier."""
    first, second = ScriptedCourier(*[Unknown("no answer")] * 3), ScriptedCourier()
    async with core(tmp_path, two(first, second), line=CourierLimits(1, breaker=True)) as here:
        for number in range(8):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await here.until("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state",
                         [("accepted", 5), ("unknown", 3)])  # fmt: skip
        assert first.texts == ["m0", "m1", "m2"]
        assert sorted(second.texts) == ["m3", "m4", "m5", "m6", "m7"]  # lanes of their own: in any order


async def test_a_rejection_for_an_opt_out_does_not_fail_over(tmp_path: Path) -> None:
    first, second = ScriptedCourier(Rejected("21610", "21610", opt_out=True)), ScriptedCourier()
    async with core(tmp_path, two(first, second), line=BREAKER) as here:
        await accepted(here, "m0")
        await here.until(STATES, [("failed", 1, "carrier:first")])
        assert second.seen == []


@pytest.mark.req("F-15")
async def test_the_queue_keeps_the_rate_of_a_carrier_and_loses_no_message(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, line=CourierLimits(8, rate=50.0, breaker=True)) as here:
        began = time.monotonic()
        for number in range(11):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await sim.wait(11)
        assert time.monotonic() - began >= 10 / 50.0 - 0.01
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(11,)])


async def test_draining_does_not_wait_for_slots_of_the_rate(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, line=CourierLimits(8, rate=0.01)) as here:
        for number in range(3):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await sim.wait(1)
        async with asyncio.timeout(2):
            await here.queue.drain(10)
    assert len(sim.seen) == 1


@pytest.mark.req("S-044")
async def test_a_delivery_that_steps_aside_lets_the_next_pass_and_is_tried_again(tmp_path: Path) -> None:
    callback = ScriptedCourier(Deferred("not ok", retry=1800, scope=Scope.MESSAGE))

    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did("5550001111", "demo", "", emails=("a@example.net",))], frozenset())

    async with core(tmp_path, {"mail": callback}, prepare=prepare) as here:
        for text in ("one", "two"):
            await here.messaging.inbound.receive(InboundSms("2125550123", "5550001111", text), "test")
        await here.until("SELECT state FROM deliveries ORDER BY id", [("queued",), ("accepted",)])
        here.clock.now += 1801
        here.queue.poll()
        await here.until("SELECT state, attempts FROM deliveries ORDER BY id", [("accepted", 2), ("accepted", 1)])
        assert callback.texts == ["one", "two", "one"]


async def test_rejections_do_not_open_the_breaker(tmp_path: Path) -> None:
    """A carrier that refuses what it gets is there."""
    sim = ScriptedCourier(*[Rejected("no such number")] * 20)
    async with core(tmp_path, {"carrier:sim": sim}, line=BREAKER) as here:
        for number in range(20):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'failed'", [(20,)])
        assert here.queue.health()["carrier:sim"][:2] == ("up", "")
        assert here.queue.health()["carrier:sim"].counts == {"failed": 20}


async def test_an_accepted_delivery_closes_the_breaker(tmp_path: Path) -> None:
    sim = ScriptedCourier(AWAY, Accepted("r"))
    async with core(tmp_path, {"carrier:sim": sim}, settings=BACK_OFF, line=BREAKER) as here:
        await accepted(here, "m0")
        await here.until(STATES, [("queued", 1, "carrier:sim")])
        assert not here.queue.is_open("carrier:sim")
        here.clock.now += 6
        here.queue.poll()
        await here.until(STATES, [("accepted", 2, "carrier:sim")])
        assert here.queue.health()["carrier:sim"].state == "up"


@pytest.mark.req("S-135", "F-10")
async def test_only_deliveries_with_another_carrier_are_diverted(tmp_path: Path) -> None:
    """One without stands behind one with, in the same lane: it waits for its carrier."""
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        await here.queue._scan()
        await accepted(here, "m0", "2125550199")
        await second.wait(1)
        assert not here.queue.is_open("carrier:first")
        lane, state = Lane("carrier:first/5550001111/2125550123"), here.queue._couriers["carrier:first"]
        did, to, key = "5550001111", "2125550123", lane.key
        for others in ("carrier:second", ""):
            message = Message(Direction.OUT, did, to, f"by {others}", "test", 1.0, "alice", did)
            new = Delivery(message, "carrier:first", to, did, key, 2e6, 1e6, due_at=1e6, others=others)
            lane.pending.extend((await here.store.accept(message, [new], here.clock.now)).deliveries)
        here.queue._lanes[lane.key] = lane
        state.ready.append(lane)
        await here.queue._divert_lane(state, state.ready.pop(), here.clock.now)
        await second.wait(2)
        assert second.texts[-1] == "by carrier:second"
        here.clock.now += 6
        here.queue.poll()
        await first.wait(2)
        assert first.texts[-1] == "by "


@pytest.mark.req("W-03")
async def test_an_attempt_that_was_not_made_is_not_counted(tmp_path: Path) -> None:
    busy = Deferred("busy", retry=15, scope=Scope.MESSAGE, attempt=Attempt.NOT_MADE)
    callback = ScriptedCourier(busy, busy, busy)

    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did("5550001111", "demo", "", emails=("a@example.net",))], frozenset())

    async with core(tmp_path, {"mail": callback}, prepare=prepare) as here:
        await here.messaging.inbound.receive(InboundSms("2125550123", "5550001111", "x"), "test")
        for number in range(1, 4):
            await callback.wait(number)
            await here.until("SELECT state, attempts FROM deliveries", [("queued", 0)])
            assert await here.rows("SELECT count(*) FROM attempts") == [(0,)]
            here.clock.now += 16
            here.queue.poll()
        await here.until("SELECT state, attempts FROM deliveries", [("accepted", 1)])
        assert [one.attempts for one in callback.seen] == [1, 1, 1, 1]
        assert await here.rows("SELECT number, outcome FROM attempts") == [(1, "accepted")]


@pytest.mark.req("S-135", "F-10")
async def test_a_short_outage_does_not_bind_a_message_to_the_last_carrier(tmp_path: Path) -> None:
    """First away for a moment, then second for good: what went to the second comes back to the first."""
    first, second = ScriptedCourier(AWAY), ScriptedCourier(*[AWAY] * 100)
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        await accepted(here, "m0")
        await here.until("SELECT state, attempts FROM deliveries", [("queued", 2)])
        here.clock.now += 40
        here.queue.poll()
        await here.until("SELECT state FROM deliveries", [("accepted",)])
        assert first.texts[-1] == "m0"


@pytest.mark.req("S-135")
@pytest.mark.parametrize("how", ["paused", "gone"])
async def test_failover_skips_carriers_that_are_paused_or_removed(tmp_path: Path, how: str) -> None:
    first, second, third = ScriptedCourier(AWAY), ScriptedCourier(), ScriptedCourier()
    first.gate = asyncio.Event()
    couriers = {**two(first, second), "carrier:third": third}
    async with core(tmp_path, couriers, line=BREAKER) as here:
        await here.queue._scan()
        await accepted(here, "m0")
        await first.wait(1)
        if how == "paused":
            here.queue.set_paused(["carrier:second"])
        else:
            here.queue.remove_courier("carrier:second")
        first.gate.set()
        await third.wait(1)
        assert second.seen == []


async def test_queued_deliveries_of_a_removed_carrier_leave_by_the_next_carrier(tmp_path: Path) -> None:
    first, second = ScriptedCourier(), ScriptedCourier()
    async with core(tmp_path, two(first, second), line=CourierLimits(1, breaker=True)) as here:
        await here.queue._scan()
        first.gate = asyncio.Event()
        for number in range(3):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await first.wait(1)
        here.queue.remove_courier("carrier:first")
        first.gate.set()
        await second.wait(2)
        assert (first.texts, sorted(second.texts)) == (["m0"], ["m1", "m2"])


async def test_two_carriers_that_are_down_do_not_pass_deliveries_back_and_forth(tmp_path: Path) -> None:
    first, second = ScriptedCourier(*[AWAY] * 100), ScriptedCourier(*[AWAY] * 100)
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        for number in range(10):
            await accepted(here, f"m{number}", f"21255501{number:02}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'queued'", [(10,)])
        for _ in range(5):
            await here.queue._turn()
        tried = len(first.seen) + len(second.seen)
        for _ in range(20):
            await here.queue._turn()
        assert len(first.seen) + len(second.seen) == tried
        assert {name: one.state for name, one in here.queue.health().items()} == {
            "carrier:first": "down", "carrier:second": "down",
        }  # fmt: skip


class Looks:
    """Counts how often the queue looks into the store for what is due."""

    def __init__(self, here: Core) -> None:
        self.count, self._due = 0, here.store.due
        here.store.due = self._look  # type: ignore[method-assign]

    async def _look(self, *arguments: Any, **named: Any) -> Due:
        self.count += 1
        return await self._due(*arguments, **named)


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
        await here.queue._scan()
        for number in range(700):
            await here.messaging.inbound.receive(InboundSms("2125550123", "5550001111", f"m{number}"), "test")
        await here.messaging.inbound.receive(InboundSms("2125550123", "5550002222", "the other"), "test")
        await here.until("SELECT state, attempts FROM deliveries ORDER BY id DESC LIMIT 1", [("queued", 1)])
        here.clock.now += 3
        here.queue.poll()
        await here.until("SELECT state, attempts FROM deliveries ORDER BY id DESC LIMIT 1", [("accepted", 2)])
        looks = Looks(here)
        for _ in range(20):
            await here.queue._turn()
        assert looks.count <= 2
        gate.set()
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(701,)], seconds=20)


@pytest.mark.req("F-10")
@pytest.mark.parametrize("backlog", [4, 600])
async def test_the_queue_does_not_query_the_store_while_all_carriers_are_down(tmp_path: Path, backlog: int) -> None:
    first, second = ScriptedCourier(*[AWAY] * 100), ScriptedCourier(*[AWAY] * 100)
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        for number in range(backlog):
            await accepted(here, f"m{number}", f"2125551{number % 7:03}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'queued'", [(backlog,)])
        for _ in range(10):
            await here.queue._turn()
        looks = Looks(here)
        for _ in range(30):
            await here.queue._turn()
        assert looks.count <= 4


@pytest.mark.req("I2", "D6")
async def test_a_delivery_that_may_have_arrived_is_not_sent_by_another_carrier(tmp_path: Path) -> None:
    """The far side would know a second copy, another carrier would not: not at once, not later, not after a crash."""
    maybe = Deferred("no answer", scope=Scope.COURIER, attempt=Attempt.MAYBE_ARRIVED)
    first, second = ScriptedCourier(maybe), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        await accepted(here, "m0")
        await here.until("SELECT state, courier, others FROM deliveries", [("queued", "carrier:first", "")])
        for _ in range(5):
            await here.queue._turn()
        assert second.seen == []
        here.clock.now += 6
        here.queue.poll()
        await here.until(STATES, [("accepted", 2, "carrier:first")])
    first.gate = asyncio.Event()
    async with core(tmp_path, two(first, second), line=BREAKER) as here:
        await accepted(here, "m1")
        await first.wait(3)
        await here.store.recover(["carrier:first"], here.clock.now, own=True)  # as after a crash
        assert await here.rows("SELECT state, others FROM deliveries ORDER BY id DESC LIMIT 1") == [("queued", "")]
        first.gate.set()


@pytest.mark.req("I2")
@pytest.mark.parametrize("change", ["state = 'expired'", "state = 'delivered'", "attempts = 5"])
async def test_a_delivery_that_changed_in_the_store_is_not_diverted(tmp_path: Path, change: str) -> None:
    first, second = ScriptedCourier(AWAY), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER, run=False) as here:
        await here.queue._scan()
        state = here.queue._couriers["carrier:first"]
        state.close_for(30, here.clock.now)
        did, to, key = "5550001111", "2125550123", "carrier:first/5550001111/2125550123"
        message = Message(Direction.OUT, did, to, "x", "test", 1.0, "alice", did)
        new = Delivery(message, "carrier:first", to, did, key, 2e6, 1e6, due_at=1e6, others="carrier:second")
        here.queue.offer((await here.store.accept(message, [new], here.clock.now)).deliveries)
        await here.store.write(lambda db: db.exec_driver_sql(f"UPDATE deliveries SET {change}"))
        await here.queue._divert(state, here.clock.now)
        assert await here.rows("SELECT courier FROM deliveries") == [("carrier:first",)]
        assert second.seen == []


@pytest.mark.req("F-10")
async def test_deliveries_without_another_carrier_do_not_hide_those_with_one(tmp_path: Path) -> None:
    first, second = ScriptedCourier(*[AWAY] * 100), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER, run=False) as here:
        await here.queue._scan()
        for number in range(1500):
            did, to = "5550001111", f"212{number:07}"
            message = Message(Direction.OUT, did, to, "x", "test", 1.0, "alice", did)
            others = "carrier:second" if number >= 1490 else ""
            new = Delivery(message, "carrier:first", to, did, f"carrier:first/{did}/{to}", 2e6, 1e6, due_at=1e6,
                           others=others)  # fmt: skip
            await here.store.accept(message, [new], here.clock.now)
        state = here.queue._couriers["carrier:first"]
        state.close_for(30, here.clock.now)
        await here.queue._divert(state, here.clock.now)
        await second.wait(10)
