"""The HTTP client of the carriers: aiohttp, with one question answered for sure: may the request have left?

`NotSent` only while no connection was in hand; from then on, everything that is not a complete answer is `NoAnswer`.
A message must not be sent twice, so a request is never repeated here. aiohttp does repeat GET and PUT when a connection
breaks (RFC 9110 section 9.2.2 allows it; a carrier that sends SMS by GET does not care about the RFC), so its tracing
hooks hand out one connection a request and refuse a second. Connections are kept for a moment only: one that the
server closes just as we reuse it would make the message `unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from sipsms import __version__
from sipsms.ports import MAX_ANSWER, HttpReply, NoAnswer, NotSent

CONNECT_TIMEOUT: Final = 10.0
KEEP_ALIVE: Final = 1.0  # shorter than any server's usual patience (2 s and more), long enough for a burst


@dataclass(slots=True)
class _Progress:
    """Of one request: whether it has got its connection."""

    connected: bool = False


async def _before_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    if context.trace_request_ctx.connected:
        raise NoAnswer("connection closed before an answer came")


async def _after_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected = True


async def _reused_connection(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    await _before_connection(session, context, params)
    await _after_connection(session, context, params)


def _one_connection_a_request() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_before_connection)
    trace.on_connection_create_end.append(_after_connection)
    trace.on_connection_reuseconn.append(_reused_connection)
    return trace


class AiohttpClient:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = MAX_ANSWER,
    ) -> HttpReply:  # fmt: skip
        progress = _Progress()
        try:
            return await self._request(method, url, headers, body, _limits(timeout), limit, progress)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            why = _why(error)
            raise (NoAnswer(why) if progress.connected else NotSent(why)) from None

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: aiohttp.ClientTimeout,
        limit: int,
        progress: _Progress,
    ) -> HttpReply:
        async with self._open().request(
            method,
            URL(url, encoded=True),  # the caller has encoded it; once is enough
            headers=headers,
            data=body or None,
            allow_redirects=False,
            timeout=limits,
            trace_request_ctx=progress,
        ) as answer:
            return HttpReply(answer.status, _lower(answer.headers), await _read(answer, limit))

    def _open(self) -> aiohttp.ClientSession:
        """Made by the first request, since aiohttp wants a running loop; without cookies and without proxies."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=512, limit_per_host=64, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"sipsms/{__version__}", "Accept-Encoding": "identity"},
                trace_configs=[_one_connection_a_request()],
            )
        return self._session


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """Up to the cap. Past it the rest is not wanted, and the connection goes with it."""
    body = bytearray()
    while len(body) < limit and (chunk := await answer.content.read(limit - len(body))):
        body += chunk
    if not answer.content.at_eof():
        answer.close()
    return bytes(body)


def _limits(timeout: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECT_TIMEOUT))


def _why(error: BaseException) -> str:
    """In words that are ours: aiohttp's may have the URL, and the URL may have a password of the carrier's."""
    words = next((words for kind, words in _REASONS if isinstance(error, kind)), type(error).__name__)
    cause = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else None
    return f"{words}: {cause}" if cause else words


_REASONS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ServerTimeoutError, "no connection in time"),
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorCertificateError, "certificate refused"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ClientConnectorError, "cannot connect"),
    (aiohttp.ServerDisconnectedError, "connection closed before an answer came"),
    (aiohttp.ClientPayloadError, "connection closed within the answer"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.InvalidURL, "not a URL"),
    (aiohttp.ClientOSError, "connection broken"),
)
