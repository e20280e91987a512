"""All that a DID delivers to, STOP, receipts, doubts and parts of long texts: the gateway on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipsms.app.carrier_set import CarrierCourier
from sipsms.carriers.settings import LoopbackConfig
from sipsms.core.account import Account, Callback, Did, Webhook
from sipsms.core.directory_rows import Block
from sipsms.core.http_client import NoAnswer
from sipsms.core.message import (
    Accepted,
    Deferred,
    Delivered,
    Delivery,
    Media,
    Message,
    Outcome,
    Rejected,
    State,
    Unknown,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.registration import Binding  # fmt: skip
from sipsms.core.report_request import ImdnRequest
from sipsms.messaging.carrier import InboundMedia, InboundSms, NotThere, Part
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.concatenation import PATIENCE
from sipsms.messaging.forward import ForwardCourier
from sipsms.messaging.gateway import CALLBACK, FORWARD, MAIL, MEDIA, WEBHOOK, Gateway, Receipt, carrier_key, sms_key
from sipsms.messaging.order import File, Sent
from sipsms.messaging.reconciliation import LOOK_EVERY, Reconciler
from sipsms.messaging.settings import PolicySettings
from sipsms.store import message_list
from tests.support.core import Core, ScriptedCourier, core
from tests.support.media import PNG

ALICE = Account("alice", "demo")
DID, PHONE = "5550001111", "2125550123"
BY = "SELECT courier, destination, state FROM deliveries ORDER BY courier, destination"


def with_did(**values: Any) -> Callable[[Core], None]:
    def prepare(here: Core) -> None:
        did = Did(DID, "demo", **{"sip_account": "", **values})
        here.directory.update(2, False, [], [did], frozenset())

    return prepare


async def arrive(here: Core, text: str = "hello", source: str = PHONE, to: str = DID, **values: Any) -> Receipt:
    remote_id = values.get("remote_id", "")
    sms = InboundSms(source, to, text, **values)
    key = None if "part" in values else carrier_key("c", remote_id)
    result = await here.gateway.receive(sms, "hook:c", key)
    assert isinstance(result, Receipt)
    return result


async def send(here: Core, text: str = "hi", to: str = PHONE, **values: Any) -> Sent | Refusal:
    return await here.send(ALICE, DID, to, text, "test", **values)


# --- destinations ----------------------------------------------------------------------------------------------------


@pytest.mark.req("S-030", "S-038", "S-040", "S-045", "S-047", "S-128")
async def test_everything_at_once(tmp_path: Path) -> None:
    couriers = {name: ScriptedCourier() for name in (MAIL, CALLBACK, WEBHOOK)}
    prepare = with_did(
        sip_account="alice", group="sales", members=("alice", "bob"), emails=("a@example.net", "b@example.net"),
        callback=Callback("http://example.net/"), webhook=Webhook("http://example.net/"),
    )  # fmt: skip
    async with core(tmp_path, couriers, prepare=prepare) as here:
        await arrive(here)
        await here.until(BY, [
            (CALLBACK, DID, "accepted"), (MAIL, "a@example.net", "accepted"), (MAIL, "b@example.net", "accepted"),
            ("sip", "alice", "queued"), ("sip", "bob", "queued"), (WEBHOOK, DID, "accepted"),
        ])  # fmt: skip
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("S-029")
async def test_nothing_chosen_is_kept(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here)
        assert await here.rows("SELECT text FROM messages") == [("hello",)]
        assert await here.rows(BY) == []


async def test_what_is_switched_off_gets_nothing(tmp_path: Path) -> None:
    prepare = with_did(callback=Callback("http://x/", disabled="410"), webhook=Webhook("http://x/", disabled="410"))
    async with core(tmp_path, prepare=prepare) as here:
        await arrive(here)
        assert await here.rows(BY) == []


@pytest.mark.req("S-044", "W-03")
async def test_each_door_has_its_own_patience(tmp_path: Path) -> None:
    prepare = with_did(emails=("a@b.net",), callback=Callback("http://x/"), webhook=Webhook("http://x/"))
    async with core(tmp_path, prepare=prepare) as here:
        await arrive(here)
        rows = await here.rows("SELECT courier, (expires_at - created_at) / 3600 FROM deliveries ORDER BY courier")
        assert dict(rows) == {CALLBACK: 72.0, MAIL: 120.0, WEBHOOK: 96.0}  # ten tries of a webhook take 76 hours


# --- forward ---------------------------------------------------------------------------------------------------------


def forwarding(here: Core) -> None:
    here.queue.set_courier(FORWARD, ForwardCourier(here.gateway, here.directory, here.clock))


@pytest.mark.req("S-035", "S-036", "S-037")
async def test_a_forward_is_a_message_of_its_own(tmp_path: Path) -> None:
    """From the DID; in the books twice."""
    sim = ScriptedCourier()

    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)

    async with core(tmp_path, {"carrier:sim": sim}, prepare=prepare) as here:
        await arrive(here, "pass it on")
        await sim.wait(1)
        (delivery,) = sim.seen
        assert (delivery.source, delivery.destination, delivery.text) == (DID, "4165550199", "pass it on")
        assert await here.rows("SELECT direction, source, destination, account, origin FROM messages ORDER BY id") == [
            ("in", PHONE, DID, "demo", "hook:c"), ("out", DID, "4165550199", "demo", "forward"),
        ]  # fmt: skip


async def test_a_forward_that_is_tried_again_is_made_once(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, prepare=with_did(forward="4165550199")) as here:
        courier = ForwardCourier(here.gateway, here.directory, here.clock)
        message = Message("in", PHONE, DID, "x", "hook:c", 1.0, "demo", DID, id=7)  # type: ignore[arg-type]
        delivery = Delivery(message, FORWARD, "4165550199", DID, "l", 1e9, 1.0, id=9)
        assert isinstance(await courier.deliver(delivery), Delivered)
        assert isinstance(await courier.deliver(delivery), Delivered)
        await sim.wait(1)
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("S-034", "A-45")
@pytest.mark.parametrize("source", ["4165550199", DID, "5550002222"])
async def test_no_forward_to_where_it_comes_from(tmp_path: Path, source: str) -> None:
    """Not to its sender, not to itself, not between two DIDs that both forward."""

    def prepare(here: Core) -> None:
        with_did(forward="4165550199" if source != DID else DID)(here)
        here.directory.update(3, False, [], [Did("5550002222", "demo", "", forward=DID)], frozenset())
        forwarding(here)

    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}, prepare=prepare) as here:
        await arrive(here, source=source)
        assert await here.rows(BY) == []
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("A-45")
async def test_two_that_answer_each_other_are_stopped(tmp_path: Path) -> None:
    """An automatic answer from a changing number: 30 in half a minute, then a pause."""
    sim = ScriptedCourier()

    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)

    async with core(tmp_path, {"carrier:sim": sim}, prepare=prepare) as here:
        for number in range(40):
            await arrive(here, f"auto {number}", f"21255501{number:02}", remote_id=str(number))
        await sim.wait(30)
        await here.until("SELECT count(*) FROM messages WHERE direction = 'out'", [(30,)])
        await here.until("SELECT count(*) FROM deliveries WHERE courier = 'forward' AND state = 'queued'", [(10,)])


async def test_a_forward_to_who_wants_nothing(tmp_path: Path) -> None:
    def prepare(here: Core) -> None:
        with_did(forward="4165550199")(here)
        forwarding(here)
        here.directory.block(Block(DID, "4165550199", "out"))

    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}, prepare=prepare) as here:
        await arrive(here)
        await here.until(BY, [(FORWARD, "4165550199", "failed")])


class Sends:
    """A carrier that is a courier in disguise."""

    name, secret, poll_every, can_look_up = "sim", "", 0.0, False

    def __init__(self, courier: ScriptedCourier) -> None:
        self.send = courier.deliver


# --- STOP ------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-131", "G12")
async def test_a_number_that_says_stop_gets_nothing_more(tmp_path: Path) -> None:
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        assert isinstance(await send(here), Sent)
        await arrive(here, "Stop. Thank you")
        refusal = await send(here)
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.BLOCKED
        assert PHONE in refusal.reason
        assert isinstance(await send(here, to="2125550124"), Sent), "only that number"
        await arrive(here, "START")
        assert isinstance(await send(here), Sent)
        assert await here.rows("SELECT owner, number, direction, active FROM blocks") == [(DID, PHONE, "out", 0)]


@pytest.mark.req("G12", "S-131")
async def test_a_stop_that_is_told_again_blocks_nobody_anew(tmp_path: Path) -> None:
    """A carrier repeats itself, and a poll reads the last hours once more; the person has written START since."""
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        await arrive(here, "STOP", remote_id="1")
        await arrive(here, "START", remote_id="2")
        assert (await arrive(here, "STOP", remote_id="1")).duplicate
        assert isinstance(await send(here), Sent)


@pytest.mark.req("F-20", "G03")
async def test_one_id_to_two_of_our_numbers_is_two_messages(tmp_path: Path) -> None:
    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did(DID, "demo"), Did("5550002222", "demo")], frozenset())

    async with core(tmp_path, prepare=prepare) as here:
        for to in (DID, "5550002222", "+1" + DID):
            sms = InboundSms(PHONE, to, "to you both", "m-1")
            await here.gateway.receive(sms, "hook:c", sms_key("c", sms))
        assert await here.rows("SELECT did FROM messages ORDER BY id") == [(DID,), ("5550002222",)]
        assert sms_key("c", InboundSms(PHONE, DID, "x")) is None


async def test_a_sentence_with_stop_in_it_stops_nothing(tmp_path: Path) -> None:
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        await arrive(here, "please stop by the shop")
        assert isinstance(await send(here), Sent)


@pytest.mark.req("S-131")
async def test_our_user_who_says_stop_hears_nothing_more(tmp_path: Path) -> None:
    mail = ScriptedCourier()
    couriers = {MAIL: mail, "carrier:sim": ScriptedCourier()}
    async with core(tmp_path, couriers, prepare=with_did(emails=("a@b.net",))) as here:
        await arrive(here, "buy!", remote_id="1")
        await mail.wait(1)
        assert isinstance(await send(here, "STOP"), Sent)
        await arrive(here, "buy!!", remote_id="2")
        await arrive(here, "me, too", "2125550124", remote_id="3")
        await mail.wait(2)
        assert mail.texts == ["buy!", "me, too"]
        assert await here.rows("SELECT text FROM messages WHERE direction = 'in' ORDER BY id") == [
            ("buy!",), ("buy!!",), ("me, too",),
        ], "kept all the same"  # fmt: skip
        assert isinstance(await send(here, "start"), Sent)
        await arrive(here, "thanks", remote_id="4")
        await mail.wait(3)


@pytest.mark.req("S-131")
async def test_start_does_not_lift_what_an_operator_set(tmp_path: Path) -> None:
    """Neither a block of before the STOP, nor one that came after it."""
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        await arrive(here, "STOP", remote_id="1")
        await here.store.set_block(Block(DID, PHONE, "out"), "by hand", here.clock.now)
        await arrive(here, "START", remote_id="2")
        assert isinstance(await send(here), Refusal)
        assert await here.rows("SELECT active, reason FROM blocks") == [(1, "by hand")]


@pytest.mark.req("S-131")
async def test_stop_survives_a_restart(tmp_path: Path) -> None:
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        await arrive(here, "STOP")
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}) as here:
        here.directory.update(*(await here.store.directory(0))._replace(whole=False, accounts=[], dids=[]))
        assert isinstance(await send(here), Refusal)


@pytest.mark.req("S-131", "G12")
async def test_stop_holds_for_what_waits_too(tmp_path: Path) -> None:
    """Accepted before, the carrier away, then STOP: it does not go out any more. The answer to the STOP does."""
    sim = ScriptedCourier()
    policy = PolicySettings(stop_reply="You are off the list.")
    async with core(tmp_path, policy=policy) as here:
        await send(here, "news")
        await arrive(here, "STOP", remote_id="1")
        here.queue.set_courier("carrier:sim", CarrierCourier(Sends(sim), LoopbackConfig(type="loopback"), here.gateway))
        await sim.wait(1)
        assert sim.texts == ["You are off the list."]
        await here.until("SELECT text, state FROM messages JOIN deliveries ON message_id = messages.id "
                         "WHERE courier = 'carrier:sim' ORDER BY messages.id",
                         [("news", "failed"), ("You are off the list.", "accepted")])  # fmt: skip


@pytest.mark.req("G12")
async def test_a_carrier_that_knows_of_an_opt_out(tmp_path: Path) -> None:
    sim = ScriptedCourier(Rejected("21610", opt_out=True))
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("failed",)])
        (delivery,) = sim.seen
        await here.gateway.opted_out(delivery)
        assert isinstance(await send(here), Refusal)


@pytest.mark.req("S-016", "S-018")
async def test_shorteners_and_bulk(tmp_path: Path) -> None:
    people = [Account("demo"), Account("alice", "demo"), Account("free", "", bulk=True, shorteners=True)]

    def prepare(here: Core) -> None:
        numbers = [Did("5550003333", "free")]
        here.directory.update(2, False, people, numbers, frozenset())

    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}, prepare=prepare, policy=PolicySettings()) as here:
        link = await send(here, "look: https://bit.ly/x")
        assert isinstance(link, Refusal)
        assert link.code is RefusalCode.POLICY
        assert "bit.ly" in link.reason
        for number in range(20):
            assert isinstance(await send(here, "Our big sale starts now!", f"21255502{number:02}"), Sent)
        bulk = await send(here, "Our big sale starts now!", "2125550299")
        assert isinstance(bulk, Refusal)
        assert bulk.code is RefusalCode.BULK
        assert isinstance(await send(here, "a word to you alone", "2125550299"), Sent)
        free = people[2]
        for number in range(30):
            text = "Our big sale: bit.ly/sale"
            to = f"21255502{number:02}"
            assert isinstance(await here.send(free, "5550003333", to, text, "test"), Sent)


# --- MMS -------------------------------------------------------------------------------------------------------------

PICTURE = Media("image/png", "a.png", 70, "t" * 32)


class Fetcher:
    def __init__(self, gateway: Callable[[], Gateway], media: tuple[Media, ...]) -> None:
        self.gateway = gateway
        self.media = media
        self.gate = asyncio.Event()
        self.count = 0

    async def deliver(self, delivery: Delivery) -> Outcome:
        self.count += 1
        await self.gate.wait()
        await self.gateway().complete(delivery.message, self.media)
        return Delivered()


@pytest.mark.req("S-007", "S-020")
async def test_an_mms_is_stored_at_once_and_delivered_when_its_parts_are_here(tmp_path: Path) -> None:
    mail, holder = ScriptedCourier(), {}
    fetcher = Fetcher(lambda: holder["here"].gateway, (PICTURE,))
    prepare = with_did(emails=("a@b.net",))
    async with core(tmp_path, {MAIL: mail, MEDIA: fetcher}, prepare=prepare) as here:
        holder["here"] = here
        await arrive(here, "see", remote_id="1", media=(InboundMedia("https://c.example/1.png", "image/png"),))
        assert [row[0] for row in await here.rows("SELECT courier FROM deliveries")] == [MEDIA]
        fetcher.gate.set()
        await mail.wait(1)
        (delivery,) = mail.seen
        assert delivery.message.media == (PICTURE,)
        assert delivery.message.is_mms
        await here.until(BY, [(MAIL, "a@b.net", "accepted"), (MEDIA, DID, "delivered")])
        await here.gateway.complete(delivery.message, (PICTURE,))  # after a crash between the two commits
        assert len(await here.rows(BY)) == 2


async def test_an_mms_to_a_did_without_mms_is_kept(tmp_path: Path) -> None:
    holder: dict[str, Core] = {}
    fetcher = Fetcher(lambda: holder["here"].gateway, (PICTURE,))
    fetcher.gate.set()
    async with core(tmp_path, {MEDIA: fetcher}, prepare=with_did(emails=("a@b.net",), mms=False)) as here:
        holder["here"] = here
        await arrive(here, "see", media=(InboundMedia("https://c.example/1.png"),))
        await here.until(BY, [(MEDIA, DID, "delivered")])
        refusal = await send(here, files=(File(PNG),))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_MMS


async def test_mms_goes_by_carriers_that_take_it(tmp_path: Path) -> None:
    first, second = ScriptedCourier(), ScriptedCourier()
    async with core(tmp_path, {"carrier:first": first, "carrier:second": second}) as here:
        here.gateway.limits = {"carrier:first": CarrierOptions(), "carrier:second": CarrierOptions(mms=True)}
        assert isinstance(await send(here, files=(File(PNG),)), Sent)
        await second.wait(1)
        assert first.seen == []
        here.gateway.limits["carrier:second"] = CarrierOptions()
        refusal = await send(here, files=(File(PNG),))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_MMS


# --- long texts ------------------------------------------------------------------------------------------------------


@pytest.mark.req("G08", "G10")
async def test_a_long_text_goes_in_pieces_in_order(tmp_path: Path) -> None:
    sim, text = ScriptedCourier(), "word " * 90
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        here.gateway.limits = {"carrier:sim": CarrierOptions(max_text=160)}
        assert isinstance(await send(here, text), Sent)
        await sim.wait(3)
        assert "".join(one.text for one in sim.seen) == text
        assert all(len(one.text) <= 160 for one in sim.seen)
        here.gateway.limits = {"carrier:sim": CarrierOptions(max_text=160, long_texts="mms", mms=True)}
        await send(here, text)
        await sim.wait(4)
        assert sim.seen[3].text == text


async def test_after_a_restart_only_the_pieces_that_are_left_go(tmp_path: Path) -> None:
    text = "word " * 90
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, run=False) as here:
        here.gateway.limits = {"carrier:sim": CarrierOptions(max_text=160)}
        await send(here, text)
    done = [one.text for one in sim.seen]
    again = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": again}) as here:
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(3,)])
    assert "".join([*done, *(one.text for one in again.seen)]) == text


@pytest.mark.req("G09")
async def test_one_verdict_for_all_pieces(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        here.gateway.limits = {"carrier:sim": CarrierOptions(max_text=160)}
        result = await send(here, "word " * 60)
        assert isinstance(result, Sent)
        await here.until("SELECT remote_id FROM deliveries ORDER BY id", [("r1",), ("r2",)])
        await here.gateway.receipt("carrier:sim", CarrierReceipt("r1", State.DELIVERED))
        assert await here.store.outcome(result.message) is State.ACCEPTED
        await here.gateway.receipt("carrier:sim", CarrierReceipt("r2", State.FAILED, "no such number"))
        assert await here.store.outcome(result.message) is State.FAILED


@pytest.mark.req("P-13", "G08")
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 3, 1, 1)])
async def test_parts_are_joined_in_any_order_once(tmp_path: Path, order: tuple[int, ...]) -> None:
    texts = {1: "one ", 2: "two ", 3: "three"}
    async with core(tmp_path, prepare=with_did()) as here:
        for number in order:
            await arrive(here, texts[number], remote_id=f"id{number}", part=Part("7", number, 3))
        assert await here.rows("SELECT text, source FROM messages") == [("one two three", PHONE)]
        await arrive(here, texts[2], remote_id="id2", part=Part("7", 2, 3))  # the carrier says it once more
        here.clock.now += PATIENCE + 1
        await here.gateway.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("P-13")
async def test_a_part_that_does_not_come_is_marked(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 3))
        await arrive(here, "three", remote_id="c", part=Part("7", 3, 3))
        here.clock.now += PATIENCE - 1
        await here.gateway.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        here.clock.now += 2
        await here.gateway.parts.give_up_waiting()
        ((text,),) = await here.rows("SELECT text FROM messages")
        assert text.startswith("one ")
        assert text.endswith("three")
        assert "2 of 3" in text
        await here.gateway.parts.give_up_waiting()
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("P-13")
async def test_a_reference_that_is_used_again(tmp_path: Path) -> None:
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
async def test_a_part_told_again_under_another_id(tmp_path: Path) -> None:
    """Some carriers number each attempt to tell us anew."""
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 2))
        await arrive(here, "one ", remote_id="a2", part=Part("7", 1, 2))
        await arrive(here, "two", remote_id="b", part=Part("7", 2, 2))
        assert await here.rows("SELECT text FROM messages") == [("one two",)]


async def test_parts_survive_a_restart(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "one ", remote_id="a", part=Part("7", 1, 2))
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here, "two", remote_id="b", part=Part("7", 2, 2))
        assert await here.rows("SELECT text FROM messages") == [("one two",)]


# --- receipts --------------------------------------------------------------------------------------------------------

SIM = "carrier:sim"


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
async def test_receipts_in_any_order(tmp_path: Path, given: list[State], end: str) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("accepted",)])
        for state in given:
            await here.gateway.receipt(SIM, CarrierReceipt("r1", state, "why"))
        assert await here.rows("SELECT state FROM deliveries") == [(end,)]


@pytest.mark.req("P-12", "F-16")
async def test_a_receipt_before_the_answer_that_names_the_message(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await sim.wait(1)
        await here.gateway.receipt(SIM, CarrierReceipt("r1", State.DELIVERED))
        await here.gateway.receipt("carrier:other", CarrierReceipt("r1", State.FAILED))
        assert await here.rows("SELECT state FROM deliveries") == [("sending",)]
        sim.gate.set()
        await here.until("SELECT state FROM deliveries", [("delivered",)])
        assert await here.rows("SELECT remote_id FROM deliveries") == [("r1",)]


async def test_an_early_receipt_that_they_opted_out(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    sim.gate = asyncio.Event()
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await sim.wait(1)
        await here.gateway.receipt(SIM, CarrierReceipt("r1", State.FAILED, "STOP", opt_out=True))
        sim.gate.set()
        await here.until("SELECT state FROM deliveries", [("failed",)])
        assert await here.rows("SELECT owner, number, direction FROM blocks") == [(DID, PHONE, "out")]
        assert await here.store.directory_version() > 0


@pytest.mark.req("P-11")
async def test_receipts_that_match_nothing_are_kept_for_a_while(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        for _ in range(3):
            await here.gateway.receipt(SIM, CarrierReceipt("stranger", State.FAILED))
        assert await here.rows("SELECT remote_id, state FROM receipts") == [("stranger", "failed")]
        await here.store.forget_receipts(here.clock.now + 71 * 3600)
        assert len(await here.rows("SELECT * FROM receipts")) == 1
        await here.store.forget_receipts(here.clock.now + 73 * 3600)
        assert await here.rows("SELECT * FROM receipts") == []


@pytest.mark.req("A-42")
async def test_a_receipt_of_one_carrier_says_nothing_of_anothers(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("accepted",)])
        await here.gateway.receipt("carrier:other", CarrierReceipt("r1", State.FAILED))
        assert await here.rows("SELECT state FROM deliveries") == [("accepted",)]


# --- lost answers ----------------------------------------------------------------------------------------------------


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


def follower(here: Core, carrier: Any, marks: dict[str, float] | None = None) -> Reconciler:
    kept = marks if marks is not None else {}

    async def mark(name: str) -> float:
        return kept.get(name, 0.0)

    async def set_mark(name: str, when: float) -> None:
        kept[name] = when

    return Reconciler(here.store, here.gateway, here.queue, {"sim": carrier}, here.clock, mark, set_mark)


@pytest.mark.req("F-11", "D6", "C7")
@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Accepted("c-9"), "accepted"), (Delivered(), "delivered"), (Rejected("gone"), "failed"), (None, "unknown"),
        (NoAnswer("down"), "unknown"),
    ],
)  # fmt: skip
async def test_the_carriers_records_decide(tmp_path: Path, answer: Any, state: str) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        records = Records(answer)
        await follower(here, records).look_up()
        assert records.asked == [(1, here.clock.now)]
        assert await here.rows("SELECT state FROM deliveries") == [(state,)]
        assert len(sim.seen) == 1, "not sent again"


@pytest.mark.req("F-11", "F-12")
async def test_what_the_carrier_never_had_goes_out_after_all_once(tmp_path: Path) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        one = follower(here, Records(NotThere(), NotThere()))
        await one.look_up()
        await here.until("SELECT state, attempts FROM deliveries", [("accepted", 2)])
        await one.look_up()
        assert len(sim.seen) == 2


async def test_a_receipt_for_what_was_found_again(tmp_path: Path) -> None:
    """It may have come while the name was not known."""
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        await here.gateway.receipt(SIM, CarrierReceipt("c-9", State.DELIVERED))
        await follower(here, Records(Accepted("c-9"))).look_up()
        assert await here.rows("SELECT state FROM deliveries") == [("delivered",)]


async def test_a_record_that_is_another_messages(tmp_path: Path) -> None:
    """Two with the same text within a minute: the carrier's one record belongs to the first."""
    sim = ScriptedCourier(Accepted("c-9"), Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here, "same")
        await send(here, "same")
        await here.until("SELECT state FROM deliveries ORDER BY id", [("accepted",), ("unknown",)])
        await follower(here, Records(Accepted("c-9"))).look_up()
        assert await here.rows("SELECT state FROM deliveries ORDER BY id") == [("accepted",), ("unknown",)]


