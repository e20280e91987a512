"""Networks as they are: loss, copies, detours, NATs that forget, phones that are gone without a word."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET, Account

from tests.support.node import ledger as books
from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import StubCarrier
from tests.support.node.udp_relay import UdpRelay
from tests.support.sip.wire import Address, Phone, Silence, Tcp, Udp

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


def phone_by(address: Address, account: Account) -> Phone:
    return Phone(address, account.name, account.password, wire=Udp(address))


def instance_of(phone: Phone) -> str:
    return f'<{phone.contact}>;+sip.instance="<urn:uuid:{phone.name}>"'


@pytest.mark.req("F-19", "I1", "I2", "I3", "I4", "I6")
async def test_loss_and_duplicates_from_phones_lose_no_message(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 % and 30 % of the datagrams are lost both ways, others come twice or late. Phones repeat as RFC 3261
    says, five times as fast: every message is accepted, is one row, and leaves once."""
    monkeypatch.setattr(books, "T1", 0.1)
    monkeypatch.setattr(books, "T2", 0.8)
    site = make_site(accounts=24, **carried)
    site.start()
    book = Ledger(tmp_path / "ledger.jsonl", stub)
    with UdpRelay(site.address, loss=0.1, double=0.1, late=0.3, seed=1) as bad, UdpRelay(
        site.address, loss=0.3, double=0.2, late=0.3, seed=2
    ) as worse:  # fmt: skip
        accounts = [site.account() for _ in range(24)]
        senders = [
            Sender((bad if n % 2 else worse).address, one.name, one.password, book) for n, one in enumerate(accounts)
        ]

        async def three(sender: Sender) -> None:
            for number in range(3):
                assert await sender.send(HANDSET, f"{sender.name}-{number}") == 202

        await asyncio.gather(*map(three, senders))
        print(f"F-19: {bad.lost} and {worse.lost} lost, {sum(one.retransmissions for one in senders)} repeated")
        assert worse.lost > 20
    await asyncio.to_thread(site.wait, lambda: all(row["state"] == "accepted" for row in site.rows()), 10)
    book.check(site.rows(), unknown_allowed=0)
    assert len(book.accepted) == len(site.rows()) == 72
    for sender in senders:
        sender.close()
    site.no_crash()


class Reader(threading.Thread):
    """A phone that answers what comes, copies too, and shows each message once."""

    def __init__(self, phone: Phone) -> None:
        super().__init__(daemon=True)
        self.phone, self.shown, self.copies = phone, [], 0
        self.over = threading.Event()

    shown: list[str]

    def run(self) -> None:
        seen = set()
        while not self.over.is_set():
            with contextlib.suppress(Silence):
                request = self.phone.request(0.05)
                self.phone.answer(request)
                self.copies += request.call_id in seen
                if request.call_id not in seen:
                    seen.add(request.call_id)
                    self.shown.append(request.text)


@pytest.mark.req("F-19", "I6")
def test_loss_and_duplicates_to_phones_show_each_message_once(make_site: MakeSite) -> None:
    """Each message is shown once, in order, and counted as delivered."""
    site = make_site(accounts=6)
    site.start()
    with UdpRelay(site.address, seed=3) as relay:
        accounts = [site.account() for _ in range(6)]
        phones = [phone_by(relay.address, one) for one in accounts]
        for phone in phones:
            phone.register(instance_of(phone))
        relay.loss, relay.double, relay.late = 0.1, 0.2, 0.3
        readers = [Reader(phone) for phone in phones]
        for reader in readers:
            reader.start()
        for number in range(4):
            for account in accounts:
                site.sms(account.did, f"through the storm {number}")
        site.wait(lambda: all(row["state"] == "delivered" for row in site.rows()), 20)
        for reader in readers:
            reader.over.set()
            reader.join()
            reader.phone.close()
            assert reader.shown == [f"through the storm {number}" for number in range(4)]
        print(f"F-19: {relay.lost} lost, {sum(one.copies for one in readers)} copies shown to nobody")
    site.no_crash()


@pytest.mark.req("F-18")
def test_a_lost_200_is_one_message(make_site: MakeSite) -> None:
    """Timer E sends the same bytes again; the phone's second 200 counts; it was one message all the time."""
    site = make_site()
    site.start()
    account = site.account()
    with UdpRelay(site.address) as relay, phone_by(relay.address, account) as phone:
        phone.register(instance_of(phone))
        lost: list[bytes] = []

        def first_200(data: bytes, inward: bool) -> bool:
            if inward or not data.startswith(b"SIP/2.0 200") or lost:
                return False
            lost.append(data)
            return True

        relay.drop = first_200
        site.sms(account.did, "did you get it?")
        first = phone.request()
        phone.answer(first)
        again = phone.request(2.0)
        phone.answer(again)
        assert lost
        assert again.raw == first.raw
        row = site.settled(account.did, "did you get it?", "delivered")
        assert [one["attempts"] for one in row["deliveries"]] == [1]
        phone.assert_silent(0.3)


