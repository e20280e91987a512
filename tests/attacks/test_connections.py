"""Connections that are held, starved, cut or never read: A-21 to A-26. Who is registered keeps his connection."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.sip.websocket import CONTINUATION, PING, TEXT, Ws, frame, open_websocket
from tests.support.sip.wire import Phone, Tcp, credulous

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort
from .test_customers import Signer


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """Impatient."""
    sip = {"first_message_timeout": 1, "handshake_timeout": 1}
    with Fort(tmp_path_factory.mktemp("fort"), 60, sip=sip) as fort:
        yield fort


def _connect(address: tuple[str, int], host: str) -> socket.socket:
    sock = socket.create_connection(address, timeout=5, source_address=(host, 0))
    sock.setblocking(False)
    return sock


def _closed(socks: list[socket.socket]) -> list[socket.socket]:
    """Those that the server has closed."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    ready = {number for number, _ in poll.poll(0)}
    found = []
    for sock in [one for one in socks if one.fileno() in ready]:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            continue
        except OSError:
            data = b""
        if not data:
            found.append(sock)
    return found


@pytest.mark.req("A-21")
@pytest.mark.parametrize("transport", ["tcp", "tls", "ws"])
def test_a21_slow_connections_are_closed(lab: Fort, account: Account, make_phone: MakePhone, transport: str) -> None:
    """500 connections from ten addresses, each a byte now and then: all are closed in time, and phones are served."""
    good = make_phone(account, "tcp")
    good.register()
    files = lab.files()
    start = {
        "tcp": b"OPTIONS sip:x SIP/2.0\r\nVia: ",
        "tls": b"\x16\x03\x01\x02\x00",
        "ws": b"GET / HTTP/1.1\r\nHost: ",
    }
    open_ = [_connect(lab.address_of(transport), f"127.0.5.{n % 10 + 1}") for n in range(500)]
    began, slowest = time.monotonic(), 0.0
    for sock in open_:
        sock.send(start[transport])
    alive = list(open_)
    while alive:
        assert time.monotonic() - began < 15, f"{len(alive)} connections are still open"
        asked = time.monotonic()
        assert good.ask(good.options(), 3.0).status == 200
        slowest = max(slowest, time.monotonic() - asked)
        for sock in alive:
            with contextlib.suppress(OSError):
                sock.send(b"x")
        gone = set(_closed(alive))
        alive = [sock for sock in alive if sock not in gone]
    print(f"A-21: {transport}: closed within {time.monotonic() - began:.1f} s, slowest answer {slowest * 1000:.0f} ms")
    for sock in open_:
        sock.close()
    lab.wait(lambda: lab.files() <= files + 5)
    lab.sms(account.did, "still there?")
    assert good.take().text == "still there?"


