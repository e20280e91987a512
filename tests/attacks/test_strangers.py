"""Who has no password gets a challenge and nothing else: A-01, A-02, A-07, A-09 to A-12, A-17, A-28, A-51."""

from __future__ import annotations

import itertools
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.node.server import free_port
from tests.support.sip.wire import Credentials, Draft, Phone, Silence, Tcp, Udp, listening

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort

svwar = pytest.mark.skipif(shutil.which("svwar") is None, reason="sipvicious is not installed (tools/packages)")
METHODS = ("REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE", "INVITE")
SCANNERS = ("friendly-scanner", "sipcli/v1.8", "sipvicious", "pplsip", "VaxSIPUserAgent/3.1")


@pytest.mark.req("A-01")
@pytest.mark.parametrize("to", ["5551234567", HANDSET, "own did", "registered"])
def test_a01_a_message_without_credentials_is_challenged(
    lab: Fort, account: Account, make_phone: MakePhone, transport: str, to: str
) -> None:
    """CVE-2021-37624: a MESSAGE from 911 to somebody, and to a registered user."""
    victim, stranger = make_phone(account, transport), make_phone("911", transport, "x")
    victim.register()
    to = {"own did": account.did, "registered": account.name}.get(to, to)
    draft = stranger.message_draft(to, "I am the police").set("From", f"<sip:911@{stranger.domain}>;tag=x")
    for body, kind in ((b"", ""), (b"{}", "application/json"), (b"x" * 900, "text/plain")):
        bent = draft.copy()
        if body:
            bent.body = body
            bent.set("Content-Type", kind)
        answer = stranger.ask(bent.set("Call-ID", secrets.token_hex(8)))
        assert answer.status == 407
        assert not answer.body
    assert stranger.ask(draft.set("To", f"<sip:{to}@{stranger.domain}>;tag=in-a-dialog")).status == 407
    victim.assert_silent(0.15)
    assert lab.rows(account.did) == []


@pytest.mark.req("A-09")
def test_a09_a_message_cannot_be_replayed(lab: Fort, account: Account, phone: Phone, make_phone: MakePhone) -> None:
    """As it was: the old answer (a retransmission). In a transaction of its own: refused, and no row."""
    signed = phone.signed(phone.message_draft(HANDSET, "good once"))
    assert phone.ask(signed).status == 202
    thief = make_phone(account, phone.wire.name, "unknown to him")
    again = signed.copy()
    again.body = b"a thief's text"
    assert thief.ask(again).status == 202
    bent = {
        "branch": again.copy(),
        "Call-ID": again.copy().set("Call-ID", "another"),
        "CSeq": again.copy().set("CSeq", "77 MESSAGE"),
        "From": again.copy().set("From", f"<{thief.aor}>;tag=another"),
    }
    for what, draft in bent.items():
        answer = thief.ask(draft.set_first_via(thief.via()))
        assert answer.status == 407 or (what, answer.status) == ("branch", 482)
        assert answer.status == 482 or answer.challenges()[0]["stale"] == "true"
    other = again.copy().set_first_via(thief.via()).set("Call-ID", "third")
    other.uri = f"sip:9995551234@{phone.domain}"
    assert thief.ask(other).status == 400
    assert lab.texts(account.did) == ["good once"]


@pytest.mark.req("A-09")
def test_a09_nonce_counts_out_of_order_are_refused(lab: Fort, account: Account, phone: Phone) -> None:
    challenge = phone.ask(phone.message_draft(HANDSET)).challenges()[0]
    statuses = []
    for number, count in enumerate((1, 5, 3, 3, 5, 6)):
        draft = phone.message_draft(HANDSET, f"good {number}")
        phone.credentials.nc = count
        draft.add("Proxy-Authorization", phone.credentials.header(challenge, draft))
        statuses.append(phone.ask(draft).status)
    assert statuses == [202, 202, 407, 407, 407, 202]
    assert lab.texts(account.did) == ["good 0", "good 1", "good 5"]


