"""SIGTERM in the middle of everything: the carrier is slow, a phone is slower, connections are open."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from e2e.site import DOOR, HANDSET

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import Answer, StubCarrier
from tests.support.sip.wire import Closed, Phone, Tcp

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


@pytest.mark.req("F-31", "I1", "I2", "I3", "I4", "I6")
async def test_sigterm_waits_for_the_work_under_way(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """No new connection, no new request; what the carrier and the phone have is awaited; exit 0 within ten seconds.
    After a start on the same store what was left over goes out, once."""
    stub.default = Answer(before=lambda: time.sleep(0.3))
    carried["carriers"]["door"] = DOOR
    site = make_site(accounts=10, **carried)
    site.start()
    book = Ledger(tmp_path / "ledger.jsonl", stub)
    silent = site.account()
    with Phone(site.address, silent.name, silent.password, wire=Tcp(site.address)) as phone:
        phone.register(f'<{phone.contact}>;+sip.instance="<urn:uuid:1>"')
        accounts = [site.account() for _ in range(8)]
        senders = [Sender(site.address, one.name, one.password, book, patience=2.0) for one in accounts]
        await asyncio.to_thread(site.sms, silent.did, "a slow answer")
        request = await asyncio.to_thread(phone.request)
        load = asyncio.create_task(Sender.load(senders, HANDSET, seconds=20, stop_when_refused=True))
        await book.reached(accepted=60, seconds=10)
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(site.stop))
        await asyncio.sleep(0.4)  # the phone's user takes his time
        phone.answer(request)
        code = await stopping
        took = time.monotonic() - began
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        print(f"F-31: {len(book.accepted)} accepted, {len(stub.taken)} with the carrier, ended after {took:.1f} s")
        assert code == 0
        assert took < 9, "before its ten seconds are over"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(site.address, timeout=1)
        with pytest.raises(Closed):
            phone.request(1.0)
    assert not [row for row in site.rows() if row["state"] == "sending"]
    stub.default = Answer()
    await asyncio.to_thread(site.start)
    assert site.settled(silent.did, "a slow answer", "delivered")
    site.wait(lambda: not [row for row in site.rows() if row["state"] in ("queued", "sending")], 10)
    rows = [row for row in site.rows() if row["to"] == HANDSET]
    asked = {*book.accepted, *(text for text, _ in book.refused)}
    book.unanswered += [row["text"] for row in rows if row["text"] not in asked][: len(senders)]
    book.check(rows, unknown_allowed=0)
    for sender in senders:
        sender.close()
    site.no_crash()
