"""Transports: TLS (C-119), WebSocket (C-122 to C-124), STUN (C-065g), IPv6, and the bounds of D10 on each stream."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node.certificates import Authority
from tests.support.sip.websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Refused,
    WebSocket,
    Ws,
    frame,
    open_websocket,
)
from tests.support.sip.wire import Closed, Phone, Silence, Tcp, Tls, Udp, Wire, credulous, open_wire, token

from .conftest import MakePhone
from .lab import Account, Lab
from .test_trace import ended, watching

# --- TLS -------------------------------------------------------------------------------------------------------------


def _limited(lowest: ssl.TLSVersion, highest: ssl.TLSVersion, ciphers: str = "DEFAULT:@SECLEVEL=0") -> ssl.SSLContext:
    context = credulous()
    context.set_ciphers(ciphers)
    context.minimum_version, context.maximum_version = lowest, highest
    return context


@pytest.mark.req("C-119")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_c119_old_versions_are_refused(lab: Lab, version: ssl.TLSVersion) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Tls(lab.address_of("tls"), context=_limited(version, version))


@pytest.mark.req("C-119")
@pytest.mark.parametrize("ciphers", ["eNULL:@SECLEVEL=0", "aNULL:@SECLEVEL=0"])
def test_c119_ciphers_that_hide_nothing_are_refused(lab: Lab, ciphers: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Tls(lab.address_of("tls"), context=_limited(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, ciphers))


@pytest.mark.req("C-119")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_c119_versions_of_today(lab: Lab, version: ssl.TLSVersion) -> None:
    wire = Tls(lab.address_of("tls"), context=_limited(version, version, "DEFAULT"))
    with Phone(wire.server, "anybody", "x", wire=wire) as phone:
        assert phone.ask(phone.options()).status == 200


def test_tls_certificate_is_the_configured_one(lab: Lab) -> None:
    Tls(lab.address_of("tls"), context=lab.authority.trusting()).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        Tls(lab.address_of("tls"), context=Authority().trusting())


@pytest.fixture
def small_lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "small", 4, sip={"handshake_timeout": 1, "first_message_timeout": 1}) as lab:
        yield lab


def _serial(lab: Lab) -> int:
    wire = Tls(lab.address_of("tls"), context=lab.authority.trusting())
    certificate = wire.certificate()
    wire.close()
    return int(certificate["serialNumber"], 16)


@pytest.mark.req("F-25")
def test_renewed_certificate_is_taken_without_dropping_anybody(small_lab: Lab) -> None:
    lab = small_lab
    account = lab.account()
    phone = lab.phone(account, "tls")
    phone.register()
    before = _serial(lab)
    lab.authority.issue(lab.folder)  # the same files, a new certificate
    lab.process.send_signal(1)  # type: ignore[union-attr]
    lab.wait(lambda: _serial(lab) != before)
    lab.sms(account.did, "on the old connection")
    assert phone.take().text == "on the old connection"


@pytest.mark.req("F-25")
def test_bad_new_certificate_leaves_the_old_in_use(small_lab: Lab) -> None:
    lab = small_lab
    before = _serial(lab)
    lab.certificate.key.write_bytes(Authority().issue(lab.folder / "other").key.read_bytes())
    lab.process.send_signal(1)  # type: ignore[union-attr]
    (event,) = lab.wait(lambda: lab.events("reload_refused"))
    assert "key does not belong" in event["why"]
    assert _serial(lab) == before


@pytest.mark.req("A-24", "D10")
def test_handshake_that_never_ends_is_closed(small_lab: Lab) -> None:
    wire = Tcp(small_lab.address_of("tls"))
    began = time.monotonic()
    wire.send(b"\x16\x03\x01")  # the first bytes of a ClientHello
    wire.assert_closed(4.0)
    assert time.monotonic() - began >= 0.5


@pytest.mark.req("A-24", "A-51")
@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_plain_text_on_a_tls_port_is_closed(lab: Lab, transport: str) -> None:
    wire = Tcp(lab.address_of(transport))
    wire.send(b"OPTIONS sip:sip.example.net SIP/2.0\r\n\r\n" * 4)
    with contextlib.suppress(AssertionError):  # an alert may come first
        wire.assert_closed()
    wire.close()
    lab.assert_answers()


@pytest.mark.req("A-24", "A-51")
def test_tls_hello_on_the_plain_port_is_dropped(lab: Lab) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        Tls(lab.address_of("tcp"))
    lab.assert_answers()


@pytest.mark.req("A-23", "D10")
def test_unfinished_handshakes_count_as_connections(small_lab: Lab) -> None:
    """100 of one address, whether TLS is agreed on or not."""
    held = [Tcp(small_lab.address_of("tls"), host="127.0.0.77") for _ in range(100)]
    with pytest.raises((ssl.SSLError, OSError)):
        Tls(small_lab.address_of("tls"), host="127.0.0.77")
    Tls(small_lab.address_of("tls"), host="127.0.0.78").close()
    for wire in held:
        wire.close()
    small_lab.wait(lambda: _connects(small_lab))


def _connects(lab: Lab) -> bool:
    try:
        Tls(lab.address_of("tls"), host="127.0.0.77").close()
    except OSError:
        return False
    return True


# --- WebSocket -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["ws", "wss"])
def websocket(request: pytest.FixtureRequest, lab: Lab) -> Iterator[WebSocket]:
    wire = open_websocket(request.param, lab.address_of(request.param))
    yield wire
    wire.close()


def _options(wire: WebSocket) -> bytes:
    return Phone(wire.server, "anybody", "x", wire=wire).options().bytes()


@pytest.mark.req("C-122")
@pytest.mark.parametrize("protocol", ["", "xmpp", "msrp, chat"])
def test_c122_without_the_subprotocol(lab: Lab, protocol: str) -> None:
    with pytest.raises(Refused) as caught:
        open_websocket("ws", lab.address_of("ws"), protocol=protocol)
    assert caught.value.status == 400


@pytest.mark.req("C-122")
def test_c122_the_subprotocol_is_confirmed(websocket: WebSocket) -> None:
    assert "sec-websocket-protocol: sip\r\n" in websocket.head.lower() + "\r\n"
    assert "sec-websocket-extensions" not in websocket.head.lower()


@pytest.mark.req("C-122")
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://sip.example.net.evil.example", "http://localhost:3000", "http://["],
)
def test_c122_foreign_origin(lab: Lab, origin: str) -> None:
    with pytest.raises(Refused) as caught:
        open_websocket("wss", lab.address_of("wss"), origin=origin)
    assert caught.value.status == 403


@pytest.mark.req("C-122", "A-26")
def test_c122_two_origins(lab: Lab) -> None:
    with pytest.raises(Refused) as caught:
        open_websocket(
            "ws", lab.address_of("ws"), origin="https://sip.example.net", extra="Origin: https://evil.example\r\n"
        )
    assert caught.value.status == 400


@pytest.mark.req("C-122")
@pytest.mark.parametrize("origin", ["https://sip.example.net", "http://sip.example.net:3000", ""])
def test_c122_own_origin_or_none(lab: Lab, origin: str) -> None:
    open_websocket("wss", lab.address_of("wss"), origin=origin).close()


@pytest.mark.req("C-123")
def test_c123_two_messages_in_one(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, _options(websocket) + _options(websocket))
    assert websocket.receive().status == 400
    websocket.assert_silent(0.2)


@pytest.mark.req("C-123")
def test_c123_one_message_over_two(websocket: WebSocket) -> None:
    phone = Phone(websocket.server, "anybody", "x", wire=websocket)
    whole = phone.message_draft("5551234567", "x" * 100).bytes()
    websocket.send_frame(TEXT, whole[:-50])
    assert websocket.receive().status == 400
    websocket.send_frame(TEXT, whole[-50:])
    websocket.assert_silent(0.2)
    assert phone.ask(phone.options()).status == 200


@pytest.mark.req("C-123")
def test_c123_binary_frame(websocket: WebSocket) -> None:
    websocket.send_frame(BINARY, _options(websocket))
    assert websocket.receive().status == 200


@pytest.mark.req("C-123")
def test_c123_fragments_of_one_message(websocket: WebSocket) -> None:
    whole = _options(websocket)
    websocket.send_frame(TEXT, whole[:10], fin=False)
    websocket.send_frame(PING, b"between")
    websocket.send_frame(CONTINUATION, whole[10:40], fin=False)
    websocket.send_frame(CONTINUATION, whole[40:])
    assert websocket.receive_message() == (PONG, b"between")
    assert websocket.receive().status == 200


def test_websocket_without_content_length(websocket: WebSocket) -> None:
    """RFC 7118 section 5.4: the message's end is known without it."""
    phone = Phone(websocket.server, "anybody", "x", wire=websocket)
    assert phone.ask(phone.options().drop("Content-Length")).status == 200


