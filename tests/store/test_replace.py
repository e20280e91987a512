"""Messages called back or changed by the program that sent them."""

from __future__ import annotations

from pathlib import Path

from sipsms.core.account import Account
from sipsms.core.message import Deferred
from sipsms.core.report_request import ReportRequest, WebhookRequest
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.order import Sent
from sipsms.store.replace import cancel_whole, replace_text
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import set_options

SIM = "carrier:sim"
ALICE = Account("alice", "demo")


async def send(here: Core, text: str = "hello", wait: float = 0.0, report: ReportRequest | None = None) -> int:
    due = here.clock.now + wait if wait else None
    result = await here.send(ALICE, "5550001111", "2125550123", text, "smpp", due_at=due, report=report)
    assert isinstance(result, Sent)
    return result.message


async def replaced(here: Core, message: int, text: str) -> bool:
    return await here.store.write(lambda db: replace_text(db, message, text, here.clock.now))


async def cancelled(here: Core, message: int) -> bool:
    return await here.store.write(lambda db: cancel_whole(db, message, here.clock.now))


async def test_a_replaced_text_is_sent(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}) as here:
        message = await send(here, wait=60)
        assert await replaced(here, message, "other")
        here.clock.now += 58.5
        assert not await replaced(here, message, "late"), "the queue may have it in hand"
        here.clock.now += 2
        here.queue.poll()
        await sim.wait(1)
        assert sim.texts == ["other"]
        assert not await replaced(here, message, "gone")
        assert not await replaced(here, 999, "nobody")


async def test_a_text_in_pieces_or_tried_already_is_not_replaced(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Deferred("later", retry=60))}) as here:
        set_options(here, sim=CarrierOptions.model_construct(text_unit="segments"))
        assert not await replaced(here, await send(here, "a" * 161, wait=60), "x")
        tried = await send(here)
        await here.until("SELECT attempts FROM deliveries WHERE state = 'queued' AND attempts > 0", [(1,)])
        assert not await replaced(here, tried, "x")


async def test_a_cancel_applies_to_all_deliveries_of_a_message_or_to_none(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}) as here:
        message = await send(here, wait=60, report=WebhookRequest())
        assert await cancelled(here, message)
        assert await here.rows("SELECT state, last_error FROM deliveries") == [("failed", "cancelled")]
        assert await here.rows("SELECT notify FROM messages") == [("",)], "nobody is told of a loss"
        assert not await cancelled(here, message)
        gone = await send(here)
        await sim.wait(1)
        assert not await cancelled(here, gone)
        assert not await cancelled(here, 999)
