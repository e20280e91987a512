"""Sockets: UDP listeners, TCP and TLS connections.

They move bytes and limit each peer; they know no SIP. A `Flow` is the path to one peer. Answers on UDP must go to the
source address and port of the packet, whatever its Via says: phones sit behind NAT, and nobody may make us send answers
to a third party.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, cast

from sipsms.core import log
from sipsms.core.admission import Admission, Guest
from sipsms.core.listener import BACKLOG, bind
from sipsms.sip import stun
from sipsms.sip.flood_limiter import Visit
from sipsms.sip.settings import SipSettings
from sipsms.sip.tls import TlsLayer

MAX_UNSENT = 256 * 1024  # bytes a stream peer may leave unread before its connection is aborted
SLICE = 2048  # bytes of one connection that are handled before others have their turn of the loop

Address = tuple[str, int]


class Flow(Protocol):
    @property
    def name(self) -> str:
        """Name of the transport: "udp", "tcp", "tls", "ws" or "wss"."""

    @property
    def reliable(self) -> bool: ...

    @property
    def remote(self) -> Address: ...

    @property
    def local(self) -> str:
        """Name of the listener, such as "udp:0.0.0.0:5060"."""

    @property
    def number(self) -> int:
        """Number of the connection; 0 for UDP."""

    @property
    def size(self) -> int:
        """Bytes of the datagram that came; 0 for a connection."""

    def send(self, data: bytes) -> bool:
        """Pass bytes to the kernel; False if the flow is closed."""

    def sent_by(self) -> str:
        """Return host:port for our Via."""

    def authenticated(self) -> None:
        """Note that the right password came by this flow."""


class Receiver(Protocol):
    """Interface through which the transports call the endpoint."""

    def datagram(self, data: bytes, flow: Flow) -> None: ...

    def affords(self, flow: Flow, size: int) -> bool:
        """Count an answer to a stranger; return True if it may be sent."""

    def unreachable(self, remote: Address | None, sent: bytes) -> None:
        """Handle an ICMP error.

        `sent`: the datagram that could not be delivered, or its beginning.
        """

    def connected(self, connection: StreamConnection) -> None: ...

    def stream_data(self, data: bytes, connection: StreamConnection) -> None: ...

    def message(self, data: bytes, connection: StreamConnection) -> None:
        """Handle one whole SIP message of a message-based transport."""

    def tolerates(self, connection: StreamConnection) -> bool:
        """Count a message or keep-alive of a connection; False if it was closed because a stranger floods it."""

    def has_part(self, connection: StreamConnection) -> bool:
        """Return True if the connection has sent a part of a message."""

    def disconnected(self, connection: StreamConnection) -> None: ...


@lru_cache(maxsize=4096)
def is_local_address(host: str) -> bool:
    """Return True if this IP address is this machine's.

    The kernel decides: it lets us bind only to such an address.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except OSError:
        return False
    if host in ("0.0.0.0", "::"):
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


