"""Was an answer heard? Over real sockets: who goes on, who closes, who breaks off, who was gone before."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sipsms.web import app
from sipsms.web.link import look, when_heard
from tests.support.http import listening

RST = struct.pack("ii", 1, 0)  # of SO_LINGER: close without a word


class Place:
    """A server whose one page says ok, when it may; `heard` is set when the client has it."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0

    async def page(self, request: Request) -> Response:
        self.asked.set()
        await self.may_answer.wait()
        when_heard(request, self.heard.set)
        size = int(request.query_params.get("size", "3"))
        return PlainTextResponse("ok\n" if size == 3 else "x" * size)

    async def connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        return sock

    async def ask(self, sock: socket.socket, more: str = "", query: str = "") -> None:
        await asyncio.get_running_loop().sock_sendall(sock, f"GET /{query} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())

    async def read(self, sock: socket.socket) -> None:
        data = b""
        while not data.endswith(b"ok\n"):
            data += await asyncio.get_running_loop().sock_recv(sock, 4096)

    async def settle(self) -> bool:
        """Whether it is heard, once the server has seen to all that happened before this."""
        probe = await self.connect()
        await self.ask(probe, query="probe")
        await asyncio.get_running_loop().sock_recv(probe, 4096)
        probe.close()
        return self.heard.is_set()


@asynccontextmanager
async def place(*proxies: str) -> AsyncIterator[Place]:
    here = Place()

    async def probe(request: Request) -> Response:
        return PlainTextResponse("")

    server = listening(Starlette(routes=[Route("/", here.page), Route("/probe", probe)]), *proxies)
    here.port = server.port
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(20):
            yield here
    finally:
        here.may_answer.set()
        server.stop()
        await task


async def test_who_asks_for_more_has_heard() -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        assert not await here.settle(), "nothing says so yet"
        await here.ask(sock, query="probe")
        await here.heard.wait()
        sock.close()


async def test_who_closes_when_it_has_read_has_heard() -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        sock.close()
        await here.heard.wait()


async def test_who_wanted_it_closed_has_heard() -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, "Connection: close\r\n")
        await here.read(sock)
        await here.heard.wait()
        sock.close()


@pytest.mark.req("F-21")
@pytest.mark.parametrize("reads", [True, False])
async def test_what_we_closed_is_heard_when_it_has_arrived(reads: bool) -> None:
    """`Connection: close`: our side is done with it at once, the client's system is not."""
    async with place() as here:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", here.port))
        await here.ask(sock, "Connection: close\r\n", "?size=200000")
        for _ in range(3):
            assert not await here.settle(), "it has not read"
        if reads:
            while await loop.sock_recv(sock, 100_000):
                pass
            await here.heard.wait()
        sock.close()
        for _ in range(3):
            assert await here.settle() is reads


@pytest.mark.req("F-21")
async def test_who_waits_for_nothing_more_is_looked_at() -> None:
    """It keeps its connection, and asks nothing: its system has the answer, or it has not."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        look()
        assert here.heard.is_set()
        here.heard.clear()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await here.ask(sock, query="?size=10000000")
        for _ in range(3):
            assert not await here.settle()
            look()
        assert not here.heard.is_set()
        sock.close()


@pytest.mark.req("F-21")
async def test_what_a_proxy_has_its_client_may_not_have() -> None:
    async with place("127.0.0.0/8") as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        look()
        assert not here.heard.is_set()
        sock.close()


@pytest.mark.req("A-38")
async def test_connections_that_would_be_something_else_are_counted_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade to WebSocket is nothing here; and who has asked for it is not locked out."""
    monkeypatch.setattr(app, "MAX_CONNECTIONS", 5)
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    async with place() as here:
        for _ in range(20):
            sock = await here.connect()
            await here.ask(sock, upgrade, query="probe")
            assert (await asyncio.get_running_loop().sock_recv(sock, 4096)).startswith(b"HTTP/1.1 200")
            sock.close()
            await here.settle()
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        sock.close()


@pytest.mark.req("A-38")
async def test_a_proxy_has_as_many_connections_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_CONNECTIONS", 2)
    async with place("127.0.0.0/8") as here:
        socks = [await here.connect() for _ in range(5)]
        for sock in socks:
            await here.ask(sock)
            await here.read(sock)
            sock.close()


@pytest.mark.parametrize(
    ("address", "counted", "known"),
    [
        ("192.0.2.1", "192.0.2.1", False), ("::ffff:192.0.2.1", "192.0.2.1", False), ("10.9.9.9", "10.9.9.9", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True), ("", "", False), ("no address", "no address", False),
    ],
)  # fmt: skip
def test_what_a_peer_is_counted_by(address: str, counted: str, known: bool) -> None:
    assert app._counted_as(address) == counted
    assert app._is_in(address, (ip_network("10.0.0.0/8"),)) is known


def test_an_ipv6_host_has_a_network_to_itself() -> None:
    one, other = app._counted_as("2001:db8::1"), app._counted_as("2001:db8::ffff:2%eth0")
    assert one == other != app._counted_as("2001:db8:0:1::1")


@pytest.mark.req("F-21")
async def test_who_breaks_off_has_not() -> None:
    """A program that is killed, or closes what it has not read: its system says so by a reset."""
    async with place() as here:
        for linger in (True, False):
            sock = await here.connect()
            await here.ask(sock)
            await here.settle()  # the answer is in its socket, unread
            if linger:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            sock.close()
            for _ in range(3):
                assert not await here.settle()


@pytest.mark.req("F-21")
async def test_who_was_gone_before_has_not() -> None:
    """Also when the event loop has not seen it yet."""
    async with place() as here:
        here.may_answer.clear()
        sock = await here.connect()
        await here.ask(sock)
        await here.asked.wait()
        sock.close()
        here.may_answer.set()
        for _ in range(3):
            assert not await here.settle()


@pytest.mark.req("A-38")
async def test_a_slow_second_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FIRST_REQUEST", 0.2)
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        await asyncio.get_running_loop().sock_sendall(sock, b"GET /probe HTTP/1.1\r\nHost: ")
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
        sock.close()


@pytest.mark.req("A-38")
async def test_who_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers would fill our memory."""
    monkeypatch.setattr(app, "UNREAD", 0.2)
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, query="?size=20000000")
        await here.asked.wait()
        await asyncio.sleep(1.0)  # it must have given up meanwhile, whatever we do
        taken = 0
        try:
            while chunk := await asyncio.get_running_loop().sock_recv(sock, 1_000_000):
                taken += len(chunk)
        except ConnectionError:
            pass
        assert taken < 20_000_000
        assert not here.heard.is_set()
        sock.close()
