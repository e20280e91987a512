"""The HTTP server of sipsms on a free port, for tests of its answers."""

from __future__ import annotations

import time

from starlette.applications import Starlette

from sipsms.core.admission import Admission, Limits
from sipsms.core.clock import Clock
from sipsms.core.listener import bind
from sipsms.web.server import HttpServer


def listening(
    application: Starlette, *proxies: str, limits: Limits | None = None, clock: Clock = time.monotonic
) -> HttpServer:
    """A server on 127.0.0.1 that clients can connect to; they are answered once `run` is a task."""
    server = HttpServer(application, bind("127.0.0.1", 0), proxies, Admission(limits or Limits(), clock))
    server.listen()
    return server