@lru_cache(maxsize=4096)
def _source_address(remote: str) -> str:
    """Return our source address for packets to a peer."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def hostport(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and host[0] != "[" else f"{host}:{port}"


class UdpFlow:
    __slots__ = ("_listener", "remote", "size")

    name = "udp"
    reliable = False
    number = 0

    def __init__(self, listener: UdpListener, remote: Address, size: int = 0) -> None:
        self._listener = listener
        self.remote = remote
        self.size = size

    @property
    def local(self) -> str:
        return self._listener.local

    def send(self, data: bytes) -> bool:
        return self._listener.send(data, self.remote)

    def sent_by(self) -> str:
        return self._listener.sent_by(self.remote[0])

    def authenticated(self) -> None:
        pass  # the flood limiter trusts the address


_PENDING_ERRORS = 3  # pending errors of other datagrams that may make one send fail
_DATAGRAMS = 64  # read in one turn of the loop


class UdpListener:
    """A UDP socket that is read until it is empty, and written at once.

    It is watched through an epoll object of its own: libuv stops to watch a socket that has an ICMP error to report.
    """

    def __init__(self, receiver: Receiver, sock: socket.socket, advertised: str | None) -> None:
        self._receiver = receiver
        self._socket = sock
        self._advertised = advertised
        self.port: int
        self._host, self.port = sock.getsockname()[:2]
        self.local = f"udp:{hostport(self._host, self.port)}"
        self._events = select.epoll()
        self._events.register(sock, select.EPOLLIN)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events, self._readable)

    @classmethod
    def open(cls, receiver: Receiver, host: str, port: int, advertised: str | None = None) -> UdpListener:
        """Bind an address and read from it. Raises OSError if it is not available."""
        return cls(receiver, bind(host, port, datagrams=True), advertised)

    def sent_by(self, remote: str) -> str:
        if self._advertised:
            return hostport(self._advertised, self.port)
        host = self._host if self._host not in ("0.0.0.0", "::") else _source_address(remote)
        return hostport(host, self.port)

    def send(self, data: bytes, remote: Address) -> bool:
        """Send a datagram. It may get lost here as on its way: whoever waits for an answer sends it again."""
        if self._events.closed:
            return False
        for _ in range(_PENDING_ERRORS):
            try:
                self._socket.sendto(data, remote)
                return True
            except ConnectionError:  # of an earlier datagram: this one was not sent
                self._report_errors()
            except socket.gaierror:  # an address of the other family
                return False
            except OSError:  # the buffer is full, no route to the host, too long
                self._report_errors()
                return True
        return True

    def close(self) -> None:
        if not self._events.closed:
            self._loop.remove_reader(self._events)
            self._events.close()
            self._socket.close()

    def _readable(self) -> None:
        for count in range(_DATAGRAMS):
            if self._events.closed:
                return
            try:
                data, address = self._socket.recvfrom(65535)
            except OSError as error:
                if not (count and isinstance(error, BlockingIOError)):
                    self._report_errors()
                return
            self._datagram(data, (address[0], address[1]))

    def _datagram(self, data: bytes, remote: Address) -> None:
        try:
            flow = UdpFlow(self, remote, len(data))
            if data and data[0] < 4:  # STUN (RFC 5389 section 8): no SIP message begins with these bytes
                answer = stun.answer(data, remote)
                if answer and self._receiver.affords(flow, len(answer)):
                    self.send(answer, remote)
                return
            self._receiver.datagram(data, flow)
        except Exception as error:  # a bug must not cost the other datagrams
            log.crash("sip_failed", error, source=remote[0])

    def _report_errors(self) -> None:
        """Report ICMP errors from the socket's error queue, where the kernel keeps their addresses.

        The kernel also returns the error to the next call on the socket.
        """
        for _ in range(_DATAGRAMS):
            try:
                sent, _, _, remote = self._socket.recvmsg(2048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except OSError:
                return
            self._receiver.unreachable((remote[0], remote[1]) if remote else None, sent)


# --- streams ---------------------------------------------------------------------------------------------------------


class StreamConnection(asyncio.Protocol):
    """TCP or TLS connection, which is also its own Flow.

    TLS is applied between the socket and `_received`/`_write`.
    """

    reliable = True
    size = 0

    def __init__(self, pool: Streams, tls: TlsLayer | None) -> None:
        self._pool = pool
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0  # since the last whole message or keep-alive
        self._part_since = 0.0  # since the first byte of an unfinished message; 0: none
        self._part_timer: asyncio.TimerHandle | None = None
        self.name = pool.transport
        self.number = 0
        self.remote: Address = ("", 0)
        self.local = pool.local
        self.spoke = False  # the peer has sent a whole message
        self.is_known = pool.admission is None  # the peer has sent the right password, or is a server that we called
        self.visit = Visit()
        self.guest: Guest | None = None
        self._waiting = bytearray()  # received, and handled in the next turns of the loop
        self.in_use: Callable[[], bool] = _never  # returns True if a live binding needs this connection
        self.state: Any = None  # owned by the endpoint
        self.settled: Callable[[], None] = _nothing  # called when the connection is ready, and when it is closed

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> bool:
        return self._write(data)

    def _write(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > MAX_UNSENT:
            transport.abort()
            return False
        transport.write(data if self._tls is None else self._tls.encrypt(data))
        return True

    def sent_by(self) -> str:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return hostport(self._pool.settings.advertised or host, port)

    def authenticated(self) -> None:
        if not self.is_known and self.guest is not None:
            self.guest.busy()
        self.is_known = True

    def close(self) -> None:
        """Close after the written bytes have been sent."""
        self._waiting.clear()
        if self._transport is not None and not self._transport.is_closing():
            if self._tls is not None:
                self._transport.write(self._tls.close())
            self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = self._transport = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername") or ("", 0)
        self.remote = (peer[0], peer[1])
        if not self._pool.admit(self):
            stream.abort()
            return
        _keep_alive(stream)
        if self._tls is None:
            self._begin()
            return
        self._timer = self._pool.loop.call_later(self._pool.settings.handshake_timeout, stream.abort)
        if not self._tls.server_side:
            stream.write(self._tls.start())

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._quiet_since = self._pool.loop.time()
        if self._pool.admission is not None:
            self._timer = self._pool.loop.call_later(self._pool.settings.first_message_timeout, self._first_is_late)
        self._pool.receiver.connected(self)
        self.settled()

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE and not self._waiting:
            self._handle(data)
            return
        self._waiting += data
        if len(self._waiting) == len(data):
            if self._transport is not None:
                self._transport.pause_reading()
            self._handle_waiting()

    def _handle_waiting(self) -> None:
        """Handle the next slice of much data; read on when all is handled."""
        data = bytes(self._waiting[:SLICE])
        del self._waiting[:SLICE]
        self._handle(data)
        if self._waiting:
            self._pool.loop.call_soon(self._handle_waiting)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _handle(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception as error:  # a bug must end this connection only, and must be logged
            log.crash("connection_failed", error, source=self.remote[0], transport=self.name)
            self.abort()

    def _take(self, data: bytes) -> None:
        if self._tls is None:
            self._received(data)
            return
        agreed = self._tls.agreed
        plain = self._tls.decrypt(data)
        assert self._transport is not None
        if answer := self._tls.unsent():
            self._transport.write(answer)
        if self._tls.agreed and not agreed:
            self._begin()
        if plain:
            self._received(plain)
        if self._tls.over:
            self._transport.close()

    def _received(self, data: bytes) -> None:
        self._pool.receiver.stream_data(data, self)
        self._bound_part()

    def heard(self) -> None:
        """Note a whole message or keep-alive."""
        self._quiet_since, self._part_since = self._pool.loop.time(), 0.0

    def kept_alive(self) -> None:
        """Note a keep-alive within a message."""
        self._quiet_since = self._pool.loop.time()

    def _bound_part(self) -> None:
        """Bound the time from a message's first byte to its last."""
        if self._part_since or not self._has_part():
            return
        self._part_since = self._pool.loop.time()
        if self._part_timer is None and self._pool.admission is not None:
            seconds = self._pool.admission.limits.message_timeout
            self._part_timer = self._pool.loop.call_later(seconds, self._part_is_late, seconds)

    def _has_part(self) -> bool:
        return self._pool.receiver.has_part(self)

    def _part_is_late(self, seconds: float) -> None:
        self._part_timer = None
        if not self._part_since:
            return
        left = self._part_since + seconds - self._pool.loop.time()
        if left <= 0:
            self.abort()
        else:
            self._part_timer = self._pool.loop.call_later(left, self._part_is_late, seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:  # what came before the end is handled before the end
            self._pool.loop.call_soon(self.connection_lost, exc)
            return
        for timer in (self._timer, self._part_timer):
            if timer is not None:
                timer.cancel()
        self.settled()
        # These callbacks refer to this connection: drop them, or only the garbage collector frees it, much later.
        self.settled, self.in_use = _nothing, _never
        if self._pool.release(self) and (self._tls is None or self._tls.agreed):
            self._pool.receiver.disconnected(self)

    # --- time limits ---

    def _first_is_late(self) -> None:
        if not self.spoke and self._transport is not None:
            self._transport.abort()
            return
        self._check_idle()

    def _check_idle(self) -> None:
        """Close an idle connection, unless a registered phone needs it."""
        limit = self._pool.settings.idle_timeout
        quiet = self._pool.loop.time() - self._quiet_since
        if quiet >= limit and not self.in_use():
            self.close()
            return
        self._timer = self._pool.loop.call_later(max(1.0, limit - quiet), self._check_idle)


def _never() -> bool:
    return False


def _nothing() -> None:
    return None


def _keep_alive(stream: asyncio.Transport) -> None:
    """Detect within 90 s a peer that disappeared without closing, such as a power failure (F-26)."""
    sock = stream.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 90_000)  # also if the peer acknowledges no data


