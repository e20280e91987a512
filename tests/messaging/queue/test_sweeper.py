"""The clock's part of the queue: what falls due, what is too old, and what was left open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from sipsms.core.message import Deferred
from tests.support.messaging.core import BACK_OFF, Core, ScriptedCourier, core

STATES = "SELECT state, attempts FROM deliveries"


@pytest.fixture
def courier() -> ScriptedCourier:
    return ScriptedCourier(Deferred("busy"))


@pytest.fixture
async def here(tmp_path: Path, courier: ScriptedCourier) -> AsyncIterator[Core]:
    """A message that waits after its first attempt, in a queue whose turns are those of the test."""
    async with core(tmp_path, {"carrier:sim": courier}, settings=BACK_OFF, run=False) as here:
        alice = here.directory.account("alice")
        assert alice is not None
        await here.send(alice, "5550001111", "2125550123", "hello")
        await here.until(STATES, [("queued", 1)])
        yield here


async def test_a_turn_finds_what_has_fallen_due(here: Core, courier: ScriptedCourier) -> None:
    await here.queue.sweeper.turn()
    assert len(courier.seen) == 1  # not yet
    here.clock.now += 3600
    await here.queue.sweeper.turn()
    await here.until(STATES, [("accepted", 2)])


async def test_a_turn_ends_what_is_too_old(here: Core, courier: ScriptedCourier) -> None:
    here.clock.now += 2 * 86400
    await here.queue.sweeper.turn()
    assert await here.rows(STATES) == [("expired", 1)]
    assert len(courier.seen) == 1


async def test_a_turn_closes_an_attempt_that_nobody_will_close(here: Core, courier: ScriptedCourier) -> None:
    """A node that stands still for longer than its lease: whether the carrier has the message is not known."""
    gone = text("UPDATE deliveries SET state = 'sending', attempts = 2, lease_owner = 'gone', lease_until = 0")
    await here.store.write(lambda db: db.execute(gone))
    here.clock.now += 3600
    await here.queue.sweeper.turn()
    assert await here.rows(STATES) == [("unknown", 2)]
    assert len(courier.seen) == 1
