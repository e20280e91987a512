"""The address that a binding came from, as text and back."""

from __future__ import annotations

import pytest

from sipsms.core.registration import host_of, received_of


@pytest.mark.parametrize(
    ("transport", "host", "expected"),
    [
        ("udp", "192.0.2.1", "udp:192.0.2.1:5060"),
        ("tls", "2001:db8::1", "tls:2001:db8::1:5060"),
    ],
)
def test_the_received_address_is_written_and_read_back(transport: str, host: str, expected: str) -> None:
    received = received_of(transport, (host, 5060))
    assert received == expected
    assert host_of(received) == host


def test_a_host_in_brackets_is_the_same_host() -> None:
    assert host_of("udp:[2001:db8::1]:5060") == "2001:db8::1"
