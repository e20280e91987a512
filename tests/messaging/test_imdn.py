"""Delivery notices (IMDN) to the phone that sent a message."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sipsms.core.account import Account
from sipsms.core.flow_address import FlowAddress
from sipsms.core.message import (
    Accepted,
    Deferred,
    Delivery,
    Outcome,
    Rejected,
    State,
    Unknown,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.registration import Binding
from sipsms.core.report_request import ImdnRequest
from sipsms.messaging.order import Sent
from tests.support.messaging.core import ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, SIM, send


@pytest.mark.req("F-13", "G04")
@pytest.mark.parametrize(
    ("outcome", "receipt", "word"),
    [
        (Rejected("no such number"), None, "failed"),
        (Accepted("c-1"), State.FAILED, "failed"),
        (Accepted("c-1"), State.DELIVERED, "delivered"),
        (Unknown("no answer"), None, ""),
        (Deferred("later", retry=3600), None, "failed"),
    ],
)
async def test_a_wanted_notice_is_sent_once(tmp_path: Path, outcome: Outcome, receipt: State | None, word: str) -> None:
    """Once; and none while nobody knows."""
    sim = ScriptedCourier(outcome)

    def over(delivery: Delivery, state: State, detail: str) -> None:
        if delivery.message.report and state not in (State.QUEUED, State.ACCEPTED):
            here.tasks.append(asyncio.create_task(here.messaging.reporter.ended(delivery)))

    async with core(tmp_path, {SIM: sim}, on_change=over) as here:
        binding = Binding(
            "alice", "sip:a@192.0.2.1", here.clock.now + 60, "c", 1, FlowAddress("udp:192.0.2.1:5060"), instance="<i>"
        )
        async with here.location.turn("alice"):
            (device,) = await here.location.apply("alice", [binding], [], here.clock.now)
        assert isinstance(await send(here, device=device.id, report=ImdnRequest("imdn-1")), Sent)
        await sim.wait(1)
        await here.until("SELECT count(*) FROM attempts WHERE ended_at IS NOT NULL", [(1,)])
        for _ in range(2):
            if receipt is not None:
                await here.messaging.reporter.receipt(SIM, CarrierReceipt("c-1", receipt))
        if isinstance(outcome, Deferred):
            here.clock.now += 2 * 86400
            await here.until(f"SELECT state FROM deliveries WHERE courier = '{SIM}'", [("expired",)])
        await asyncio.gather(*here.tasks[1:])
        rows = await here.rows("SELECT text FROM messages WHERE origin = 'notice'")
        assert [f"<{word}/>" in row[0] for row in rows] == ([True] if word else [])
        told = await here.rows("SELECT notify FROM messages WHERE direction = 'out'")
        assert told == [("" if word else "imdn-1",)]


@pytest.mark.req("G04")
async def test_a_copy_does_not_count_as_a_delivery(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Rejected("no such number")), "sip": ScriptedCourier()}) as here:
        for name in ("<one>", "<two>"):
            contact, received = f"sip:{name[1:4]}@192.0.2.1", FlowAddress("udp:192.0.2.1:5060")
            binding = Binding("alice", contact, here.clock.now + 60, "c", 1, received, instance=name)
            async with here.location.turn("alice"):
                devices = await here.location.apply("alice", [binding], [], here.clock.now)
        copier = Account("alice", "demo", copies=True)
        result = await here.send(copier, DID, PHONE, "hi", "test", device=devices[-1].id, report=ImdnRequest("imdn-1"))
        assert isinstance(result, Sent)
        await here.until(f"SELECT state FROM deliveries WHERE courier = '{SIM}'", [("failed",)])
        await here.until("SELECT count(*) FROM deliveries WHERE courier = 'sip' AND state = 'accepted'", [(1,)])
        assert await here.store.outcome(result.message) is State.FAILED