async def test_looks_are_far_enough_apart(tmp_path: Path) -> None:
    sim = ScriptedCourier(Unknown("no answer"))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("unknown",)])
        records = Records()
        one = follower(here, records)
        for _ in range(5):
            await one.step()
        assert len(records.asked) == 1
        here.clock.now += LOOK_EVERY
        await one.step()
        assert len(records.asked) == 2


async def test_many_doubts_are_all_asked_about_in_time(tmp_path: Path) -> None:
    """Those that nobody can tell of are asked about less and less, and keep none behind them from its turn."""
    async with core(tmp_path, {SIM: ScriptedCourier(*[Unknown("no answer")] * 60)}) as here:
        for number in range(60):
            await send(here, f"m{number}", f"21255501{number:02}")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'unknown'", [(60,)])
        records = Records()
        one = follower(here, records)
        for _ in range(3):
            await one.look_up()
        assert len({delivery for delivery, _ in records.asked}) == 60
        asked = len(records.asked)
        for _ in range(30):
            here.clock.now += LOOK_EVERY
            await one.look_up()
        assert len(records.asked) - asked < 60 * 5, "not at every look"


@pytest.mark.req("G14", "G03")
async def test_polling_finds_what_no_hook_told_of(tmp_path: Path) -> None:
    """The first look only marks the time; then what came in is stored, once, whoever tells of it first."""
    async with core(tmp_path, {SIM: ScriptedCourier()}, prepare=with_did()) as here:
        records, marks = Records(), {}
        records.poll_every = 60.0  # type: ignore[misc]
        one = follower(here, records, marks)
        records.inbox = [InboundSms(PHONE, DID, "from before", "1")]
        await one.step()
        assert records.since == []
        assert await here.rows("SELECT count(*) FROM messages") == [(0,)]
        sms = InboundSms(PHONE, DID, "by the hook", "2")
        await here.gateway.receive(sms, "hook:sim", sms_key("sim", sms))
        records.inbox = [InboundSms(PHONE, DID, "by the hook", "2"), InboundSms(PHONE, DID, "missed", "3")]
        began = here.clock.now
        here.clock.now += 61
        await one.step()
        assert records.since == [began]
        assert await here.rows("SELECT text FROM messages ORDER BY id") == [("by the hook",), ("missed",)]
        here.clock.now += 61
        await one.step()
        assert len(await here.rows("SELECT * FROM messages")) == 2


