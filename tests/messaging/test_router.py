"""Routes of messages: all destinations of a DID, and carriers that take MMS."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.account import Callback, Did, Smpp, Webhook
from sipsms.core.courier_id import CALLBACK, MAIL, WEBHOOK
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.order import File, Sent
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.media import PNG
from tests.support.messaging.traffic import DELIVERIES, DID, arrive, send, set_options, with_did

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


async def test_an_mms_is_sent_only_by_carriers_that_take_mms(tmp_path: Path) -> None:
    first, second = ScriptedCourier(), ScriptedCourier()
    async with core(tmp_path, {"carrier:first": first, "carrier:second": second}) as here:
        set_options(here, first=CarrierOptions(), second=CarrierOptions(mms=True))
        assert isinstance(await send(here, files=(File(PNG),)), Sent)
        await second.wait(1)
        assert first.seen == []
        set_options(here, first=CarrierOptions(), second=CarrierOptions())
        refusal = await send(here, files=(File(PNG),))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_MMS
