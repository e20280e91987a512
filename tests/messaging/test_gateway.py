"""Who gets what: devices, phones that come back, doors. On a real store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sipsms.core.account import Account, Did, Smpp
from sipsms.core.message import Accepted, Deferred, Delivered, Delivery, Direction, Message, State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.registration import Binding
from sipsms.core.report_request import ReportRequest, SmppRequest, UrlRequest
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import RECEIPT_LANES, Receipt, carrier_key
from sipsms.messaging.order import Sent
from tests.support.core import Core, ScriptedCourier, core

DEMO = Account("demo")
STATES = "SELECT device, state FROM deliveries ORDER BY id"


def _binding(here: Core, contact: str, *, instance: str = "", seconds: float = 3600, aor: str = "alice") -> Binding:
    return Binding(
        aor, contact, here.clock.now + seconds, "c", 1, "udp:192.0.2.1:5060", instance=instance, user_agent="phone/1"
    )


async def _register(here: Core, contact: str, **values: str) -> int:
    """What the SIP server does with a good REGISTER; the device's id."""
    async with here.location.turn("alice"):
        (device,) = await here.location.apply("alice", [_binding(here, contact, **values)], [], here.clock.now)  # type: ignore[arg-type]
    await here.gateway.reachable(device)
    return int(device.id)


async def _unregister(here: Core, contact: str) -> None:
    gone = [one for one in here.location.bindings("alice", here.clock.now) if one.contact == contact]
    await here.location.apply("alice", [], gone, here.clock.now)


async def _arrive(here: Core, text: str, remote_id: str = "") -> Receipt | None:
    sms = InboundSms("+1 (212) 555-0123", "5550001111", text, remote_id)
    result = await here.gateway.receive(sms, "test", carrier_key("c", remote_id))
    assert result is None or isinstance(result, Receipt)
    return result


class Phones(ScriptedCourier):
    """A SIP courier: answers 200 for devices that are registered."""

    here: Core | None = None

    async def deliver(self, delivery: Delivery) -> Delivered | Deferred:
        assert self.here is not None
        if self.here.location.binding_of(delivery.device, self.here.clock.now) is None:
            return Deferred("not registered", parked=True)
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
        desk = await _register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        mobile = await _register(here, "sip:a@h:2", instance="<urn:uuid:2>")
        await _arrive(here, "one")
        await phones.wait(2)
        await _unregister(here, "sip:a@h:2")
        for text in ("two", "three"):
            await _arrive(here, text)
        await phones.wait(4)
        here.clock.now += 3 * 86400 / 10
        assert await _register(here, "sip:a@h:7", instance="<urn:uuid:2>") == mobile
        await phones.wait(6)
        assert phones.texts_of(desk) == ["one", "two", "three"]
        assert phones.texts_of(mobile) == ["one", "two", "three"]