# --- endpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.req("W-02", "F-22")
async def test_switching_a_target_off_is_durable_and_told(tmp_path: Path) -> None:
    mail = ScriptedCourier()
    async with core(tmp_path, {MAIL: mail}) as here:
        here.gateway.operator = "noc@example.net"
        await here.store.write(lambda db: _add_did(db))
        await here.gateway.disable_target("5550009999", "webhook", "410 Gone")
        await mail.wait(1)
        assert mail.seen[0].destination == "noc@example.net"
        assert "5550009999" in mail.seen[0].text
        (did,) = (await here.store.directory(0)).dids
        assert did.webhook == Webhook("http://example.net/h", "b", "", "410 Gone")
        await here.gateway.disable_target("5550009999", "webhook", "410 Gone")
        assert len(await here.rows("SELECT * FROM deliveries")) == 1, "told once"


def _add_did(db: Any) -> None:
    from sipsms.store import dids
    from sipsms.store.accounts import Hashes, add_account

    add_account(db, "acme", Hashes("", "", ""), 1.0)
    dids.add_did(db, "5550009999", "acme", 1.0, sip_account="", sms=True)
    dids.set_did(db, "5550009999", {"webhook": [("http://example.net/h", {"bearer": "b"})]})


# --- the sender hears of it -------------------------------------------------------------------------------------------


