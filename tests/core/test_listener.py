"""Sockets are bound first and served later."""

from __future__ import annotations

import socket

import pytest

from sipsms.core.listener import ListenError, bind, bind_url


def test_a_bound_stream_socket_refuses_connections_until_it_listens() -> None:
    with bind("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        sock.listen()
        socket.create_connection(address).close()


def test_a_bound_datagram_socket_keeps_what_comes() -> None:
    with bind("127.0.0.1", 0, datagrams=True) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"REGISTER", sock.getsockname())
        assert sock.recv(100) == b"REGISTER"


@pytest.mark.parametrize("scheme", ["udp", "tcp", "http", "smpp"])
def test_a_port_in_use_is_named(scheme: str) -> None:
    with bind("127.0.0.1", 0, datagrams=scheme == "udp") as taken:
        if scheme != "udp":
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^cannot listen on {scheme}://127.0.0.1:{port}: the port is in use"):
            bind_url(scheme, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "why"),
    [("192.0.2.1", "this machine does not have that address"), ("no such host.invalid", "cannot listen on tcp://")],
)
def test_an_unavailable_address_is_named(host: str, why: str) -> None:
    with pytest.raises(ListenError, match=why):
        bind_url("tcp", host, 5060)


def test_an_ipv6_socket_leaves_ipv4_alone() -> None:
    try:
        six = bind("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback (::1)")
    with six, bind("127.0.0.1", six.getsockname()[1]):
        assert six.family == socket.AF_INET6
