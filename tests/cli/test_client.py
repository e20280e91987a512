"""Commands beside a running server, and without one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sipsms.app.settings import load
from sipsms.cli import client
from sipsms.core.control_socket import path_for
from sipsms.core.errors import AdminError, BadValue
from sipsms.store.engine import lock, open_engine
from tests.support.node.server import Node

_LISTED = """
import sys
from sipsms.cli import cli
cli.main(["-c", sys.argv[1], "account", "list", "--json"], standalone_mode=False)
print(sorted({"sqlalchemy", "pydantic", "sipsms.store"} & set(sys.modules)))
"""


def test_a_command_asks_the_server(tmp_path: Path) -> None:
    """It needs no library for the store then, nor the secrets of the configuration; and what it has changed counts."""
    secret = {"type": "http", "url": "http://127.0.0.1:9/", "headers": {"X": "env:SIPSMS_TEST_SECRET"}}
    node = Node(tmp_path, carriers={"sim": {"type": "loopback"}, "api": secret})
    node.environment = {"SIPSMS_TEST_SECRET": "known to the server"}
    with node:
        node.environment = {}
        node.cli("account", "add", "acme", "--password", "pw")
        assert [event["accounts"] for event in node.events("directory")][-1] == 1
        done = subprocess.run([sys.executable, "-c", _LISTED, str(node.path)], capture_output=True, text=True)
        listed, imported = done.stdout.splitlines()
        assert json.loads(listed)["name"] == "acme"
        assert imported == "[]"
        wrong = node.cli("account", "set", "acme", "--email", "nobody", check=False)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        node.kill()
        assert path_for(f"sqlite:///{node.store}").is_socket()
        assert node.listed("account", "list")[0]["name"] == "acme"  # nobody answers at the socket that it left


def _answer_once(path: Path, octets: bytes) -> threading.Thread:
    """Be a server that reads one request, answers with these octets, and ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(octets)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", AdminError, "stopped before it answered"),
        (b'{"items": [1]}\n', AdminError, "stopped before it answered"),
        (b'{"error": "AdminError", "text": "no such"}\n', AdminError, "no such"),
        (b'{"error": "BadValue", "text": "too long", "field": "email"}\n', BadValue, "email: too long"),
    ],
)
def test_what_the_server_cannot_do_is_told(tmp_path: Path, answer: bytes, error: type[Exception], words: str) -> None:
    thread = _answer_once(tmp_path / "s", answer)
    with pytest.raises(error, match=words):
        client._ask(tmp_path / "s", "list_dids", {})
    thread.join()


def test_a_server_that_does_not_answer_is_not_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command never touches a store that a server has locked."""
    monkeypatch.setattr(client, "_WAIT", 0.2)
    node = Node(tmp_path)
    held = lock(open_engine(f"sqlite:///{node.store}"), "server")
    assert held is not None
    with held, pytest.raises(AdminError, match=r"another sipsms server is running .* nobody answers at .*\.control"):
        client.do(node.path, lambda: load(node.path), "list_accounts", {})
    assert not node.store.exists()


_SECRETS = """
domain: sip.example.net
store: sqlite:///sipsms.db
listen: {sip: ["udp://127.0.0.1:0"], http: null}
sip: {nonce_secret: "env:SIPSMS_TEST_MISSING"}
smtp: {host: mail.example.net, from: sms@example.net, username: sms, password: "file:missing"}
carriers:
  smsc: {type: smpp, url: "env:SIPSMS_TEST_MISSING"}
  trunk: {type: sip, server: sip.example.com, username: u, password: "env:SIPSMS_TEST_MISSING"}
  voipms:
    type: voipms
    username: a@example.net
    password: "file:missing"
    inbound: {secret: "env:SIPSMS_TEST_MISSING"}
  api:
    type: http
    url: http://127.0.0.1:9/
    auth: {bearer: "env:SIPSMS_TEST_MISSING"}
    fields: {to: "{to}", key: "env:SIPSMS_TEST_MISSING"}
    headers: {X-Key: "file:missing"}
"""


def test_a_command_without_a_server_needs_no_secrets(tmp_path: Path) -> None:
    """A shell has not the environment of the server. What the server runs with is still checked, and so are values."""
    (tmp_path / "sipsms.yaml").write_text(_SECRETS)
    (tmp_path / "import.yaml").write_text("accounts: [{name: anna, password: pw, dids: [{number: '5550001111'}]}]")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sipsms", "-c", str(tmp_path / "sipsms.yaml"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for arguments in (
        ("migrate",), ("import", str(tmp_path / "import.yaml")),
        ("send", "--from", "5550001111", "--to", "4445556666", "hi"),
        ("receive", "--from", "4445556666", "--to", "5550001111", "hi"), ("carriers",), ("export",), ("devices",),
    ):  # fmt: skip
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
    for command in ("check-config", "serve"):
        done = run(command)
        assert (done.returncode, done.stderr.count("has no variable SIPSMS_TEST_MISSING")) == (1, 6)
        assert done.stderr.count("cannot read missing") == 3
    (tmp_path / "sipsms.yaml").write_text(_SECRETS.replace('"env:SIPSMS_TEST_MISSING"}\nsmtp', "[1]}\nsmtp"))
    assert "nonce_secret" in run("export").stderr