class Streams:
    """Connections of one listener, or connections that we open, by their numbers."""

    def __init__(
        self, receiver: Receiver, transport: str, settings: SipSettings, admission: Admission | None = None
    ) -> None:
        """`admission`: None for connections that we open."""
        self.admission = admission
        self.receiver = receiver
        self.transport = transport
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.local = ""
        self._last_number = int.from_bytes(os.urandom(5), "big")  # random: no number from before a restart is reused
        self._connections: dict[int, StreamConnection] = {}

    def admit(self, connection: StreamConnection) -> bool:
        """Number a new connection; False if it is refused."""
        if self.admission is not None:
            connection.guest = self.admission.enter(connection.remote[0], connection.abort)
            if connection.guest is None:
                return False
        self._last_number += 1
        connection.number = self._last_number
        self._connections[connection.number] = connection
        return True

    def release(self, connection: StreamConnection) -> bool:
        """Remove a connection; False if it was not admitted."""
        if self._connections.pop(connection.number, None) is None:
            return False
        if connection.guest is not None:
            connection.guest.leave()
        return True

    def connection(self, number: int) -> StreamConnection | None:
        """Return an open connection by its number, or None."""
        found = self._connections.get(number)
        return found if found is not None and found.open else None

    def close(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()


class StreamListener(Streams):
    """Listener of a stream transport; `make` builds the connection objects."""

    def __init__(
        self, receiver: Receiver, transport: str, settings: SipSettings, admission: Admission, make: Make,
        tls: TlsContext | None,
    ) -> None:  # fmt: skip
        super().__init__(receiver, transport, settings, admission)
        self.port = 0
        self._make = make
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Listen on a bound socket. Raises OSError."""
        bound = sock.getsockname()
        self.port = bound[1]
        self.local = f"{self.transport}:{hostport(bound[0], bound[1])}"
        sock.listen(BACKLOG)  # an address in use raises OSError with its errno here, on every loop
        self._server = await self.loop.create_server(self._new, sock=sock, backlog=BACKLOG)

    def _new(self) -> StreamConnection:
        return self._make(self, TlsLayer(self._tls(), server_side=True) if self._tls is not None else None)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        super().close()


Make = Callable[[Streams, TlsLayer | None], StreamConnection]
TlsContext = Callable[[], ssl.SSLContext]  # called for each connection, so that a renewed certificate is used at once