@pytest.mark.req("A-22")
def test_a22_no_peer_waits_for_one_that_never_reads(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    wedge, good = Tcp(lab.address), make_phone(account, "tcp")
    wedge._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    data = Phone(lab.address, "x", "x", wire=wedge).options().add("X-Padding", "y" * 500).bytes() * 20
    before, times = lab.memory(), []

    def flood() -> bool:
        """True if the connection was given up."""
        try:
            for _ in range(3000):
                wedge.send(data)
        except OSError:
            return True
        return False

    with ThreadPoolExecutor() as pool:
        flooding = pool.submit(flood)
        while not flooding.done():
            asked = time.monotonic()
            assert good.ask(good.options()).status == 200
            times.append(time.monotonic() - asked)
            time.sleep(0.01)  # an ordinary client, not a second flood
        assert flooding.result()
    wedge.close()
    print(
        f"A-22: answers to others: median {statistics.median(times) * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms"
    )
    assert statistics.median(times) < 0.5
    assert lab.memory() - before < 20


@pytest.mark.req("A-23")
def test_a23_an_address_has_a_limit_of_connections(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """A phone of that address that is connected stays; a second address is not concerned."""
    inside, outside = make_phone(account, "tcp"), lab.account()
    inside.register()
    held = [_connect(lab.address, "127.0.0.1") for _ in range(150)]
    time.sleep(0.1)
    refused = _closed(held)
    assert 50 <= len(refused) <= 60
    lab.sms(account.did, "are you in?")
    assert inside.take().text == "are you in?"
    with Phone(lab.address, outside.name, outside.password, wire=Tcp(lab.address, host="127.0.0.55")) as phone:
        phone.register()
    for sock in held:
        sock.close()


@pytest.mark.req("A-23")
def test_a23_connections_are_counted_over_all_listeners(lab: Fort, account: Account) -> None:
    """An address has a hundred, by SIP and HTTP together; a registered phone stays, and idle ones make room later."""
    host = "127.0.0.66"
    with Phone(lab.address, account.name, account.password, wire=Tcp(lab.address, host=host)) as inside:
        inside.register()
        listeners = [lab.address_of(name) for name in ("tcp", "tls", "ws", "wss")] + [("127.0.0.1", lab.http_port)]
        held = [_connect(listener, host) for listener in listeners for _ in range(60)]
        lab.wait(lambda: len([one for one in held if one.fileno() >= 0 and _is_over(one)]) >= 200)
        late = lab.wait(lambda: _served(lab, host))
        assert late.startswith(b"HTTP/1.1 200")
        lab.sms(account.did, "still in?")
        assert inside.take().text == "still in?"
        for sock in held:
            sock.close()


def _served(lab: Fort, host: str) -> bytes:
    """The answer by HTTP to a new connection; empty if it is refused."""
    with socket.create_connection(("127.0.0.1", lab.http_port), timeout=5, source_address=(host, 0)) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return sock.recv(4096)
        return b""


def _is_over(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.req("A-23", "A-38")
def test_a23_idle_connections_do_not_shut_the_http_listener(tmp_path: Path) -> None:
    """Six addresses hold more keep-alive connections than the process has room for: all others are answered."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with Fort(tmp_path / "few", 3, connections={"total": 256}) as few:
        held = []
        for n in range(500):
            sock = _connect(("127.0.0.1", few.http_port), f"127.0.7.{n % 6 + 1}")
            sock.send(request)
            assert select.select([sock], [], [], 10)[0]
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            held.append(sock)
        few.wait(lambda: len(_closed(held)) >= 500 - 256)
        account = few.account()
        few.sms(account.did, "by a hook")
        few.wait(lambda: few.texts(account.did) == ["by a hook"])
        for sock in held:
            sock.close()
        few.assert_stands()


@pytest.mark.req("A-21")
@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "http", "registered tcp"])
def test_a21_an_unfinished_message_is_not_kept_alive_by_a_byte_now_and_then(tmp_path: Path, transport: str) -> None:
    """From a message's first byte to its last a second, also when earlier ones were whole."""
    with Fort(tmp_path / "fort", 3, connections={"message_timeout": "1s"}) as fort:
        account, name = fort.account(), transport.split()[-1]
        if name == "http":
            sock = _connect(("127.0.0.1", fort.http_port), "127.0.0.1")
            sock.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX")
        else:
            phone = fort.phone(account, name)
            assert phone.ask(phone.options()).status == 200
            if transport == "registered tcp":
                phone.register()
            part = phone.options().bytes()[:60]
            phone.send(part if name != "ws" else frame(TEXT, part, fin=False))
            sock = phone.wire._socket  # type: ignore[union-attr]
        began = time.monotonic()
        sock.setblocking(False)
        over = False
        while not over:
            assert time.monotonic() - began < 15
            time.sleep(0.2)  # a byte now and then
            try:
                sock.send(b"x" if name != "ws" else frame(CONTINUATION, b"x", fin=False))
                over = not sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                over = True
        sock.close()
        fort.assert_stands()


@pytest.mark.req("A-23")
def test_a23_open_files_are_reserved_for_store_and_carrier(tmp_path: Path) -> None:
    """A process that takes 256 connections: the store, HTTP and the carrier go on working beside them."""
    with Fort(tmp_path / "few", 3, connections={"total": 256}) as few:
        account = few.account()
        good = few.phone(account, "tcp")
        good.register()
        held = []
        for n in range(500):
            with contextlib.suppress(OSError):
                held.append(_connect(few.address, f"127.0.6.{n % 10 + 1}"))
        few.wait(lambda: 250 <= few.files() < 300)
        assert few.ready()
        few.sms(account.did, "through the crowd")
        assert good.take().text == "through the crowd"
        assert good.message(HANDSET, "good crowd").status == 202
        few.wait(lambda: few.carrier.taken)
        for sock in held:
            sock.close()
        good.close()
        few.assert_stands()


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-24")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed (tools/packages)")
def test_a24_tls_renegotiation_is_refused(lab: Fort) -> None:
    """TLS 1.2 lets a client ask for one handshake after the other on one connection: refused."""
    host, port = lab.address_of("tls")
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"{host}:{port}", "-servername", "sip.example.net"]
    done = subprocess.run(command, input="R\n" * 3, capture_output=True, text=True, timeout=10, check=False)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in (done.stdout + done.stderr).lower() or done.returncode != 0


@pytest.mark.req("A-24")
def test_a24_tls_records_of_one_byte_are_read(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Read as any other stream, and not dearer than the bytes are many."""
    phone = make_phone(account, "tls")
    draft = phone.signed(phone.message_draft(HANDSET, "good bytes"))
    before = lab.cpu()
    for byte in draft.bytes():
        phone.send(bytes([byte]))
    assert phone.response_to(draft).status == 202
    bytewise, before = lab.cpu() - before, lab.cpu()
    for _ in draft.bytes():
        assert phone.ask(phone.options()).status == 200
    assert bytewise < 2 * (lab.cpu() - before), "a byte costs less than a request"


def _hello(name: int) -> bytes:
    """A ClientHello with a server name of this length."""
    entry = struct.pack("!BH", 0, name) + b"a" * name
    sni = struct.pack("!HHH", 0, len(entry) + 2, len(entry)) + entry
    versions = struct.pack("!HHBH", 43, 3, 2, 0x0304)
    extensions = sni + versions
    body = (
        b"\x03\x03" + b"\1" * 32 + b"\0" + b"\0\x02\x13\x01" + b"\1\0" + struct.pack("!H", len(extensions)) + extensions
    )
    handshake = b"\1" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


@pytest.mark.req("A-24")
def test_a24_a_long_server_name_is_refused(lab: Fort) -> None:
    wire = Tcp(lab.address_of("tls"))
    wire.send(_hello(16_000))
    with contextlib.suppress(AssertionError):  # an alert comes first
        wire.assert_closed(2.0)
    Tcp.close(wire)


@pytest.mark.req("A-24")
def test_a24_half_handshakes_leave_no_open_file(lab: Fort, make_phone: MakePhone) -> None:
    """500 clients say hello and are gone: no file is left over, and the price is bounded."""
    files, before = lab.files(), lab.cpu()
    for _ in range(100):
        credulous().wrap_socket(socket.create_connection(lab.address_of("tls"))).close()
    whole, before, began = (lab.cpu() - before) / 100, lab.cpu(), time.monotonic()
    context = credulous()
    for n in range(500):
        sock = socket.create_connection(lab.address_of("tls"), source_address=(f"127.0.7.{n % 10 + 1}", 0))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="sip.example.net")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(outgoing.read()[: 600 if n % 2 else 100])
        if n % 3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    phone = make_phone("anybody", "tls", "x")
    assert phone.ask(phone.options()).status == 200
    spent = lab.cpu() - before
    print(f"A-24: 500 halves: {spent:.2f} s of CPU in {time.monotonic() - began:.2f} s; a whole one {whole:.4f}")
    assert spent / 500 < 3 * whole
    lab.wait(lambda: lab.files() <= files + 5)


# --- cut off ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-25")
@pytest.mark.parametrize(("transport", "rounds"), [("tcp", 100), ("tls", 60), ("wss", 20)])
def test_a25_resets_lose_no_accepted_message(lab: Fort, account: Account, transport: str, rounds: int) -> None:
    """CVE-2018-7286: ten messages, then RST, again and again. As many rows as 202 were made, each sent once."""
    texts, files = [], lab.files()
    computed = lab.metric("sipsms_sip_requests_total", method="MESSAGE", status="202")
    for n in range(rounds):
        phone = lab.phone(account, transport)
        challenge = phone.ask(phone.message_draft(HANDSET)).challenges()[0]
        for number in range(10):
            texts.append(f"good {n}.{number}")
            draft = phone.message_draft(f"44455{n:03d}{number:02d}", texts[-1])  # a lane of its own
            phone.credentials.nc = number + 1
            phone.send(draft.add("Proxy-Authorization", phone.credentials.header(challenge, draft)))
        phone.wire.reset()  # type: ignore[union-attr]

    def all_done() -> bool:
        rows = lab.rows(account.did)
        made = lab.metric("sipsms_sip_requests_total", method="MESSAGE", status="202") - computed
        is_read = lab.files() <= files + 2  # all connections are over; two are the carrier's and the store's
        return is_read and len(rows) == made and all(row["state"] in ("accepted", "delivered") for row in rows)

    lab.wait(all_done, 15)
    stored = lab.texts(account.did)
    assert len(set(stored)) == len(stored)
    assert set(stored) <= set(texts)
    left = [one.json["text"] for one in lab.carrier.taken if one.json["from"] == account.did]
    assert sorted(left) == sorted(stored)
    print(f"A-25: {transport}: {len(stored)} of {len(texts)} messages were read before the reset")


# --- WebSocket -------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-26")
def test_a26_large_claims_and_endless_fragments_do_not_fill_memory(lab: Fort) -> None:
    """Large claims, endless fragments, pings without end, on 100 connections: nothing is set aside for them."""
    before = lab.memory()
    large = b"\x81\xff" + struct.pack("!Q", 2**33) + b"abcd" + b"x" * 60_000
    endless = frame(TEXT, b"a" * 1000, fin=False) + frame(CONTINUATION, b"b" * 1000, fin=False) * 60
    pings = frame(PING, b"p" * 100) * 500
    held = []
    for n in range(90):
        wire = open_websocket("ws", lab.address_of("ws"))
        with contextlib.suppress(OSError):
            wire.send_raw((large, endless, pings)[n % 3])
        held.append(wire)
    assert lab.memory() - before < 30
    for wire in held:
        wire.close()


@pytest.mark.req("A-26")
def test_a26_an_endless_upgrade_request_is_closed(lab: Fort) -> None:
    """100 KB of headers without an end."""
    wire = Ws(lab.address_of("ws"))
    with contextlib.suppress(OSError):
        Tcp.send(wire, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000)
    with contextlib.suppress(AssertionError):
        Tcp.assert_closed(wire, 2.0)
    wire.close()


@pytest.mark.req("A-14", "A-25")
def test_registrations_end_with_connections_that_are_cut(lab: Fort, account: Account) -> None:
    """Each new connection registers one more contact and is reset: their bindings go with them, none is in the way."""
    for _ in range(30):
        phone = lab.phone(account, "tcp")
        phone.register()
        phone.wire.reset()  # type: ignore[union-attr]
    lab.wait(lambda: not lab.bindings(account.name))
    with lab.phone(account, "tcp") as phone:
        signer = Signer(phone, "REGISTER")
        assert signer.ask(phone.register_draft(f"<{phone.contact}>")).status == 200


_GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
_UPGRADE = (
    _GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_SIP_UPGRADE = _UPGRADE + b"Sec-WebSocket-Protocol: sip\r\n"


@pytest.mark.req("A-26")
@pytest.mark.parametrize("transport", ["ws", "wss"])
@pytest.mark.parametrize(
    "head",
    [
        _GET, _UPGRADE, _SIP_UPGRADE, b"POST" + _SIP_UPGRADE[3:], _SIP_UPGRADE.replace(b"13", b"12"),
        _SIP_UPGRADE + b"Origin: https://evil.example\r\n", _SIP_UPGRADE + b"Origin: a\r\nOrigin: b\r\n",
        _SIP_UPGRADE.replace(b"AAAA==", b""),
        _SIP_UPGRADE + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"\0\1\2\r\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [b"xxxx", _SIP_UPGRADE + b"\r\n", b"\x81\x80aaaa", b"\x88\x80aaaa", b"\xff" * 5000])
def test_a26_bytes_behind_the_handshake_leave_no_traceback(lab: Fort, transport: str, head: bytes, more: bytes) -> None:
    """In one write with the request, and after it: the connection is closed, and the log has no bug."""
    sock = socket.create_connection(lab.address_of(transport), timeout=5)
    if transport == "wss":
        sock = credulous().wrap_socket(sock, server_hostname="sip.example.net")
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        sock.sendall(head + b"\r\n" + more)
        sock.sendall(more)
        while sock.recv(65536):  # a connection that stays open ends in a TimeoutError
            sock.sendall(more)
    sock.close()
