"""Watching the server: `sipsms trace` as a process of its own, a capture server, and watchers that sleep."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sip.test_hep import decode, number

from sipsms.core import control_socket
from tests.support.node.server import Node
from tests.support.sip.wire import Phone

from .conftest import MakePhone
from .lab import Account, Lab


class Capture:
    """A capture server's socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.port = int(self._socket.getsockname()[1])

    def packets(self, call_id: str, count: int) -> list[dict[int, bytes]]:
        """The next packets of one dialogue."""
        found: list[dict[int, bytes]] = []
        while len(found) < count:
            chunks = decode(self._socket.recv(65535))
            if chunks.get(0x11) == call_id.encode():
                found.append(chunks)
        return found


@pytest.fixture(scope="module")
def capture() -> Capture:
    return Capture()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, capture: Capture) -> Iterator[Lab]:
    hep = {"host": "127.0.0.1", "port": capture.port, "id": 4711, "password": "h3p"}
    with Lab(tmp_path_factory.mktemp("trace"), 20, trace={"hep": hep}) as lab:
        yield lab


@contextlib.contextmanager
def watching(node: Node, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`sipsms trace`, once it has said that it watches."""
    command = [sys.executable, "-m", "sipsms", "-c", str(node.path), "trace", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("sipsms: watching sip.example.net")
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> list[str]:
    """The lines it has printed until it ended by itself, well."""
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    return out.splitlines()


@contextlib.contextmanager
def raw_watcher(node: Node, **wish: Any) -> Iterator[socket.socket]:
    """A watcher that reads when it pleases; the tap is on when this returns."""
    with control_socket.connect(control_socket.path_for(f"sqlite:///{node.store}"), 5) as sock:
        sock.sendall(b"".join(control_socket.request("trace", wish)))
        assert b"hello" in sock.recv(1000)
        yield sock


@pytest.mark.parametrize("transport", ["udp", "tls"], indirect=True)
def test_a_ladder(lab: Lab, account: Account, phone: Phone, transport: str) -> None:
    with watching(lab, "--account", account.name, "--count", "8") as process:
        phone.register()
        assert phone.message("5554443001", "Are you there?").status == 202
        lines = ended(process)
    host, port = phone.wire.local
    assert all(f"{host}:{port} {transport} " in line for line in lines), lines
    said = [line.partition(" sipsms  ")[2].partition("  [")[0] for line in lines]
    text = f"MESSAGE  {account.name} → 5554443001  text/plain 14 characters"
    assert said == [
        f"REGISTER  {account.name} → {account.name}", "401 Unauthorized (REGISTER)",
        f"REGISTER  {account.name} → {account.name}", "200 OK (REGISTER)",
        text, "407 Proxy Authentication Required (MESSAGE)", text, "202 Accepted (MESSAGE)",
    ]  # fmt: skip
    assert ["──▶" in line for line in lines] == [True, False] * 4
    assert "there?" not in "".join(lines)


def test_one_account_only(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    """Also what comes for it, retransmissions, and what its phone sends without saying who it is; nobody else's."""
    phone, other = make_phone(account), make_phone(lab.account())
    phone.register()
    with watching(lab, "--account", account.name, "--json", "--count", "5") as process:
        other.register()
        lab.sms(account.did, "for you")
        phone.request()
        request = phone.request()  # again, after T1: it was not answered
        phone.answer(request)
        anonymous = phone.options().set("From", "<sip:anonymous@anonymous.invalid>;tag=1")
        assert phone.ask(anonymous).status == 200
        events = [json.loads(line) for line in ended(process)]
    assert [(one["incoming"], one["method"], one["status"]) for one in events] == [
        (False, "MESSAGE", 0), (False, "MESSAGE", 0), (True, "MESSAGE", 200), (True, "OPTIONS", 0),
        (False, "OPTIONS", 200),
    ]  # fmt: skip
    assert (events[0]["sms_to"], events[0]["length"], events[0]["destination"]) == (account.did, 7, account.name)
    assert "for you" not in json.dumps(events)


@pytest.mark.req("A-48")
def test_the_whole_message_without_the_digests_response(lab: Lab, account: Account, udp_phone: Phone) -> None:
    with watching(lab, "--account", account.name, "--full", "--count", "4") as process:
        draft = udp_phone.signed(udp_phone.message_draft("5554443001", "tell\x1b[2Jall"))
        assert udp_phone.ask(draft).status == 202
        text = "\n".join(ended(process))
    assert "    tell [2Jall" in text
    assert "\x1b" not in text
    response = draft.get("Proxy-Authorization").partition('response="')[2].partition('"')[0]
    assert len(response) == 32
    assert response not in text
    assert 'response=""' in text


def test_a_capture_server(lab: Lab, account: Account, phone: Phone, transport: str, capture: Capture) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "copy"))
    assert phone.ask(draft).status == 202
    packets = capture.packets(draft.get("Call-ID"), 4)
    here, there = phone.wire.local, lab.address_of(transport)
    for chunks, (source, destination) in zip(packets, [(here, there), (there, here)] * 2, strict=True):
        assert (socket.inet_ntoa(chunks[3]), number(chunks[7])) == source
        assert (socket.inet_ntoa(chunks[4]), number(chunks[8])) == destination
        assert (number(chunks[2]), number(chunks[12]), chunks[14]) == (17 if transport == "udp" else 6, 4711, b"h3p")
        assert abs(time.time() - number(chunks[9])) < 10
    assert [chunks[15].split(b"\r\n")[0].split(b" ")[0] for chunks in packets] == [b"MESSAGE", b"SIP/2.0"] * 2
    assert packets[2][15].endswith(b"copy")
    assert b'response=""' in packets[2][15]
    assert lab.metric("sipsms_hep_packets_total", outcome="sent") >= 4


def test_a_watcher_that_never_reads_slows_nobody(lab: Lab, make_phone: MakePhone) -> None:
    phone = make_phone(lab.account(), "tcp")
    with raw_watcher(lab, full=True) as sleeper:
        for _ in range(60):
            draft = phone.draft("OPTIONS", body=b"x" * 30_000)
            assert phone.ask(draft).status in (200, 415)
        sleeper.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while sleeper.recv(1 << 20):
                pass
        assert phone.ask(phone.options()).status == 200
        lines = sleeper.makefile("rb")
        assert json.loads(lines.readline())["missed"] > 0
        assert json.loads(lines.readline())["method"] == "OPTIONS"
    lab.assert_answers()


def test_from_start_to_end(tmp_path: Path) -> None:
    """No server: one line. One that was killed leaves a dead socket, which the next one replaces. Its end is told."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)  # longer than a Unix socket's name may be
    node = Node(deep)
    done = node.cli("trace", check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("sipsms: no server is running here")
    node.start()
    node.kill()
    assert Path(f"{node.store}.control").is_socket()
    with node, watching(node) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == ""
        with watching(node) as other:
            node.stop()
            assert other.wait(60) == 1
            assert other.stderr is not None
            assert other.stderr.read() == "sipsms: the server has stopped\n"
    assert not Path(f"{node.store}.control").exists()
