"""Messages from carriers: numbers, duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.account import Did
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.gateway import Receipt
from sipsms.messaging.inbound import carrier_key, sms_key
from tests.support.messaging.core import Core, core
from tests.support.messaging.traffic import DID, PHONE, arrive

STATES = "SELECT device, state FROM deliveries ORDER BY id"


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
        assert await here.messaging.inbound.receive(InboundSms("2125550123", "5559999999", "x"), "test") is None
        for sms in (InboundSms("72345", "+15550001111", "code"), InboundSms("ACME", "5550002222", "hi")):
            assert isinstance(await here.messaging.inbound.receive(sms, "test"), Receipt)
        rows = await here.rows("SELECT source, destination FROM messages ORDER BY id")
        assert rows == [("72345", "5550001111"), ("ACME", "5550002222")]
        assert await here.rows(STATES) == [(0, "queued")]


def test_keys_of_messages_are_apart_by_carrier() -> None:
    assert carrier_key("a", "1") != carrier_key("b", "1")
    assert carrier_key("a", "") is None


@pytest.mark.req("F-20", "G03")
async def test_one_carrier_id_to_two_dids_is_two_messages(tmp_path: Path) -> None:
    def prepare(here: Core) -> None:
        here.directory.update(2, False, [], [Did(DID, "demo"), Did("5550002222", "demo")], frozenset())

    async with core(tmp_path, prepare=prepare) as here:
        for to in (DID, "5550002222", "+1" + DID):
            sms = InboundSms(PHONE, to, "to you both", "m-1")
            await here.messaging.inbound.receive(sms, "hook:c", sms_key("c", sms))
        assert await here.rows("SELECT did FROM messages ORDER BY id") == [(DID,), ("5550002222",)]
        assert sms_key("c", InboundSms(PHONE, DID, "x")) is None
