"""The queue on a real store: rates and circuit breakers of carriers, failover, and deliveries that step aside."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sipsms.core.account import Did
from sipsms.core.message import (
    Accepted,
    Attempt,
    Deferred,
    Rejected,
    Scope,
    Unknown,
)
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.queue.courier_state import CourierLimits
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
            await here.queue.sweeper.turn()
        tried = len(first.seen) + len(second.seen)
        for _ in range(20):
            await here.queue.sweeper.turn()
        assert len(first.seen) + len(second.seen) == tried
        assert {name: one.state for name, one in here.queue.health().items()} == {
            "carrier:first": "down", "carrier:second": "down",
        }  # fmt: skip


@pytest.mark.req("I2", "D6")
async def test_a_delivery_that_may_have_arrived_is_not_sent_by_another_carrier(tmp_path: Path) -> None:
    """The far side would know a second copy, another carrier would not: not at once, not later, not after a crash."""
    maybe = Deferred("no answer", scope=Scope.COURIER, attempt=Attempt.MAYBE_ARRIVED)
    first, second = ScriptedCourier(maybe), ScriptedCourier()
    async with core(tmp_path, two(first, second), settings=BACK_OFF, line=BREAKER) as here:
        await accepted(here, "m0")
        await here.until("SELECT state, courier, others FROM deliveries", [("queued", "carrier:first", "")])
        for _ in range(5):
            await here.queue.sweeper.turn()
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
