"""The HTTP server of provisioning documents, on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from sipsms.accounts.provisioning import Settings, document
from sipsms.core import log
from sipsms.core.errors import Unavailable
from sipsms.web import provisioning
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.media import MediaDownload
from sipsms.web.provisioning import ProvisioningDownload
from sipsms.web.server import build
from tests.support.http.server import listening

DESK = Settings("desk", "s3cret", "sip.example.net", "sip.example.net", "tcp", "sip.example.net", 3600)
Ask = Any


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    log.setup("warning", "json")


class Links:
    """Good for one fetch each."""

    def __init__(self) -> None:
        self.left = {"good": 1, "down": 1}

    async def fetch(self, token: str) -> Settings | None:
        if token == "down":
            raise Unavailable("disk is full")
        if self.left.get(token, 0) <= 0:
            return None
        self.left[token] -= 1
        return DESK


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    no_gateway: Any = None

    async def ready() -> dict[str, str]:
        return {}

    server = listening(
        build(
            Hooks(no_gateway, no_gateway, {}, str, time.time),
            ready,
            ProvisioningDownload(Links().fetch),
            MediaDownload(no_gateway),
        )
    )
    task = asyncio.create_task(server.run())

    async def ask(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
        lines = head.decode().lower().split("\r\n")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        headers.pop("date", None)
        return int(lines[0].split()[1]), headers, body

    yield ask
    server.stop()
    await task


@pytest.mark.parametrize("app", ["linphone", "acrobits"])
async def test_a_link_works_once(ask: Ask, app: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("debug", "json")
    wrong = await ask(f"/provision/wrong/{app}.xml")
    assert wrong[0] == 404
    assert await ask(f"/provision/good/{app}.xml", "HEAD") == (404, wrong[1], b"")  # uses nothing up
    status, headers, body = await ask(f"/provision/good/{app}.xml")
    assert (status, body) == (200, document(app, DESK))
    assert (headers["cache-control"], headers["content-type"]) == ("no-store", "application/xml")
    assert await ask(f"/provision/good/{app}.xml") == wrong
    assert await ask("/provision/%FF%00/other.xml") == wrong
    assert wrong[1]["cache-control"] == "no-store"
    (line,) = capsys.readouterr().err.splitlines()
    assert '"provisioned"' in line
    assert '"desk"' in line
    assert "good" not in line
    assert "s3cret" not in line


async def test_other_methods_and_paths_are_refused(ask: Ask) -> None:
    assert (await ask("/provision/good/linphone.xml", "POST"))[0] == 405
    assert (await ask("/provision/good/"))[0] == 404
    status, headers, _ = await ask("/provision/down/linphone.xml")
    assert (status, headers["retry-after"]) == (503, "5")


async def test_requests_are_limited_per_minute(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right and wrong tokens alike; after a minute it goes on."""
    now = [0.0]
    monkeypatch.setattr(provisioning.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(provisioning, "PER_MINUTE", 3)
    statuses = [(await ask("/provision/wrong/linphone.xml"))[0] for _ in range(5)]
    assert statuses == [404] * 3 + [429] * 2
    assert (await ask("/provision/good/linphone.xml"))[0] == 429
    now[0] = 61.0
    assert (await ask("/provision/good/linphone.xml"))[0] == 200


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("2001:db8:1:2::{:x}", 3),  # one host
        ("2001:db8:1:{:x}::1", 30),  # one site (RFC 6177)
        ("::ffff:192.0.2.1", 3),
        ("2001:db8:{:x}::1", 200),  # different sites
        ("198.51.{}.1", 200),
    ],
)
async def test_the_limit_counts_networks_and_not_addresses(
    monkeypatch: pytest.MonkeyPatch, address: str, allowed: int
) -> None:
    """A host has 2**64 addresses of IPv6: each of them must not have a limit of its own."""
    monkeypatch.setattr(provisioning.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(provisioning, "PER_MINUTE", 3)
    download = ProvisioningDownload(Links().fetch)
    statuses = []
    for number in range(200):
        path = {"token": "wrong", "app": "linphone"}
        scope = {"type": "http", "method": "GET", "client": (address.format(number), 1), "path_params": path}
        statuses.append((await download.handle(Request(scope))).status_code)
    assert statuses == [404] * allowed + [429] * (200 - allowed)
