"""IP addresses of peers: parsed, compared with networks, and counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)
def ip_of(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; None if it is no IP address.

    A zone (%eth0) is ignored. An IPv4-mapped IPv6 address is the IPv4 address.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def is_in(address: str, networks: Iterable[Network]) -> bool:
    host = ip_of(address)
    return host is not None and any(host in network for network in networks)


def network_of(address: str) -> str:
    """Return an IPv4 address, or the /64 of an IPv6 address: the key by which limits count a peer.

    An IPv6 host has a /64 to itself and can use a new address for each packet.
    """
    if ":" not in address:
        return address
    host = ip_of(address)
    if host is None:
        return address
    return str(host) if host.version == 4 else str(int(host) >> 64)
