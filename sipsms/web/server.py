"""The HTTP application: health, metrics, carriers' hooks, phones' settings; and the server for it in our event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sipsms.core.listener import BACKLOG
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.media import MediaDoor
from sipsms.web.provisioning import Provision
from sipsms.web.request import address_of
from sipsms.web.response_ack import KEY, Link, Links

Network = IPv4Network | IPv6Network
Readiness = Callable[[], Awaitable[dict[str, str]]]  # part -> "ok", or what is wrong with it


def build(
    hooks: Hooks, readiness: Readiness, provision: Provision, media: MediaDoor, doors: Sequence[BaseRoute] = (),
    metrics_from: Sequence[str] = ("0.0.0.0/0", "::/0"),
) -> Starlette:  # fmt: skip
    """`doors`: the routes of the APIs. `metrics_from`: networks."""
    watchers = _networks(metrics_from)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        parts = await readiness()
        ready = all(state == "ok" for state in parts.values())
        return JSONResponse({"ready": ready, **parts}, status_code=200 if ready else 503)

    async def metrics(request: Request) -> Response:
        if not _is_in(address_of(request), watchers):
            return PlainTextResponse("Not Found", 404)  # as Starlette says it
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/hooks/{carrier}/{secret}", hooks.handle, methods=["GET", "POST"]),
            Route("/provision/{token}/{app}.xml", provision.handle, methods=["GET"]),
            Route("/media/{token}/{name}", media.handle, methods=["GET", "HEAD"]),
            *doors,
        ],
        exception_handlers={ClientDisconnect: _gone},
    )


async def _gone(request: Request, error: Exception) -> Response:
    """The answer to a client that broke off in its body, whoever reads it. It hears nothing; it is no error of ours."""
    return PlainTextResponse("the client went away\n", 400)


FIRST_REQUEST = 10.0  # seconds a connection may take for its first request
UNREAD = 30.0  # seconds that a client may leave what we write unread
LINGER = 1.0  # seconds that an answer is left to be read, before a connection is closed on its unread body
MAX_CONNECTIONS = 200  # from one address


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but a connection is closed that asks for nothing, or slowly, that does not read what it asked for, or
    whose answer came before its body was read; and nobody has more than so many: a thousand would close the door."""

    links: Links  # those of its server
    proxies: tuple[Network, ...] = ()  # they speak for many
    counts: ClassVar[Counter[str]] = Counter()  # of connections, by address; an IPv6 host has a /64 to itself

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._address, is_proxy = _counted_as(peer), _is_in(peer, self.proxies)
        self.counts[self._address] += 1
        self.link = Link(transport, self.links)
        self._stuck: asyncio.TimerHandle | None = None
        self._in_head = True
        self._impatience = self.loop.call_later(FIRST_REQUEST, self._give_up)
        if self.counts[self._address] > MAX_CONNECTIONS and not is_proxy:
            transport.close()

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.link.asked_again()
        self.scope[KEY] = self.link  # type: ignore[typeddict-unknown-key]
        self._in_head = True
        self._impatience.cancel()
        self._impatience = self.loop.call_later(FIRST_REQUEST, self._give_up)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._impatience.cancel()
        super().on_headers_complete()

    def eof_received(self) -> None:
        self.link.closed_by_client()
        super().eof_received()

    def pause_writing(self) -> None:
        """The client does not read: for a while."""
        super().pause_writing()
        self._stuck = self.loop.call_later(UNREAD, self._abandon)

    def _abandon(self) -> None:
        self.link.lost(broken=True)
        self.transport.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def on_response_complete(self) -> None:
        self.link.written()
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self.flow.pause_reading()  # what else it has to say is of no interest; it may read our answer
            self._impatience.cancel()
            self._impatience = self.loop.call_later(LINGER, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._impatience.cancel()
        if self._stuck is not None:
            self._stuck.cancel()
        self.link.lost(broken=exc is not None)
        self.counts[self._address] -= 1
        if self.counts[self._address] <= 0:
            del self.counts[self._address]
        super().connection_lost(exc)


def _networks(written: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(one, strict=False) for one in written)


@lru_cache(maxsize=4096)
def _host(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    host = _host(address)
    return host is not None and any(host in network for network in networks)


def _counted_as(address: str) -> str:
    """An IPv6 host has a /64 to itself."""
    host = _host(address)
    if host is None:
        return address
    return str(host) if host.version == 4 else str(int(host) >> 64)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the program's own drains the queue first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    def __init__(self, application: Starlette, sock: socket.socket, proxies: Sequence[str] = ()) -> None:
        """Serve on a bound socket. `proxies`: whose X-Forwarded-For is believed."""
        self._socket = sock
        self.port: int = sock.getsockname()[1]
        self._links = Links()
        own = {"proxies": _networks(proxies), "counts": Counter(), "links": self._links}
        protocol = type("Protocol", (_Protocol,), own)
        config = uvicorn.Config(
            application, http=protocol, ws="none", loop="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies), timeout_keep_alive=30,
            limit_concurrency=1000, h11_max_incomplete_event_size=65536,
        )  # fmt: skip
        self._server = _Server(config)
        self._over = asyncio.Event()

    def listen(self) -> None:
        """Let clients connect; `run` answers them. Raises OSError."""
        self._socket.listen(BACKLOG)

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._links.close()
            self._over.set()

    def stop(self) -> None:
        """Take no new connections; what is being answered is finished."""
        self._server.should_exit = True

    async def finished(self, seconds: float) -> None:
        """Wait, at most so long, until everybody has an answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
