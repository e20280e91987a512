"""Carrier `type: sip` against others: another sipsms over UDP, TCP and TLS, and Asterisk."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET, Site

from tests.support.node.certificates import Authority
from tests.support.node.server import free_port
from tests.support.node.udp_relay import UdpRelay
from tests.support.sip.asterisk import Asterisk, NotInstalledError, installed, text_of
from tests.support.sip.wire import Phone

from .upstream import deliveries, logged, phone_of, texts

pytestmark = pytest.mark.e2e

# --- two sipsms -------------------------------------------------------------------------------------------------------


class Pair:
    """`upper` has customer c001 with a DID; `lower` registers as c001 and has the same DID for a phone of its own."""

    def __init__(self, folder: Path, transport: str, **trunk: Any) -> None:
        self.upper = Site(folder / "upper", accounts=2)
        if transport == "tls":
            authority = Authority()
            self.upper.certificate = authority.issue(folder / "tls", "localhost")
            kept = {name: value for name, value in self.upper.settings.items() if name not in ("listen", "tls")}
            self.upper.write_config(**kept)
            trunk["ca"] = str(authority.write(folder / "ca.pem"))
        self.account = self.upper.account()
        self.trunk = {
            "type": "sip", "server": "localhost", "port": self.upper.ports[transport], "transport": transport,
            "domain": "sip.example.net", "username": self.account.name, "password": self.account.password,
            "dids": [self.account.did], **trunk,
        }  # fmt: skip
        self.lower = Site(folder / "lower", accounts=2, carriers={"up": self.trunk})

    def __enter__(self) -> Pair:
        self.upper.start()
        self.lower.start()
        logged(self.lower, "trunk_registered")
        return self

    def __exit__(self, *_: object) -> None:
        for site in (self.lower, self.upper):
            site.stop()
            site.no_crash()


@pytest.mark.req("S-012", "S-093", "C-120")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_both_ways(tmp_path: Path, transport: str) -> None:
    with Pair(tmp_path, transport) as pair, phone_of(pair.lower, pair.account) as phone:
        pair.upper.sms(pair.account.did, "down to the phone")
        got = phone.take()
        assert (got.text, got.get("x-sms-to")) == ("down to the phone", pair.account.did)
        assert phone.message(HANDSET, "up and out").status == 202
        pair.lower.settled(pair.account.did, "up and out", "accepted")
        row = pair.upper.settled(pair.account.did, "up and out", "delivered")
        assert (row["from"], row["to"], row["carrier"]) == (pair.account.did, HANDSET, "sim")
        pair.upper.settled(pair.account.did, "down to the phone", "delivered")
        contacts = pair.upper.contacts(pair.account)
        assert pair.lower.stop() == 0
        assert (len(contacts), pair.upper.contacts(pair.account)) == (1, []), "signed off"


@pytest.mark.req("C-120", "C-121")
def test_a_certificate_of_another_name(tmp_path: Path) -> None:
    """Nothing is said to a server that is not who it should be, a password least of all."""
    pair = Pair(tmp_path, "tls")
    pair.upper.certificate = Authority().issue(tmp_path / "tls", "localhost")
    with pair.upper, pair.lower:
        assert "issuer" in logged(pair.lower, "trunk_not_registered")["why"]
        assert pair.upper.contacts(pair.account) == []
        assert not pair.lower.events("trunk_registered")


@pytest.mark.req("S-091")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_upstream_is_killed_again_and_again(tmp_path: Path, transport: str) -> None:
    """Traffic in both directions goes on meanwhile: nothing is lost, nothing is there twice."""
    with (
        Pair(tmp_path, transport, drops_duplicates=True, timeout=2) as pair,
        phone_of(pair.lower, pair.account) as phone,
    ):
        over, taken = threading.Event(), Counter[str]()
        sent, coming = [f"out {n}" for n in range(150)], [f"in {n}" for n in range(40)]
        half_way = [threading.Event() for _ in range(3)]

        def ring() -> None:
            while not over.is_set():
                with suppress(AssertionError):
                    taken[phone.take(0.3).text] += 1

        def kill() -> None:
            for event in half_way:
                event.wait(60)
                pair.upper.kill()
                pair.upper.start()

        def arrive() -> None:
            for number, text in enumerate(coming):
                fields = {"from": HANDSET, "to": pair.account.did, "text": text, "id": f"k{number}"}
                while not _taken(pair.upper, fields):
                    over.wait(0.05)  # it is down

        threads = [threading.Thread(target=work) for work in (ring, kill, arrive)]
        for thread in threads:
            thread.start()
        try:
            with Phone(pair.lower.address, pair.account.name, pair.account.password) as sender:
                for number, text in enumerate(sent):
                    assert sender.message(HANDSET, text).status == 202
                    if number % 50 == 25:
                        half_way[number // 50].set()
            for thread in threads[1:]:
                thread.join()
            pair.upper.wait(lambda: texts(pair.upper, "out").total() >= len(sent), 90)
            pair.lower.wait(lambda: texts(pair.lower, "in").total() >= len(coming), 90)
            pair.lower.wait(lambda: {row["state"] for row in pair.lower.rows()} <= {"accepted", "delivered"}, 60)
        finally:
            over.set()
            threads[0].join()
        assert texts(pair.upper, "out") == Counter(sent)
        assert texts(pair.lower, "in") == Counter(coming)
        assert taken == Counter(coming)


def _taken(site: Site, fields: dict[str, str]) -> bool:
    """The carrier of `site` hands it a message; again, if nobody says that it has it."""
    try:
        return site.hook(fields)[0] == 200
    except (OSError, HTTPException):  # also within its answer
        return False


def test_we_are_killed(tmp_path: Path) -> None:
    """What was under way goes out again, under the same name; what the upstream sends again is known."""
    with Pair(tmp_path, "udp", drops_duplicates=True, timeout=2, rate="20/s") as pair:
        account, sent, coming = pair.account, [f"out {n}" for n in range(60)], [f"in {n}" for n in range(20)]
        with Phone(pair.lower.address, account.name, account.password) as sender:
            for text in sent:
                assert sender.message(HANDSET, text).status == 202
        for text in coming:
            pair.upper.sms(account.did, text)
        pair.upper.wait(lambda: texts(pair.upper, "out").total() > 5, 20)
        pair.lower.kill()
        pair.lower.start()
        pair.upper.wait(lambda: texts(pair.upper, "out").total() >= len(sent), 90)
        pair.lower.wait(lambda: texts(pair.lower, "in").total() >= len(coming), 90)
        pair.upper.wait(lambda: {row["state"] for row in pair.upper.rows()} == {"delivered"}, 60)
        assert texts(pair.upper, "out") == Counter(sent)
        assert texts(pair.lower, "in") == Counter(coming)


def test_an_answer_that_is_lost(tmp_path: Path) -> None:
    """The upstream has the text, its 202 does not come back: the next try is known to it, and accepted once."""
    pair = Pair(tmp_path, "udp")
    with UdpRelay(pair.upper.address) as relay:
        lost = threading.Event()

        def drop(data: bytes, inward: bool) -> bool:
            if data.startswith(b"SIP/2.0 202") and not lost.is_set():
                threading.Timer(3, lost.set).start()
                return True
            return False

        relay.drop = drop
        changed = {**pair.trunk, "port": relay.address[1], "timeout": 1, "drops_duplicates": True}
        pair.lower.write_config(**{**pair.lower.settings, "carriers": {"up": changed}})
        with pair, phone_of(pair.lower, pair.account) as phone:
            assert phone.message(HANDSET, "only once").status == 202
            pair.lower.settled(pair.account.did, "only once", "accepted", seconds=40)
            assert lost.is_set()
            assert deliveries(pair.lower, "only once")[0]["attempts"] > 1
            assert texts(pair.upper, "out") == {"only once": 1}


# --- Asterisk ---------------------------------------------------------------------------------------------------------

PJSIP = """
[transport-udp]
type=transport
protocol=udp
bind=127.0.0.1:PORT

