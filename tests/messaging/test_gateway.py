"""The gateway on a real store: devices, destinations, SMPP, MMS, long texts and carriers' receipts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Account, Callback, Did, Smpp, Webhook
from sipsms.core.courier_id import CALLBACK, MAIL, MEDIA, WEBHOOK
from sipsms.core.message import (
    EVENT,
    Accepted,
    Deferred,
    Delivered,
    Delivery,
    Direction,
    Media,
    Message,
    Outcome,
    Rejected,
    State,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import ReportRequest, SmppRequest, UrlRequest
from sipsms.messaging.carrier import InboundMedia, InboundSms
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import RECEIPT_LANES, Gateway, Receipt, carrier_key, sms_key
from sipsms.messaging.order import File, Sent
from sipsms.store import message_list
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.media import PNG
from tests.support.messaging.traffic import DELIVERIES, DID, PHONE, SIM, arrive, register, send, with_did

DEMO = Account("demo")
STATES = "SELECT device, state FROM deliveries ORDER BY id"


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
            assert await here.gateway.came_back_as(*pair)
            await here.location.forget(pair[0])
        await phones.wait(1)
        assert phones.texts_of(new) == ["lost?"]
        assert [one.id for one in here.location.devices("alice")] == [new]


@pytest.mark.req("F-20")
async def test_a_message_that_a_carrier_repeats_is_stored_once(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        first = await arrive(here, "one", "+1 (212) 555-0123", remote_id="id-1")
        again = await arrive(here, "one", remote_id="id-1")
        other = await arrive(here, "one", remote_id="id-2")
        assert (again.message_id, again.duplicate) == (first.message_id, True)
        assert other.message_id != first.message_id
        assert await here.rows("SELECT count(*) FROM messages") == [(2,)]


async def test_numbers_of_all_forms_are_normalised_and_unknown_dids_refused(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        assert await here.gateway.receive(InboundSms("2125550123", "5559999999", "x"), "test") is None
        assert isinstance(await here.gateway.receive(InboundSms("72345", "+15550001111", "code"), "test"), Receipt)
        assert isinstance(await here.gateway.receive(InboundSms("ACME", "5550002222", "hi"), "test"), Receipt)
        rows = await here.rows("SELECT source, destination FROM messages ORDER BY id")
        assert rows == [("72345", "5550001111"), ("ACME", "5550002222")]
        assert await here.rows(STATES) == [(0, "queued")]


def test_keys_of_messages_are_apart_by_carrier() -> None:
    assert carrier_key("a", "1") != carrier_key("b", "1")
    assert carrier_key("a", "") is None


# --- SMPP -------------------------------------------------------------------------------------------------------------

LANES = "SELECT destination, lane FROM deliveries WHERE courier = 'smpp' ORDER BY id"


def _with_smpp(smpp: Smpp) -> object:
    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did("5550001111", "demo", smpp=smpp)], frozenset())

    return prepare


@pytest.mark.req("S-071", "S-072", "P-16")
@pytest.mark.parametrize(
    ("smpp", "count"),
    [
        (Smpp("", "p"), 2),
        (Smpp("", "", "smpp://h"), 2),
        (Smpp("", "p", enabled=False), 0),
        (Smpp("user"), 0),  # nobody can bind, and there is no server
    ],
)
async def test_incoming_messages_are_delivered_by_smpp_in_one_lane(tmp_path: Path, smpp: Smpp, count: int) -> None:
    """In one lane, so in order."""
    async with core(tmp_path, run=False, prepare=_with_smpp(smpp)) as here:  # type: ignore[arg-type]
        await arrive(here, "one")
        await arrive(here, "two")
        assert await here.rows(LANES) == [("5550001111", "smpp/5550001111")] * count


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
            await here.gateway.receipt(SIM, CarrierReceipt(f"r{name}", State.DELIVERED))
            await here.gateway.receipt(SIM, CarrierReceipt(f"r{name}", State.DELIVERED))
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
                await here.gateway.receipt(SIM, receipt)
        else:
            here.clock.now += 2 * 86400
            async with asyncio.timeout(5):
                delivery = await ended
            if not restarted:
                await here.gateway.ended(delivery)
        if restarted:
            await here.gateway.tell_ended()
        rows = await here.rows("SELECT text FROM messages WHERE origin = 'status'")
        assert [json.loads(text)["stage"] if text[0] == "{" else text for (text,) in rows] == ([said] if said else [])


@pytest.mark.req("P-13", "C-1")
async def test_a_long_text_is_sent_in_segments(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}) as here:
        here.gateway.limits = {SIM: CarrierOptions.model_construct(text_unit="segments")}
        message = Message(Direction.OUT, "5550001111", "2125550123", "a" * 200, "t", 1.0, "demo", "5550001111")
        assert "200 characters, gsm7, in 2 segments of one SMS" in here.gateway.explain(message).trace[-1]
        short = message._replace(text="a" * 160)
        assert "1 segments at a carrier that takes it whole" in here.gateway.explain(short).trace[-1]
        await here.send(DEMO, "5550001111", "2125550123", "a" * 200, "test")
        await sim.wait(2)
        assert [(one.start, one.end) for one in sim.seen] == [(0, 153), (153, 200)]


# --- Destinations -----------------------------------------------------------------------------------------------------


@pytest.mark.req("S-030", "S-038", "S-040", "S-045", "S-047", "S-128")
async def test_a_did_delivers_to_all_its_destinations_at_once(tmp_path: Path) -> None:
    couriers = {name: ScriptedCourier() for name in (MAIL, CALLBACK, WEBHOOK)}
    prepare = with_did(
        sip_account="alice", group="sales", members=("alice", "bob"), emails=("a@example.net", "b@example.net"),
        callback=Callback("http://example.net/"), webhook=Webhook("http://example.net/"),
    )  # fmt: skip
    async with core(tmp_path, couriers, prepare=prepare) as here:
        await arrive(here)
        await here.until(DELIVERIES, [
            (CALLBACK, DID, "accepted"), (MAIL, "a@example.net", "accepted"), (MAIL, "b@example.net", "accepted"),
            ("sip", "alice", "queued"), ("sip", "bob", "queued"), (WEBHOOK, DID, "accepted"),
        ])  # fmt: skip
        assert await here.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.req("S-029")
async def test_a_message_to_a_did_without_destinations_is_stored(tmp_path: Path) -> None:
    async with core(tmp_path, prepare=with_did()) as here:
        await arrive(here)
        assert await here.rows("SELECT text FROM messages") == [("hello",)]
        assert await here.rows(DELIVERIES) == []


async def test_disabled_endpoints_get_no_message(tmp_path: Path) -> None:
    prepare = with_did(callback=Callback("http://x/", disabled="410"), webhook=Webhook("http://x/", disabled="410"))
    async with core(tmp_path, prepare=prepare) as here:
        await arrive(here)
        assert await here.rows(DELIVERIES) == []


@pytest.mark.req("S-044", "W-03")
async def test_each_courier_has_its_own_time_to_expiry(tmp_path: Path) -> None:
    prepare = with_did(emails=("a@b.net",), callback=Callback("http://x/"), webhook=Webhook("http://x/"))
    async with core(tmp_path, prepare=prepare) as here:
        await arrive(here)
        rows = await here.rows("SELECT courier, (expires_at - created_at) / 3600 FROM deliveries ORDER BY courier")
        assert dict(rows) == {CALLBACK: 72.0, MAIL: 120.0, WEBHOOK: 96.0}  # ten tries of a webhook take 76 hours


@pytest.mark.req("F-20", "G03")
async def test_one_carrier_id_to_two_dids_is_two_messages(tmp_path: Path) -> None:
    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did(DID, "demo"), Did("5550002222", "demo")], frozenset())

    async with core(tmp_path, prepare=prepare) as here:
        for to in (DID, "5550002222", "+1" + DID):
            sms = InboundSms(PHONE, to, "to you both", "m-1")
            await here.gateway.receive(sms, "hook:c", sms_key("c", sms))
        assert await here.rows("SELECT did FROM messages ORDER BY id") == [(DID,), ("5550002222",)]
        assert sms_key("c", InboundSms(PHONE, DID, "x")) is None


PICTURE = Media("image/png", "a.png", 70, "t" * 32)


# --- MMS --------------------------------------------------------------------------------------------------------------


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
async def test_an_mms_is_stored_at_once_and_delivered_when_its_media_are_fetched(tmp_path: Path) -> None:
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
        await here.until(DELIVERIES, [(MAIL, "a@b.net", "accepted"), (MEDIA, DID, "delivered")])
        await here.gateway.complete(delivery.message, (PICTURE,))  # after a crash between the two commits
        assert len(await here.rows(DELIVERIES)) == 2


async def test_an_mms_to_a_did_without_mms_is_stored_and_not_delivered(tmp_path: Path) -> None:
    holder: dict[str, Core] = {}
    fetcher = Fetcher(lambda: holder["here"].gateway, (PICTURE,))
    fetcher.gate.set()
    async with core(tmp_path, {MEDIA: fetcher}, prepare=with_did(emails=("a@b.net",), mms=False)) as here:
        holder["here"] = here
        await arrive(here, "see", media=(InboundMedia("https://c.example/1.png"),))
        await here.until(DELIVERIES, [(MEDIA, DID, "delivered")])
        refusal = await send(here, files=(File(PNG),))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_MMS


async def test_an_mms_is_sent_only_by_carriers_that_take_mms(tmp_path: Path) -> None:
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


# --- Long texts -------------------------------------------------------------------------------------------------------


@pytest.mark.req("G08", "G10")
async def test_a_long_text_is_sent_in_pieces_in_order(tmp_path: Path) -> None:
    sim, text = ScriptedCourier(), "word " * 90
    async with core(tmp_path, {SIM: sim}) as here:
        here.gateway.limits = {SIM: CarrierOptions(max_text=160)}
        assert isinstance(await send(here, text), Sent)
        await sim.wait(3)
        assert "".join(one.text for one in sim.seen) == text
        assert all(len(one.text) <= 160 for one in sim.seen)
        here.gateway.limits = {SIM: CarrierOptions(max_text=160, long_texts="mms", mms=True)}
        await send(here, text)
        await sim.wait(4)
        assert sim.seen[3].text == text


async def test_after_a_restart_only_the_remaining_pieces_are_sent(tmp_path: Path) -> None:
    text = "word " * 90
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}, run=False) as here:
        here.gateway.limits = {SIM: CarrierOptions(max_text=160)}
        await send(here, text)
    done = [one.text for one in sim.seen]
    again = ScriptedCourier()
    async with core(tmp_path, {SIM: again}) as here:
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(3,)])
    assert "".join([*done, *(one.text for one in again.seen)]) == text


@pytest.mark.req("G09")
async def test_a_message_of_several_pieces_has_the_worst_state_of_them(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}) as here:
        here.gateway.limits = {SIM: CarrierOptions(max_text=160)}
        result = await send(here, "word " * 60)
        assert isinstance(result, Sent)
        await here.until("SELECT remote_id FROM deliveries ORDER BY id", [("r1",), ("r2",)])
        await here.gateway.receipt(SIM, CarrierReceipt("r1", State.DELIVERED))
        assert await here.store.outcome(result.message) is State.ACCEPTED
        await here.gateway.receipt(SIM, CarrierReceipt("r2", State.FAILED, "no such number"))
        assert await here.store.outcome(result.message) is State.FAILED


async def test_a_list_shows_the_worst_state_of_the_pieces(tmp_path: Path) -> None:
    sim = ScriptedCourier(Accepted("a"), Rejected("no"))
    async with core(tmp_path, {SIM: sim}) as here:
        here.gateway.limits = {SIM: CarrierOptions(max_text=160)}
        await send(here, "word " * 60)
        await here.until("SELECT state FROM deliveries ORDER BY id", [("accepted",), ("failed",)])
        (row,) = await here.store.read(lambda db: message_list.newest(db, message_list.Wanted(), 9))
        assert row["state"] == "failed"


# --- Receipts of carriers ---------------------------------------------------------------------------------------------


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
            await here.gateway.receipt(SIM, CarrierReceipt("r1", state, "why"))
        assert await here.rows("SELECT state FROM deliveries") == [(end,)]


@pytest.mark.req("P-12", "F-16")
async def test_a_receipt_that_precedes_the_answer_of_the_carrier_is_applied_later(tmp_path: Path) -> None:
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


async def test_a_receipt_of_an_opt_out_that_precedes_the_answer_blocks_the_number(tmp_path: Path) -> None:
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
async def test_receipts_that_match_no_message_are_kept_for_72_hours(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        for _ in range(3):
            await here.gateway.receipt(SIM, CarrierReceipt("stranger", State.FAILED))
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
        await here.gateway.receipt("carrier:other", CarrierReceipt("r1", State.FAILED))
        assert await here.rows("SELECT state FROM deliveries") == [("accepted",)]


# --- Alarms -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("W-02", "F-22")
async def test_a_disabled_webhook_is_stored_and_the_operator_is_told_once(tmp_path: Path) -> None:
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
