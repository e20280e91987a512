"""Secrets outside of the configuration show up nowhere; a control socket that is misused serves the next command."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipsms.core.control_socket import path_for, request
from tests.support.node.server import Node

KEY, BEARER, NONCES = "k3y-of-the-carrier-0001", "b3arer-of-the-api-0002", "n0nce-secret-0003-abcdef-0123456789"
HOOK, PASSWORD = "s3cret-of-the-hook-0004", "pw-of-acme-0005"
SECRETS = (KEY, BEARER, NONCES, HOOK, PASSWORD)
COMMANDS = (
    "export", "check-config", "carriers", "registrations", "binds", "queue", "dead-letters", "messages", "devices",
    "webhooks", "account list", "did list", "token list", "block list",
    "route --from acme --to 4445556666", "route --from 5550001111 --to 4445556666",
)  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server whose secrets all stand outside of the configuration."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "bearer").write_text(f"{BEARER}\n")
    acme = {
        "type": "http", "url": "http://127.0.0.1:9/send", "auth": {"bearer": f"file:{folder / 'bearer'}"},
        "inbound": {"secret": "env:ATTACK_HOOK", "signature": {"kind": "hmac-sha256", "key": "env:ATTACK_KEY"}},
    }  # fmt: skip
    node = Node(
        folder,
        carriers={"acme": acme},
        sip={"nonce_secret": "env:ATTACK_NONCES"},
        log={"level": "debug", "format": "json"},
    )
    node.environment = {"ATTACK_KEY": KEY, "ATTACK_NONCES": NONCES, "ATTACK_HOOK": HOOK}
    node.import_accounts(
        {"name": "acme", "password": PASSWORD, "caller_id": "5550001111", "dids": [{"number": "5550001111"}]}
    )
    with node:
        yield node


def _ask(url: str, body: bytes | None = None, **headers: str) -> str:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return str(answer.headers) + answer.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.headers) + error.read().decode()


@pytest.mark.req("A-48")
def test_no_secret_is_in_what_a_command_or_a_page_shows(node: Node) -> None:
    node.cli("send", "--from", "5550001111", "--to", "4445556666", "hi")
    shown = {name: node.cli(*name.split(), check=False) for name in COMMANDS}
    said = {name: done.stdout + done.stderr for name, done in shown.items()}
    assert {name: done.returncode for name, done in shown.items()} == dict.fromkeys(COMMANDS, 0), said
    hooks = [f"{node.url}/hooks/acme/{secret}" for secret in (HOOK, "wrong")]
    pages = [_ask(f"{node.url}/{page}") for page in ("readyz", "metrics", "healthz", "v1/openapi.json", "nothing")]
    pages += [_ask(url, body, **{"Content-Type": "application/json"}) for url in hooks for body in (b"{}", b"{", b"[]")]
    node.path.with_name("wrong.yaml").write_text(node.path.read_text().replace("hmac-sha256", "nonsense"))
    said["wrong"] = node.cli("-c", str(node.path.with_name("wrong.yaml")), "check-config", check=False).stderr
    assert "nonsense" in said["wrong"] or "kind" in said["wrong"]
    for place, text in [*said.items(), *((page[:60], page) for page in pages), ("log", node.log_path.read_text())]:
        found = [secret for secret in SECRETS if secret in text]
        assert not found, (place, found)


def _control(node: Node) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path_for(f"sqlite:///{node.store}")))
    return sock


@pytest.mark.req("A-21", "A-48")
def test_misuse_of_the_control_socket_delays_no_command_and_no_stop(node: Node) -> None:
    """Half requests, huge lines, endless brackets, and clients that never read their answer."""
    held = [_control(node) for _ in range(60)]
    whole = b"".join(request("list_accounts", {}))
    for number, sock in enumerate(held):
        octets = (b"", whole[:10], whole[:-1], b"x" * 200_000, b"[" * 200_000 + b"\n", whole)[number % 6]
        try:
            sock.sendall(octets)
        except OSError:  # refused while it is sent
            continue
    names = [row["name"] for row in node.listed("account", "list")]
    assert names == ["acme"]
    assert node.process is not None
    assert node.stop() == 0
    for sock in held:
        sock.close()
    text = node.log_path.read_text()
    assert "Traceback" not in text
    assert [
        json.loads(line)["event"] for line in text.splitlines() if '"crashed"' in line or "task_failed" in line
    ] == []
    node.start()


@pytest.mark.req("A-48")
def test_the_control_socket_and_the_store_are_closed_to_other_users(node: Node) -> None:
    for path in (path_for(f"sqlite:///{node.store}"), Path(node.store)):
        assert path.stat().st_mode & 0o077 == 0, path
