"""The clock's part of the queue: what falls due, what is too old, and what was left open."""

from __future__ import annotations

from pathlib import Path

from sipsms.core.message import Deferred
from tests.support.messaging.core import BACK_OFF, ScriptedCourier, core

STATES = "SELECT state, attempts FROM deliveries"


async def test_a_turn_finds_what_has_fallen_due(tmp_path: Path) -> None:
    courier = ScriptedCourier(Deferred("busy"))
    async with core(tmp_path, {"carrier:sim": courier}, settings=BACK_OFF, run=False) as here:
        alice = here.directory.account("alice")
        assert alice is not None
        await here.send(alice, "5550001111", "2125550123", "hello")
        await here.until(STATES, [("queued", 1)])
        await here.queue.sweeper.turn()
        assert len(courier.seen) == 1  # not yet
        here.clock.now += 3600
        await here.queue.sweeper.turn()
        await here.until(STATES, [("accepted", 2)])


async def test_a_turn_ends_what_is_too_old(tmp_path: Path) -> None:
    courier = ScriptedCourier(Deferred("busy"))
    async with core(tmp_path, {"carrier:sim": courier}, settings=BACK_OFF, run=False) as here:
        alice = here.directory.account("alice")
        assert alice is not None
        await here.send(alice, "5550001111", "2125550123", "hello")
        await here.until(STATES, [("queued", 1)])
        here.clock.now += 2 * 86400
        await here.queue.sweeper.turn()
        assert await here.rows(STATES) == [("expired", 1)]
        assert len(courier.seen) == 1