@pytest.mark.req("C-003")
def test_websocket_keep_alive(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, b"\r\n\r\n")
    assert websocket.receive_message() == (TEXT, b"\r\n")


@pytest.mark.req("C-124", "S-093")
@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_c124_delivered_on_the_same_connection_only(lab: Lab, make_phone: MakePhone, transport: str) -> None:
    account = lab.account()
    phone, other = make_phone(account, transport), make_phone(lab.account(), transport)
    phone.register()
    other.register()
    lab.sms(account.did, "to the browser ✓")
    request = phone.take()
    assert request.uri == f"sip:{account.name}@{phone.invalid};transport=ws"
    assert request.get("via").startswith(f"SIP/2.0/{transport.upper()} ")
    assert request.text == "to the browser ✓"
    assert request.get("x-sms-to") == account.did
    other.assert_silent()
    phone.close()
    lab.wait(lambda: not lab.bindings(account.name))
    lab.sms(account.did, "while away")
    lab.delivery(account.did, state="queued")
    again = make_phone(account, transport)
    again.register()
    assert again.take().text == "while away"


@pytest.mark.req("A-26", "D10")
@pytest.mark.parametrize(
    ("what", "code"),
    [
        (b"\x81\xff" + struct.pack("!Q", 2**40) + b"abcd", 1009),
        (b"\x81\xff" + struct.pack("!Q", 2**63 - 1) + b"abcd", 1009),
        (frame(TEXT, b"x", mask=False), 1002),
        (frame(TEXT, b"x" * 70_000), 1009),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 1000, 1009),
        (frame(CONTINUATION, b"b"), 1002),
        (b"\xc1\x81abcd\x00", 1002),  # compressed, though no extension was agreed on
        (frame(PING, b"x" * 126), 1002),
        (frame(11, b"x"), 1002),
    ],
    ids=["2^40", "2^63", "unmasked", "70k", "interleaved", "fragments", "stray", "compressed", "long ping", "unknown"],
)
def test_a26_what_is_no_websocket_is_closed(lab: Lab, websocket: WebSocket, what: bytes, code: int) -> None:
    with contextlib.suppress(OSError):
        websocket.send_raw(what)
    with pytest.raises(Closed):
        websocket.receive_message()
    assert websocket.closed_with == code
    lab.assert_answers()


