"""States of the carriers for `sipsms carriers`, and the alarm about unknown outcomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sipsms.app.carrier_status import CarrierStatus
from sipsms.core.courier_id import SIP, CourierId
from sipsms.messaging.queue.courier_state import Health
from sipsms.store import carrier_state


class World:
    """Store, alarms and queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.alarms: list[str] = []
        self.written: list[dict[str, Any]] = []
        self.state: dict[str, Health] = {}
        self.carrier = SimpleNamespace(status="registered", is_down=False)
        monkeypatch.setattr(carrier_state, "set_status", lambda db, fresh: self.written.append(fresh))
        me: Any = self
        carriers: Any = {"acme": self.carrier}
        self.status = CarrierStatus(me, me, me, carriers, lambda: self.now)

    def health(self) -> dict[str, Health]:
        return self.state

    async def write(self, work: Any) -> None:
        work(None)

    async def send(self, text: str) -> None:
        self.alarms.append(text)

    async def report(self, state: str = "up", why: str = "", **counts: int) -> None:
        self.state = {CourierId("carrier:acme"): Health(state, why, counts), SIP: Health("up", "", {"unknown": 99})}
        await self.status.report()
        self.now += 10


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_only_changed_states_are_written(world: World) -> None:
    await world.report(accepted=5)
    await world.report(accepted=5)
    await world.report(accepted=25)
    rates = [one["acme"]["rate"] for one in world.written]
    assert rates == [0.0, 2.0]
    assert world.written[0]["acme"]["why"] == "registered"


async def test_a_carrier_without_a_bind_is_down(world: World) -> None:
    world.carrier.is_down, world.carrier.status = True, "not bound yet"
    await world.report()
    await world.report("paused", "by the operator")
    assert [(one["acme"]["state"], one["acme"]["why"]) for one in world.written] == [
        ("down", "not bound yet"), ("paused", "by the operator"),
    ]  # fmt: skip


async def test_the_operator_is_told_of_unknown_outcomes_once_an_hour(world: World) -> None:
    await world.report(unknown=2)
    await world.report(unknown=5)
    world.now += 3600
    await world.report(unknown=5)
    await world.report(unknown=5)
    assert [alarm.partition(" ")[0] for alarm in world.alarms] == ["2", "3"]