async def test_before_the_first_device_everything_waits_for_each(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        for text in ("one", "two"):
            await _arrive(here, text)
        first = await _register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await phones.wait(2)
        second = await _register(here, "sip:a@h:2", instance="<urn:uuid:2>")
        await phones.wait(4)
        await _register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'delivered'", [(4,)])
        assert phones.texts_of(first) == ["one", "two"]
        assert phones.texts_of(second) == ["one", "two"]


@pytest.mark.req("F-17")
async def test_first_device_after_a_restart(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        await _arrive(here, "one")
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        device = await _register(here, "sip:a@h:1")
        await phones.wait(1)
        assert phones.texts_of(device) == ["one"]


async def test_a_phone_without_instance_comes_back_under_another_contact(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        device = await _register(here, "sip:a@h:1111")
        await _unregister(here, "sip:a@h:1111")
        await _arrive(here, "while away")
        assert await _register(here, "sip:a@h:2222") == device
        await phones.wait(1)
        assert [one.key for one in here.location.devices("alice")] == ["sip:a@h:2222"]


async def test_a_phone_that_crashed_and_came_back_gets_what_its_old_self_was_owed(tmp_path: Path) -> None:
    phones = Phones()
    async with core(tmp_path, {"sip": phones}, prepare=_set(phones)) as here:  # type: ignore[arg-type]
        await here.queue._scan()  # else it may come later, and wake the old one
        await _register(here, "sip:a@h:1111")
        phones.outcomes = []
        here.clock.now += 10
        old = here.location.bindings("alice", here.clock.now)[0]
        here.location._by_device.pop(old.device)  # its socket is dead, but nobody knows
        await _arrive(here, "lost?")
        here.location._by_device[old.device] = old
        new = await _register(here, "sip:a@h:2222")
        assert new != old.device
        here.clock.now += 3600
        await _register(here, "sip:a@h:2222")
        for binding in await here.location.sweep(here.clock.now):
            pair = here.location.successor(binding)
            assert pair is not None
            assert await here.gateway.came_back_as(*pair)
            await here.location.forget(pair[0])
        await phones.wait(1)
        assert phones.texts_of(new) == ["lost?"]
        assert [one.id for one in here.location.devices("alice")] == [new]


@pytest.mark.req("F-20")
async def test_a_carriers_message_twice_is_one(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        first = await _arrive(here, "one", "id-1")
        again = await _arrive(here, "one", "id-1")
        other = await _arrive(here, "one", "id-2")
        assert first is not None
        assert again is not None
        assert other is not None
        assert (again.message_id, again.duplicate) == (first.message_id, True)
        assert other.message_id != first.message_id
        assert await here.rows("SELECT count(*) FROM messages") == [(2,)]


async def test_destinations(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        assert await here.gateway.receive(InboundSms("2125550123", "5559999999", "x"), "test") is None
        assert isinstance(await here.gateway.receive(InboundSms("72345", "+15550001111", "code"), "test"), Receipt)
        assert isinstance(await here.gateway.receive(InboundSms("ACME", "5550002222", "hi"), "test"), Receipt)
        rows = await here.rows("SELECT source, destination FROM messages ORDER BY id")
        assert rows == [("72345", "5550001111"), ("ACME", "5550002222")]
        assert await here.rows(STATES) == [(0, "queued")]


def test_lane_names() -> None:
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
async def test_what_comes_in_goes_by_smpp_too(tmp_path: Path, smpp: Smpp, count: int) -> None:
    """In one lane, so in order."""
    async with core(tmp_path, run=False, prepare=_with_smpp(smpp)) as here:  # type: ignore[arg-type]
        await _arrive(here, "one")
        await _arrive(here, "two")
        assert await here.rows(LANES) == [("5550001111", "smpp/5550001111")] * count


@pytest.mark.req("P-11", "G09")
async def test_receipts_go_by_lanes_of_their_own(tmp_path: Path) -> None:
    """They need no order, and go to the program that is bound, whether or not the DID gets messages by SMPP."""
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}, prepare=_with_smpp(Smpp("", "p", "smpp://h", False))) as here:  # type: ignore[arg-type]
        wish = SmppRequest.of(1, "5550001111", "2125550123", 1, 1, 1, 1)
        for number in range(12):
            result = await here.send(DEMO, "5550001111", "2125550123", f"m{number}", "smpp", report=wish)
            assert isinstance(result, Sent)
        await here.until("SELECT count(*) FROM deliveries WHERE state = 'accepted'", [(12,)])
        for number in range(12):
            name = sim.seen[number].id
            await here.gateway.receipt("carrier:sim", CarrierReceipt(f"r{name}", State.DELIVERED))
            await here.gateway.receipt("carrier:sim", CarrierReceipt(f"r{name}", State.DELIVERED))
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
async def test_what_has_expired_is_reported(
    tmp_path: Path, wish: ReportRequest, by_carrier: bool, said: str, restarted: bool
) -> None:  # fmt: skip
    """ESMEs hear that it expired, others what they have always heard."""
    sim = ScriptedCourier(Accepted("c-1") if by_carrier else Deferred("busy"))
    async with core(tmp_path, {"carrier:sim": sim}, prepare=_with_smpp(Smpp("", "p"))) as here:  # type: ignore[arg-type]
        ended: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

        def over(delivery: Delivery, state: State, detail: str) -> None:
            if state is State.EXPIRED:
                ended.set_result(delivery)

        here.queue._on_change = over
        await here.send(DEMO, "5550001111", "2125550123", "hi", "test", report=wish)
        await here.until("SELECT count(*) FROM attempts WHERE ended_at IS NOT NULL", [(1,)])
        if by_carrier:
            receipt = CarrierReceipt("c-1", State.EXPIRED)
            if restarted:
                await here.store.receipt("carrier:sim", receipt, 1.0)
            else:
                await here.gateway.receipt("carrier:sim", receipt)
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
async def test_a_long_text_goes_in_real_segments(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        here.gateway.limits = {"carrier:sim": CarrierOptions.model_construct(text_unit="segments")}
        message = Message(Direction.OUT, "5550001111", "2125550123", "a" * 200, "t", 1.0, "demo", "5550001111")
        assert "200 characters, gsm7, in 2 segments of one SMS" in here.gateway.explain(message).trace[-1]
        short = message._replace(text="a" * 160)
        assert "1 segments at a carrier that takes it whole" in here.gateway.explain(short).trace[-1]
        await here.send(DEMO, "5550001111", "2125550123", "a" * 200, "test")
        await sim.wait(2)
        assert [(one.start, one.end) for one in sim.seen] == [(0, 153), (153, 200)]
