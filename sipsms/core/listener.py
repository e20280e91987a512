"""Server sockets in two steps: bound before the store changes, read after loading.

A port in use must be found before recovery changes the store. No client may be answered from a directory, a location
service or a queue that is still empty. So the node first binds all its sockets and holds them. A client that calls
meanwhile is refused (TCP), or waits in the socket's buffer until the server reads (UDP), where its own retransmission
would arrive anyway. If the ports were released after a first check, other programs could take them during recovery.
"""

from __future__ import annotations

import errno
import resource
import socket

BACKLOG = 1024  # connections waiting to be accepted
_KEPT_FILES = 256  # descriptors that connections leave to the store, HTTP and the carriers
_BUFFER = 8 * 1024 * 1024  # bytes of datagrams, in each direction


class ListenError(OSError):
    """An address cannot be listened on. The text is one line for the operator."""


def bind(host: str, port: int, *, datagrams: bool = False) -> socket.socket:
    """Return a socket bound to this address (port 0: a free one), not yet listening. Raises OSError."""
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    wanted = socket.AF_INET6 if ":" in host else socket.AF_INET  # a name stands for its IPv4 address
    family, _, protocol, _, address = socket.getaddrinfo(host, port, wanted, kind, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind, protocol)  # asyncio disables Nagle's algorithm only if TCP is given explicitly
    try:
        _tune(sock, datagrams=datagrams)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def bind_url(scheme: str, host: str, port: int) -> socket.socket:
    """Bind the address that the configuration writes as `scheme://host:port`. Raises ListenError."""
    try:
        return bind(host, port, datagrams=scheme == "udp")
    except OSError as error:
        raise ListenError(describe(error, f"{scheme}://{host}:{port}")) from None


def _tune(sock: socket.socket, *, datagrams: bool) -> None:
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own listeners
    if not datagrams:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_RECVERR", 11), 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVERR", 25), 1)


def describe(error: OSError, url: str) -> str:
    """Return one line that says why this address cannot be listened on."""
    why = {
        errno.EADDRINUSE: "the port is in use by another program",
        errno.EACCES: "no permission for this port",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {url}: {why}"


def connection_limit() -> int:
    """Return how many connections this process can hold, after raising its limit of open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else 1_048_576
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most - min(_KEPT_FILES, most // 2)