@pytest.mark.req("A-26")
def test_a26_ten_thousand_pings(lab: Lab, websocket: WebSocket) -> None:
    """A peer that reads its pongs is served; memory does not grow with the number (A-22: one that does not is shed)."""
    for _ in range(100):
        websocket.send_raw(frame(PING, b"p") * 100)
        for _ in range(100):
            assert websocket.receive_message()[0] == PONG
    assert Phone(websocket.server, "anybody", "x", wire=websocket).ask(Phone.options(_nobody(websocket))).status == 200
    lab.assert_answers()


def _nobody(wire: WebSocket) -> Phone:
    return Phone(wire.server, "anybody", "x", wire=wire)


@pytest.mark.req("A-26")
def test_a26_large_upgrade_request(lab: Lab) -> None:
    with pytest.raises((Refused, Closed, OSError)):
        open_websocket("ws", lab.address_of("ws"), extra="".join(f"X-{i}: {'y' * 900}\r\n" for i in range(120)))
    lab.assert_answers()


@pytest.mark.req("D10", "A-21")
@pytest.mark.parametrize("transport", ["ws", "tcp", "tls", "wss"])
def test_first_message_is_late(small_lab: Lab, transport: str) -> None:
    wire = open_wire(transport, small_lab.address_of(transport))
    began = time.monotonic()
    wire.assert_closed(5.0)  # type: ignore[union-attr]
    assert time.monotonic() - began >= 0.5


