"""The HTTP server on a real socket: health, metrics, and silent connections."""

from __future__ import annotations

import asyncio
import re
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

from sipsms import __version__
from sipsms.core.admission import SETTLED, Limits
from sipsms.core.clock import Clock
from sipsms.web import server as app
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.media import MediaDownload
from sipsms.web.provisioning import ProvisioningDownload
from sipsms.web.request import route
from sipsms.web.server import Application, build
from tests.support.http.server import listening


@asynccontextmanager
async def _served(
    state: str = "ok",
    watchers: Sequence[str] = ("127.0.0.1",),
    apis: Sequence[Route] = (),
    limits: Limits | None = None,
    clock: Clock = time.monotonic,
) -> AsyncIterator[int]:
    async def readiness() -> dict[str, str]:
        return {"store": state}

    no_gateway: Any = None
    hooks = Hooks(no_gateway, no_gateway, {}, str, time.time)
    application = build(hooks, readiness, ProvisioningDownload(no_gateway), MediaDownload(no_gateway), apis, watchers)
    server = listening(application, limits=limits, clock=clock)  # type: ignore[arg-type]
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
        assert (await _get(port, "/nowhere"))[0] == 404
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


@pytest.mark.req("A-38", "A-23")
async def test_idle_connections_of_an_address_make_room_for_its_next_one() -> None:
    """The longest idle one is closed; those with a request in progress stay, and then the next one is refused."""
    came, may_answer, now = asyncio.Semaphore(0), asyncio.Event(), 1000.0

    async def slow(request: Request) -> Response:
        came.release()
        await may_answer.wait()
        return Response("done\n")

    async with _served(apis=[Route("/slow", slow)], limits=Limits(per_address=3), clock=lambda: now) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for path, (reader, writer) in zip(("slow", "healthz", "healthz"), held, strict=True):
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            if path == "healthz":
                await reader.readuntil(b"ok\n")
        await came.acquire()
        fresh = await asyncio.open_connection("127.0.0.1", port)
        assert await fresh[0].read() == b"", "the others have only just become idle"
        fresh[1].close()
        now += SETTLED
        assert await _get(port, "/healthz") == (200, "ok\n")
        assert await held[1][0].read() == b"", "the longest idle"
        held[2][1].write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        await came.acquire()
        third = await asyncio.open_connection("127.0.0.1", port)
        third[1].write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        await came.acquire()
        refused = await asyncio.open_connection("127.0.0.1", port)
        assert await refused[0].read() == b""
        may_answer.set()
        for reader, _ in (held[0], held[2], third):
            await reader.readuntil(b"done\n")
        for _, writer in (*held, third, refused):
            writer.close()


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"a" * 70_000, b"X" * 70_000, b"".join(b"X-%d: a\r\n" % n for n in range(101)),
        b"".join(b"X: " + b"a" * 1000 + b"\r\n" for _ in range(70)),
    ],
)  # fmt: skip
async def test_a_head_that_is_too_large_is_refused_while_it_comes(head: bytes) -> None:
    """RFC 6585 section 5; the first request and a later one of a connection alike."""
    async with _served() as port, asyncio.timeout(10):
        for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(before + b"GET /healthz HTTP/1.1\r\nHost: h\r\n" + head)
            answers = await reader.read()
            assert answers.count(b"HTTP/1.1 431") == 1
            assert b"HTTP/1.1 400" not in answers
            writer.close()
        assert (await _get(port, "/" + "a" * 70_000))[0] == 431


@pytest.mark.req("A-38")
async def test_a_large_head_within_the_limits_is_taken() -> None:
    """60 KB, 99 fields, and after a body of a megabyte, which does not count."""
    fields = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 600) for n in range(96))

    async def size(request: Request) -> Response:
        return Response(str(len(await request.body())))

    async with _served(apis=[Route("/size", size, methods=["POST"])]) as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            head = b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n" + fields + b"\r\n"
            writer.write(head + b"x" * 1_000_000)
            assert (await reader.readuntil(b"1000000")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.req("A-38")
async def test_pipelined_requests_are_all_answered_in_order() -> None:
    """More than are parsed at once, in one write."""

    async def echo(request: Request) -> Response:
        return Response(request.url.query + ";")

    async with _served(apis=[Route("/echo", echo)]) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(b"GET /echo?n%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(600)))
        answers = await reader.readuntil(b"n599;")
        found = [int(one) for one in re.findall(rb"n(\d+);", answers)]
        assert found == list(range(600))
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


async def test_the_front_page_leads_on_and_names_no_version() -> None:
    async with _served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 200")
    assert ('href="/docs"' in answer, 'href="/healthz"' in answer) == (True, True)
    assert __version__ not in answer
