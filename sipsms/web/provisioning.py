"""Download of phone settings: /provision/<token>/<app>.xml.

Any problem with a token gets the same answer, byte by byte. Answers must not be cached, and the log has only the
account's name. Each IPv4 address and IPv6 network may ask a few times a minute: this protects the store; the tokens are
safe without it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sipsms.accounts.provisioning import APPS, Settings, document
from sipsms.core import log
from sipsms.core.errors import Unavailable
from sipsms.core.network import networks_of

PER_MINUTE = 30
_OF_SITE = 10  # times as many from an IPv6 /48
_MAX_NETWORKS = 10_000
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}

Fetch = Callable[[str], Awaitable[Settings | None]]  # uses up one fetch of a token


class ProvisioningDownload:
    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._minute = 0
        self._asked: Counter[str] = Counter()

    async def handle(self, request: Request) -> Response:
        if not self._may_ask(request.client.host if request.client else ""):
            return PlainTextResponse("too many requests\n", 429, {**_HEADERS, "Retry-After": "60"})
        app = request.path_params["app"]
        if app not in APPS or request.method != "GET":  # link previews send HEAD, which must not use up a fetch
            return _not_found()
        try:
            settings = await self._fetch(request.path_params["token"])
        except Unavailable:
            return PlainTextResponse("the store cannot write now\n", 503, {**_HEADERS, "Retry-After": "5"})
        if settings is None:
            return _not_found()
        log.note("provisioned", account=settings.name)
        return Response(document(app, settings), 200, _HEADERS, "application/xml")

    def _may_ask(self, address: str) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute or len(self._asked) > _MAX_NETWORKS:
            self._minute = minute
            self._asked.clear()
        networks = networks_of(address)
        self._asked.update(networks)
        limits = (PER_MINUTE, PER_MINUTE * _OF_SITE)
        return all(self._asked[network] <= most for network, most in zip(networks, limits, strict=False))


def _not_found() -> Response:
    return PlainTextResponse("not found\n", 404, _HEADERS)
