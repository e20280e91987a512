"""The HTTP application (health, metrics, hooks, phone settings, APIs) and its server (uvicorn)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sipsms.core.admission import Admission, Limits
from sipsms.core.listener import BACKLOG
from sipsms.core.network import Network, is_in
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.media import MediaDownload
from sipsms.web.provisioning import ProvisioningDownload
from sipsms.web.request import address_of
from sipsms.web.response_ack import KEY, ResponseAck, ResponseAcks

Endpoint = Callable[[Request], Awaitable[Response]]
Readiness = Callable[[], Awaitable[dict[str, str]]]  # component -> "ok", or its problem


def build(
    hooks: Hooks, readiness: Readiness, provision: ProvisioningDownload, media: MediaDownload,
    apis: Sequence[BaseRoute] = (), metrics_from: Sequence[str] = ("0.0.0.0/0", "::/0"),
    about: Mapping[str, str] | None = None,
) -> Application:  # fmt: skip
    """Build the application with the routes of the APIs.

    `metrics_from`: networks that may read /metrics. `about`: what /readyz says of the program."""
    watchers = _networks(metrics_from)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        parts = await readiness()
        ready = all(state == "ok" for state in parts.values())
        return JSONResponse({"ready": ready, **parts, **(about or {})}, status_code=200 if ready else 503)

    async def metrics(request: Request) -> Response:
        if not is_in(address_of(request), watchers):
            return PlainTextResponse("Not Found", 404)  # Starlette's own text
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Application(
        [
            Route("/", _front),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/hooks/{carrier}/{secret}", hooks.handle, methods=["GET", "POST"]),
            Route("/provision/{token}/{app}.xml", provision.handle, methods=["GET"]),
            Route("/media/{token}/{name}", media.handle, methods=["GET", "HEAD"]),
            *apis,
        ],
        hooks.handle,
    )


_FRONT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sipsms</title></head>
<body><h1>sipsms</h1><p>A SIP message registrar and SMS gateway.</p>
<ul><li><a href="/docs">API</a></li><li><a href="/healthz">Health</a></li></ul></body></html>
"""
_FRONT_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def _front(request: Request) -> Response:
    """Show people who enter only the address where to go. Strangers must not learn the version."""
    return HTMLResponse(_FRONT, headers=_FRONT_HEADERS)


