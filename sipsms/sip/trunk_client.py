"""Requests of a trunk to its server: signed, and sent again with the answer to a challenge."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from sipsms.sip.digest_client import Digest, Exchange
from sipsms.sip.endpoint import Endpoint, NoResponse
from sipsms.sip.message import Request, Response
from sipsms.sip.transport import Flow
from sipsms.sip.trunk_settings import SipConfig

USER_SAFE: Final = "-_.!~*'()&=+$,;?/"  # RFC 3261 section 25.1, user


class TrunkClient:
    def __init__(self, endpoint: Endpoint, config: SipConfig) -> None:
        self._endpoint = endpoint
        self._timeout = config.timeout
        self._digest = Digest(config.username, config.password.get_secret_value())
        host = config.domain or config.server
        self.host = f"[{host}]" if ":" in host and host[0] != "[" else host
        self.aor = f"sip:{quote(config.username, safe=USER_SAFE)}@{self.host}"

    async def ask(
        self, method: str, uri: str, headers: dict[str, list[str]], flow: Flow, cseq: Iterable[int], body: bytes = b""
    ) -> Response:
        """Send a request, answer its challenges, and return the last response. Raises NoResponse."""
        exchange, numbers = Exchange(self._digest, method, uri), iter(cseq)
        while True:
            complete = {"max-forwards": ["70"], **headers, "cseq": [f"{next(numbers)} {method}"]}
            signed = exchange.credentials(os.urandom(8).hex())
            if signed is not None:
                complete[signed[0]] = [signed[1]]
            complete["user-agent"] = ["sipsms"]
            try:
                async with asyncio.timeout(self._timeout):
                    response = await self._endpoint.request(Request(method, uri, complete, body), flow)
            except TimeoutError:
                raise NoResponse(f"no answer in {self._timeout:g} s") from None
            if not exchange.goes_on(response):
                return response
