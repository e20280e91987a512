"""The HTTP application: health, metrics, carriers' hooks, phones' settings; and the server for it in our event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sipsms.web.hooks import Hooks
from sipsms.web.media import MediaDoor
from sipsms.web.provision import Provision

Readiness = Callable[[], Awaitable[dict[str, str]]]  # part -> "ok", or what is wrong with it


def build(
    hooks: Hooks, readiness: Readiness, provision: Provision, media: MediaDoor, doors: Sequence[BaseRoute] = ()
) -> Starlette:
    """`doors`: the routes of the APIs."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        parts = await readiness()
        ready = all(state == "ok" for state in parts.values())
        return JSONResponse({"ready": ready, **parts}, status_code=200 if ready else 503)

    async def metrics(request: Request) -> Response:
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
        ]
    )


FIRST_REQUEST = 10.0  # seconds a connection may take for its first request


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but a connection that asks for nothing is closed: a thousand of those would close the door."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._impatience = self.loop.call_later(FIRST_REQUEST, self._give_up)

    def _give_up(self) -> None:
        asked = getattr(self, "cycle", None) is not None
        if not asked and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._impatience.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the program's own drains the queue first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    def __init__(self, application: Starlette, host: str, port: int, proxies: Sequence[str] = ()) -> None:
        """Listens at once. `proxies`: whose X-Forwarded-For is believed. Raises OSError: the address cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(1024)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application, http=_Protocol, loop="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies), timeout_keep_alive=30,
            limit_concurrency=1000, h11_max_incomplete_event_size=65536,
        )  # fmt: skip
        self._server = _Server(config)

    async def run(self) -> None:
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        self._server.should_exit = True
