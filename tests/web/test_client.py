"""The HTTP client against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sipsms.core.http_client import HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.web.client import MAX_ANSWER, AiohttpClient

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]


class Stub:
    """A server of one behaviour a request; it counts the requests it has read."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                await self.behaviour(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def stub(behaviour: Behaviour) -> AsyncIterator[tuple[Stub, AiohttpClient]]:
    it = Stub(behaviour)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/send"
    client = AiohttpClient()
    try:
        yield it, client
    finally:
        await client.close()
        server.close()


def answering(data: bytes) -> Behaviour:
    async def behave(_: Reader, writer: Writer) -> None:
        writer.write(data)
        await writer.drain()

    return behave


async def closing(_: Reader, writer: Writer) -> None:
    writer.close()


def then_closing(data: bytes) -> Behaviour:
    async def behave(_: Reader, writer: Writer) -> None:
        writer.write(data)
        writer.close()

    return behave


async def hanging(reader: Reader, _: Writer) -> None:
    await reader.read()


OK = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok"


async def test_the_client_returns_status_headers_and_body() -> None:
    async with stub(answering(OK)) as (server, client):
        port: HttpClient = client
        answer = await port.request("POST", server.url + "?a=%2B1", headers={"X-Key": "k"}, body=b"body")
        assert answer == HttpReply(200, {"x-a": "b", "content-length": "2"}, b"ok")
    request = server.requests[0]
    assert request.startswith(b"POST /send?a=%2B1 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\nbody")
    assert b"X-Key: k\r\n" in request


async def test_connections_are_reused_in_a_burst() -> None:
    async with stub(answering(OK)) as (server, client):
        for _ in range(3):
            await client.request("POST", server.url, headers={}, body=b"x")
        assert (len(server.requests), server.connections) == (3, 1)


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with stub(answering(moved)) as (server, client):
        assert (await client.request("POST", server.url, headers={})).status == 302
        await client.request("POST", server.url, headers={})
    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1].lower()


async def test_a_long_answer_is_cut_at_the_limit() -> None:
    size = 1_000_000
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    async with stub(then_closing(data)) as (server, client):
        answer = await client.request("POST", server.url, headers={}, body=b"x")
        assert len(answer.body) == MAX_ANSWER


# --- it never left ----------------------------------------------------------------------------------------------------


@pytest.mark.req("D6", "F-10")
async def test_a_refused_connection_is_not_sent() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/key-in-path"
        client = AiohttpClient()
        with pytest.raises(NotSent, match="cannot connect: ") as caught:
            await client.request("POST", url, headers={}, body=b"x")
        assert "key-in-path" not in str(caught.value)
        await client.close()


@pytest.mark.parametrize("url", ["http://host.invalid/", "http://", "nonsense", "http://127.0.0.1:99999/"])
async def test_an_invalid_url_is_not_sent(url: str) -> None:
    client = AiohttpClient()
    with pytest.raises(NotSent):
        await client.request("POST", url, headers={}, body=b"x", timeout=5)
    await client.close()


async def test_a_failed_tls_handshake_is_not_sent() -> None:
    async with stub(answering(OK)) as (server, client):
        with pytest.raises(NotSent):
            await client.request("POST", server.url.replace("http", "https"), headers={}, body=b"x", timeout=0.5)
    assert server.requests == []


async def test_a_connect_timeout_is_not_sent() -> None:
    """A full backlog: the kernel drops our SYN, as a firewall would."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(s.getsockname())
        client = AiohttpClient()
        with pytest.raises(NotSent, match="in time"):
            await client.request("POST", f"http://127.0.0.1:{s.getsockname()[1]}/", headers={}, body=b"x", timeout=0.3)
        await client.close()
        for filler in fillers:
            filler.close()


# --- it may have left -------------------------------------------------------------------------------------------------

SILENT: list[tuple[Behaviour, str]] = [
    (closing, "connection closed before an answer came"),
    (hanging, "no answer in time"),
    (then_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "connection closed within the answer"),
    (then_closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "within the answer"),
    (then_closing(b"HTTP/1.1 200"), "connection closed|not HTTP"),
    (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "no answer in time"),
    (answering(b"nonsense\r\n\r\n"), "the answer is not HTTP"),
]


@pytest.mark.req("D6", "F-12")
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
@pytest.mark.parametrize(("behaviour", "why"), SILENT)
async def test_a_request_without_an_answer_is_not_repeated(behaviour: Behaviour, why: str, method: str) -> None:
    body = b"" if method == "GET" else b"x"
    async with stub(behaviour) as (server, client):
        with pytest.raises(NoAnswer, match=why):
            await client.request(method, server.url, headers={}, body=body, timeout=0.5)
        await asyncio.sleep(0)
    assert len(server.requests) == 1


@pytest.mark.req("D6")
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_request_on_a_reused_connection_that_breaks_is_not_repeated(method: str) -> None:
    """The server answers once, then reads a request on the same connection and goes away."""
    served = 0

    async def once(_: Reader, writer: Writer) -> None:
        nonlocal served
        served += 1
        if served != 2:
            writer.write(OK)
        else:
            writer.close()

    async with stub(once) as (server, client):
        await client.request(method, server.url, headers={})
        with pytest.raises(NoAnswer):
            await client.request(method, server.url, headers={})
        assert (len(server.requests), server.connections) == (2, 1)
        assert (await client.request(method, server.url, headers={})).status == 200  # and the client is none the worse


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async with stub(then_closing(OK)) as (server, client):
        for _ in range(3):
            assert (await client.request("POST", server.url, headers={}, body=b"x")).status == 200
            await asyncio.sleep(0.05)
        assert server.connections == 3


async def test_closing_twice_or_unused_raises_no_error() -> None:
    client = AiohttpClient()
    await client.close()
    async with stub(answering(OK)) as (server, used):
        await used.request("POST", server.url, headers={})
        await used.close()
        await used.close()