class Application:
    """The ASGI application. What carriers and programs send messages by is called at once; Starlette does all else.

    Starlette's layers and its look at one route after the other would cost a message as much as its answer does.
    """

    def __init__(self, routes: Sequence[BaseRoute], hook: Endpoint) -> None:
        both = [one for one in routes if isinstance(one, Route) and one.methods and {"GET", "POST"} <= one.methods]
        routes = [*routes, *(_with_slash(one) for one in both if not one.path.endswith("/"))]
        self._starlette = Starlette(routes=routes, exception_handlers={ClientDisconnect: _gone})
        self._hook = hook
        self._endpoints: dict[str, Endpoint] = {
            one.path: one.endpoint
            for one in routes
            if isinstance(one, Route) and "{" not in one.path and one.methods == {"GET", "POST"}
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoint(scope) if scope["type"] == "http" and scope["method"] in ("GET", "POST") else None
        if endpoint is None:
            await self._starlette(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except ClientDisconnect as error:
            response = await _gone(request, error)
        await response(scope, receive, send)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        path: str = scope["path"]
        if path.startswith("/hooks/"):
            parts = path.split("/")
            if len(parts) == 5 and not parts[4]:
                parts.pop()
            if len(parts) == 4 and parts[2] and parts[3]:
                scope["path_params"] = {"carrier": parts[2], "secret": parts[3]}
                return self._hook
            return None
        return self._endpoints.get(path)


def _with_slash(door: Route) -> Route:
    """Return the route with a slash at its end: many programs do not follow a redirect with a body."""
    found = Route(f"{door.path}/", door.endpoint)
    found.methods = door.methods
    return found


async def _gone(request: Request, error: Exception) -> Response:
    """Answer a client that disconnected while sending its body; it is not our error."""
    return PlainTextResponse("the client went away\n", 400)


FIRST_REQUEST = 10.0  # seconds that a connection may take for its first request
UNREAD = 30.0  # seconds that a client may leave our answer unread
LINGER = 1.0  # seconds to read an answer before a connection with an unread body is closed
MAX_HEAD = 64 * 1024  # bytes of a request's line and header fields
MAX_FIELDS = 100  # header fields
MAX_REQUESTS = 1000  # requests being answered, of all clients
SLICE = 4096  # bytes that are parsed in a row
_PIPELINED = 10  # requests that may wait for the answer to an earlier one; the rest is not parsed yet
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with limits against slow, numerous and greedy connections.

    A connection is closed if it sends no request or sends its head slowly, if the head is too large, if it does not
    read its answer, or after an answer that was sent before its body was read. It is busy (`core.admission`) while a
    whole request is being answered. Pipelined requests beyond a few are parsed when earlier ones have been answered.
    """

    links: ResponseAcks  # the connections of its server
    proxies: tuple[Network, ...] = ()  # no limit for proxies: they serve many clients
    admission: Admission

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = str((transport.get_extra_info("peername") or ("",))[0])
        self.link = ResponseAck(transport, self.links)
        self._stuck: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = 0  # bytes since the slice in which the head began
        self._unparsed = bytearray()
        self._impatience = self.loop.call_later(FIRST_REQUEST, self._give_up)
        self._guest = self.admission.enter(peer, transport.close, is_proxy=is_in(peer, self.proxies))
        if self._guest is None:
            transport.close()

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._unparsed:
            self._unparsed += data
            return
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing():
                return
            if len(self.pipeline) >= _PIPELINED:
                self._unparsed += data[start:]
                self.flow.pause_reading()
                return
            self._parse(data[start : start + SLICE])

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        self._head += len(data)
        if self._in_head and self._head > MAX_HEAD:
            self._refuse_head()

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_FIELDS:
            self._refuse_head()
            raise ValueError("too many header fields")
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():  # answered with 431
            super().send_400_response(msg)

    def _parse_on(self) -> None:
        data, self._unparsed = bytes(self._unparsed), bytearray()
        self.data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.link.asked_again()
        self.scope[KEY] = self.link  # type: ignore[typeddict-unknown-key]
        self._in_head, self._head = True, 0
        self._impatience.cancel()
        self._impatience = self.loop.call_later(
            min(FIRST_REQUEST, self.admission.limits.message_timeout), self._give_up
        )  # fmt: skip

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._impatience.cancel()
        self.limit_concurrency = 0 if len(self.tasks) >= MAX_REQUESTS else None  # 0: answered with 503
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._guest is not None and not self.cycle.response_complete:
            self._guest.busy()

    def eof_received(self) -> None:
        self.link.closed_by_client()
        super().eof_received()

    def pause_writing(self) -> None:
        """Start a timer: the client may stop reading only for a while."""
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
        if self._guest is not None and self.cycle.response_complete:
            self._guest.idle()
        if self._unparsed:
            self.flow.pause_reading()
            if not self.pipeline:
                self.loop.call_soon(self._parse_on)
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self.flow.pause_reading()  # the rest of the body is not needed; the client may read our answer
            self._impatience.cancel()
            self._impatience = self.loop.call_later(LINGER, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._impatience.cancel()
        self._unparsed.clear()
        if self._stuck is not None:
            self._stuck.cancel()
        self.link.lost(broken=exc is not None)
        if self._guest is not None:
            self._guest.leave()
        super().connection_lost(exc)


def _networks(written: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(one, strict=False) for one in written)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, because the program must first drain the queue."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    def __init__(
        self, application: Application | Starlette, sock: socket.socket, proxies: Sequence[str] = (),
        admission: Admission | None = None,
    ) -> None:  # fmt: skip
        """Serve on a bound socket. `proxies`: addresses whose X-Forwarded-For is trusted."""
        self._socket = sock
        self.port: int = sock.getsockname()[1]
        self._links = ResponseAcks()
        admission = admission or Admission(Limits(), time.monotonic)
        own = {"proxies": _networks(proxies), "admission": admission, "links": self._links}
        protocol = type("Protocol", (_Protocol,), own)
        config = uvicorn.Config(
            application, http=protocol, ws="none", loop="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies), timeout_keep_alive=30,
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
        """Accept no new connections; requests in progress are completed."""
        self._server.should_exit = True

    async def finished(self, seconds: float) -> None:
        """Wait at most `seconds` until all requests are answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
