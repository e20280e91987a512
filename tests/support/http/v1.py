"""A server with two customers that have everything, and calls of its /v1 API over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.node.server import Node

HANDSET = "4445556666"  # nobody's DID: with the loopback carrier a simulated handset


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = self.json
        assert found["status"] == self.status
        assert found["type"].startswith("urn:sipsms:problem:")
        return found

    @property
    def fields(self) -> list[str]:
        return [one["field"] for one in self.problem["errors"]]


class ApiNode(Node):
    """`tokens`: op, reseller (rita, who manages bert), anna, bert, did (anna's number)."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(
            folder,
            **{
                "api": {"per_minute": 0, "daily_sends": 0},
                "callbacks": {"allow_private": True},
                "log": {"level": "debug", "format": "json"},
                **settings,
            },
        )
        self.import_accounts(
            _customer("anna", "5550001111"), _customer("bert", "5550002222"), _customer("rita", "5550003333")
        )
        self.tokens: dict[str, str] = {}

    def start(self, seconds: float = 20.0) -> ApiNode:
        super().start(seconds)
        if not self.tokens:
            secret = self.cli("token", "add", "op", "--scope", "operator").stdout.strip()
            self.tokens["op"] = secret
            for name, owner, scope, did in (
                ("anna", "anna", "customer", ""), ("bert", "bert", "customer", ""),
                ("reseller", "rita", "reseller", ""), ("did", "anna", "did", "5550001111"),
            ):  # fmt: skip
                self.tokens[name] = self.made(name, owner, scope, did)
            assert self.patch("/accounts/bert", {"reseller": "rita"}).status == 200
        return self

    def made(self, name: str, owner: str, scope: str = "customer", did: str = "") -> str:
        reply = self.post("/tokens", {"name": name, "account": owner, "scope": scope, "did": did})
        assert reply.status == 201, reply
        return str(reply.json["secret"])

    # --- calls ---

    def call(
        self, method: str, path: str, body: Any = None, who: str | None = "op", headers: dict[str, str] | None = None
    ) -> Reply:
        """`path` below /v1; `who`: name of a token, or None. A body of bytes goes as it is."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if who is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            connection.request(method, "/v1" + path, data, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, who: str | None = "op") -> Reply:
        return self.call("GET", path, None, who)

    def post(self, path: str, body: Any = None, who: str | None = "op", **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, {} if body is None else body, who, sent)

    def patch(self, path: str, body: Any, who: str | None = "op") -> Reply:
        return self.call("PATCH", path, body, who)

    def send(self, text: str, who: str = "anna", to: str = HANDSET, **more: Any) -> Reply:
        return self.post("/messages", {"to": to, "text": text, **more}, who)

    def raw(self, data: bytes, seconds: float = 20.0) -> bytes:
        """What the server answers to these bytes, until it closes; they may be refused half way."""
        with socket.create_connection(("127.0.0.1", self.http_port), seconds) as wire:
            try:
                wire.sendall(data)
                wire.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            found = b""
            try:
                while chunk := wire.recv(65536):
                    found += chunk
            except OSError:
                pass
            return found

    def resident(self) -> int:
        """Bytes of memory that the server has now."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def _customer(name: str, number: str) -> dict[str, Any]:
    return {
        "name": name, "password": f"secret-of-{name}", "caller_id": number,
        "subaccounts": [{"name": f"{name}-desk", "password": f"secret-of-{name}-desk"}],
        "dids": [{"number": number}],
    }  # fmt: skip
