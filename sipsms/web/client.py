"""The HTTP client of carriers and couriers (aiohttp).

It reports for certain whether a request may have left. `NotSent` is raised only while no connection was available;
after that, everything but a complete answer is `NoAnswer`. A message must not be sent twice, so this client never
repeats a request. aiohttp repeats GET and PUT when a connection breaks (RFC 9110 section 9.2.2 allows it, but some
carriers send SMS by GET). So our tracing hooks grant one connection a request and refuse a second. Idle connections are
kept only for a moment: if the server closes a connection just as we reuse it, the message's outcome would be unknown.

With a guard this is the client for customers' URLs: every resolved address is checked, and aiohttp connects to exactly
that address, without a second lookup. Its answers are not decompressed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from sipsms import __version__
from sipsms.core.http_client import MAX_ANSWER, Forbidden, HttpReply, NoAnswer, NotSent
from sipsms.core.ssrf import check_url, literal

CONNECT_TIMEOUT: Final = 10.0
KEEP_ALIVE: Final = 1.0  # seconds; shorter than usual server timeouts (2 s and more), long enough for a burst

MAX_CALLED_URL: Final = 64 * 1024  # bytes; a long text in a callback: nine bytes for a letter outside ASCII
LOOKUPS: Final = 16  # simultaneous lookups; silent name servers occupy only these threads
LOOKUPS_OF_ONE: Final = 4  # lookups for names of one domain

Guard = Callable[[str], str]  # IP address -> empty, or why a connection is refused


@dataclass(slots=True)
class _Progress:
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


class GuardedResolver(AbstractResolver):
    """The system's resolver. Its answer is used only if the guard permits every address in it."""

    def __init__(self, guard: Guard, look_up: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._guard = guard
        self._look_up = look_up
        self._room = asyncio.Semaphore(LOOKUPS)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises Forbidden; OSError for an unknown name."""
        found = await self._addresses(host, port, family)
        for *_, address in found:
            if why := self._guard(address[0]):
                raise Forbidden(f"{host}: {why}")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=family, proto=proto, flags=flags)
            for family, _, proto, _, address in found
        ]

    async def _addresses(self, host: str, port: int, family: socket.AddressFamily) -> Any:
        """Look up a name in a thread. Names of one domain share few: its servers may not answer."""
        domain = _domain_of(host)
        turn = self._turns.get(domain)
        if turn is None:
            turn = self._turns[domain] = asyncio.Semaphore(LOOKUPS_OF_ONE)
        with ExitStack() as held:
            for one in (turn, self._room):
                await one.acquire()
                held.callback(one.release)
            look_up = _in_thread(self._look_up, host, port, family, socket.SOCK_STREAM)
            # the lookup continues when its caller was cancelled
            look_up.add_done_callback(partial(_seen, held.pop_all()))
        return await asyncio.shield(look_up)

    async def close(self) -> None:
        """Do nothing: threads that wait for a silent name server must not delay the program's end."""


def _in_thread(work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Run work in a daemon thread, for which the program's end does not wait. Return its future."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(error: Exception | None, result: Any) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)

    def run() -> None:
        error, result = None, None
        try:
            result = work(*arguments)
        except Exception as why:
            error = why
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, error, result)

    threading.Thread(target=run, name="lookup", daemon=True).start()
    return future


def _domain_of(host: str) -> str:
    """Return roughly the domain of a host: its last two labels, or three as in example.co.uk."""
    labels = host.lower().split(".")
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if short else -2 :])


def _seen(held: ExitStack, look_up: asyncio.Future[Any]) -> None:
    held.close()
    if not look_up.cancelled():
        look_up.exception()  # marks the error as retrieved, else asyncio logs it


class AiohttpClient:
    def __init__(self, guard: Guard | None = None, look_up: Callable[..., Any] = socket.getaddrinfo) -> None:
        """Prepare a client, with a guard for customers' URLs. `look_up` replaces socket.getaddrinfo."""
        self._guard = guard
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None
        self._resolver: GuardedResolver | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:  # aiohttp closes only its own resolver
            await self._resolver.close()
            self._resolver = None

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = MAX_ANSWER,
    ) -> HttpReply:  # fmt: skip
        """Send one request. With a guard also raises Forbidden, before anything is sent."""
        if self._guard is not None:
            _check(url, self._guard)
        progress = _Progress()
        limits = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECT_TIMEOUT))
        try:
            async with self._open().request(
                method, URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False,
                timeout=limits, trace_request_ctx=progress,
            ) as answer:  # fmt: skip
                found = {name.lower(): value for name, value in answer.headers.items()}
                return HttpReply(answer.status, found, await _read(answer, limit))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            why = _why(error)
            raise (NoAnswer(why) if progress.connected else NotSent(why)) from None

    def _open(self) -> aiohttp.ClientSession:
        """Return the session, made by the first request because aiohttp needs a running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                auto_decompress=self._guard is None,  # a small compressed body may inflate to a huge one
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"sipsms/{__version__}", "Accept-Encoding": "identity"},
                trace_configs=[_one_connection_a_request()],
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        if self._guard is None:
            return aiohttp.TCPConnector(limit=512, limit_per_host=64, keepalive_timeout=KEEP_ALIVE)
        self._resolver = GuardedResolver(self._guard, self._look_up)
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, resolver=self._resolver, use_dns_cache=False)


def _check(url: str, guard: Guard) -> None:
    """Check the URL's form, and its host if that is an IP address. Raises Forbidden."""
    why = check_url(url, allow_private=True, limit=MAX_CALLED_URL)  # the guard decides on private addresses
    if why:
        raise Forbidden(why)
    address = literal(URL(url, encoded=True).raw_host or "")
    if address and (why := guard(address)):
        raise Forbidden(why)


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read at most `limit` bytes. If the answer is longer, close its connection."""
    body = bytearray()
    while len(body) < limit and (chunk := await answer.content.read(limit - len(body))):
        body += chunk
    if not answer.content.at_eof():
        answer.close()
    return bytes(body)


def _why(error: BaseException) -> str:
    """Describe an error in our own words: aiohttp's may hold a URL with a carrier's password."""
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