@pytest.mark.req("F-13", "G04")
@pytest.mark.parametrize(
    ("outcome", "receipt", "word"),
    [
        (Rejected("no such number"), None, "failed"),
        (Accepted("c-1"), State.FAILED, "failed"),
        (Accepted("c-1"), State.DELIVERED, "delivered"),
        (Unknown("no answer"), None, ""),
        (Deferred("later", retry_after=3600), None, "failed"),
    ],
)
async def test_who_wanted_a_notice_gets_one(tmp_path: Path, outcome: Outcome, receipt: State | None, word: str) -> None:
    """Once; and none while nobody knows."""
    sim = ScriptedCourier(outcome)
    async with core(tmp_path, {SIM: sim}) as here:

        def over(delivery: Delivery, state: State, detail: str) -> None:
            if delivery.message.report and state not in (State.QUEUED, State.ACCEPTED):
                here.tasks.append(asyncio.create_task(here.gateway.ended(delivery)))

        here.queue._on_change = over
        binding = Binding("alice", "sip:a@192.0.2.1", here.clock.now + 60, "c", 1, "udp:192.0.2.1:5060", instance="<i>")
        async with here.location.turn("alice"):
            (device,) = await here.location.apply("alice", [binding], [], here.clock.now)
        assert isinstance(await send(here, device=device.id, report=ImdnRequest("imdn-1")), Sent)
        await sim.wait(1)
        await here.until("SELECT count(*) FROM attempts WHERE ended_at IS NOT NULL", [(1,)])
        for _ in range(2):
            if receipt is not None:
                await here.gateway.receipt(SIM, CarrierReceipt("c-1", receipt))
        if isinstance(outcome, Deferred):
            here.clock.now += 2 * 86400
            await here.until(f"SELECT state FROM deliveries WHERE courier = '{SIM}'", [("expired",)])
        await asyncio.gather(*here.tasks[1:])
        rows = await here.rows("SELECT text FROM messages WHERE origin = 'notice'")
        assert [f"<{word}/>" in row[0] for row in rows] == ([True] if word else [])
        told = await here.rows("SELECT notify FROM messages WHERE direction = 'out'")
        assert told == [("" if word else "imdn-1",)]