def _forgeries(phone: Phone, challenge: dict[str, str], draft: Draft) -> list[str]:
    """Values of Proxy-Authorization that nobody with the password has made."""
    good = Credentials(phone.name, "wrong").header(challenge, draft)
    names = ("username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce", "opaque")
    without = [re.sub(rf'(, )?{name}=("[^"]*"|[^, ]*)', "", good) for name in names]
    values = [
        "",
        '"',
        '""',
        "\\",
        "x" * 3000,
        "\x00",
        "\x7f",
        "\u0660",
        '"a',
        'a"',
        "<sip:x>",
        "%00",
        "-1",
        "0" * 32,
        ",",
    ]
    bent = [
        re.sub(rf'\b{name}=("[^"]*"|[^, ]*)', lambda _, n=name, v=value: f"{n}={v}", good)
        for name, value in itertools.product(
            ("username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce"), values
        )
    ]
    twice = [f"{good}, {name}=x" for name in ("username", "realm", "nonce", "response", "nc")]
    rest = [
        "Digest", "Digest ,", "Digest =,=,=", "Basic YTpi", good + "," * 500, good.replace(", ", ",,"), good + '"',
        good.replace("Digest", "Digest Digest"), "Digest " + "a=b," * 900, good[: len(good) // 2],
        "Digest " + '"\\' * 900, good + ", response=" + "a" * 64_000,
    ]  # fmt: skip
    return [value for value in (*without, *bent, *twice, *rest) if "\r" not in value]


@pytest.mark.req("A-10")
def test_a10_forged_credentials_are_refused(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """200 and more of them: 400, a challenge, or the one refusal of a wrong answer. None is taken, none breaks us."""
    phone = make_phone(account, "tcp")
    draft = phone.message_draft(HANDSET, "forged")
    challenge = phone.ask(draft).challenges()[0]
    values = _forgeries(phone, challenge, draft)
    assert len(values) > 150
    seen = set()
    for method in ("MESSAGE", "REGISTER"):
        for number, value in enumerate(values):
            if len(value) > 30_000:
                continue
            one = phone.message_draft(HANDSET, "forged") if method == "MESSAGE" else phone.register_draft()
            one.set("Call-ID", f"forged-{method}-{number}")
            name = "Proxy-Authorization" if method == "MESSAGE" else "Authorization"
            seen.add(phone.ask(one.add(name, value)).status)
    assert seen <= {400, 401, 407, 403}
    phone.send(phone.message_draft(HANDSET, "forged").add("Proxy-Authorization", values[-1]))
    assert phone.wire.receive().status in (400, 513)
    assert lab.rows(account.did) == []


@pytest.mark.req("A-10")
def test_a10_overlong_cseq_values_are_refused(make_phone: MakePhone) -> None:
    """CVE-2017-9372: numbers and methods that overflow."""
    with make_phone("anybody", "udp", "x") as phone:
        for value in ("9" * 500 + " MESSAGE", "4294967296 MESSAGE", "-1 MESSAGE", "1 " + "M" * 5000, "1", "MESSAGE 1"):
            draft = phone.message_draft(HANDSET).set("CSeq", value)
            phone.send(draft)
            assert phone.wire.receive().status in (400, 501)


@pytest.mark.req("A-11")
@pytest.mark.parametrize("status", [401, 407])
def test_a11_a_phone_that_challenges_gets_no_credentials(
    lab: Fort, account: Account, phone: Phone, status: int
) -> None:
    """CVE-2021-41158: it asks for the carrier's realm, and again with a new nonce: one request each try, no answer."""
    phone.register()
    lab.sms(account.did, f"challenge me {status}")
    request = phone.request()
    challenge = 'Digest realm="acme", nonce="{}", algorithm=MD5, qop="auth"'
    header = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    phone.answer(request, status, "Show me", (header, challenge.format(secrets.token_hex(8))))
    assert not request.has("authorization")
    assert not request.has("proxy-authorization")
    phone.assert_silent(0.4)
    assert lab.delivery(account.did)["attempts"] == 1


@pytest.mark.req("A-12")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.45.6.7"])
def test_a12_no_address_is_a_credential(lab: Fort, account: Account, make_phone: MakePhone, host: str) -> None:
    """Not loopback's, not the carrier's, not one a header claims, not one that a phone is registered from."""
    make_phone(account).register()
    with Phone(lab.address, account.name, "x", wire=Udp(lab.address, host=host)) as phone:
        claims = [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Forwarded", "for=127.0.0.1"),
                  ("P-Asserted-Identity", f"<{phone.aor}>"), ("Remote-Party-ID", f"<{phone.aor}>")]  # fmt: skip
        for draft in (phone.message_draft(HANDSET), phone.register_draft("<sip:thief@192.0.2.66>")):
            for name, value in claims:
                draft.add(name, value)
            draft.set_first_via(phone.via(f"127.0.0.1:{lab.carrier.port}", ";rport;received=127.0.0.1"))
            assert phone.ask(draft).status in (401, 407)


# --- scanners --------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-28")
@pytest.mark.parametrize("user_agent", SCANNERS)
def test_a28_scanners_get_no_answer(lab: Fort, user_agent: str) -> None:
    with Phone(lab.address, "100", "x") as phone:
        for draft in (phone.options(), phone.register_draft(), phone.message_draft(HANDSET), phone.draft("INVITE")):
            phone.send(draft.add("User-Agent", user_agent))
        phone.send(phone.options().add("User-Agent", user_agent).set("CSeq", "nonsense"))
        phone.assert_silent(0.15)


@pytest.mark.req("A-28")
def test_a28_no_answer_names_the_program(lab: Fort, make_phone: MakePhone, transport: str) -> None:
    phone = make_phone("anybody", transport, "x")
    drafts = [phone.options(), phone.register_draft(), phone.message_draft(HANDSET), phone.draft("FOO")]
    for draft in drafts:
        answer = phone.ask(draft)
        assert not answer.has("server")
        assert not answer.has("user-agent")
        assert b"sipsms" not in answer.raw.lower()
        assert b"python" not in answer.raw.lower()


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with Fort(tmp_path_factory.mktemp("answering"), 10, sip={"scanners": "answer"}) as fort:
        yield fort


@pytest.fixture(scope="module")
def scans(answering: Fort, shared_fort: Fort, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What sipvicious says, all at once since it takes its time: by what we do with scanners, and what it did."""
    folder = tmp_path_factory.mktemp("scans")
    commands = {}
    for scanners, fort in (("drop", shared_fort), ("answer", answering)):
        port, words = str(fort.sip_port), f"names-{scanners}"
        names = [fort.account().name for _ in range(3)]  # they exist, the others do not
        (folder / words).write_text("\n".join([*names, "nobody", "c9999", "1000", "1001"]) + "\n")
        commands[scanners, "svmap"] = ["svmap", "-p", port, "-x", "127.0.0.1", "-P", str(free_port()), "127.0.0.1"]
        for method in METHODS:
            commands[scanners, method] = ["svwar", "--force", "-m", method, "-p", port, "-d", words, "-P",
                                          str(free_port()), "-x", "127.0.0.1", "127.0.0.1"]  # fmt: skip
    with ThreadPoolExecutor(len(commands)) as pool:
        return dict(
            zip(commands, pool.map(lambda command: _run(*command, folder=folder), commands.values()), strict=True)
        )


@svwar
@pytest.mark.req("A-28", "A-07")
def test_a28_svmap_finds_no_device(lab: Fort, answering: Fort, scans: dict[tuple[str, str], str]) -> None:
    """It finds no device here, unless we are told to answer it; and then no name of a program."""
    assert str(lab.sip_port) not in scans["drop", "svmap"]
    assert str(answering.sip_port) in scans["answer", "svmap"]
    assert "sipsms" not in scans["answer", "svmap"]


@svwar
@pytest.mark.req("A-07")
@pytest.mark.parametrize("scanners", ["drop", "answer"])
@pytest.mark.parametrize("method", METHODS)
def test_a07_svwar_finds_no_account(scans: dict[tuple[str, str], str], scanners: str, method: str) -> None:
    """No difference between accounts that are there and such that are not, by any method."""
    said = scans[scanners, method]
    assert not re.search(r"\|\s*(c\d{4}|nobody|100\d)\s*\|", said), said


# --- reflection ------------------------------------------------------------------------------------------------------


def _realistic(phone: Phone, method: str) -> Draft:
    """As phones and PBXes write them."""
    drafts = {
        "REGISTER": lambda: phone.register_draft(
            f'"Alice" <{phone.contact};ob>;expires=300;+sip.instance="<urn:uuid:1>"'
        ),
        "MESSAGE": lambda: phone.message_draft(HANDSET, "hello"),
        "SUBSCRIBE": lambda: phone.draft("SUBSCRIBE").add("Event", "presence").add("Contact", f"<{phone.contact}>"),
        "PUBLISH": lambda: phone.draft("PUBLISH").add("Event", "presence").add("Expires", "3600"),
        "INVITE": lambda: phone.draft("INVITE").add("Contact", f"<{phone.contact}>"),
        "OPTIONS": lambda: phone.options().add("Contact", f"<{phone.contact}>").add("Accept", "application/sdp"),
        "FOO": lambda: phone.draft("FOO"),
        "NOTIFY": lambda: phone.draft("NOTIFY", "", b"Messages-Waiting: yes\r\n", "application/simple-message-summary"),
    }
    draft = drafts[method]().set("Call-ID", f"{secrets.token_hex(16)}@192.0.2.1")
    draft.set("From", f'"Alice" <{phone.aor}>;tag={secrets.token_hex(8)}')
    return draft.add("User-Agent", "Linphone-Desktop/5.2.6 (host) ubuntu/22.04 Qt/5.15.2 LinphoneSDK/5.3.47")


@pytest.mark.req("A-17")
def test_a17_answers_do_not_amplify(lab: Fort) -> None:
    """One datagram for a datagram, hardly larger, and never again: whoever forges a source gains nothing."""
    methods = ("REGISTER", "MESSAGE", "SUBSCRIBE", "PUBLISH", "INVITE", "OPTIONS", "NOTIFY", "FOO")
    phones = [Phone(lab.address, "alice", "x") for _ in methods]
    for method, phone in zip(methods, phones, strict=True):
        asked = _realistic(phone, method).bytes()
        for _ in range(20):
            phone.send(asked)
        out = sum(len(phone.wire.receive().raw) for _ in range(20))
        print(f"A-17: {method}: {len(asked)} bytes in, {out / 20:.0f} out")
        assert out <= 1.5 * 20 * len(asked)
    time.sleep(0.6)  # Timer E or G would fire within
    for phone in phones:
        phone.wire.assert_silent(0)
        phone.close()


@pytest.mark.req("A-17")
def test_a17_nothing_goes_where_headers_point(lab: Fort) -> None:
    """Via, Contact, Route, From: the answer goes to the sender alone, and a response that nobody waits for nowhere."""
    with listening() as third, Phone(lab.address, "alice", "x") as phone:
        victim = f"127.0.0.1:{third.address[1]}"
        draft = phone.options().set_first_via(
            phone.via(victim, f";maddr=127.0.0.1;received=127.0.0.1;rport={victim[10:]}")
        )
        draft.add("Contact", f"<sip:{victim}>").add("Record-Route", f"<sip:{victim};lr>")
        assert phone.ask(draft).status == 200
        assert phone.ask(draft.copy().add("Route", f"<sip:{victim};lr>").set("Call-ID", "routed")).status in (200, 403)
        phone.send(b"SIP/2.0 200 OK\r\n" + draft.bytes().partition(b"\r\n")[2])
        phone.send(b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP " + victim.encode() + b"\r\n\r\n")
        phone.wire.assert_silent(0.15)
        third.assert_untouched(0.05)


JUNK = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "smtp": b"EHLO x\r\nMAIL FROM:<a@b>\r\n",
    "tls": bytes.fromhex("160301003d0100003903034a") + b"\0" * 40,
    "rtp": b"\x80\x00" + b"\x01" * 170,
    "memcached": b"\x00\x01\x00\x00\x00\x01\x00\x00stats\r\n",
    "dns": bytes.fromhex("12340100000100000000000003777777076578616d706c6503636f6d0000ff0001"),
    "ntp": b"\x17\x00\x03\x2a" + b"\0" * 4,
    "ssdp": b'M-SEARCH * HTTP/1.1\r\nHOST:239.255.255.250:1900\r\nST:ssdp:all\r\nMAN:"ssdp:discover"\r\n\r\n',
}


@pytest.mark.req("A-51")
@pytest.mark.parametrize("what", JUNK)
def test_a51_other_protocols_are_dropped_or_closed(lab: Fort, what: str) -> None:
    """By UDP: dropped without a word. By TCP: closed, or closed when no SIP message comes in time."""
    with Phone(lab.address, "x", "x") as phone:
        phone.send(JUNK[what])
        phone.assert_silent(0.1)
    wire = Tcp(lab.address_of("tcp"))
    wire.send(JUNK[what])
    try:
        answer = wire.receive(0.1)
    except (Silence, AssertionError):
        wire.close()
        return
    raise AssertionError(f"{what} by TCP got an answer: {answer.start}")
