"""Addresses of peers: how they are counted, and the networks that they are in."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from sipsms.core.network import is_in, network_of, networks_of


@pytest.mark.parametrize(
    ("address", "counted", "known"),
    [
        ("192.0.2.1", "192.0.2.1", False), ("::ffff:192.0.2.1", "192.0.2.1", False), ("10.9.9.9", "10.9.9.9", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True), ("", "", False), ("no address", "no address", False),
        ("a:b", "a:b", False),
    ],
)  # fmt: skip
def test_a_peer_is_counted_by_its_address(address: str, counted: str, known: bool) -> None:
    assert network_of(address) == counted
    assert is_in(address, (ip_network("10.0.0.0/8"),)) is known


def test_an_ipv6_host_is_counted_by_its_64_bit_network() -> None:
    one, other = network_of("2001:db8::1"), network_of("2001:db8::ffff:2%eth0")
    assert one == other != network_of("2001:db8:0:1::1")


def test_an_ipv6_site_is_counted_by_its_48_bit_network() -> None:
    one, other = networks_of("2001:db8:0:1::1"), networks_of("2001:db8:0:ffff::1")
    assert (len(one), len(other)) == (2, 2)
    assert one[0] != other[0]
    assert one[1] == other[1] != networks_of("2001:db8:1::1")[1]
    assert networks_of("192.0.2.1") == networks_of("::ffff:192.0.2.1") == ("192.0.2.1",)
