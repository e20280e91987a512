"""The courier that forwards a DID's messages to another number, and the loops that it must not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.account import Did
from sipsms.core.courier_id import FORWARD
from sipsms.core.directory_rows import Block
from sipsms.core.message import (
    Delivered,
    Delivery,
    Message,
)
from sipsms.messaging.forward import ForwardCourier
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import DELIVERIES, DID, PHONE, SIM, arrive, with_did


def courier_of(here: Core) -> ForwardCourier:
    return ForwardCourier(here.messaging.gateway, here.messaging.alarms, here.directory, here.clock)


def forwarding(here: Core) -> None:
    here.queue.set_courier(FORWARD, courier_of(here))


@pytest.mark.req("S-035", "S-036", "S-037")
async def test_a_forward_is_a_message_of_its_own_from_the_did(tmp_path: Path) -> None:
    """From the DID; in the books twice."""
    sim = ScriptedCourier()

    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)

    async with core(tmp_path, {SIM: sim}, prepare=prepare) as here:
        await arrive(here, "pass it on")
        await sim.wait(1)
        (delivery,) = sim.seen
        assert (delivery.source, delivery.destination, delivery.text) == (DID, "4165550199", "pass it on")
        assert await here.rows("SELECT direction, source, destination, account, origin FROM messages ORDER BY id") == [
            ("in", PHONE, DID, "demo", "hook:c"), ("out", DID, "4165550199", "demo", "forward"),
        ]  # fmt: skip


async def test_a_retried_forward_makes_one_message(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}, prepare=with_did(forward="4165550199")) as here:
        courier = courier_of(here)
        message = Message("in", PHONE, DID, "x", "hook:c", 1.0, "demo", DID, id=7)  # type: ignore[arg-type]
        delivery = Delivery(message, FORWARD, "4165550199", DID, "l", 1e9, 1.0, id=9)
        assert isinstance(await courier.deliver(delivery), Delivered)
        assert isinstance(await courier.deliver(delivery), Delivered)
        await sim.wait(1)
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("S-034", "A-45")
@pytest.mark.parametrize("source", ["4165550199", DID, "5550002222"])
async def test_a_did_does_not_forward_to_the_sender_or_in_a_loop(tmp_path: Path, source: str) -> None:
    """Not to its sender, not to itself, not between two DIDs that both forward."""

    def prepare(here: Core) -> None:
        with_did(forward="4165550199" if source != DID else DID)(here)
        here.directory.update(3, False, [], [Did("5550002222", "demo", "", forward=DID)], frozenset())
        forwarding(here)

    async with core(tmp_path, {SIM: ScriptedCourier()}, prepare=prepare) as here:
        await arrive(here, source=source)
        assert await here.rows(DELIVERIES) == []
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("A-45")
async def test_two_automatic_answers_that_answer_each_other_are_slowed_down(tmp_path: Path) -> None:
    """An automatic answer from a changing number: 30 in half a minute, then a pause."""
    sim = ScriptedCourier()

    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)

    async with core(tmp_path, {SIM: sim}, prepare=prepare) as here:
        for number in range(40):
            await arrive(here, f"auto {number}", f"21255501{number:02}", remote_id=str(number))
        await sim.wait(30)
        await here.until("SELECT count(*) FROM messages WHERE direction = 'out'", [(30,)])
        await here.until("SELECT count(*) FROM deliveries WHERE courier = 'forward' AND state = 'queued'", [(10,)])


async def test_a_forward_to_a_blocked_number_fails(tmp_path: Path) -> None:
    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)
        here.directory.block(Block(DID, "4165550199", "out"))

    async with core(tmp_path, {SIM: ScriptedCourier()}, prepare=prepare) as here:
        await arrive(here)
        await here.until(DELIVERIES, [(FORWARD, "4165550199", "failed")])
