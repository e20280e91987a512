"""Receipts of carriers, and reports to senders."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Account, Did, Smpp
from sipsms.core.message import (
    Accepted,
    Deferred,
    Delivery,
    State,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.report_request import ReportRequest, SmppRequest, UrlRequest
from sipsms.messaging.order import Sent
from sipsms.messaging.planner import RECEIPT_LANES
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, SIM, send

DEMO = Account("demo")

LANES = "SELECT destination, lane FROM deliveries WHERE courier = 'smpp' ORDER BY id"


def _with_smpp(smpp: Smpp) -> object:
    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did("5550001111", "demo", smpp=smpp)], frozenset())

    return prepare


@pytest.mark.req("P-11", "G09")
async def test_receipts_leave_by_lanes_of_their_own(tmp_path: Path) -> None:
    """They need no order, and go to the program that is bound, whether or not the DID gets messages by SMPP."""
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}, prepare=_with_smpp(Smpp("", "p", "smpp://h", False))) as here:  # type: ignore[arg-type]
        wish = SmppRequest.of(1, "5550001111", "2125550123", 1, 1, 1, 1)
        for number in range(12):
            result = await here.send(DEMO, "5550001111", "2125550123", f"m{number}", "smpp", report=wish)
            assert isinstance(result, Sent)
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(12,)])
        for number in range(12):
            name = sim.seen[number].id
            await here.messaging.reporter.receipt(SIM, CarrierReceipt(f"r{name}", State.DELIVERED))
            await here.messaging.reporter.receipt(SIM, CarrierReceipt(f"r{name}", State.DELIVERED))
        rows = await here.rows(LANES)
        assert [row[0] for row in rows] == ["5550001111"] * 12, "once each"
        lanes = {row[1] for row in rows}
        assert lanes <= {f"smpp/5550001111~{number}" for number in range(RECEIPT_LANES)}
        assert len(lanes) > 2


@pytest.mark.req("P-11", "G09")
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("wish", "by_carrier", "said"),
    [
        (SmppRequest.of(1, "5550001111", "2125550123", 1, 1, 1, 1), False, "expired"),
        (SmppRequest.of(1, "5550001111", "2125550123", 1, 1, 1, 1), True, "expired"),
        (SmppRequest.of(3, "5550001111", "2125550123", 1, 1, 1, 1), False, ""),  # only of success
        (UrlRequest(31, "http://x/?n=%d"), False, "http://x/?n=16"),  # as if no carrier took it
        (UrlRequest(31, "http://x/?n=%d"), True, "http://x/?n=2"),
    ],
)
async def test_an_expired_message_is_reported_to_the_sender(
    tmp_path: Path, wish: ReportRequest, by_carrier: bool, said: str, restarted: bool
) -> None:  # fmt: skip
    """ESMEs hear that it expired, others what they have always heard."""
    sim = ScriptedCourier(Accepted("c-1") if by_carrier else Deferred("busy"))
    ended: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

    def over(delivery: Delivery, state: State, detail: str) -> None:
        if state is State.EXPIRED:
            ended.set_result(delivery)

    prepare: Any = _with_smpp(Smpp("", "p"))
    async with core(tmp_path, {SIM: sim}, prepare=prepare, on_change=over) as here:
        await here.send(DEMO, "5550001111", "2125550123", "hi", "test", report=wish)
        await here.until("SELECT count(*) FROM attempts WHERE ended_at IS NOT NULL", [(1,)])
        if by_carrier:
            receipt = CarrierReceipt("c-1", State.EXPIRED)
            if restarted:
                await here.store.receipt(SIM, receipt, 1.0)
            else:
                await here.messaging.reporter.receipt(SIM, receipt)
        else:
            here.clock.now += 2 * 86400
            async with asyncio.timeout(5):
                delivery = await ended
            if not restarted:
                await here.messaging.reporter.ended(delivery)
        if restarted:
            await here.messaging.reporter.tell_ended()
        rows = await here.rows("SELECT text FROM messages WHERE origin = 'status'")
        assert [json.loads(text)["stage"] if text[0] == "{" else text for (text,) in rows] == ([said] if said else [])


@pytest.mark.req("P-11", "P-12", "F-16")
@pytest.mark.parametrize(
    ("given", "end"),
    [
        ([State.DELIVERED], "delivered"),
        ([State.DELIVERED, State.DELIVERED], "delivered"),
        ([State.ACCEPTED, State.DELIVERED], "delivered"),
        ([State.DELIVERED, State.ACCEPTED], "delivered"),
        ([State.DELIVERED, State.FAILED], "delivered"),
        ([State.EXPIRED, State.DELIVERED], "delivered"),
        ([State.FAILED], "failed"),
        ([State.FAILED, State.ACCEPTED], "failed"),
        ([State.EXPIRED, State.FAILED], "expired"),
    ],
)
async def test_receipts_in_any_order_give_the_same_final_state(tmp_path: Path, given: list[State], end: str) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("accepted",)])
        for state in given:
            await here.messaging.reporter.receipt(SIM, CarrierReceipt("r1", state, "why"))
        assert await here.rows("SELECT state FROM deliveries") == [(end,)]


@pytest.mark.req("P-12", "F-16")
async def test_a_receipt_that_precedes_the_answer_of_the_carrier_is_applied_later(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await sim.wait(1)
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("r1", State.DELIVERED))
        await here.messaging.reporter.receipt("carrier:other", CarrierReceipt("r1", State.FAILED))
        assert await here.rows("SELECT state FROM deliveries") == [("sending",)]
        sim.gate.set()
        await here.until("SELECT state FROM deliveries", [("delivered",)])
        assert await here.rows("SELECT remote_id FROM deliveries") == [("r1",)]


async def test_a_receipt_of_an_opt_out_that_precedes_the_answer_blocks_the_number(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await sim.wait(1)
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("r1", State.FAILED, "STOP", opt_out=True))
        sim.gate.set()
        await here.until("SELECT state FROM deliveries", [("failed",)])
        assert await here.rows("SELECT owner, number, direction FROM blocks") == [(DID, PHONE, "out")]
        assert await here.store.directory_version() > 0


@pytest.mark.req("P-11")
async def test_receipts_that_match_no_message_are_kept_for_72_hours(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        for _ in range(3):
            await here.messaging.reporter.receipt(SIM, CarrierReceipt("stranger", State.FAILED))
        assert await here.rows("SELECT remote_id, state FROM receipts") == [("stranger", "failed")]
        await here.store.forget_receipts(here.clock.now + 71 * 3600)
        assert len(await here.rows("SELECT * FROM receipts")) == 1
        await here.store.forget_receipts(here.clock.now + 73 * 3600)
        assert await here.rows("SELECT * FROM receipts") == []


@pytest.mark.req("A-42")
async def test_a_receipt_of_one_carrier_does_not_change_a_delivery_by_another(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("accepted",)])
        await here.messaging.reporter.receipt("carrier:other", CarrierReceipt("r1", State.FAILED))
        assert await here.rows("SELECT state FROM deliveries") == [("accepted",)]