@pytest.mark.req("D10", "A-21")
def test_upgrade_is_late(small_lab: Lab) -> None:
    wire = Ws(small_lab.address_of("ws"))
    Tcp.send(wire, b"GET / HTTP/1.1\r\nHost: x\r\n")
    Tcp.assert_closed(wire, 5.0)


@pytest.mark.req("D10", "A-21")
def test_keep_alives_are_no_first_message(small_lab: Lab) -> None:
    wire = open_websocket("ws", small_lab.address_of("ws"))
    wire.send_frame(TEXT, b"\r\n\r\n")
    assert wire.receive_message() == (TEXT, b"\r\n")
    wire.assert_closed(4.0)


@pytest.mark.req("A-22", "D10")
@pytest.mark.parametrize("transport", ["tcp", "tls", "wss"])
def test_a22_peer_that_never_reads_is_shed(lab: Lab, transport: str) -> None:
    wire = open_wire(transport, lab.address_of(transport))
    wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)  # type: ignore[union-attr]
    phone = Phone(wire.server, "anybody", "x", wire=wire)
    data = phone.options().add("X-Padding", "y" * 500).bytes() if transport != "wss" else phone.options().bytes()
    with pytest.raises(OSError):
        _send_often(wire, data, 60_000)  # bounded: about 40 MB, were it never shed
    lab.assert_answers(0.5)


def _send_often(wire: Wire, data: bytes, times: int) -> None:
    for _ in range(times):
        wire.send(data)


# --- UDP -------------------------------------------------------------------------------------------------------------


def _binding_request(transaction: bytes, cookie: int = 0x2112A442, extra: bytes = b"") -> bytes:
    return struct.pack("!HHI", 1, len(extra), cookie) + transaction + extra


@pytest.mark.req("C-065g")
@pytest.mark.parametrize("extra", [b"", struct.pack("!HH8s", 0x8022, 8, b"baresip ")])
def test_c065g_stun_binding(lab: Lab, extra: bytes) -> None:
    wire, transaction = Udp(lab.address), os.urandom(12)
    wire.send(_binding_request(transaction, extra=extra))
    raw, sender = wire.receive_raw()
    kind, length, cookie = struct.unpack("!HHI", raw[:8])
    assert (kind, cookie, raw[8:20], length, sender) == (0x0101, 0x2112A442, transaction, len(raw) - 20, lab.address)
    name, size, _, family, port, address = struct.unpack("!HHBBH4s", raw[20:32])
    assert (name, size, family) == (0x0020, 8, 1)
    host = bytes(a ^ b for a, b in zip(address, struct.pack("!I", cookie), strict=True))
    assert (socket.inet_ntoa(host), port ^ 0x2112) == wire.local
    wire.close()


@pytest.mark.req("C-065g", "A-51")
@pytest.mark.parametrize(
    "junk",
    [
        _binding_request(b"x" * 12, cookie=1),
        _binding_request(b"x" * 12)[:19],
        _binding_request(b"x" * 12) + b"more",
        struct.pack("!HHI", 0x0101, 0, 0x2112A442) + b"x" * 12,
        struct.pack("!HHI", 0x0003, 0, 0x2112A442) + b"x" * 12,
        b"\x00" * 300,
        b"\x02",
    ],
)
def test_c065g_junk_is_dropped(lab: Lab, junk: bytes) -> None:
    wire = Udp(lab.address)
    wire.send(junk)
    wire.assert_silent(0.2)
    wire.close()
    lab.assert_answers()


