"""sipsms.cli.softphone: real pjsua2 phones. They run in a process of their own (`python test_softphone.py PLAY PORT`),
because pjsua2 aborts its process on a slip and must not take pytest along. The registrar is a few lines in this one."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sipsms.cli import softphone
from tests.support.node.server import bound_sockets

needs_pjsua2 = pytest.mark.skipif(
    importlib.util.find_spec("pjsua2") is None, reason="pjsua2 is not installed: pip install '.[softphone]'"
)
ECHOED = ("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:")
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


# --- without pjsua2 --------------------------------------------------------------------------------------------------


def test_the_headers_of_a_raw_message_are_parsed() -> None:
    raw = "MESSAGE sip:a@b SIP/2.0\r\nX-SMS-To : 5550001111\r\nSubject: one\r\n two\r\n\r\nbody: no header"
    assert softphone._headers(raw) == {"X-SMS-To": "5550001111", "Subject": "one two"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('399 sip.example.net "10 digits, please"', "10 digits, please"),
        ("399 host bare", "399 host bare"),
        ("", ""),
    ],
)
def test_the_text_of_a_warning_is_shown(value: str, words: str) -> None:
    raw = f"SIP/2.0 404 Not Found\r\nWarning: {value}\r\n\r\n" if value else "SIP/2.0 200 OK\r\n\r\n"
    assert softphone._warning(raw) == words


@pytest.mark.parametrize(("server", "parsed"), [("h:5070", ("h", 5070)), ("192.0.2.1", ("192.0.2.1", 5060))])
def test_the_server_address_is_parsed(server: str, parsed: tuple[str, int]) -> None:
    assert softphone.parse_server(server) == parsed


def test_a_missing_pjsua2_gives_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pjsua2", None)
    assert softphone.run_interactive("alice", "pw", "127.0.0.1:5060") == 1
    assert capsys.readouterr().err == f"sipsms: {softphone.NO_INSTALL}\n"


# --- with it ---------------------------------------------------------------------------------------------------------


class Registrar:
    """Says 200 to everything over UDP and TCP, 403 with a Warning to MESSAGE for 55512345678; keeps what it read."""

    def __init__(self) -> None:
        self.udp, self.tcp = bound_sockets()
        self.tcp.listen()
        self.port = self.udp.getsockname()[1]
        self.seen: list[str] = []
        for job in (self._datagrams, self._connections):
            threading.Thread(target=job, daemon=True).start()

    def methods(self) -> list[str]:
        """In order; an unregistering REGISTER as `-REGISTER`."""
        return ["-REGISTER" if "\r\nExpires: 0\r\n" in raw else raw.split(" ", 1)[0] for raw in self.seen]

    def _datagrams(self) -> None:
        while data := self.udp.recvfrom(65535):
            self.udp.sendto(self._answer(data[0].decode()), data[1])

    def _connections(self) -> None:
        while True:
            threading.Thread(target=self._stream, args=(self.tcp.accept()[0],), daemon=True).start()

    def _stream(self, connection: socket.socket) -> None:
        while data := connection.recv(65535):  # on loopback, one short request is one read
            if data.strip():
                connection.sendall(self._answer(data.decode()))

    def _answer(self, raw: str) -> bytes:
        self.seen.append(raw)
        refused = raw.startswith("MESSAGE sip:55512345678@")
        lines = ["SIP/2.0 403 Forbidden" if refused else "SIP/2.0 200 OK"]
        lines += [
            x for x in raw.split("\r\n") if x.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:"))
        ]
        lines += ['Warning: 399 host "not a number"'] if refused else []
        return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()


@pytest.fixture
def registrar() -> Registrar:
    return Registrar()


def play(name: str, *arguments: object) -> Any:
    """Run one of the plays below in its own process; what it printed last is JSON."""
    command = [sys.executable, __file__, name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)  # so nothing of pjsua2's own chatter may be there


@needs_pjsua2
def test_two_phones_talk_peer_to_peer() -> None:
    seen = play("peer_to_peer", 9)
    assert seen["status"] == 200
    assert seen["inbox"] == [["4445556666", "4445556666@127.0.0.1", "grüß dich 👋", "5550001111"]]
    assert seen["others"] == 0


@needs_pjsua2
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_softphone_registers_and_sends(registrar: Registrar, transport: str) -> None:
    seen = play("registers", registrar.port, transport)
    assert seen == {"registered": 200, "sent": 200, "refused": [403, "Forbidden", "not a number"]}
    assert registrar.methods() == ["REGISTER", "MESSAGE", "MESSAGE", "-REGISTER"]
    assert f'+sip.instance="<{INSTANCE}>"' in registrar.seen[0]
    assert "\r\nTo: <sip:alice@sip.example.net>\r\n" in registrar.seen[0]


@needs_pjsua2
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_softphone_comes_back_on_its_port_after_a_lost_network(registrar: Registrar, transport: str) -> None:
    seen = play("pulled_cable", registrar.port, transport)
    assert seen["ports"][0] == seen["ports"][1]
    assert registrar.methods() == ["REGISTER", "REGISTER", "-REGISTER", "REGISTER"]
    assert seen["returned"] == [200, 200]


@needs_pjsua2
def test_two_devices_of_one_account_have_separate_instances() -> None:
    assert play("two_devices", 9) == [["for one"], ["for two"]]


@needs_pjsua2
def test_the_softphone_sends_one_message_from_the_command_line(registrar: Registrar) -> None:
    code = (
        "import sys; from sipsms.cli.softphone import run_interactive as r; sys.exit(r('alice', 'pw', *sys.argv[1:]))"
    )
    for number, status, shown in [("5551234567", 0, "200 OK\n"), ("55512345678", 1, "403 Forbidden (not a number)\n")]:
        command = [sys.executable, "-c", code, f"127.0.0.1:{registrar.port}", number, "hello"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENV)
        assert (done.returncode, done.stdout) == (status, shown), done.stderr


@needs_pjsua2
def test_conversation_on_stdin_ends_with_the_input(registrar: Registrar) -> None:
    code = "import sys; from sipsms.cli.softphone import run_interactive as r; sys.exit(r('alice', 'pw', sys.argv[1]))"
    command = [sys.executable, "-c", code, f"127.0.0.1:{registrar.port}"]
    typed = "5551234567 hello there\n\n5551234567 bye\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False, env=ENV)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("5551234567 <- 200 OK") == 2
    assert registrar.methods() == ["REGISTER", "MESSAGE", "MESSAGE", "-REGISTER"]


# --- the plays, run in the other process -----------------------------------------------------------------------------


def peer_to_peer(stack: softphone.Stack, port: int) -> Any:
    alice, bob, carol = (softphone.Softphone(n, "", "127.0.0.1", port, stack=stack) for n in ("alice", "bob", "carol"))
    answer = alice.send(bob.contact, "grüß dich 👋", "Alice", "4445556666", {"X-SMS-To": "5550001111"})
    bob.wait_message("grüß dich 👋")
    inbox = [[m.sender, m.from_uri.partition("sip:")[2][:-1], m.text, m.header("x-sms-to")] for m in bob.inbox]
    return {"status": answer.status, "inbox": inbox, "others": len(carol.inbox) + len(alice.inbox)}


def registers(stack: softphone.Stack, port: int, transport: str) -> Any:
    alice = softphone.Softphone(
        "alice", "pw", "127.0.0.1", port, transport, stack=stack, domain="sip.example.net", instance=INSTANCE
    )
    registered = alice.register()
    sent, refused = alice.send("5551234567", "hi"), alice.send("55512345678", "hi")
    return {"registered": registered.status, "sent": sent.status, "refused": list(refused)}


def pulled_cable(stack: softphone.Stack, port: int, transport: str) -> Any:

    alice = softphone.Softphone("alice", "pw", "127.0.0.1", port, transport, stack=stack)
    alice.register()
    before = alice.port
    alice.offline(abrupt=True)
    stack.pump(0.3)
    first = alice.go_online()
    alice.offline()
    second = alice.go_online()
    alice.offline(abrupt=True)
    return {"ports": [before, alice.port], "returned": [first.status, second.status]}


def two_devices(stack: softphone.Stack, port: int) -> Any:
    sender, one, two = (softphone.Softphone(n, "", "127.0.0.1", port, stack=stack) for n in ("eve", "alice", "alice"))
    sender.send(one.contact, "for one")
    sender.send(two.contact, "for two")
    return [[m.text for m in phone.inbox] for phone in (one, two)]


if __name__ == "__main__":
    with softphone.Stack() as the_stack:
        result = globals()[sys.argv[1]](the_stack, int(sys.argv[2]), *sys.argv[3:])
    print(json.dumps(result))
