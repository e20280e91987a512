"""Pool of connections that we open to SIP servers of other domains.

The peer's certificate is checked before the first byte of SIP is sent. The pool keeps one connection for each
(transport, domain, address). Two domains at one address get two connections, because a certificate authenticates only
the domain in it (RFC 5923 section 7.1; CVE-2020-15260).
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from weakref import WeakSet

from sipsms.sip.settings import SipSettings
from sipsms.sip.tls import TlsLayer, is_for
from sipsms.sip.transport import Receiver, StreamConnection, Streams


class NotConnected(Exception):
    """Failure to connect, or a peer with the wrong certificate; nothing was sent."""


class ConnectionPool(Streams):
    """Outgoing connections by domain and address, whose peers are authenticated (TLS)."""

    def __init__(self, receiver: Receiver, transport: str, settings: SipSettings, tls: ssl.SSLContext | None) -> None:
        """`tls`: trust settings for transport "tls", see `tls.client_context`."""
        super().__init__(receiver, transport, settings)
        self.local = f"{transport}:out"
        self._context = tls
        self._checked: WeakSet[StreamConnection] = WeakSet()
        self._kept: dict[tuple[str, str, int], asyncio.Task[StreamConnection]] = {}

    def vouches_for(self, connection: StreamConnection) -> bool:
        """Return True if the pool opened this connection and has checked the peer's certificate."""
        return connection in self._checked

    async def connect(self, domain: str, host: str, port: int) -> StreamConnection:
        """Return an open connection to the domain's server; open a new connection if necessary.

        Raises NotConnected.
        """
        key = (domain.lower(), host, port)
        kept = self._kept.get(key)
        if kept is None or (kept.done() and (kept.cancelled() or kept.exception() or not kept.result().open)):
            kept = self._kept[key] = self.loop.create_task(self._open(*key))
        return await asyncio.shield(kept)

    async def _open(self, domain: str, host: str, port: int) -> StreamConnection:
        name = domain if self._context is not None else None
        layer = TlsLayer(self._context, server_side=False, server_name=name) if self._context is not None else None
        connection, ready = StreamConnection(self, layer), asyncio.Event()
        connection.settled = ready.set
        try:
            async with asyncio.timeout(self.settings.handshake_timeout):
                await self.loop.create_connection(partial(_same, connection), host, port)
                await ready.wait()
        except (OSError, TimeoutError) as error:
            connection.abort()
            raise NotConnected(f"{host}:{port}: {str(error) or 'no answer in time'}") from None
        if layer is not None:
            self._check(connection, layer, domain)
        if not connection.open:
            raise NotConnected(f"{host}:{port}: closed at once")
        self._checked.add(connection)
        return connection

    def _check(self, connection: StreamConnection, layer: TlsLayer, domain: str) -> None:
        if layer.agreed and is_for(layer.certificate(), domain):
            return
        why = f"its certificate is not for {domain}" if layer.agreed else layer.why or "no TLS"
        connection.abort()
        raise NotConnected(why)

    def close(self) -> None:
        for task in self._kept.values():
            task.cancel()
        super().close()


def _same(connection: StreamConnection) -> StreamConnection:
    return connection
