"""Messages that wait for devices: each known device gets every message, also the first one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.errors import AdminError, Unavailable
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import (
    EVENT,
    Deferred,
    Delivered,
    Delivery,
)
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import arrive, register


async def _unregister(here: Core, contact: str) -> None:
    gone = [one for one in here.location.bindings("alice", here.clock.now) if one.contact == contact]
    await here.location.apply("alice", [], gone, here.clock.now)


class Phones(ScriptedCourier):
    """A SIP courier: answers 200 for devices that are registered."""

    here: Core | None = None

    async def deliver(self, delivery: Delivery) -> Delivered | Deferred:
        assert self.here is not None
        if self.here.location.binding_of(delivery.device, self.here.clock.now) is None:
            return Deferred("not registered", retry=EVENT)
        await super().deliver(delivery)
        return Delivered("200")

    def texts_of(self, device: int) -> list[str]:
        return [one.message.text for one in self.seen if one.device == device]


def _set(phones: Phones) -> object:
    def prepare(here: Core) -> None:
        phones.here = here

    return prepare


@pytest.mark.req("G02", "C-10")
async def test_every_known_device_gets_every_message_once(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        desk_phone = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        mobile = await register(here, "sip:a@h:2", instance="<urn:uuid:2>")
        await arrive(here, "one")
        await phones.wait(2)
        await _unregister(here, "sip:a@h:2")
        for text in ("two", "three"):
            await arrive(here, text)
        await phones.wait(4)
        here.clock.now += 3 * 86400 / 10
        assert await register(here, "sip:a@h:7", instance="<urn:uuid:2>") == mobile
        await phones.wait(6)
        assert phones.texts_of(desk_phone) == ["one", "two", "three"]
        assert phones.texts_of(mobile) == ["one", "two", "three"]


async def test_messages_from_before_the_first_device_reach_it_and_later_devices(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        for text in ("one", "two"):
            await arrive(here, text)
        first = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await phones.wait(2)
        second = await register(here, "sip:a@h:2", instance="<urn:uuid:2>")
        await phones.wait(4)
        await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'delivered'", [(4,)])
        assert phones.texts_of(first) == ["one", "two"]
        assert phones.texts_of(second) == ["one", "two"]


@pytest.mark.req("F-17")
async def test_messages_wait_over_a_restart_for_the_first_device(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        await arrive(here, "one")
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        device = await register(here, "sip:a@h:1")
        await phones.wait(1)
        assert phones.texts_of(device) == ["one"]


async def test_a_phone_without_instance_comes_back_under_another_contact(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        device = await register(here, "sip:a@h:1111")
        await _unregister(here, "sip:a@h:1111")
        await arrive(here, "while away")
        assert await register(here, "sip:a@h:2222") == device
        await phones.wait(1)
        assert [one.key for one in here.location.devices("alice")] == ["sip:a@h:2222"]


async def test_a_phone_that_comes_back_as_a_new_device_gets_the_messages_of_the_old_device(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        await register(here, "sip:a@h:1111")
        phones.outcomes = []
        here.clock.now += 10
        old = here.location.bindings("alice", here.clock.now)[0]
        here.location._by_device.pop(old.device)  # its socket is dead, but nobody knows
        await arrive(here, "lost?")
        here.location._by_device[old.device] = old
        new = await register(here, "sip:a@h:2222")
        assert new != old.device
        here.clock.now += 3600
        await register(here, "sip:a@h:2222")
        for binding in await here.location.sweep(here.clock.now):
            pair = here.location.successor(binding)
            assert pair is not None
            assert await here.messaging.devices.came_back_as(*pair)
            await here.location.forget(pair[0])
        await phones.wait(1)
        assert phones.texts_of(new) == ["lost?"]
        assert [one.id for one in here.location.devices("alice")] == [new]


STATES = "SELECT device, state, last_error FROM deliveries ORDER BY device, id"


async def test_what_waits_for_a_removed_device_fails_and_it_gets_no_more_copies(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        kept = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        gone = await register(here, "sip:a@h:2", instance="<urn:uuid:2>")
        await _unregister(here, "sip:a@h:2")
        await arrive(here, "one")
        await here.until(
            "SELECT device, state FROM deliveries ORDER BY device", [(kept, "delivered"), (gone, "queued")]
        )
        assert await here.messaging.devices.remove(gone) == (1, 0)
        assert [one.id for one in here.location.devices("alice")] == [kept]
        await arrive(here, "two")
        await here.until(
            STATES, [(kept, "delivered", "200"), (kept, "delivered", "200"), (gone, "failed", "the device was removed")]
        )
        assert await here.rows("SELECT id FROM devices") == [(kept,)]
        with pytest.raises(AdminError, match=f"no device {gone}"):
            await here.messaging.devices.remove(gone)


async def test_messages_of_an_accounts_last_device_wait_for_its_next_one(tmp_path: Path) -> None:
    """In their order; and the binding of the removed device gets none of them."""
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        old = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await _unregister(here, "sip:a@h:1")
        for text in ("one", "two"):
            await arrive(here, text)
        assert await here.messaging.devices.remove(old) == (0, 2)
        await arrive(here, "three")
        new = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        assert new != old
        await phones.wait(3)
        assert (phones.texts_of(old), phones.texts_of(new)) == ([], ["one", "two", "three"])


@pytest.mark.parametrize(("others", "end"), [(1, "failed"), (0, "queued")])
async def test_an_attempt_under_way_to_a_removed_device_ends_like_what_waits(
    tmp_path: Path, others: int, end: str
) -> None:
    courier = ScriptedCourier(Deferred("no answer", retry=EVENT))
    courier.gate = asyncio.Event()
    async with core(tmp_path, {"sip": courier}) as here:
        gone = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await arrive(here, "one")
        await courier.wait(1)
        for number in range(others):
            await register(here, f"sip:b@h:{number}", instance="<urn:uuid:other>")
        assert await here.messaging.devices.remove(gone) == (0, 0)
        await here.messaging.devices.end_removed()
        assert await here.rows("SELECT state FROM deliveries") == [("sending",)]
        courier.gate.set()
        await here.until("SELECT state FROM deliveries", [("queued",)])
        while here.queue.is_working_on(LaneKey.of_device(gone)):
            await here.rows("SELECT 1")
        await here.messaging.devices.end_removed()
        assert await here.rows("SELECT state, device FROM deliveries") == [(end, gone if others else 0)]
        if not others:
            new = await register(here, "sip:a@h:9", instance="<urn:uuid:9>")
            await courier.wait(2)
            assert (courier.seen[1].device, courier.texts) == (new, ["one", "one"])


async def test_a_device_stays_if_the_store_fails(tmp_path: Path) -> None:
    async with core(tmp_path, {"sip": ScriptedCourier()}) as here:
        device = await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        here.store.write = failing  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await here.messaging.devices.remove(device)
        assert [one.id for one in here.location.devices("alice")] == [device]
        assert here.location.binding_of(device, here.clock.now) is not None


async def failing(_change: object) -> Any:
    raise Unavailable("the disk is full")
