"""Concatenated texts in both directions: parts that an account or an ESME sends, and parts from a carrier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from sipsms.core.message import (
    MessageKind,
    State,
)
from sipsms.core.queue_rows import CarrierReceipt, StoredPart
from sipsms.core.refusal import Refusal
from sipsms.core.report_request import SmppRequest, encode, of_parts
from sipsms.messaging.carrier import InboundSms, Part
from sipsms.messaging.concatenation import PATIENCE
from sipsms.messaging.order import Sent
from sipsms.store import concatenated_parts
from sipsms.store.concatenated_parts import AGAIN
from sipsms.store.schema import parts
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, arrive, with_did

DEMO = Account("demo")


def request(number: int) -> SmppRequest:
    return SmppRequest.of(1, DID, PHONE, 1, 1, 1, 1, number, "tok")


async def send_part(here: Core, number: int, text: str, total: int = 3, reference: str = "r1") -> int | Refusal:
    """The message; 0 while parts are missing."""
    sent = await here.send(DEMO, DID, PHONE, text, "smpp", part=Part(reference, number, total), report=request(number))
    return sent.message if isinstance(sent, Sent) else sent


@pytest.mark.req("P-13")
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 3, 3, 1)])
async def test_a_long_text_is_sent_once_when_all_parts_are_here(tmp_path: Path, order: tuple[int, ...]) -> None:
    sim = ScriptedCourier()
    texts = {1: "one ", 2: "two ", 3: "three"}
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        answers = [await send_part(here, number, texts[number]) for number in order]
        last = answers.pop()
        assert isinstance(last, int)
        assert last > 0
        assert set(answers) == {0}
        again = await send_part(here, order[-1], texts[order[-1]])
        assert again == 0, "its answer was lost: told again"
        here.clock.now += PATIENCE + 1
        await here.messaging.parts.give_up_waiting()
        await sim.wait(1)
        rows = await here.rows("SELECT text, source, destination, account, did, origin, notify FROM messages")
        assert rows == [("one two three", DID, PHONE, "demo", DID, "smpp", encode(of_parts(map(request, (1, 2, 3)))))]


@pytest.mark.req("P-13", "F-01")
async def test_parts_sent_before_a_restart_are_joined_after_it(tmp_path: Path) -> None:
    async with core(tmp_path) as here:
        await send_part(here, 1, "one ", 2)
    async with core(tmp_path) as here:
        rest = await here.store.read(lambda db: concatenated_parts.open_parts(db, "smpp", here.clock.now))
        assert [(one.number, one.text, one.account, one.joined) for one in rest] == [(1, "one ", "demo", False)]
        assert await here.store.read(lambda db: concatenated_parts.open_parts(db, "other", 0.0)) == []
        await send_part(here, 2, "two", 2)
        assert await here.rows("SELECT text FROM messages") == [("one two",)]
        young = await here.store.read(lambda db: concatenated_parts.open_parts(db, "smpp", here.clock.now))
        assert [one.joined for one in young] == [True, True]
        assert await here.store.read(lambda db: concatenated_parts.open_parts(db, "smpp", here.clock.now + 1)) == []


@pytest.mark.req("P-13", "F-01")
async def test_a_restart_between_two_parts_begins_the_waiting_time_anew(tmp_path: Path) -> None:
    """However long the server was down: the other part has had no chance to come."""
    async with core(tmp_path) as here:
        await send_part(here, 1, "one ", 2)
        early = update(parts).values(received_at=here.clock.now - 3 * PATIENCE)
        await here.store.write(lambda db: db.execute(early))
    async with core(tmp_path) as here:
        await here.messaging.parts.give_up_waiting()
        here.clock.now += PATIENCE - 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        here.clock.now += 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT text FROM messages") == [("one [part 2 of 2 is missing]",)]


async def receive_part(here: Core, number: int, text: str, remote_id: str = "") -> None:
    sms = InboundSms(PHONE, DID, text, remote_id, part=Part("9", number, 2))
    await here.messaging.inbound.receive(sms, "carrier:sim")


@pytest.mark.req("P-13")
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_a_text_repeated_later_under_its_reference_is_new(tmp_path: Path, order: tuple[int, ...]) -> None:
    """An SMSC names no message, and an 8-bit reference comes round: an alert that is said again is another one."""
    texts = {1: "ALERT: ", 2: "water low"}
    async with core(tmp_path) as here:
        for number in (1, 2, *order):
            await receive_part(here, number, texts[number])
        assert await here.rows("SELECT text FROM messages") == [("ALERT: water low",)], "at once: told again"
        here.clock.now += AGAIN
        for number in order:
            await receive_part(here, number, texts[number])
        here.clock.now += AGAIN
        await receive_part(here, 1, "ALERT: ")
        await receive_part(here, 2, "FIRE")
        rows = await here.rows("SELECT text FROM messages ORDER BY id")
        assert rows == [("ALERT: water low",), ("ALERT: water low",), ("ALERT: FIRE",)]


@pytest.mark.req("P-13")
async def test_a_part_with_a_known_id_is_a_duplicate_however_late(tmp_path: Path) -> None:
    async with core(tmp_path) as here:
        await receive_part(here, 1, "one ", "a")
        await receive_part(here, 2, "two", "b")
        here.clock.now += 20 * AGAIN
        await receive_part(here, 1, "one ", "a")
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM parts WHERE NOT joined") == [(0,)]


@pytest.mark.req("P-13")
async def test_the_query_for_late_parts_does_not_read_joined_parts(tmp_path: Path) -> None:
    async with core(tmp_path) as here:

        def plan(db: Connection) -> list[str]:
            query = concatenated_parts.late_query(0.0).compile(db, compile_kwargs={"literal_binds": True})
            return [row.detail for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]

        steps = [step for step in await here.store.read(plan) if "parts" in step]
        assert [step.split(" INDEX ")[1].split()[0] for step in steps] == ["ix_parts_open", "sqlite_autoindex_parts_1"]


async def test_open_parts_of_incoming_texts_are_listed(tmp_path: Path) -> None:
    async with core(tmp_path) as here:
        await here.store.add_part(StoredPart("carrier:sim", PHONE, DID, "r1", 1, 2, "one ", "", here.clock.now))
        rows = await here.store.read(lambda db: concatenated_parts.open_parts(db, "carrier:sim", here.clock.now + 1))
        assert [(one.number, one.text, one.account) for one in rows] == [(1, "one ", "")]


@pytest.mark.req("P-13")
async def test_after_the_waiting_time_the_parts_leave_with_the_gap_marked(tmp_path: Path) -> None:
    """Also where the number that it goes to is no DID of ours."""
    async with core(tmp_path) as here:
        await send_part(here, 1, "one ")
        await send_part(here, 3, "three")
        here.clock.now += PATIENCE - 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        here.clock.now += 2
        await here.messaging.parts.give_up_waiting()
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT text, direction FROM messages") == [("one [part 2 of 3 is missing]three", "out")]


@pytest.mark.req("G09")
async def test_a_text_joined_from_three_parts_gets_one_receipt(tmp_path: Path) -> None:
    """Of a text in three parts that goes out whole: one receipt for all of them."""
    told, sim = ScriptedCourier(), ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim, "smpp": told}) as here:
        for number in (1, 2, 3):
            await send_part(here, number, f"{number}")
        await here.until("SELECT remote_id FROM deliveries WHERE state = 'accepted'", [("r1",)])
        await here.messaging.reporter.receipt("carrier:sim", CarrierReceipt("r1", State.DELIVERED))
        await told.wait(1)
        receipt = told.seen[0]
        assert receipt.message.kind is MessageKind.SMPP
        said = json.loads(receipt.text)
        assert (said["id"], said["parts"], said["stage"], said["text"]) == ("tok", [1, 2, 3], "delivered", "123")


@pytest.mark.req("G09")
async def test_accepted_parts_that_are_refused_later_are_reported(tmp_path: Path) -> None:
    told = ScriptedCourier()
    async with core(tmp_path, {"smpp": told, "carrier:sim": ScriptedCourier()}) as here:
        await send_part(here, 1, "one ", 2)
        here.directory.block(Block(DID, PHONE, "out"))
        assert isinstance(await send_part(here, 2, "two", 2), Refusal)
        here.clock.now += PATIENCE + 1
        await here.messaging.parts.give_up_waiting()
        await told.wait(1)
        assert json.loads(told.seen[0].text)["stage"] == "rejected"
        assert await here.rows("SELECT count(*) FROM messages WHERE direction = 'out'") == [(0,)]


async def test_parts_from_a_did_that_changed_its_customer_are_not_sent(tmp_path: Path) -> None:
    async with core(tmp_path) as here:
        await send_part(here, 1, "one ", 2)
        here.directory.update(2, False, [Account("other")], [Did(DID, "other")], frozenset())
        here.clock.now += PATIENCE + 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        assert await here.store.late_parts(here.clock.now) == [], "over"


@pytest.mark.req("P-13", "F-01")
async def test_parts_that_were_complete_at_a_crash_are_joined_soon_after_the_start(tmp_path: Path) -> None:
    """All parts stored, but not joined: nobody brings another one, and nobody need wait for the five minutes."""
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        now = here.clock.now
        for number, text in ((1, "one "), (2, "two")):
            stored = StoredPart(
                "smpp", DID, PHONE, "r9", number, 2, text, "", now, account="demo", report=request(number)
            )
            await here.store.write(lambda db, stored=stored: concatenated_parts.add(db, stored))
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT text FROM messages") == [], "they may be about to be joined"
        here.clock.now += 6
        await here.messaging.parts.give_up_waiting()
        await sim.wait(1)
        assert await here.rows("SELECT text FROM messages") == [("one two",)]
        here.clock.now += 6
        await here.messaging.parts.give_up_waiting()
        assert len(await here.rows("SELECT text FROM messages")) == 1


@pytest.mark.req("P-13", "G08")
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 3, 1, 1)])
async def test_incoming_parts_are_joined_once_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    texts = {1: "one ", 2: "two ", 3: "three"}
    async with core(tmp_path, prepare=with_did()) as here:
        for number in order:
            await arrive(here, texts[number], remote_id=f"id{number}", part=Part("7", number, 3))
        assert await here.rows("SELECT text, source FROM messages") == [("one two three", PHONE)]
        await arrive(here, texts[2], remote_id="id2", part=Part("7", 2, 3))  # the carrier says it once more
        here.clock.now += PATIENCE + 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("P-13")
async def test_a_missing_incoming_part_is_marked_in_the_text(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 3))
        await arrive(here, "three", remote_id="c", part=Part("7", 3, 3))
        here.clock.now += PATIENCE - 1
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        here.clock.now += 2
        await here.messaging.parts.give_up_waiting()
        ((text,),) = await here.rows("SELECT text FROM messages")
        assert text.startswith("one ")
        assert text.endswith("three")
        assert "2 of 3" in text
        await here.messaging.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("P-13")
async def test_another_text_under_the_same_reference_is_another_message(tmp_path: Path) -> None:
    """Eight bits are soon used up: another text under the same number is another message."""
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "old 1 ", remote_id="a1", part=Part("7", 1, 2))
        await arrive(here, "new 1 ", remote_id="b1", part=Part("7", 1, 2))
        await arrive(here, "new 2", remote_id="b2", part=Part("7", 2, 2))
        texts = [row[0] for row in await here.rows("SELECT text FROM messages ORDER BY id")]
        assert texts[0].startswith("old 1 ")
        assert texts[1:] == ["new 1 new 2"]
        await arrive(here, "next 1 ", remote_id="c1", part=Part("7", 1, 2))
        await arrive(here, "next 2", remote_id="c2", part=Part("7", 2, 2))
        assert (await here.rows("SELECT text FROM messages ORDER BY id"))[-1] == ("next 1 next 2",)


@pytest.mark.req("P-13")
async def test_a_part_repeated_under_another_id_is_joined_once(tmp_path: Path) -> None:
    """Some carriers number each attempt to tell us anew."""
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 2))
        await arrive(here, "one ", remote_id="a2", part=Part("7", 1, 2))
        await arrive(here, "two", remote_id="b", part=Part("7", 2, 2))
        assert await here.rows("SELECT text FROM messages") == [("one two",)]


async def test_incoming_parts_from_before_a_restart_are_joined_after_it(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 2))
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "two", remote_id="b", part=Part("7", 2, 2))
        assert await here.rows("SELECT text FROM messages") == [("one two",)]
