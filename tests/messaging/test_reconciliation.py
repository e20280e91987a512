"""The reconciler asks the carrier about lost answers, and polls for messages that no hook reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsms.core.http_client import NoAnswer
from sipsms.core.message import (
    Accepted,
    Delivered,
    Delivery,
    Outcome,
    Rejected,
    State,
    Unknown,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import InboundSms, NotThere
from sipsms.messaging.inbound import sms_key
from sipsms.messaging.reconciliation import LOOK_EVERY, Reconciler
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, SIM, send, with_did


class Records:
    """A carrier that can be asked."""

    name, secret, poll_every, can_look_up = "sim", "", 0.0, True

    def __init__(self, *answers: Outcome | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, float]] = []
        self.inbox: list[InboundSms] = []
        self.since: list[float] = []

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        self.asked.append((delivery.id, began))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def poll(self, since: float) -> list[InboundSms]:
        self.since.append(since)
        return self.inbox


def reconciler_of(here: Core, carrier: Any, marks: dict[str, float] | None = None) -> Reconciler:
    kept = marks if marks is not None else {}

    async def mark(name: str) -> float:
        return kept.get(name, 0.0)

    async def set_mark(name: str, when: float) -> None:
        kept[name] = when

    return Reconciler(here.store, here.messaging, {"sim": carrier}, here.clock, mark, set_mark)


@pytest.mark.req("F-11", "D6", "C7")
@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Accepted("c-9"), "accepted"), (Delivered(), "delivered"), (Rejected("gone"), "failed"), (None, "unknown"),
        (NoAnswer("down"), "unknown"),
    ],
)  # fmt: skip
async def test_the_records_of_the_carrier_decide_an_unknown_delivery(tmp_path: Path, answer: Any, state: str) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        records = Records(answer)
        await reconciler_of(here, records).look_up()
        assert records.asked == [(1, here.clock.now)]
        assert await here.rows("SELECT state FROM deliveries") == [(state,)]
        assert len(sim.seen) == 1, "not sent again"


@pytest.mark.req("F-11", "F-12")
async def test_a_message_that_the_carrier_never_had_is_sent_again_once(tmp_path: Path) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        reconciler = reconciler_of(here, Records(NotThere(), NotThere()))
        await reconciler.look_up()
        await here.until("SELECT state, attempts FROM deliveries", [("accepted", 2)])
        await reconciler.look_up()
        assert len(sim.seen) == 2


async def test_an_early_receipt_is_applied_when_the_record_is_found(tmp_path: Path) -> None:
    """It may have come while the name was not known."""
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("c-9", State.DELIVERED))
        await reconciler_of(here, Records(Accepted("c-9"))).look_up()
        assert await here.rows("SELECT state FROM deliveries") == [("delivered",)]


async def test_a_record_that_belongs_to_another_message_is_not_taken(tmp_path: Path) -> None:
    """Two with the same text within a minute: the carrier's one record belongs to the first."""
    sim = ScriptedCourier(Accepted("c-9"), Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here, "same")
        await send(here, "same")
        await here.until("SELECT state FROM deliveries ORDER BY id", [("accepted",), ("unknown",)])
        await reconciler_of(here, Records(Accepted("c-9"))).look_up()
        assert await here.rows("SELECT state FROM deliveries ORDER BY id") == [("accepted",), ("unknown",)]


async def test_look_ups_keep_a_minimum_interval(tmp_path: Path) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        records = Records()
        reconciler = reconciler_of(here, records)
        for _ in range(5):
            await reconciler.step()
        assert len(records.asked) == 1
        here.clock.now += LOOK_EVERY
        await reconciler.step()
        assert len(records.asked) == 2


async def test_every_unknown_delivery_is_looked_up_in_time(tmp_path: Path) -> None:
    """Those that nobody can tell of are asked about less and less, and keep none behind them from its turn."""
    async with core(tmp_path, {SIM: ScriptedCourier(*[Unknown("no answer")] * 60)}) as here:
        for number in range(60):
            await send(here, f"m{number}", f"21255501{number:02}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'unknown'", [(60,)])
        records = Records()
        reconciler = reconciler_of(here, records)
        for _ in range(3):
            await reconciler.look_up()
        assert len({delivery for delivery, _ in records.asked}) == 60
        asked = len(records.asked)
        for _ in range(30):
            here.clock.now += LOOK_EVERY
            await reconciler.look_up()
        assert len(records.asked) - asked < 60 * 5, "not at every look"


@pytest.mark.req("G14", "G03")
async def test_polling_stores_messages_that_no_hook_reported_once(tmp_path: Path) -> None:
    """The first look only marks the time; then what came in is stored, once, whoever tells of it first."""
    async with core(tmp_path, {SIM: ScriptedCourier()}, prepare=with_did()) as here:
        records, marks = Records(), {}
        records.poll_every = 60.0  # type: ignore[misc]
        reconciler = reconciler_of(here, records, marks)
        records.inbox = [InboundSms(PHONE, DID, "from before", "1")]
        await reconciler.step()
        assert records.since == []
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        sms = InboundSms(PHONE, DID, "by the hook", "2")
        await here.messaging.inbound.receive(sms, "hook:sim", sms_key("sim", sms))
        records.inbox = [InboundSms(PHONE, DID, "by the hook", "2"), InboundSms(PHONE, DID, "missed", "3")]
        began = here.clock.now
        here.clock.now += 61
        await reconciler.step()
        assert records.since == [began]
        assert await here.rows("SELECT text FROM messages ORDER BY id") == [("by the hook",), ("missed",)]
        here.clock.now += 61
        await reconciler.step()
        assert len(await here.rows("SELECT * FROM messages")) == 2
