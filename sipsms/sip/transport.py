"""Sockets: UDP listeners and TCP connections. They move bytes and bound what a peer may take; they know no SIP.

A `Flow` is the way back to one peer. Answers on UDP go to the address and port the packet came from, whatever its Via
says: phones sit behind NAT, and nobody can have our answers sent to a third party.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

MAX_UNSENT = 256 * 1024  # bytes a stream peer may leave unread before its connection is given up
_RECEIVE_BUFFER = 8 * 1024 * 1024

Address = tuple[str, int]


class Flow(Protocol):
    @property
    def name(self) -> str:
        """ "udp", "tcp": the transport, in lower case."""

    @property
    def reliable(self) -> bool: ...

    @property
    def remote(self) -> Address: ...

    @property
    def local(self) -> str:
        """The listener, as "udp:0.0.0.0:5060"."""

    @property
    def number(self) -> int:
        """Of the connection; 0 for UDP."""

    def send(self, data: bytes) -> bool:
        """Hand bytes to the kernel; False if the flow is gone."""

    def sent_by(self) -> str:
        """host:port for our Via."""


class Receiver(Protocol):
    """What a transport tells the endpoint."""

    def datagram(self, data: bytes, flow: Flow) -> None: ...

    def unreachable(self, remote: Address | None) -> None: ...

    def connected(self, connection: TcpConnection) -> None: ...

    def stream_data(self, data: bytes, connection: TcpConnection) -> None: ...

    def disconnected(self, connection: TcpConnection) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and counts (decision D10 of the reliability plan)."""

    connections_per_address: int = 100
    first_message: float = 5.0
    idle: float = 180.0


@lru_cache(maxsize=4096)
def is_local_address(host: str) -> bool:
    """Is this IP address one of this machine's? The kernel knows: it lets us bind to it."""
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
    """Our address on the way to a peer."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def hostport(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class UdpFlow:
    __slots__ = ("_listener", "remote")

    name = "udp"
    reliable = False
    number = 0

    def __init__(self, listener: UdpListener, remote: Address) -> None:
        self._listener = listener
        self.remote = remote

    @property
    def local(self) -> str:
        return self._listener.local

    def send(self, data: bytes) -> bool:
        return self._listener.send(data, self.remote)

    def sent_by(self) -> str:
        return self._listener.sent_by(self.remote[0])


class UdpListener(asyncio.DatagramProtocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.DatagramTransport | None = None
        self._socket: socket.socket | None = None
        self._host = ""
        self.port = 0
        self.local = ""

    @classmethod
    async def open(cls, receiver: Receiver, host: str, port: int) -> UdpListener:
        """Raises OSError if the address cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        _tune(sock)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        listener = cls(receiver)
        listener._socket = sock
        listener._host, listener.port = sock.getsockname()[:2]
        listener.local = f"udp:{hostport(listener._host, listener.port)}"
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: listener, sock=sock)
        return listener

    def sent_by(self, remote: str) -> str:
        host = self._host if self._host not in ("0.0.0.0", "::") else _source_address(remote)
        return hostport(host, self.port)

    def send(self, data: bytes, remote: Address) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        try:
            self._transport.sendto(data, remote)
        except ValueError:  # an address of the other family: nothing left
            return False
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.DatagramProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._receiver.datagram(data, UdpFlow(self, (addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        """ICMP: the kernel keeps whom each error is about in the socket's error queue."""
        if self._socket is None:
            return
        for _ in range(64):
            try:
                _, _, _, remote = self._socket.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except OSError:
                return
            self._receiver.unreachable((remote[0], remote[1]) if remote else None)


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _RECEIVE_BUFFER)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_RECVERR", 11), 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVERR", 25), 1)


class TcpConnection(asyncio.Protocol):
    """One accepted connection; also its own Flow."""

    name = "tcp"
    reliable = True

    def __init__(self, listener: TcpListener, number: int) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        self.number = number
        self.remote: Address = ("", 0)
        self.local = listener.local
        self.spoke = False  # has sent a whole message
        self.in_use: Callable[[], bool] = lambda: False  # a live binding needs this connection
        self.state: Any = None  # the endpoint's

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > MAX_UNSENT:
            transport.abort()
            return False
        transport.write(data)
        return True

    def sent_by(self) -> str:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return hostport(host, port)

    def close(self) -> None:
        """Close when what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = self._transport = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername") or ("", 0)
        self.remote = (peer[0], peer[1])
        if not self._listener.admit(self):
            stream.abort()
            return
        sock = stream.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        self._timer = self._listener.loop.call_later(self._listener.limits.first_message, self._first_is_late)
        self._listener.receiver.connected(self)

    def data_received(self, data: bytes) -> None:
        self._quiet_since = self._listener.loop.time()
        self._listener.receiver.stream_data(data, self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._listener.release(self):
            self._listener.receiver.disconnected(self)

    # --- time limits ---

    def _first_is_late(self) -> None:
        if not self.spoke and self._transport is not None:
            self._transport.abort()
            return
        self._check_idle()

    def _check_idle(self) -> None:
        """Close after a quiet time, unless a registered phone would be cut off by that."""
        limit = self._listener.limits.idle
        quiet = self._listener.loop.time() - self._quiet_since
        if quiet >= limit and not self.in_use():
            self.close()
            return
        self._timer = self._listener.loop.call_later(max(1.0, limit - quiet), self._check_idle)


class TcpListener:
    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        self.receiver = receiver
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.port = 0
        self.local = ""
        self._server: asyncio.Server | None = None
        self._last_number = int.from_bytes(os.urandom(5), "big")  # not one of before a restart
        self._connections: dict[int, TcpConnection] = {}
        self._per_address: Counter[str] = Counter()

    @classmethod
    async def open(cls, receiver: Receiver, host: str, port: int, limits: Limits) -> TcpListener:
        """Raises OSError if the address cannot be had."""
        listener = cls(receiver, limits)
        listener._server = await listener.loop.create_server(listener._new, host, port, backlog=1024)
        bound = listener._server.sockets[0].getsockname()
        listener.port = bound[1]
        listener.local = f"tcp:{hostport(bound[0], bound[1])}"
        return listener

    def _new(self) -> TcpConnection:
        self._last_number += 1
        return TcpConnection(self, self._last_number)

    def admit(self, connection: TcpConnection) -> bool:
        address = connection.remote[0]
        if self._per_address[address] >= self.limits.connections_per_address:
            return False
        self._per_address[address] += 1
        self._connections[connection.number] = connection
        return True

    def release(self, connection: TcpConnection) -> bool:
        if self._connections.pop(connection.number, None) is None:
            return False
        address = connection.remote[0]
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        return True

    def connection(self, number: int) -> TcpConnection | None:
        found = self._connections.get(number)
        return found if found is not None and found.open else None

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()


def describe(error: OSError, url: str) -> str:
    """One line for whoever starts the program."""
    why = {
        errno.EADDRINUSE: "the port is in use by another program",
        errno.EACCES: "no permission for this port",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {url}: {why}"
