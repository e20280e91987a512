"""The HTTP server on a real socket: health, metrics, and silent connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.web import server as app
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.media import MediaDownload
from sipsms.web.provisioning import ProvisioningDownload
from sipsms.web.request import route
from sipsms.web.server import Application, build
from tests.support.http.server import listening


@asynccontextmanager
async def _served(
    state: str = "ok", watchers: Sequence[str] = ("127.0.0.1",), apis: Sequence[Route] = ()
) -> AsyncIterator[int]:
    async def readiness() -> dict[str, str]:
        return {"store": state}

    no_gateway: Any = None
    hooks = Hooks(no_gateway, no_gateway, {}, str, time.time)
    application = build(hooks, readiness, ProvisioningDownload(no_gateway), MediaDownload(no_gateway), apis, watchers)
    server = listening(application)
    task = asyncio.create_task(server.run())
    try:
        yield server.port
    finally:
        server.stop()
        await task


@pytest.mark.req("A-38")
async def test_a_body_that_breaks_off_is_no_server_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads it: here it is a door that has not thought of that."""
    over = asyncio.Event()

    async def door(request: Request) -> Response:
        try:
            return Response(await request.body())
        finally:
            over.set()

    async with _served(apis=[Route("/door", door, methods=["POST"])]) as port, asyncio.timeout(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /door HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.close()
        await over.wait()
        assert (await _get(port, "/healthz"))[0] == 200
    assert caplog.records == []


async def _get(port: int, path: str) -> tuple[int, str]:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[2]


async def test_health_and_readiness_are_answered() -> None:
    async with _served() as port:
        assert await _get(port, "/healthz") == (200, "ok\n")
        assert await _get(port, "/readyz") == (200, '{"ready":true,"store":"ok"}')
        status, body = await _get(port, "/metrics")
        assert status == 200
        assert "sipsms_messages_accepted_total" in body
        assert (await _get(port, "/"))[0] == 404
        assert (await _get(port, "/hooks/acme/"))[0] == 404
    async with _served(watchers=["192.0.2.0/24"]) as port:
        assert await _get(port, "/metrics") == await _get(port, "/nothing") == (404, "Not Found")
    async with _served("disk is full") as port:
        assert await _get(port, "/readyz") == (503, '{"ready":false,"store":"disk is full"}')


@pytest.mark.req("A-21")
async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FIRST_REQUEST", 0.2)
    async with _served() as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        silent[0][1].write(b"GET /healthz HT")
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in silent] == [b"", b"", b""]
        assert (await _get(port, "/healthz"))[0] == 200
        for _, writer in silent:
            writer.close()


@pytest.mark.req("A-38")
async def test_the_number_of_connections_of_one_address_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next is closed; when one is gone, there is room again."""
    monkeypatch.setattr(app, "MAX_CONNECTIONS", 5)
    async with _served() as port, asyncio.timeout(10):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for _, writer in held:  # they are served
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        for reader, _ in held:
            await reader.readuntil(b"ok\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        held[0][1].close()
        await held[0][1].wait_closed()
        status = 0
        while status != 200:  # the server sees the end a moment later
            try:
                status, _ = await _get(port, "/healthz")
            except (IndexError, ValueError, ConnectionError):
                continue
        for _, writer in held[1:]:
            writer.close()


@pytest.mark.req("A-38")
async def test_an_answer_before_the_body_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client can read the answer; what else it sends is not taken."""
    monkeypatch.setattr(app, "LINGER", 0.2)
    async with _served() as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1000)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404")
        writer.close()


async def test_what_is_called_directly_is_answered_as_by_the_framework() -> None:
    async def door(request: Request) -> Response:
        return Response(f"{request.method} {request.url.path} {request.query_params} {dict(request.path_params)}")

    hook = Route("/hooks/{carrier}/{secret}", door, methods=["GET", "POST"])
    application = Application([hook, route("/door", door)], door)

    async def asked(application: Any, method: str, path: str) -> list[Any]:
        sent: list[Any] = []
        body = [{"type": "http.request", "body": b"x", "more_body": False}]

        async def receive() -> Any:
            return body.pop()

        async def send(event: Any) -> None:
            sent.append(event)

        raw, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": unquote(raw), "raw_path": raw.encode(), "scheme": "http",
            "query_string": query.encode(), "headers": [(b"host", b"h")], "server": ("h", 80), "root_path": "",
        }  # fmt: skip
        await application(scope, receive, send)
        return sent

    paths = ["/door", "/door?a=b", "/door/", "/hooks/acme/key", "/hooks/acme/key/", "/hooks/acme/", "/hooks//key",
             "/hooks/a%2Fb/key", "/hooks/acme/k%20y?to=%2B1", "/hooks", "/nothing"]  # fmt: skip
    for method, path in product(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"), paths):
        found = await asked(application, method, path)
        if path in ("/door/", "/hooks/acme/key/") and method in ("GET", "POST"):
            assert (found[0]["status"], found[1]["body"][:4]) == (200, method.encode()[:4].ljust(4))
        assert found == await asked(application._starlette, method, path), (method, path)
