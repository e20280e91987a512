"""Receipts of carriers whose ids come in several forms (SMPP): P-11, G09."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from sipsms.core.account import Account
from sipsms.core.message import Accepted, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.store import delivery_receipts
from sipsms.store.delivery_receipts import Unmatched
from tests.support.messaging.core import Core, ScriptedCourier, core

SIM = "carrier:sim"
ALICE = Account("alice", "demo")
OURS, FIRST, SECOND = "5550001111", "2125550123", "2125550124"
STATES = "SELECT state FROM deliveries ORDER BY id"


async def send(here: Core, to: str = FIRST) -> None:
    await here.send(ALICE, "5550001111", to, "hello", "test")


async def tell(
    here: Core, name: str, state: State = State.DELIVERED, *forms: str, to: str = FIRST, sender: str = ""
) -> None:
    receipt = CarrierReceipt(name, state, "why", alternatives=forms, recipient=to, sender=sender)
    await here.messaging.reporter.receipt(SIM, receipt)


@pytest.mark.req("P-11")
async def test_a_receipt_with_another_form_of_the_id_matches(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("ff"))}) as here:
        await send(here)
        await here.until(STATES, [("accepted",)])
        await tell(here, "255", State.DELIVERED, "256")
        assert await here.rows(STATES) == [("accepted",)]
        await tell(here, "255", State.DELIVERED, "FF", "ff")
        assert await here.rows(STATES) == [("delivered",)]


@pytest.mark.req("P-11")
async def test_a_receipt_matches_only_a_message_to_its_recipient(tmp_path: Path) -> None:
    """Two messages, of which one's id is the other's in another form."""
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("10"), Accepted("16"))}) as here:
        await send(here, FIRST)
        await here.until(STATES, [("accepted",)])
        await send(here, SECOND)
        await here.until(STATES, [("accepted",), ("accepted",)])
        await tell(here, "16", State.DELIVERED, "10", to=FIRST)
        assert await here.rows(STATES) == [("delivered",), ("accepted",)]
        await tell(here, "16", State.DELIVERED, "10", to=FIRST)
        assert await here.rows("SELECT count(*) FROM receipts") == [(0,)], "told again: nobody's"


@pytest.mark.req("P-11")
async def test_a_receipt_that_precedes_the_answer_matches_by_another_form_of_the_id(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("ff"), Accepted("255"))}) as here:
        await tell(here, "255", State.DELIVERED, "ff", to=SECOND)
        await send(here, FIRST)
        await here.until(STATES, [("accepted",)])
        await send(here, SECOND)
        await here.until(STATES, [("accepted",), ("delivered",)])
        assert await here.rows("SELECT count(*) FROM receipts") == [(0,)], "nor for one more, by its other form"


async def test_a_receipt_without_recipient_matches_by_its_id(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("a"), Accepted("b"))}) as here:
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("a", State.DELIVERED))
        await send(here)
        await here.until(STATES, [("delivered",)])
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("a", State.DELIVERED))
        assert await here.rows("SELECT remote_id, recipient, other FROM receipts") == [("a", "", 0)]


@pytest.mark.req("F-14")
async def test_unmatched_receipts_are_listed_by_recipient_and_time(tmp_path: Path) -> None:
    """By the carrier's own form of the id, for one recipient, in order of time."""
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("1"))}) as here:
        await tell(here, "255", State.FAILED, "ff")
        here.clock.now += 5
        await tell(here, "256", State.DELIVERED, "100")
        await tell(here, "300", to=SECOND)
        await tell(here, "500", sender=OURS)
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("400", State.DELIVERED))
        start = here.clock.now - 5

        async def unmatched(courier: str, to: str, since: float, sender: str = "") -> list[Unmatched]:
            return await here.store.read(lambda db: delivery_receipts.unmatched(db, courier, sender, to, since))

        assert await unmatched(SIM, FIRST, start) == [
            Unmatched("255", State.FAILED, "why", start), Unmatched("256", State.DELIVERED, "why", start + 5)
        ]  # fmt: skip
        assert [one.remote_id for one in await unmatched(SIM, FIRST, start + 1)] == ["256"]
        assert await unmatched("carrier:other", FIRST, start) == []
        assert await unmatched(SIM, "", start) == []
        assert [one.remote_id for one in await unmatched(SIM, FIRST, start, OURS)] == ["500"]
        assert await unmatched(SIM, FIRST, start, "5550002222") == []


@pytest.mark.req("P-10")
async def test_unmatched_receipts_are_not_offered_to_several_unknown_deliveries(tmp_path: Path) -> None:
    """Two answers to the same number were lost, and one receipt came: nobody can say whose."""
    sim = ScriptedCourier(Unknown("lost"), Accepted("named"), Unknown("lost"), Unknown("lost"))
    async with core(tmp_path, {SIM: sim}) as here:
        start = here.clock.now

        async def names() -> list[str]:
            found = await here.store.read(lambda db: delivery_receipts.unmatched(db, SIM, OURS, FIRST, start))
            return [one.remote_id for one in found]

        for to, state in ((FIRST, "unknown"), (FIRST, "accepted"), (SECOND, "unknown")):
            count = len(await here.rows(STATES))
            await send(here, to)
            await here.until(f"SELECT state FROM deliveries ORDER BY id LIMIT 1 OFFSET {count}", [(state,)])
        await tell(here, "77", State.ACCEPTED, sender=OURS)
        await tell(here, "77", State.FAILED, sender=OURS)
        assert await names() == ["77", "77"], "one in doubt, one name"
        await send(here)
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'unknown'", [(3,)])
        assert await names() == [], "two in doubt"
        await tell(here, "78", State.FAILED, sender=OURS)
        assert set(await names()) == {"77", "78"}