@pytest.mark.req("F-17", "I6")
def test_waiting_messages_reach_a_phone_behind_a_nat_in_order(make_site: MakeSite) -> None:
    """A phone was away; it registers through a NAT with a new port: all within a second, in order, each once."""
    site = make_site()
    site.start()
    account = site.account()
    with UdpRelay(site.address) as relay, phone_by(relay.address, account) as phone:
        phone.register(instance_of(phone))
        phone.register(instance_of(phone), expires=0)
        texts = [f"waiting {number}" for number in range(20)]
        for text in texts:
            site.sms(account.did, text)
        relay.rebind()
        phone.register(instance_of(phone))
        assert [phone.take().text for _ in texts] == texts
        phone.assert_silent(0.3)
        site.wait(lambda: all(row["state"] == "delivered" for row in site.rows()))


@pytest.mark.req("F-27")
@pytest.mark.parametrize("known_by", ["instance", "contact"])
def test_a_phone_behind_a_nat_with_a_new_port_gets_the_waiting_messages(make_site: MakeSite, known_by: str) -> None:
    """What came meanwhile went to the old port and is kept; the next REGISTER, the same as ever, brings it."""
    site = make_site()
    site.start()
    account = site.account()
    with UdpRelay(site.address) as relay, phone_by(relay.address, account) as phone:
        contact = instance_of(phone) if known_by == "instance" else f"<{phone.contact}>"
        phone.register(contact)
        site.sms(account.did, "before")
        assert phone.take().text == "before"
        old = relay.port_of(phone.wire.local)
        relay.rebind()
        for number in range(3):
            site.sms(account.did, f"meanwhile {number}")
        site.wait(lambda: site.rows(account.did)[-1]["state"] == "queued")
        phone.register(contact)
        assert relay.port_of(phone.wire.local) != old
        assert [phone.take(2.0).text for _ in range(3)] == [f"meanwhile {number}" for number in range(3)]
        site.sms(account.did, "after")
        assert phone.take().text == "after"
        phone.assert_silent(0.2)
        assert site.contacts(account) == [phone.contact]
        assert all(len(row["deliveries"]) == 1 for row in site.rows(account.did))


# --- half-open connections -------------------------------------------------------------------------------------------

TCP_REPAIR = 19


def vanish(phone: Phone) -> None:
    """Close without FIN or RST: what the peer of a machine sees that lost its power. Needs CAP_NET_ADMIN."""
    sock = phone.wire._socket  # type: ignore[union-attr]
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("only root can close a connection without a word (TCP_REPAIR)")
    sock.close()


@pytest.mark.req("F-26")
def test_a_phone_that_lost_power_gets_its_messages_after_it_registers(make_site: MakeSite) -> None:
    """The server learns of it when it writes: the message is back in the queue, the binding gone, and the phone that
    registers again has it, once."""
    site = make_site()
    site.start()
    account = site.account()
    phone = Phone(site.address, account.name, account.password, wire=Tcp(site.address))
    phone.register(instance_of(phone))
    vanish(phone)
    assert site.contacts(account)
    site.sms(account.did, "are you there?")
    site.wait(lambda: site.rows(account.did)[0]["state"] == "queued" and not site.contacts(account), 2.0)
    with Phone(site.address, account.name, account.password, wire=Tcp(site.address)) as again:
        again.register(instance_of(again))
        assert again.take(2.0).text == "are you there?"
        again.assert_silent(0.2)
    site.settled(account.did, "are you there?", "delivered")


@pytest.mark.req("F-26")
@pytest.mark.skipif(shutil.which("ss") is None, reason="ss (iproute2) is not installed")
def test_a_silent_connection_is_probed_within_a_minute(make_site: MakeSite) -> None:
    """The kernel asks a connection that is idle for 60 s, then thrice in 30 s: gone within 90 s if nobody writes."""
    site = make_site()
    site.start()
    account = site.account()
    with Phone(site.address, account.name, account.password, wire=Tcp(site.address)) as phone:
        phone.register(instance_of(phone))
        mine = f"127.0.0.1:{phone.wire.local[1]}"

        def timer() -> re.Match[str] | None:
            said = subprocess.run(["ss", "-tno", "dst", mine], capture_output=True, text=True, check=True).stdout
            return re.search(r"timer:\(keepalive,(?:(\d+)min)?(?:(\d+)(?:\.\d+)?sec)?", said)

        found = site.wait(timer)
        assert int(found[1] or 0) * 60 + int(found[2] or 0) <= 60