@pytest.mark.req("C-003")
@pytest.mark.parametrize("keep_alive", [b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b"\r"])
def test_keep_alives_by_udp_are_taken_in_silence(lab: Lab, keep_alive: bytes) -> None:
    wire = Udp(lab.address)
    wire.send(keep_alive)
    wire.assert_silent(0.2)
    wire.close()


# --- IPv6 ------------------------------------------------------------------------------------------------------------


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def ipv6_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback (::1)")
    lab = Lab(tmp_path_factory.mktemp("ipv6"), 30)
    listen = {**lab.settings["listen"]}
    listen["sip"] = [one.replace("127.0.0.1", "[::1]") for one in listen["sip"]] + listen["sip"]
    lab.write_config(**{**lab.settings, "listen": listen})
    with lab:
        yield lab


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
def test_ipv6_phone_registers_sends_and_receives(ipv6_lab: Lab, transport: str) -> None:
    lab, account = ipv6_lab, ipv6_lab.account()
    server = ("::1", lab.ports[transport])
    phone = Phone(
        server,
        account.name,
        account.password,
        domain=f"[::1]:{lab.ports[transport]}",
        wire=open_wire(transport, server),
    )
    phone.register()
    assert list(phone.bindings()) == [phone.contact]
    lab.sms(account.did, "by IPv6")
    request = phone.take()
    assert request.text == "by IPv6"
    assert request.get("from").startswith(f"<sip:{lab.sender}@[::1]:{lab.ports[transport]}>")
    sent_by = request.get("via").split()[1].split(";")[0]
    assert sent_by == f"[::1]:{lab.ports[transport]}"
    assert phone.message("5551234567", f"out {token()}").status == 202
    phone.close()


def test_ipv6_stun(ipv6_lab: Lab) -> None:
    wire, transaction = Udp(("::1", ipv6_lab.sip_port)), os.urandom(12)
    wire.send(_binding_request(transaction))
    raw, _ = wire.receive_raw()
    family, port = struct.unpack("!BH", raw[25:28])
    key = struct.pack("!I", 0x2112A442) + transaction
    host = bytes(a ^ b for a, b in zip(raw[28:44], key, strict=True))
    assert (family, socket.inet_ntop(socket.AF_INET6, host), port ^ 0x2112) == (2, "::1", wire.local[1])
    wire.close()


@pytest.mark.req("A-12")
def test_each_transport_asks_for_credentials(lab: Lab, account: Account, make_phone: MakePhone, transport: str) -> None:
    phone = make_phone(account, transport)
    assert phone.ask(phone.message_draft("5551234567")).status == 407
    assert phone.ask(phone.register_draft(f"<{phone.contact}>")).status == 401


@pytest.mark.req("A-20")
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a20_a_byte_at_a_time_and_fifty_at_once(lab: Lab, transport: str) -> None:
    wire = open_wire(transport, lab.address_of(transport))
    phone = Phone(wire.server, "anybody", "x", wire=wire)
    one = phone.options()
    for byte in one.bytes():
        wire.send(bytes((byte,)))
    assert phone.response_to(one).status == 200
    many = [phone.options() for _ in range(50)]
    wire.send(b"".join(draft.bytes() for draft in many))
    assert [phone.response_to(draft).status for draft in many] == [200] * 50
    with pytest.raises(Silence):
        wire.receive(0.2)
    wire.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_trace_by_account_sees_what_an_ipv6_phone_sends(ipv6_lab: Lab, transport: str) -> None:
    """Also requests that do not name the account: the phone is known by the address that it registered from."""
    lab, account = ipv6_lab, ipv6_lab.account()
    wire = open_wire(transport, ("::1", lab.ports[transport]))
    phone = Phone(("::1", lab.ports[transport]), account.name, account.password, wire=wire)
    phone.register()
    with watching(lab, "--account", account.name, "--json", "--count", "2") as process:
        anonymous = phone.options().set("From", "<sip:anonymous@anonymous.invalid>;tag=1")
        assert phone.ask(anonymous).status == 200
        events = [json.loads(line) for line in ended(process)]
    assert [(one["incoming"], one["method"]) for one in events] == [(True, "OPTIONS"), (False, "OPTIONS")]
    phone.close()
