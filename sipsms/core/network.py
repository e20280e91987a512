"""IP addresses of peers: parsed, compared with networks, and counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network
LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


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


@lru_cache(maxsize=4096)
def networks_of(address: str) -> tuple[str, ...]:
    """Return the keys by which limits count a peer, the narrowest first.

    An IPv4 address is one key. An IPv6 address has two: its /64, of which each host has one, and its /48, of which each
    site has one (RFC 6177), so that a site cannot multiply a limit by its 65,536 networks.
    """
    host = ip_of(address) if ":" in address else None
    if host is None:
        return (address,)
    if host.version == 4:
        return (str(host),)
    return (str(int(host) >> 64), f"{int(host) >> 80}/48")


def network_of(address: str) -> str:
    """Return the narrowest key by which limits count a peer."""
    return networks_of(address)[0]
