"""The HTTP client for customers' URLs: refused addresses, and hostile answers."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from sipsms.core.http_client import Forbidden, NoAnswer, NotSent
from sipsms.core.ssrf import check_address
from sipsms.web.client import MAX_ANSWER, AiohttpClient
from tests.web.test_client import OK, Stub, answering

ALLOWING = partial(check_address, allow_private=True)


class Names:
    """A name server that a test writes: name -> its addresses, or a list of answers to take in turn."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    def look_up(self, host: str, port: int, family: int, kind: int) -> list[Any]:
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]


@asynccontextmanager
async def canary(names: Names, guard: Any = check_address, data: bytes = OK) -> AsyncIterator[tuple[Stub, Any, int]]:
    """A listener on loopback that nobody is to reach, and a guarded client."""
    it = Stub(answering(data))
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    client = AiohttpClient(guard, names.look_up)
    try:
        yield it, client, server.sockets[0].getsockname()[1]
    finally:
        await client.close()
        server.close()


LITERALS = ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:7f00:1]",
            "localhost", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "127.0.0.1.", "a@127.0.0.1",
            "x:y@127.0.0.1"]  # fmt: skip


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize("host", LITERALS)
async def test_private_addresses_in_the_url_are_refused(host: str) -> None:
    async with canary(Names(localhost=[["127.0.0.1", "::1"]])) as (stub, client, port):
        with pytest.raises(Forbidden):
            await client.request("GET", f"http://{host}:{port}/", headers={})
        assert stub.connections == 0


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"]])
async def test_names_that_resolve_to_private_addresses_are_refused(addresses: list[str]) -> None:
    async with canary(Names(evil_example=[addresses])) as (stub, client, port):
        with pytest.raises(Forbidden, match=r"evil\.example: address .* is private"):
            await client.request("GET", f"http://evil.example:{port}/", headers={})
        assert stub.connections == 0


@pytest.mark.req("W-04", "A-39")
async def test_the_client_connects_to_the_address_that_was_checked() -> None:
    """Rebinding: a second look-up would lead inside. There is none: the first answer, 127.0.0.2, is connected to."""
    names = Names(evil_example=[["127.0.0.2"], ["127.0.0.1"]])
    allowed = "127.0.0.2"
    async with canary(names, lambda one: "" if one == allowed else f"address {one} is private") as (stub, client, port):
        with pytest.raises(NotSent) as caught:  # nobody listens there
            await client.request("GET", f"http://evil.example:{port}/", headers={}, timeout=2)
        assert not isinstance(caught.value, Forbidden)
        assert names.asked == ["evil.example"]
        with pytest.raises(Forbidden):  # each request asks, nothing is remembered
            await client.request("GET", f"http://evil.example:{port}/", headers={})
        assert stub.connections == 0


@pytest.mark.req("A-39")
async def test_redirects_are_not_followed() -> None:
    data = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING, data) as (stub, client, port):
        reply = await client.request("GET", f"http://good.example:{port}/", headers={})
        assert (reply.status, stub.connections) == (302, 1)


@pytest.mark.req("W-04")
@pytest.mark.parametrize("url", ["ftp://good.example/", "http://good.example:6379/", "http://good.example/#x", "x"])
async def test_malformed_urls_are_refused(url: str) -> None:
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING) as (stub, client, _):
        with pytest.raises(Forbidden):
            await client.request("GET", url, headers={})
        assert stub.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING) as (stub, client, port):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert (await client.request("GET", f"http://good.example:{port}/", headers={})).status == 200
        assert b"accept-encoding: identity" in stub.requests[0].lower()


async def test_an_unknown_name_is_not_sent() -> None:
    async with canary(Names()) as (_, client, port):
        with pytest.raises(NotSent) as caught:
            await client.request("GET", f"http://gone.example:{port}/", headers={})
        assert not isinstance(caught.value, Forbidden)


@pytest.mark.req("A-40")
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_not_unpacked(coding: str) -> None:
    data = {"gzip": gzip.compress, "deflate": zlib.compress}[coding](bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING, head + data) as (_, client, port):
        reply = await client.request("GET", f"http://good.example:{port}/", headers={})
        assert reply.body == data[:MAX_ANSWER]


@pytest.mark.req("A-40")
async def test_an_endless_answer_is_cut_at_the_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + bytes(200_000)
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING, head) as (_, client, port):
        reply = await client.request("GET", f"http://good.example:{port}/", headers={}, timeout=5)
        assert len(reply.body) == MAX_ANSWER


@pytest.mark.req("A-40", "W-02")
async def test_a_slow_answer_ends_with_the_timeout() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING) as (stub, client, port):
        stub.behaviour = drip
        with pytest.raises(NoAnswer):
            await client.request("GET", f"http://good.example:{port}/", headers={}, timeout=0.3)


async def test_a_closed_client_can_be_used_again() -> None:
    async with canary(Names(good_example=[["127.0.0.1"]]), ALLOWING) as (stub, client, port):
        for _ in range(2):
            assert (await client.request("GET", f"http://good.example:{port}/", headers={})).status == 200
            await client.close()
        assert len(stub.requests) == 2


@pytest.mark.req("A-40")
def test_a_silent_name_server_does_not_hold_up_closing() -> None:
    """A program that asks one and ends: at once, not when there is an answer."""
    program = """
import asyncio, socket, threading
from sipsms.web.client import GuardedResolver

asked = threading.Event()

def silent(*_):
    asked.set()
    threading.Event().wait()

async def main():
    resolver = GuardedResolver(lambda address: "", silent)
    asking = asyncio.create_task(resolver.resolve("silent.example"))
    await asyncio.to_thread(asked.wait)
    asking.cancel()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.req("A-40")
async def test_silent_name_servers_of_one_domain_do_not_block_other_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()

    def look_up(host: str, port: int, family: int, kind: int) -> list[Any]:
        if host.endswith("silent.example"):
            hold.wait(5)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    stub = Stub(answering(OK))
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    client, port = AiohttpClient(ALLOWING, look_up), server.sockets[0].getsockname()[1]
    silent = [
        asyncio.create_task(client.request("GET", f"http://h{n}.silent.example/", headers={}, timeout=3))
        for n in range(40)
    ]
    try:
        async with asyncio.timeout(2):
            reply = await client.request("GET", f"http://good.example:{port}/", headers={})
        assert reply.status == 200
    finally:
        hold.set()
        results = await asyncio.gather(*silent, return_exceptions=True)
        await client.close()
        server.close()
    assert all(isinstance(one, NotSent) for one in results)
