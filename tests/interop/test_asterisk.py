"""A real Asterisk, with the files of dialplan/asterisk, as a trunk over UDP, TCP and TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from e2e.site import DOMAIN, HANDSET, Account, Site

from tests.support.node.server import free_port
from tests.support.sip.asterisk import PROJECT, Asterisk, Event, NotInstalledError, installed, text_of
from tests.support.sip.wire import Phone, Silence

pytestmark = pytest.mark.e2e

FILES = PROJECT / "dialplan" / "asterisk"
DID, OTHER_DID, ROBOT_DID, STRAY_DID = "5550001111", "5550002222", "5550003333", "5550004444"
TRUNK = Account("pbx", "s3cret-pbx", DID, "")
TRUNK_ENTRY = {
    "name": TRUNK.name,
    "password": TRUNK.password,
    "dids": [{"number": number} for number in (DID, OTHER_DID, ROBOT_DID)],
}
UNICODE = "Grüße, здравствуйте, 你好 👋🏽"
AWKWARD = "a,b;c|d ${SHELL(id)} $[1+1] \"q\" 'q' (x) \\n %41 <sip:1@x>\nsecond line = 2"


@dataclass
class Pbx:
    """sipsms and Asterisk, side by side."""

    site: Site
    asterisk: Asterisk
    transport: str
    port: int  # Asterisk's own, by UDP

    def registered(self) -> None:
        self.asterisk.shows("pjsip show registrations", r"sipsms/sip:\S+ .*\bRegistered\b", 20)
        self.site.wait(lambda: self.site.contacts(TRUNK))

    def receive(self, text: str, did: str = DID, source: str = HANDSET) -> None:
        """An SMS arrives from the telephone network."""
        self.site.cli("receive", "--from", source, "--to", did, text)

    def received(self, did: str = DID, seconds: float = 10.0) -> Event:
        return self.asterisk.event("SmsReceived", seconds, To=did)

    def sent(self, text: str, did: str = DID) -> dict[str, Any]:
        """The row of an SMS that has left, taken by the handset of the loopback carrier."""
        row = self.site.settled(did, text, "delivered")
        assert (row["direction"], row["from"], row["to"]) == ("out", did, HANDSET)
        return row

    @contextmanager
    def phone(self, name: str) -> Iterator[Phone]:
        """One that is registered to Asterisk."""
        with Phone(("127.0.0.1", self.port), name, f"pw-{name}", domain="127.0.0.1") as phone:
            phone.register(expires=300)
            yield phone
            phone.register("*", expires=0)


def make_site(folder: Path, transport: str) -> Site:
    """A server with the trunk's account; its certificate is signed by folder/ca.pem."""
    site = Site(folder, 1)
    site.import_accounts(TRUNK_ENTRY)
    if transport == "tls":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(str(folder / "certificate.pem"), append=True)
        listen = {**site.settings["listen"], "sip": [f"tls://127.0.0.1:{site.sip_port}"]}
        tls = {"certificate": str(folder / "certificate.pem"), "key": str(folder / "key.pem")}
        site.write_config(**{**site.settings, "listen": listen, "tls": tls})
    return site


def make_asterisk(
    site: Site, transport: str, port: int, *, authority: trustme.CA | None = None, **changes: str
) -> Asterisk:
    """The files as README.md tells the reader to fill them in; and ports, since a test may not have 5060."""
    words = {
        "SIPSMS_HOST": "127.0.0.1",
        "SIPSMS_PORT": str(site.sip_port),
        "SIPSMS_TRANSPORT": transport,
        "SIPSMS_DOMAIN": DOMAIN,
        "SIPSMS_USER": TRUNK.name,
        "SIPSMS_PASSWORD": TRUNK.password,
        "PBX_DOMAIN": "127.0.0.1",
        "PHONE_PASSWORD_": "pw-",
        "0.0.0.0:5060": f"127.0.0.1:{port}",
        "0.0.0.0:5061": f"127.0.0.1:{free_port()}",
        "/etc/ssl/certs/ca-certificates.crt": "{etc}/ca.pem",
        "max_retries=": "max_random_initial_delay=1\nmax_retries=",  # by default up to ten seconds
    }
    files = {name: (FILES / name).read_text() for name in ("pjsip.conf", "extensions.conf")}
    own = site.folder / "ca.pem"
    files["ca.pem"] = authority.cert_pem.bytes().decode() if authority else own.read_text() if own.exists() else ""
    return Asterisk(files, {**words, **changes})