[c001]
type=endpoint
context=none
message_context=sms
auth=c001
aors=c001
disallow=all
allow=ulaw

[c001]
type=auth
auth_type=userpass
username=c001
password=pw-001

[c001]
type=aor
max_contacts=1
remove_existing=yes
"""
EXTENSIONS = """
[sms]
exten => _X.,1,UserEvent(SmsReceived,To: ${EXTEN},From: ${MESSAGE(from)},Text64: ${BASE64_ENCODE(${MESSAGE(body)})})
"""


@pytest.mark.req("S-011", "S-012", "S-082", "S-091")
def test_asterisk_as_the_upstream(tmp_path: Path) -> None:
    """It finds us by the name in From, asks for the password, and sends to the Contact."""
    try:
        installed()
    except NotInstalledError as error:
        pytest.skip(str(error))
    port = free_port()
    with Asterisk({"pjsip.conf": PJSIP, "extensions.conf": EXTENSIONS}, {"PORT": str(port)}) as asterisk:
        plain = {"server": "127.0.0.1", "port": port, "username": "c001", "password": "pw-001", "from": "username"}
        trunk = {"type": "sip", **plain, "dids": ["5550010001"]}
        with Site(tmp_path, accounts=2, carriers={"up": trunk}) as site:
            talk(site, asterisk)
        asterisk.shows("pjsip show contacts", "No objects found")


def talk(site: Site, asterisk: Asterisk) -> None:
    logged(site, "trunk_registered")
    account = site.account()
    with phone_of(site, account) as phone:
        assert phone.message(HANDSET, "grüße, Asterisk").status == 202
        event = asterisk.event("SmsReceived", To=HANDSET)
        assert text_of(event) == "grüße, Asterisk"
        assert event["From"] == f"{account.did} <sip:c001@127.0.0.1>"
        site.settled(account.did, "grüße, Asterisk", "accepted")
        asterisk.send("pjsip:c001", f"<sip:{HANDSET}@example.net>", "and back")
        got = phone.take()
        assert (got.text, got.get("x-sms-to")) == ("and back", account.did)
    site.no_crash()