@pytest.mark.req("P-11")
async def test_a_receipt_matches_only_a_message_from_its_sender(tmp_path: Path) -> None:
    """An SMSC whose ids are unique for each sender only; before the answer, after it, and told again."""
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("1"), Accepted("2"))}) as here:
        await tell(here, "2", State.FAILED, "2x", sender="5550002222")
        await send(here)
        await here.until(STATES, [("accepted",)])
        await tell(here, "1", sender="5550002222")
        assert await here.rows(STATES) == [("accepted",)]
        await tell(here, "1", sender=OURS)
        assert await here.rows(STATES) == [("delivered",)]
        await send(here)
        await here.until(STATES, [("delivered",), ("accepted",)])
        kept = await here.rows("SELECT remote_id, sender FROM receipts ORDER BY remote_id")
        assert kept == [("1", "5550002222"), ("2", "5550002222"), ("2x", "5550002222")]


@pytest.mark.req("P-11")
async def test_two_early_receipts_with_one_id_wait_for_their_own_messages(tmp_path: Path) -> None:
    """An SMSC whose ids are unique for each pair of numbers only: each receipt waits for its own message."""
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("1"), Accepted("1"))}) as here:
        for _ in range(2):
            await tell(here, "1", to=FIRST, sender=OURS)
            await tell(here, "1", to=SECOND, sender=OURS)
        assert await here.rows("SELECT count(*) FROM receipts") == [(2,)]
        for count, to in enumerate((SECOND, FIRST), 1):
            await send(here, to)
            await here.until(STATES, [("delivered",)] * count)


@pytest.mark.req("P-10")
async def test_an_old_unknown_delivery_claims_no_receipt(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Unknown("lost"), Unknown("lost"))}) as here:
        await send(here)
        await here.until(STATES, [("unknown",)])
        here.clock.now += delivery_receipts.LOOK_BACK + 1
        since = here.clock.now
        await send(here)
        await here.until(STATES, [("unknown",), ("unknown",)])
        await tell(here, "77", State.FAILED, sender=OURS)
        found = await here.store.read(lambda db: delivery_receipts.unmatched(db, SIM, OURS, FIRST, since))
        assert [one.remote_id for one in found] == ["77"]


@pytest.mark.req("P-11")
@pytest.mark.parametrize(
    ("answered", "told", "forms"),
    [
        ("000000001a2b3c77", "439041143", ("439041143", "1a2b3c77")), ("ab12cd34", "AB12CD34", ("ab12cd34",)),
        ("aB12Cd34", "Ab12cD34", ("ab12cd34",)), ("0000abcd1235", "abcd1235", ("abcd1235",)),
        ("44556688", "0044556688", ("44556688",)), ("0044556699", "44556699", ("44556699",)),
        ("00T-12", "t-12", ("t-12",)), ("1193046", "123456", ("123456", "1e240", "1193046")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("early", [False, True])
async def test_ids_are_compared_without_case_and_leading_zeros(
    tmp_path: Path, answered: str, told: str, forms: tuple[str, ...], early: bool
) -> None:
    """Between the same two numbers only, before the answer and after it."""
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted(answered))}) as here:
        if early:
            await tell(here, told, State.FAILED, *forms, to=SECOND, sender=OURS)
            await tell(here, told, State.DELIVERED, *forms, sender=OURS)
        await send(here)
        await here.until(STATES, [("delivered" if early else "accepted",)])
        if not early:
            await tell(here, told, State.FAILED, *forms, to=SECOND, sender=OURS)
            assert await here.rows(STATES) == [("accepted",)]
            await tell(here, told, State.DELIVERED, *forms, sender=OURS)
            assert await here.rows(STATES) == [("delivered",)]


@pytest.mark.req("P-11")
async def test_an_id_is_ours_if_a_message_between_both_numbers_has_it(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("00FF"))}) as here:
        await send(here)
        await here.until(STATES, [("accepted",)])

        async def ours(name: str, recipient: str = FIRST, sender: str = OURS, *forms: str) -> bool:
            asked = CarrierReceipt(name, State.DELIVERED, "", False, forms, recipient, sender)
            return await here.store.read(lambda db: delivery_receipts.is_ours(db, SIM, asked))

        assert await ours("00FF")
        assert await ours("255", FIRST, OURS, "255", "ff")
        await tell(here, "00FF", sender=OURS)
        assert await ours("00FF"), "told again"
        for wrong in (("00FE",), ("00FF", SECOND), ("00FF", FIRST, "5550002222"), ("00FF", FIRST, ""), ("00FF", "")):
            assert not await ours(*wrong)


async def test_ids_are_found_by_the_index(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Accepted("ff"))}) as here:
        asked = CarrierReceipt("FF", State.DELIVERED, "", False, ("ff",), FIRST, OURS)
        indexes = ("remote_id", "remote_id", "folded_id")
        for (values, named), index in zip(delivery_receipts._searches(SIM, asked), indexes, strict=True):
            query = str(delivery_receipts._ID.where(*named).compile(compile_kwargs={"literal_binds": False}))
            explained = text(f"EXPLAIN QUERY PLAN {query}")
            given = {**values, "destination_1": FIRST, "source_1": OURS}
            plan = await here.store.read(lambda db, sql=explained, on=given: db.execute(sql, on).all())
            assert f"USING INDEX ix_deliveries_{index}" in str(plan)
