"""The guard against server-side request forgery (SSRF) through customers' URLs.

A customer's URL must not make the server call its own network. `check_url` checks the text of a URL, when it is saved
and again before each call. `check_address` checks the address that a name resolved to, and the client connects to that
very address (`web.client`). This module uses no sockets. Hosts have one spelling: a form that a resolver might
interpret differently (octal, hexadecimal, 2130706433, full-width digits, a user before @) is refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from sipsms.core.smpp_url import PLAIN, TLS, smpp_url

MAX_URL: Final = 2048

# Ports of services that read an HTTP request as commands, or that are not web servers.
PORTS: Final = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 79, 110, 111, 113, 119, 123, 135, 137, 138,
     139, 143, 161, 162, 179, 389, 445, 465, 512, 513, 514, 515, 543, 544, 548, 554, 563, 587, 601, 636, 873, 990,
     993, 995, 1433, 1521, 1719, 1720, 2049, 2775, 3306, 3389, 3550, 3659, 4190, 5038, 5060, 5061, 5432, 5900, 6000,
     6379, 6380, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 8021, 9042, 9092, 11211, 27017}
)  # fmt: skip

_NEVER: Final = (  # IANA special-purpose registries (RFC 6890); never useful as a destination
    (IPv4Network("0.0.0.0/8"), "is no destination"),
    (IPv4Network("169.254.0.0/16"), "is link-local"),  # clouds publish secrets at 169.254.169.254
    (IPv4Network("192.0.0.0/24"), "is reserved"),
    (IPv4Network("192.0.2.0/24"), "is for documentation only"),
    (IPv4Network("198.51.100.0/24"), "is for documentation only"),
    (IPv4Network("203.0.113.0/24"), "is for documentation only"),
    (IPv4Network("192.88.99.0/24"), "is reserved"),
    (IPv4Network("224.0.0.0/4"), "is multicast"),
    (IPv4Network("240.0.0.0/4"), "is reserved"),
    (IPv6Network("::/128"), "is no destination"),
    (IPv6Network("fe80::/10"), "is link-local"),
    (IPv6Network("ff00::/8"), "is multicast"),
    (IPv6Network("100::/64"), "is reserved"),
    (IPv6Network("2001:db8::/32"), "is for documentation only"),
    (IPv6Network("3fff::/20"), "is for documentation only"),
)
_PRIVATE: Final = tuple(map(ip_network, (  # an operator may allow these
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "::1/128",
    "fc00::/7", "fec0::/10",
)))  # fmt: skip
_IN_USE: Final = IPv6Network("2000::/3")  # the only allocated part of IPv6; other unnamed networks are reserved
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_6TO4: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")

# Visible ASCII. The authority ends where RFC 3986 says; characters that might end it elsewhere are refused.
_URL: Final = re.compile(r"(https?)://(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?([/?].*)?", re.I)
_VISIBLE: Final = re.compile(r"[!-~]*")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.I)
_QUAD: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")


def check_address(address: str, allow_private: bool = False) -> str:
    """Return an empty text if this IP address may be connected to, else the reason.

    `allow_private` permits loopback and the networks of RFC 1918, RFC 6598 and RFC 4193; never link-local, multicast or
    reserved addresses. An IPv6 address that contains an IPv4 address is judged by that address too.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return f"{address[:64]!r} is no IP address"
    why = next((why for one in (ip, *_carried(ip)) if (why := _why_not(one, allow_private))), "")
    return f"address {ip} {why}" if why else ""


def _why_not(ip: IPv4Address | IPv6Address, allow_private: bool) -> str:
    if isinstance(ip, IPv6Address):
        ip = IPv6Address(int(ip))  # without its scope, which networks do not know
    for network, why in _NEVER:
        if ip in network:
            return why
    if any(ip in network for network in _PRIVATE):
        return "" if allow_private else "is private"
    if isinstance(ip, IPv6Address) and ip not in _IN_USE and not _carried(ip):
        return "is reserved"
    return ""


def _carried(ip: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses inside an IPv6 address, where a packet to it may arrive."""
    if isinstance(ip, IPv4Address):
        return ()
    ip = IPv6Address(int(ip))
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip in _TRANSLATED:
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    if ip in _6TO4:
        return (IPv4Address(int(ip) >> 80 & 0xFFFFFFFF),)
    return ip.teredo or () if ip in _TEREDO else ()


def check_url(url: str, allow_private: bool = False, limit: int = MAX_URL) -> str:
    """Return an empty text if the URL may be called as far as its text tells, else the reason.

    The reason is a sentence. Placeholders like {TO} may stand in path and query. A name passes here; the client must
    check the addresses it resolves to.
    """
    if len(url) > limit:
        return f"the URL is longer than {limit} characters"
    if not _VISIBLE.fullmatch(url):
        return "the URL has a space, a control character or a letter that is not ASCII: write it as %20 or xn--"
    if "#" in url or "\\" in url:
        return "the URL has a # or a backslash: neither is ever sent to a server"
    match = _URL.fullmatch(url)
    if match is None:
        return _why_malformed(url)
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    if port is not None and (not 0 < int(port) < 65536 or int(port) in PORTS):
        return f"port {port} is not one of a web server"
    return _check_host(host, allow_private) if scheme in ("http", "https") else "the URL is neither http nor https"


def check_smpp_url(url: str, allow_private: bool = False) -> str:
    """Return an empty text if the URL of a customer's SMPP server may be called, else the reason."""
    try:
        found = smpp_url(url)
    except ValueError as error:
        return str(error)
    if found.port in PORTS - {PLAIN, TLS}:
        return f"port {found.port} is not one of an SMPP server"
    return _check_host(f"[{found.host}]" if ":" in found.host else found.host, allow_private)


def _why_malformed(url: str) -> str:
    scheme, colon, rest = url.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return "the URL does not begin with http:// or https://"
    if "@" in re.split(r"[/?]", rest, maxsplit=1)[0]:
        return "the URL has a user or password before an @: put a secret into the path or the query"
    return "the URL has no proper host name or port"


def literal(host: str) -> str:
    """Return the IP address that a host of a URL is, in plain form; empty for a name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ip_address(bare))
    except ValueError:
        return ""


def _check_host(host: str, allow_private: bool) -> str:
    if host.startswith("["):
        address = literal(host)
        return check_address(address, allow_private) if ":" in address else f"{host} is no IPv6 address"
    name = host.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # the URL Standard's rule for "this is an IPv4 address"
        plain = _QUAD.fullmatch(host) and literal(host)
        return check_address(host, allow_private) if plain else f"write {host} as four decimal numbers, like 8.8.4.4"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return f"{host} is no host name"
    if labels[-1] == "localhost" and not allow_private:
        return f"{host} is this server itself"
    return ""
