"""The address that a binding came from, as text and back."""

from __future__ import annotations

import pytest

from sipsms.core.flow_address import FlowAddress


@pytest.mark.parametrize(
    ("transport", "host", "expected"),
    [
        ("udp", "192.0.2.1", "udp:192.0.2.1:5060"),
        ("tls", "2001:db8::1", "tls:2001:db8::1:5060"),
    ],
)
def test_an_address_is_written_and_read(transport: str, host: str, expected: str) -> None:
    address = FlowAddress.of(transport, (host, 5060))
    assert address == expected
    assert (address.transport, address.host, address.port) == (transport, host, 5060)


def test_a_host_in_brackets_is_the_same_host() -> None:
    assert FlowAddress("udp:[2001:db8::1]:5060").host == "2001:db8::1"


def test_an_address_without_a_port_has_port_0() -> None:
    assert FlowAddress("udp:192.0.2.1:").port == 0
