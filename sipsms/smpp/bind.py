"""Bind that we open to a server: connection, bind, requests and their responses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

from sipsms.core.clock import Clock
from sipsms.core.http_client import NotSent
from sipsms.core.smpp_url import SmppUrl
from sipsms.smpp.connection import Connection
from sipsms.smpp.courier import Gone
from sipsms.smpp.pdu import Command, Pdu
from sipsms.smpp.peer_session import PeerSession, Taken
from sipsms.smpp.resend_detection import Key
from sipsms.smpp.session import MODES, Answer, Closed, Event, Late, Limits, Lost, Mode, NotBound, Request, Session

_CONNECT: Final = 10.0  # seconds for the connection, including TLS
_LAST_ANSWERS: Final = 100  # hundredths of a second to wait for responses before an unbind


class Target(NamedTuple):
    """Server and credentials of a bind."""

    url: SmppUrl
    username: str
    password: str
    limits: Limits
    verify: bool = True
    ca: Path | None = None
    system_type: str = ""


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # host, port -> addresses; raises OSError, NotSent, ValueError


class _Token(NamedTuple):
    answer: asyncio.Future[Pdu]
    about: Any


def _client_context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(target.ca) if target.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Bind(PeerSession):
    def __init__(
        self, target: Target, command: Command, clock: Clock, on_request: Callable[[Bind, Pdu], None],
        resolve: Resolve, on_late: Callable[[Any, Pdu], None] = lambda about, answer: None,
    ) -> None:  # fmt: skip
        """`on_late(about, answer)`: called with the response to a request that was given up."""
        super().__init__()
        self.target = target
        self.mode: Mode = MODES[command]
        self.peer_id = ""  # the server's system_id
        self.why = ""  # reason of the end
        self.submits = 0  # messages in flight, counted by the owner
        self._command = command
        self._clock = clock
        self._on_request = on_request
        self._on_late = on_late
        self._resolve = resolve
        self._connection: Connection | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._left_at = inf  # time of our unbind; inf: none sent

    # --- life ---

    async def open(self) -> None:
        """Connect and bind. Raises Gone with the reason."""
        try:
            async with asyncio.timeout(_CONNECT):
                connection = await self._connect()
        except (OSError, TimeoutError, NotSent, ValueError) as error:
            raise Gone(f"{self.target.url.host}:{self.target.url.port}: {_reason(error)}") from None
        self._connection = connection
        self._ticker = asyncio.get_running_loop().create_task(self._tick(connection))
        fields = {
            "system_id": self.target.username, "password": self.target.password,
            "system_type": self.target.system_type, "interface_version": 0x34,
        }  # fmt: skip
        is_bound = False
        try:
            answer = await self.ask(self._command, fields, {})
            if answer.status:
                raise Gone(f"refused: {answer.status:#x}")
            is_bound = connection.session.can_ask
        except (Gone, NotBound) as gone:
            raise Gone(f"no bind: {gone}") from None
        finally:  # also if the caller was cancelled
            if not is_bound:
                connection.drop("no bind")
                self._ticker.cancel()
        self.peer_id = str(answer.fields.get("system_id", ""))

    async def _connect(self) -> Connection:
        url, loop = self.target.url, asyncio.get_running_loop()
        addresses = await self._resolve(url.host, url.port)
        more: dict[str, Any] = {}
        if url.tls:
            more = {"ssl": _client_context(self.target), "server_hostname": url.host, "ssl_handshake_timeout": _CONNECT}
        last: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                _, connection = await loop.create_connection(self._make, address, url.port, **more)
            except OSError as error:
                last = error
            else:
                return connection
        raise last

    def _make(self) -> Connection:
        now = self._clock()
        limits = self.target.limits._replace(bind_timeout=self.target.limits.response_timeout)
        return Connection(Session("esme", now, limits), self._clock, self._heed)

    async def _tick(self, connection: Connection) -> None:
        while not connection.closed.done():
            await asyncio.sleep(1)
            connection.tick(self._clock())
            self._look(connection)

    def _look(self, connection: Connection) -> None:
        if len(self.trail):
            self.trail.looked(self._clock(), all_heard=connection.is_heard)

    def _heed(self, connection: Connection, event: Event) -> None:
        match event:
            case Request(pdu):
                self.is_doubted = False
                self._look(connection)
                self._on_request(self, pdu)
            case Answer(token, pdu):
                if not token.answer.done():
                    token.answer.set_result(pdu)
            case Late(token, pdu):
                self._on_late(token.about, pdu)
            case Lost(token, why):
                if not token.answer.done():
                    token.answer.set_exception(Gone(why))
                    token.answer.exception()  # the caller may have been cancelled
            case Closed(why, orderly):
                self.why = why
                if orderly:  # the server has received all that we sent before the unbind
                    self.trail.forget(self._left_at)

    async def until_closed(self) -> None:
        """Wait for the end of the connection."""
        if self._connection is not None:
            await asyncio.wait([self._connection.closed])
        if self._ticker is not None:
            self._ticker.cancel()

    async def close(self, seconds: float = 2.0) -> None:
        """Unbind, and wait at most `seconds` for the response."""
        if self._connection is None:
            return
        try:
            await self._finish(self._connection)
            self._left_at = self._clock()
            self._connection.unbind()
            await asyncio.wait([self._connection.closed], timeout=seconds)
        finally:
            self._connection.drop("unbound")
            if self._ticker is not None:
                self._ticker.cancel()

    async def _finish(self, connection: Connection) -> None:
        """Wait up to one second until requests are answered, which the server may not read after an unbind."""
        for _ in range(_LAST_ANSWERS):
            if not connection.session.under_way:
                return
            await asyncio.sleep(0.01)

    # --- messages whose response may be lost ---

    def is_mute(self, now: float) -> bool:
        """Return True if the connection may be broken while messages may come again."""
        connection = self._connection
        return connection is not None and bool(len(self.trail) or self.under_way) and connection.is_mute(now)

    def doubts(self, now: float) -> list[tuple[Key, Taken]]:
        """Return the messages that the server may send again by another bind: once, if this bind is mute."""
        if self.is_doubted or not self.is_mute(now):
            return []
        self.is_doubted = True
        return self.unsure(now)

    # --- use ---

    @property
    def is_bound(self) -> bool:
        return self._connection is not None and self._connection.session.can_ask

    @property
    def sent(self) -> int:
        """Number of messages that the server has accepted."""
        return self._connection.sent if self._connection is not None else 0

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], about: Any = None) -> Pdu:
        """Send a request and return its response. Raises NotBound (not sent) or Gone (perhaps read)."""
        assert self._connection is not None
        answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
        self._connection.ask(command, dict(fields), _Token(answer, about), dict(tlvs))
        return await answer

    def answer(self, request: Pdu, status: int = 0) -> None:
        if self._connection is not None:
            self._connection.answer(request, status)

    def count(self, sent: int = 0, received: int = 0) -> None:
        """Count messages for `sipsms binds`."""
        if self._connection is not None:
            self._connection.sent += sent
            self._connection.received += received

    def shown(self, name: str, account: str) -> dict[str, Any]:
        """Return the row of this bind for `sipsms binds`."""
        row, connection = unbound(self.target, self.mode, name, account, self.why), self._connection
        if connection is None:
            return {**row, "state": "open"}
        counts = {"since": connection.opened_at, "sent": connection.sent, "received": connection.received}
        return {**row, "state": str(connection.session.state), **counts}


def unbound(target: Target, mode: Mode, name: str, account: str, why: str) -> dict[str, Any]:
    """Return the row of a missing bind for `sipsms binds`."""
    return {
        "direction": "out", "name": name, "account": account, "peer": f"{target.url.host}:{target.url.port}",
        "mode": str(mode), "tls": target.url.tls, "state": "unbound", "since": 0.0, "sent": 0, "received": 0,
        "why": why,
    }  # fmt: skip


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "no connection in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return str(getattr(error, "strerror", "") or error or "no such name")