@pytest.mark.req("G04")
async def test_a_copy_on_ones_own_phone_is_no_delivery(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier(Rejected("no such number")), "sip": ScriptedCourier()}) as here:
        for name in ("<one>", "<two>"):
            binding = Binding("alice", f"sip:{name[1:4]}@192.0.2.1", here.clock.now + 60, "c", 1, "udp:192.0.2.1:5060",
                              instance=name)  # fmt: skip
            async with here.location.turn("alice"):
                devices = await here.location.apply("alice", [binding], [], here.clock.now)
        copier = Account("alice", "demo", copies=True)
        result = await here.send(copier, DID, PHONE, "hi", "test", device=devices[-1].id, report=ImdnRequest("imdn-1"))
        assert isinstance(result, Sent)
        await here.until(f"SELECT state FROM deliveries WHERE courier = '{SIM}'", [("failed",)])
        await here.until("SELECT count(*) FROM deliveries WHERE courier = 'sip' AND state = 'accepted'", [(1,)])
        assert await here.store.outcome(result.message) is State.FAILED


async def test_a_list_shows_the_worst_of_a_long_text(tmp_path: Path) -> None:
    sim = ScriptedCourier(Accepted("a"), Rejected("no"))
    async with core(tmp_path, {SIM: sim}) as here:
        here.gateway.limits = {SIM: CarrierOptions(max_text=160)}
        await send(here, "word " * 60)
        await here.until("SELECT state FROM deliveries ORDER BY id", [("accepted",), ("failed",)])
        (row,) = await here.store.read(lambda db: message_list.newest(db, message_list.Wanted(), 9))
        assert row["state"] == "failed"
