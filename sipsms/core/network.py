"""IP addresses of peers: parsed, compared with networks, and counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)
def ip_of(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an address without its zone (%eth0), an IPv4-mapped one as IPv4; None if it is none."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def is_in(address: str, networks: Iterable[Network]) -> bool:
    host = ip_of(address)
    return host is not None and any(host in network for network in networks)


def network_of(address: str) -> str:
    """Return the key by which limits count a peer: its IPv4 address, or /64, of which IPv6 hosts have one each."""
    if ":" not in address:
        return address
    host = ip_of(address)
    if host is None:
        return address
    return str(host) if host.version == 4 else str(int(host) >> 64)
