"""Messages that are made to cost: bombs, smuggling, random bytes, quadratic expressions: A-18, A-19, A-29, A-30."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import statistics
import subprocess

import pytest

from tests.support.sip.wire import Closed, Phone, Silence, Udp

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort

ORDINARY = 25  # a bomb takes the CPU less than as many ordinary requests

BOMBS = {
    "70 Via": lambda d: d.add("Via", *["SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"] * 80),
    "70 Via in one": lambda d: d.add("Via", ", ".join(["SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"] * 800)),
    "1000 Route": lambda d: d.add("Route", *["<sip:192.0.2.1;lr>"] * 1000),
    "1000 Route in one": lambda d: d.add("Route", ",".join(["<sip:192.0.2.1;lr>"] * 1000)),
    "128 headers": lambda d: d.add("X-Padding", *["x"] * 140),
    "10000 headers": lambda d: d.add("X", *["x"] * 10_000),
    "30 KB header": lambda d: d.add("X-Padding", "x" * 31_000),
    "60 KB header": lambda d: d.add("X-Padding", "x" * 60_000),
    "8000 commas": lambda d: d.add("Contact", "," * 8000),
    "2000 contacts": lambda d: d.add("Contact", ",".join(["<sip:a@b>"] * 2000)),
    "folded lines": lambda d: d.add("X", "\r\n x" * 5000),
    "folded Via": lambda d: d.add("Via", "SIP/2.0/UDP 192.0.2.1" + "\r\n ;x" * 5000),
    "parameters": lambda d: d.add("Contact", "<sip:a@b>" + ";a" * 10_000),
    "semicolons": lambda d: d.add("Contact", "<sip:a@b>" + ";" * 20_000),
    "backslashes": lambda d: d.set("From", '"' + "\\\\" * 10_000 + '" <sip:a@b>;tag=x'),
    "open quote": lambda d: d.set("From", '"' + "a" * 20_000),
    "angles": lambda d: d.set("From", "<" * 20_000),
    "parentheses": lambda d: d.add("Via", "(" * 20_000),
    "percents": lambda d: d.set("To", "<sip:" + "%41" * 6000 + "@b>"),
    "blanks": lambda d: d.set("From", " \t" * 10_000 + "<sip:a@b>;tag=x"),
    "blanks in CSeq": lambda d: d.set("CSeq", "1" + " " * 20_000 + d.method),
    "digits": lambda d: d.set("CSeq", "1" * 20_000 + " " + d.method),
    "digits of Max-Forwards": lambda d: d.set("Max-Forwards", "7" * 20_000),
    "dots": lambda d: d.set("To", "<sip:a@" + "a." * 10_000 + "b>"),
    "credentials": lambda d: d.add("Authorization", *['Digest username="a", realm="b"'] * 100),
    "long credentials": lambda d: d.add("Authorization", "Digest " + 'a="\\\\' * 700),
    "commas of Require": lambda d: d.add("Require", "," * 20_000),
    "tokens of Require": lambda d: d.add("Require", ",".join(f"x{n}" for n in range(3000))),
    "Supported": lambda d: d.add("Supported", ",".join(f"x{n}" for n in range(3000))),
    "long URI": lambda d: setattr(d, "uri", "sip:" + "a" * 30_000 + "@b"),
    "URI of parameters": lambda d: setattr(d, "uri", "sip:a@b" + ";x" * 10_000),
    "long method": lambda d: setattr(d, "method", "M" * 20_000),
}


def _cpu(lab: Fort, phone: Phone, data: bytes, times: int = 10) -> float:
    """Seconds that one of these takes the server."""
    spent = []
    for _ in range(times):
        before = lab.cpu()
        phone.send(data)
        phone.ask(phone.options())  # the loop has been through it
        spent.append(lab.cpu() - before)
    return statistics.median(spent)


def _ordinary(lab: Fort, phone: Phone) -> float:
    """What a request that any phone may send takes, on this machine and now."""
    return _cpu(lab, phone, phone.register_draft(f"<{phone.contact}>").bytes())


@pytest.mark.req("A-18", "A-30")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a18_nested_and_compressed_bodies_take_bounded_work(lab: Fort, bomb: str) -> None:
    """By UDP, to REGISTER and to MESSAGE: answered or dropped, at the price of a few ordinary requests."""
    with Phone(lab.address, "alice", "x") as phone:
        for draft in (phone.register_draft(f"<{phone.contact}>"), phone.message_draft(HANDSET, "bomb")):
            BOMBS[bomb](draft)
            data = draft.bytes()
            assert len(data) < 65_000
            looks = (_cpu(lab, phone, data) / _ordinary(lab, phone) for _ in range(3))  # noise only adds
            slow = list(itertools.takewhile(lambda times: times >= ORDINARY, looks))
            assert len(slow) < 3, f"{bomb}: {len(data)} bytes, {[round(times, 1) for times in slow]} ordinary requests"


@pytest.mark.req("A-18")
@pytest.mark.parametrize("bomb", ["70 Via", "10000 headers", "60 KB header", "long URI"])
def test_a18_refused_bodies_get_their_status(lab: Fort, bomb: str) -> None:
    with Phone(lab.address, "alice", "x") as phone:
        draft = phone.register_draft(f"<{phone.contact}>")
        BOMBS[bomb](draft)
        phone.send(draft)
        assert phone.wire.receive().status in (400, 413, 414, 513)


@pytest.mark.req("A-30")
@pytest.mark.parametrize(
    "unit", ['"\\\\"', "((", ";a", ";a=", " ,", "%41", "\r\n ", "<", '"', "\\", "a@", ":", "[", "?a=b&"]
)
@pytest.mark.parametrize("header", ["From", "Contact", "Via", "Authorization"])
def test_a30_twice_the_bytes_at_most_twice_the_time(lab: Fort, header: str, unit: str) -> None:
    with Phone(lab.address, "alice", "x") as phone:
        size = 3900 if header == "Authorization" else 15_000
        start = {"Authorization": "Digest ", "Via": "SIP/2.0/UDP a"}.get(header, "")

        def spent(length: int) -> float:
            draft = phone.register_draft()
            value = start + unit * (length // len(unit))
            return _cpu(
                lab, phone, (draft.set(header, value) if header == "From" else draft.add(header, value)).bytes(), 3
            )

        # Noise only adds: one clean look is enough to show that it is linear, and a quadratic parser never has one.
        looks = ((spent(2 * size), max(2.5 * spent(size), ORDINARY / 2 * _ordinary(lab, phone))) for _ in range(5))
        seen = list(itertools.takewhile(lambda look: look[0] >= look[1], looks))
        assert len(seen) < 5, seen


# --- smuggling -------------------------------------------------------------------------------------------------------

LENGTHS = [
    "4294967296",
    "18446744073709551616",
    "-1",
    "5\r\n 0",
    "0x5",
    "5, 5",
    "+5",
    "5.0",
    "\u0665",
    "5;x",
    "5 5",
    "99999999",
]


@pytest.mark.req("A-19")
@pytest.mark.parametrize("kind", ["tcp", "tls", "wss"])
def test_a19_a_message_inside_another_is_never_parsed_as_a_request(
    lab: Fort, account: Account, make_phone: MakePhone, kind: str
) -> None:
    """CVE-2026-45103: whatever length is claimed, what stands behind is never taken for a message of its own."""
    for length in [*LENGTHS, "twice"]:
        phone = make_phone(account, kind)
        inner = phone.signed(phone.message_draft(HANDSET, "smuggled")).bytes()
        outer = phone.message_draft(HANDSET, inner)
        outer.set("Content-Length", "5" if length == "twice" else length)
        if length == "twice":
            outer.add("Content-Length", "500")
        phone.send(outer)
        answer = phone.wire.receive()
        assert answer.status in (400, 513), (length, answer.start)
        if kind == "wss":  # a WebSocket message has its end: the connection can live
            phone.wire.assert_silent(0.02)
        else:
            phone.wire.assert_closed()  # type: ignore[union-attr]
        phone.close()
    assert lab.rows(account.did) == []


@pytest.mark.req("A-19")
@pytest.mark.parametrize("length", ["10", "100000", "-1", "abc", ""])
def test_a19_a_wrong_content_length_in_a_datagram_is_cut_or_refused(
    lab: Fort, account: Account, make_phone: MakePhone, length: str
) -> None:
    """RFC 3261 section 18.3: too short cuts, too long is refused; the rest of the datagram is nothing."""
    phone = make_phone(account)
    inner = phone.signed(phone.message_draft(HANDSET, "smuggled")).bytes()
    phone.send(phone.message_draft(HANDSET, inner).set("Content-Length", length))
    assert phone.wire.receive().status in ((407,) if length == "10" else (400,))
    phone.wire.assert_silent(0.1)
    assert lab.rows(account.did) == []


# --- random bytes ----------------------------------------------------------------------------------------------------


@pytest.mark.req("A-29")
@pytest.mark.skipif(shutil.which("sipsak") is None, reason="sipsak is not installed (tools/packages)")
def test_a29_sipsak_trashes_characters(lab: Fort) -> None:
    """It changes more and more characters of a request until a time is up."""
    command = ["sipsak", "-R", "-t", "200", "-s", f"sip:u@127.0.0.1:{lab.sip_port}"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=1.5, check=False)


@pytest.mark.req("A-29")
def test_a29_damaged_requests_do_not_crash_the_server(lab: Fort, make_phone: MakePhone) -> None:
    """Good requests with bits turned, pieces cut out and doubled: by UDP, and on connections until they end."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with Phone(lab.address, "alice", "x", wire=Udp(lab.address)) as phone:
        seeds = [phone.register_draft(f"<{phone.contact}>").bytes(), phone.message_draft(HANDSET, "noise").bytes()]
        wire, connection = phone.wire, make_phone("alice", "tcp", "x")
        for number in range(3000):
            data = _noisy(dice, dice.choice(seeds))
            wire.send(data)
            if number % 3 == 0:
                try:
                    connection.wire.send(data)
                except OSError:
                    connection = make_phone("alice", "tcp", "x")
            if number % 50 == 0:
                with contextlib.suppress(Silence, Closed, ValueError):
                    while True:
                        wire.receive(0.005)


def _noisy(dice: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randint(1, 12)):
        place = dice.randrange(len(out))
        match dice.randrange(5):
            case 0:
                out[place] ^= 1 << dice.randrange(8)
            case 1:
                del out[place : place + dice.randint(1, 20)]
            case 2:
                out[place:place] = out[place : place + dice.randint(1, 40)]
            case 3:
                out[place:place] = dice.randbytes(dice.randint(1, 8))
            case _:
                out[place : place + 2] = b"\r\n"
        if len(out) < 20:
            break
    return bytes(out)