@pytest.fixture(scope="module", params=["udp", "tcp", "tls"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared_pbx(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    try:
        installed()
    except NotInstalledError as error:
        pytest.skip(str(error))
    port = free_port()
    with make_site(tmp_path_factory.mktemp(transport), transport) as site:
        pbx = Pbx(site, make_asterisk(site, transport, port), transport, port)
        try:
            pbx.asterisk.start()
            yield pbx
        finally:
            pbx.asterisk.remove()


@pytest.fixture
def pbx(shared_pbx: Pbx) -> Iterator[Pbx]:
    shared_pbx.registered()
    assert shared_pbx.asterisk.ami is not None
    shared_pbx.asterisk.ami.forget()
    yield shared_pbx
    shared_pbx.site.no_crash()


@pytest.fixture
def phone(pbx: Pbx) -> Iterator[Phone]:
    with pbx.phone("101") as phone:
        yield phone


@pytest.mark.req("S-083", "S-079", "S-011", "S-091")
def test_registers(pbx: Pbx) -> None:
    """chan_pjsip registers with username and password; its OPTIONS are answered."""
    (contact,) = pbx.site.contacts(TRUNK)
    assert contact.startswith("sip:sms@127.0.0.1:")
    assert ";line=" in contact
    assert (f"transport={pbx.transport}" in contact.lower()) == (pbx.transport != "udp")
    pbx.asterisk.console("pjsip qualify sipsms")  # now, not some time within the next minute
    pbx.asterisk.shows("pjsip show contacts", r"sipsms/sip:\S+ +\S+ +Avail\b")


@pytest.mark.req("S-083", "S-012", "S-090", "S-093")
@pytest.mark.parametrize("text", ["Are you there?", UNICODE, AWKWARD], ids=["plain", "unicode", "awkward"])
def test_an_sms_comes_in(pbx: Pbx, phone: Phone, text: str) -> None:
    """The dialplan reads sender, DID and text; by the DID it finds the phone."""
    pbx.receive(text)
    event = pbx.received()
    assert (event["From"], event["To"], text_of(event)) == (HANDSET, DID, text)
    message = phone.take(10)
    assert message.text == text
    assert message.get("x-sms-to") == DID
    assert message.get("from").startswith(f"<sip:{HANDSET}@127.0.0.1>")
    pbx.site.settled(DID, text, "delivered")


@pytest.mark.req("S-090", "S-093")
def test_each_number_has_its_phone(pbx: Pbx, phone: Phone) -> None:
    """One trunk, several DIDs: X-SMS-To decides."""
    with pbx.phone("102") as second:
        pbx.receive("to the second", OTHER_DID)
        assert second.take(10).text == "to the second"
        pbx.receive("to the first", DID)
        assert phone.take(10).text == "to the first"
        assert text_of(pbx.received(OTHER_DID)) == "to the second"
        assert text_of(pbx.received(DID)) == "to the first"
        with pytest.raises(Silence):
            second.request(0.2)


@pytest.mark.req("S-083", "S-081", "S-012")
@pytest.mark.parametrize("text", ["On my way", UNICODE], ids=["plain", "unicode"])
def test_a_phone_of_the_pbx_writes_an_sms(pbx: Pbx, phone: Phone, text: str) -> None:
    """The phone knows nothing of DIDs: the dialplan puts its number into From, and sipsms takes that as caller ID."""
    text += " (from 101)"
    assert phone.message(HANDSET, text).status == 202
    pbx.sent(text)
    with pbx.phone("102") as second:
        text += " and again (from 102)"
        assert second.message(f"+1{HANDSET}", text).status == 202
        pbx.sent(text, OTHER_DID)


@pytest.mark.req("S-081")
def test_a_caller_id_of_somebody_else_is_refused(pbx: Pbx) -> None:
    """Asterisk says SUCCESS all the same; it is our log that tells."""
    text = f"with a stray number by {pbx.transport}"
    pbx.asterisk.send(f"pjsip:PJSIP/{HANDSET}@sipsms", f"<sip:{STRAY_DID}@{DOMAIN}>", text)
    pbx.site.wait(lambda: any(STRAY_DID in str(event) for event in pbx.site.events()))
    assert text not in [row["text"] for row in pbx.site.rows()]


def test_the_robot_answers_once(pbx: Pbx) -> None:
    """The auto reply of the example; a second message within the hour gets none."""
    answer = "Thank you. This number is read on weekdays."
    pbx.receive("anybody there?", ROBOT_DID)
    pbx.sent(answer, ROBOT_DID)
    pbx.receive("hello?", ROBOT_DID)
    pbx.site.settled(ROBOT_DID, "hello?", "delivered")
    pbx.received(ROBOT_DID)
    pbx.received(ROBOT_DID)
    pbx.asterisk.console("core waitfullybooted")
    pbx.sent(answer, ROBOT_DID)  # it fails if there are two


def test_a_number_without_a_phone_is_told_to_the_operator(pbx: Pbx) -> None:
    pbx.receive("to 102, which is not registered", OTHER_DID)
    event = pbx.asterisk.event("SmsLost", To=OTHER_DID)
    assert text_of(event) == "to 102, which is not registered"
    pbx.site.wait(lambda: "no phone for it" in pbx.asterisk.log_tail())  # the log may be written after the event


@pytest.mark.req("S-083", "G08")
@pytest.mark.parametrize("unit", ["0123456789", "Grüße 👋🏽 "], ids=["ascii", "unicode"])
def test_a_text_too_long_for_asterisk_comes_in_parts(pbx: Pbx, unit: str) -> None:
    """Of a body over 1,023 bytes Asterisk makes an empty one, and says 202: so it gets several below that."""
    text = "".join(f"{n}:{unit}" for n in range(150)) + "end"
    assert len(text.encode()) > 1500
    pbx.receive(text)
    parts = [pbx.received()]
    count = int(parts[0]["Part"].partition("/")[2])
    assert count >= 2
    parts += [pbx.received() for _ in range(count - 1)]
    assert [one["Part"] for one in parts] == [f"{n}/{count}" for n in range(1, count + 1)]
    assert all(len(text_of(one).encode()) < 1024 for one in parts)
    assert "".join(map(text_of, parts)) == text
    pbx.site.settled(DID, text, "delivered")


@pytest.mark.req("S-083")
def test_a_text_that_just_fits_comes_in_one(pbx: Pbx) -> None:
    """By UDP less fits: the datagram, with its headers, has to stay below 1,300 bytes (RFC 3261 section 18.1.1)."""
    text = "x" * (670 if pbx.transport == "udp" else 1020) + "end"
    pbx.receive(text)
    event = pbx.received()
    assert (event["Part"], text_of(event)) == ("", text)


@pytest.mark.req("S-093", "F-17")
def test_what_comes_while_asterisk_is_stopped_waits(pbx: Pbx) -> None:
    """It goes without a word (SIGTERM unregisters, and so do the phones of a PBX that burns): kept, then once each."""
    pbx.asterisk.stop()
    texts = [f"while away {n} by {pbx.transport}" for n in range(3)]
    for text in texts:
        pbx.receive(text)
    assert {row["state"] for row in pbx.site.rows(DID) if row["text"] in texts} <= {"queued", "sending"}
    pbx.asterisk.start()
    assert [text_of(pbx.received(seconds=20)) for _ in texts] == texts
    for text in texts:
        pbx.site.settled(DID, text, "delivered", seconds=10)
    pbx.receive("and now a last one")
    assert text_of(pbx.received()) == "and now a last one", "something came twice"


@pytest.mark.req("S-011", "S-079")
def test_a_wrong_password_is_rejected(pbx: Pbx) -> None:
    before = [row["id"] for row in pbx.site.rows()]
    wrong = {"SIPSMS_PASSWORD": "not-it", "forbidden_retry_interval=300": "forbidden_retry_interval=3000"}
    with make_asterisk(pbx.site, pbx.transport, free_port(), **wrong) as stranger:
        stranger.shows("pjsip show registrations", r"\bRejected\b")
        stranger.send(f"pjsip:PJSIP/{HANDSET}@sipsms", f"<sip:{DID}@{DOMAIN}>", "from a stranger")
        pbx.site.wait(lambda: len(pbx.site.events("auth_failure")) >= 2)  # a REGISTER and a MESSAGE
    assert {event["user"] for event in pbx.site.events("auth_failure")} == {TRUNK.name}
    assert [row["id"] for row in pbx.site.rows()] == before
    assert len(pbx.site.contacts(TRUNK)) == 1


@pytest.mark.req("S-079")
@pytest.mark.parametrize("transport", ["tls"], indirect=True)  # only TLS has certificates
def test_a_certificate_of_another_authority_is_not_trusted(pbx: Pbx) -> None:
    """verify_server of the shipped file does its work."""
    with make_asterisk(pbx.site, "tls", free_port(), authority=trustme.CA()) as careful:
        careful.logs(r"certificate verif\w+ .*fail|untrusted|SSL.*fail")
        assert not re.search(r"\bRegistered\b", careful.console("pjsip show registrations"))


WORD = re.compile(r"\b(?:SIPSMS|PBX|PHONE)_[A-Z0-9_]+\b")


def test_the_readme_names_every_word_to_fill_in() -> None:
    """And its `sed` fills them in, but for the passwords of the phones."""
    readme = (FILES / "README.md").read_text()
    files = "\n".join((FILES / name).read_text() for name in ("pjsip.conf", "extensions.conf"))
    assert {word for word in WORD.findall(files) if not word.endswith("_")} == set(WORD.findall(readme))
    replaced = re.findall(r"-e 's/([A-Z_]+)/", readme)
    assert set(WORD.findall(files)) - set(replaced) == {"PHONE_PASSWORD_101", "PHONE_PASSWORD_102"}
