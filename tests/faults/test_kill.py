"""kill -9 in the middle of a load, again and again: what was promised is kept, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET, Site

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import StubCarrier

from .conftest import MakeSite

pytestmark = pytest.mark.e2e

ROUNDS = 6
IN_FLIGHT = 16  # at most that many requests are with the carrier at the moment of a kill: one a lane
SETTLED = {"accepted", "delivered", "unknown"}


@pytest.mark.req("F-01", "I1", "I2", "I3", "I4", "I6")
async def test_a_kill_under_load_loses_no_accepted_message_and_sends_none_twice(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """Sixteen phones send without a break, retransmitting as phones do; the server is killed at random moments and
    started again on the same store. Afterwards every 202 is in the store once; each message left once, or is `unknown`
    and left at most once; the order from each DID to its peer is kept."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    site = make_site(accounts=IN_FLIGHT, **carried)
    site.start()
    ledger = Ledger(tmp_path / "ledger.jsonl", stub)
    accounts = [site.account() for _ in range(IN_FLIGHT)]
    senders = [Sender(site.address, one.name, one.password, ledger) for one in accounts]
    load = asyncio.create_task(Sender.load(senders, HANDSET, seconds=60))
    try:
        for round_ in range(ROUNDS):
            await ledger.reached(accepted=len(ledger.accepted) + 50, seconds=20)
            await asyncio.sleep(dice.uniform(0.0, 0.8))
            site.kill()
            await asyncio.to_thread(site.start)
            print(f"round {round_}: {len(ledger.accepted)} accepted, {len(stub.taken)} sent")
        await ledger.reached(accepted=len(ledger.accepted) + 100, seconds=20)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        await asyncio.to_thread(settle, site)
        site.no_crash()
        rows = site.rows()
        # a message whose phone was stopped by this test before its answer came, is in no book
        asked = {*ledger.accepted, *(text for text, _ in ledger.refused)}
        ledger.unanswered += [row["text"] for row in rows if row["text"] not in asked][: len(senders)]
        ledger.check(rows, unknown_allowed=ROUNDS * IN_FLIGHT)
        unknown = sum(row["state"] == "unknown" for row in rows)
        again = sum(sender.retransmissions for sender in senders)
        print(f"{len(rows)} messages, {unknown} unknown, {again} retransmissions, refused: {ledger.refused[:3]}")
        assert again > 0, "no request was ever repeated: the kills hit nothing"
    finally:
        load.cancel()
        for sender in senders:
            sender.close()


def settle(site: Site) -> None:
    """Until nothing waits any more."""
    site.wait(lambda: all(row["state"] in SETTLED for row in site.rows()), 20)


@pytest.mark.req("C-045", "I4")
async def test_a_retransmission_after_a_crash_gets_the_lost_answer(make_site: MakeSite, tmp_path: Path) -> None:
    """The 202 did not reach the phone, the server is killed and back; the phone's next copy of the same bytes gets 202,
    though its nonce is of the server before. One row. A request the server never saw is challenged anew instead."""
    site = make_site()
    site.start()
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    await sender.open()
    uri = f"sip:{HANDSET}@sip.example.net"
    first = sender.request(HANDSET, "did you hear me?", "call-1", "tag", 1, "")
    challenge = await sender._ask(first, "call-1", 1)
    signed = sender.request(HANDSET, "did you hear me?", "call-1", "tag", 2, sender.sign(challenge, uri))
    unseen = sender.request(HANDSET, "and me?", "call-2", "tag", 2, sender.sign(challenge, uri))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:  # nobody reads its answer
        deaf.sendto(signed, site.address)
        site.wait(lambda: site.rows(account.did))
    site.kill()
    await asyncio.to_thread(site.start)
    for _ in range(3):
        assert (await sender._ask(signed, "call-1", 2)).startswith("SIP/2.0 202 ")
    assert [row["text"] for row in site.rows(account.did)] == ["did you hear me?"]
    answer = await sender._ask(unseen, "call-2", 2)
    assert answer.startswith("SIP/2.0 407 ")
    assert "stale=true" in answer.lower().replace('"', "")
    sender.close()


def test_the_server_is_ready_soon_after_a_kill(make_site: MakeSite) -> None:
    """With 300 messages waiting for a phone: ready again, and all of them still there."""
    site = make_site()
    site.start()
    account = site.account()
    for n in range(300):
        site.sms(account.did, f"waiting {n}")
    site.kill()
    site.start()
    assert [row["state"] for row in site.rows(account.did)] == ["queued"] * 300
