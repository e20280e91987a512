"""The check that a client received its answer, over real sockets: it goes on, closes, resets, or had left before."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sipsms.core.admission import Limits
from sipsms.web import response_ack
from sipsms.web import server as app
from sipsms.web.response_ack import GRACE, look, when_heard
from sipsms.web.server import HttpServer
from tests.support.http.server import listening

CLOSE = "Connection: close\r\n"
RST = struct.pack("ii", 1, 0)  # of SO_LINGER: close without a word


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    """The server runs on uvloop where there is one."""
    return request.param()


class Place:
    """A server whose one page says ok, when it may; `heard` is set when the client has it."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.server: HttpServer
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

    async def arrives(self, sock: socket.socket) -> None:
        """Until there is something to read; it stays unread."""
        await self.wait(lambda: bool(select.select([sock], [], [], 0)[0]))

    async def look(self) -> bool:
        """Whether it is heard as far as the system knows, though the server may not have seen it yet."""
        await look()
        return self.heard.is_set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 -- the kernel does not tell
            await asyncio.sleep(0.002)

    def ended(self) -> int:
        """Connections that are kept until their clients end them, too."""
        return len(self.server._links._ended)

    def protocols(self) -> list[Any]:
        return list(self.server._server.server_state.connections)

    async def settle(self) -> bool:
        """Whether it is heard, once the server has seen to all that happened before this."""
        probe = await self.connect()
        await self.ask(probe, query="probe")
        await asyncio.get_running_loop().sock_recv(probe, 4096)
        probe.close()
        return self.heard.is_set()


@asynccontextmanager
async def place(*proxies: str, limits: Limits | None = None) -> AsyncIterator[Place]:
    here = Place()

    async def probe(request: Request) -> Response:
        return PlainTextResponse("")

    server = listening(Starlette(routes=[Route("/", here.page), Route("/probe", probe)]), *proxies, limits=limits)
    here.server, here.port = server, server.port
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(20):
            yield here
    finally:
        here.may_answer.set()
        server.stop()
        await task


async def test_a_close_that_another_request_overtakes_is_waited_for() -> None:
    """The client closes, then asks by another connection; the system may tell of the second first."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        looking = asyncio.create_task(here.look())
        await asyncio.sleep(0)
        sock.close()
        assert await looking


async def test_a_client_that_sends_another_request_has_received_the_answer() -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        assert not await here.settle(), "nothing says so yet"
        await here.ask(sock, query="probe")
        await here.heard.wait()
        sock.close()


@pytest.mark.parametrize("more", ["", CLOSE])
async def test_a_client_that_closes_after_reading_has_received_the_answer(more: str) -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, more)
        await here.read(sock)
        assert not await here.look()
        sock.close()
        assert await here.look(), "at once, when somebody asks"
        sock = await here.connect()
        await here.ask(sock, more)
        await here.read(sock)
        sock.close()
        await here.heard.wait()


@pytest.mark.req("F-21")
async def test_a_client_that_shuts_down_after_reading_has_received_the_answer() -> None:
    """It gets our FIN, too: it may wait for that."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        sock.shutdown(socket.SHUT_WR)
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
        await here.heard.wait()
        sock.close()


async def test_a_client_that_reads_until_the_server_closes_has_received_the_answer_when_it_closes() -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, CLOSE)
        await here.read(sock)
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
        assert not await here.look()
        sock.close()
        await here.heard.wait()


@pytest.mark.req("F-21")
@pytest.mark.parametrize("reads", [True, False])
async def test_an_answer_with_connection_close_is_received_when_the_client_has_read_it(reads: bool) -> None:
    """`Connection: close`: our side is done with it at once, the client is not."""
    async with place() as here:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", here.port))
        await here.ask(sock, CLOSE, "?size=200000")
        for _ in range(3):
            assert not await here.settle(), "it has not read"
        if reads:
            while await loop.sock_recv(sock, 100_000):
                pass
        assert not await here.look()
        sock.close()
        for _ in range(3):
            await here.settle()
            assert await here.look() is reads


@pytest.mark.req("F-21")
async def test_a_client_that_keeps_its_connection_idle_has_not_confirmed_the_answer() -> None:
    """It keeps its connection, and asks nothing: its system has the answer, its program may have hung."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        for _ in range(3):
            assert not await here.settle()
            assert not await here.look()
        sock.close()


@pytest.mark.req("F-21")
async def test_after_a_keep_alive_timeout_the_close_of_the_client_counts() -> None:
    """The keep-alive is over: what the client does then is what counts."""
    async with place() as here:
        for reads in (False, True):
            sock = await here.connect()
            await here.ask(sock)
            await here.settle()
            for protocol in here.protocols():
                protocol.timeout_keep_alive_handler()
            await asyncio.sleep(2 * GRACE)
            if reads:
                await here.read(sock)
            assert not await here.look()
            sock.close()
            assert await here.look() is reads


@pytest.mark.req("F-21")
async def test_a_request_sent_before_the_answer_confirms_nothing() -> None:
    """It was sent before the answer was there."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.ask(sock, query="probe")
        await here.settle()
        assert not await here.look()
        sock.close()
        for _ in range(3):
            assert not await here.settle()


