"""The gateway on a real store: MMS that are fetched first, and long texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsms.core.account import Account, Callback, Webhook
from sipsms.core.courier_id import CALLBACK, MAIL, MEDIA, WEBHOOK
from sipsms.core.message import (
    Accepted,
    Delivered,
    Delivery,
    Media,
    Outcome,
    Rejected,
    State,
)
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.carrier import InboundMedia
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.order import File, Sent
from sipsms.store import message_list
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.media import PNG
from tests.support.messaging.traffic import DELIVERIES, DID, SIM, arrive, send, set_options, with_did

DEMO = Account("demo")


@pytest.mark.req("P-13", "C-1")
async def test_a_long_text_is_sent_in_segments(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}) as here:
        set_options(here, sim=CarrierOptions.model_construct(text_unit="segments"))
        await here.send(DEMO, "5550001111", "2125550123", "a" * 200, "test")
        await sim.wait(2)
        assert [(one.start, one.end) for one in sim.seen] == [(0, 153), (153, 200)]


@pytest.mark.req("S-044", "W-03")
async def test_each_courier_has_its_own_time_to_expiry(tmp_path: Path) -> None:
    prepare = with_did(emails=("a@b.net",), callback=Callback("http://x/"), webhook=Webhook("http://x/"))
    async with core(tmp_path, prepare=prepare) as here:
        await arrive(here)
        rows = await here.rows("SELECT courier, (expires_at - created_at) / 3600 FROM deliveries ORDER BY courier")
        assert dict(rows) == {CALLBACK: 72.0, MAIL: 120.0, WEBHOOK: 96.0}  # ten tries of a webhook take 76 hours


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
async def test_an_mms_is_stored_at_once_and_delivered_when_its_media_are_fetched(tmp_path: Path) -> None:
    mail, holder = ScriptedCourier(), {}
    fetcher = Fetcher(lambda: holder["here"].messaging.gateway, (PICTURE,))
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
        await here.messaging.gateway.complete(delivery.message, (PICTURE,))  # after a crash between the two commits
        assert len(await here.rows(DELIVERIES)) == 2


async def test_an_mms_to_a_did_without_mms_is_stored_and_not_delivered(tmp_path: Path) -> None:
    holder: dict[str, Core] = {}
    fetcher = Fetcher(lambda: holder["here"].messaging.gateway, (PICTURE,))
    fetcher.gate.set()
    async with core(tmp_path, {MEDIA: fetcher}, prepare=with_did(emails=("a@b.net",), mms=False)) as here:
        holder["here"] = here
        await arrive(here, "see", media=(InboundMedia("https://c.example/1.png"),))
        await here.until(DELIVERIES, [(MEDIA, DID, "delivered")])
        refusal = await send(here, files=(File(PNG),))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_MMS


@pytest.mark.req("G08", "G10")
async def test_a_long_text_is_sent_in_pieces_in_order(tmp_path: Path) -> None:
    sim, text = ScriptedCourier(), "word " * 90
    async with core(tmp_path, {SIM: sim}) as here:
        set_options(here, sim=CarrierOptions(max_text=160))
        assert isinstance(await send(here, text), Sent)
        await sim.wait(3)
        assert "".join(one.text for one in sim.seen) == text
        assert all(len(one.text) <= 160 for one in sim.seen)
        set_options(here, sim=CarrierOptions(max_text=160, long_texts="mms", mms=True))
        await send(here, text)
        await sim.wait(4)
        assert sim.seen[3].text == text


async def test_after_a_restart_only_the_remaining_pieces_are_sent(tmp_path: Path) -> None:
    text = "word " * 90
    sim = ScriptedCourier()
    async with core(tmp_path, {SIM: sim}, run=False) as here:
        set_options(here, sim=CarrierOptions(max_text=160))
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
        set_options(here, sim=CarrierOptions(max_text=160))
        result = await send(here, "word " * 60)
        assert isinstance(result, Sent)
        await here.until("SELECT remote_id FROM deliveries ORDER BY id", [("r1",), ("r2",)])
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("r1", State.DELIVERED))
        assert await here.store.outcome(result.message) is State.ACCEPTED
        await here.messaging.reporter.receipt(SIM, CarrierReceipt("r2", State.FAILED, "no such number"))
        assert await here.store.outcome(result.message) is State.FAILED


async def test_a_list_shows_the_worst_state_of_the_pieces(tmp_path: Path) -> None:
    sim = ScriptedCourier(Accepted("a"), Rejected("no"))
    async with core(tmp_path, {SIM: sim}) as here:
        set_options(here, sim=CarrierOptions(max_text=160))
        await send(here, "word " * 60)
        await here.until("SELECT state FROM deliveries ORDER BY id", [("accepted",), ("failed",)])
        (row,) = await here.store.read(lambda db: message_list.newest(db, message_list.Wanted(), 9))
        assert row["state"] == "failed"