@pytest.mark.req("F-21")
async def test_a_request_during_an_unread_answer_confirms_nothing() -> None:
    """Its answer is larger than what the systems hold between us: nobody can have read it to its end."""
    async with place() as here:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", here.port))
        await here.ask(sock, query="?size=1000000")
        await here.asked.wait()
        await here.settle()
        await here.ask(sock, query="probe")
        for _ in range(3):
            assert not await here.settle()
            assert not await here.look()
        sock.close()


@pytest.mark.req("F-21")
async def test_the_number_of_awaited_connections_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is left."""
    monkeypatch.setattr(response_ack, "_MOST_ENDED", 2)
    async with place() as here:
        socks = []
        for _ in range(4):
            socks.append(await here.connect())
            await here.ask(socks[-1], CLOSE)
            await here.read(socks[-1])
            await here.settle()
        assert here.ended() == 2
        socks[0].close()
        socks[1].close()
        await here.settle()
        assert not await here.look()
        socks[2].close()
        assert await here.look()
        here.heard.clear()
        socks[3].close()
    assert here.ended() == 0
    assert here.heard.is_set(), "who had closed when the server stopped has heard"


@pytest.mark.req("F-21")
async def test_waiting_for_a_confirmation_ends_with_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_ack, "_LONGEST", 0.05)
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, CLOSE)
        await here.read(sock)
        await here.wait(lambda: here.ended() == 1)
        await here.wait(lambda: here.ended() == 0)
        sock.close()
        assert not await here.look()


@pytest.mark.req("F-21")
async def test_behind_a_proxy_the_connection_of_the_proxy_counts() -> None:
    """Nothing else is known: it asks for another client, or ends the connection."""
    async with place("127.0.0.0/8") as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        assert not await here.look()
        await here.ask(sock, query="probe")
        await here.heard.wait()
        sock.close()


@pytest.mark.req("A-38")
async def test_upgraded_connections_are_no_longer_counted() -> None:
    """An upgrade to WebSocket is nothing here; and who has asked for it is not locked out."""
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    async with place(limits=Limits(per_address=5)) as here:
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
async def test_a_trusted_proxy_has_no_limit_of_connections() -> None:
    async with place("127.0.0.0/8", limits=Limits(per_address=2)) as here:
        socks = [await here.connect() for _ in range(5)]
        for sock in socks:
            await here.ask(sock)
            await here.read(sock)
            sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    sock.close()


def half_first(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    sock.close()


def both_first(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@pytest.mark.req("F-21")
@pytest.mark.parametrize("more", ["", CLOSE])
@pytest.mark.parametrize("end", [socket.socket.close, reset, half_first, both_first])
async def test_a_client_that_resets_has_not_received_the_answer(
    end: Callable[[socket.socket], None], more: str
) -> None:
    """A program that is killed, or closes what it has not read: its system says so by a reset."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, more)
        await here.arrives(sock)
        end(sock)
        assert not await here.look()
        for _ in range(3):
            assert not await here.settle()
            assert not await here.look()
        await asyncio.sleep(2 * GRACE)
        assert not here.heard.is_set()


@pytest.mark.req("F-21")
async def test_a_client_that_resets_after_its_fin_has_not_received_the_answer() -> None:
    """Its FIN has been seen when its reset comes."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.arrives(sock)
        sock.shutdown(socket.SHUT_WR)
        await here.wait(lambda: here.ended() == 1)
        sock.close()
        await here.wait(lambda: here.ended() == 0)
        assert not here.heard.is_set()


@pytest.mark.req("F-21")
@pytest.mark.parametrize("end", [socket.socket.close, reset])
async def test_a_client_that_resets_after_our_close_has_received_nothing(
    end: Callable[[socket.socket], None],
) -> None:
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock, CLOSE)
        await asyncio.sleep(3 * GRACE)
        end(sock)
        assert not await here.look()
        await here.wait(lambda: here.ended() == 0)
        assert not here.heard.is_set()


@pytest.mark.req("F-21")
@pytest.mark.parametrize("end", [socket.socket.close, reset, half_first, both_first])
def test_a_reset_that_the_event_loop_has_read_counts(end: Callable[[socket.socket], None]) -> None:
    """The event loop has had the error, and has yet to tell the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
        with ours:
            ours.sendall(b"an answer")
            select.select([client], [], [])
            end(client)
            with suppress(ConnectionError):
                ours.recv(100)
            assert response_ack._state(ours.fileno()) is response_ack._State.BROKEN


@pytest.mark.req("F-21")
async def test_a_client_that_reads_and_resets_counts_as_not_having_received_the_answer() -> None:
    """Nobody can tell the two apart."""
    async with place() as here:
        sock = await here.connect()
        await here.ask(sock)
        await here.read(sock)
        reset(sock)
        for _ in range(3):
            assert not await here.settle()


@pytest.mark.req("F-21")
async def test_a_client_that_disconnected_before_the_answer_has_not_received_it() -> None:
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
async def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
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
