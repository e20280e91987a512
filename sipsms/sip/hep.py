"""HEP3 packets: copies of SIP messages for a capture server (Homer, sngrep, heplify). Pure.

A packet is `HEP3`, its length, and chunks: vendor (0), type, length with these six bytes, value; all in network order
(the HEP3 document, https://github.com/sipcapture/HEP, section 3). Homer drops a packet that lacks a mandatory chunk, so
`encode` must always write all of the document's mandatory chunks.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from functools import lru_cache
from typing import NamedTuple

# Chunk types, section 3.1 of the document.
_FAMILY, _PROTOCOL = 0x01, 0x02
_SOURCE_4, _DESTINATION_4, _SOURCE_6, _DESTINATION_6 = 0x03, 0x04, 0x05, 0x06
_SOURCE_PORT, _DESTINATION_PORT = 0x07, 0x08
_SECONDS, _MICROSECONDS = 0x09, 0x0A
_KIND, _CAPTURE_ID, _KEY, _PAYLOAD, _CORRELATION = 0x0B, 0x0C, 0x0E, 0x0F, 0x11

_SIP = 1
_AF_INET, _AF_INET6 = 2, 10  # Linux's numbers, as in the document
_IP_PROTOCOL = {"udp": 17}  # all others run on TCP; Homer reads the transport from the message's Via

MAX_PAYLOAD = 65_000  # bytes; a packet's length has 16 bits and must fit into one UDP datagram

_CREDENTIALS = re.compile(rb"\n(?:proxy-)?authorization[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.I)
_TRUNK = re.compile(rb"trunk-[0-9a-f]{32}")
_RESPONSE = re.compile(rb"(\bresponse\s*=\s*)(?:\"[^\"]*\"?|[^\",\s]*)", re.I)
_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]{1,255})", re.I)


class Seen(NamedTuple):
    """SIP message with its transport, addresses and time."""

    transport: str  # udp, tcp, tls, ws, wss
    source: tuple[str, int]
    destination: tuple[str, int]
    at: float  # seconds since the epoch
    data: bytes


def without_hashes(data: bytes) -> bytes:
    """Return the message with empty digest responses and without the tokens of our trunks.

    A digest response lets its reader try passwords offline. A trunk token lets its reader pass for the trunk's server.
    """
    data = _TRUNK.sub(b"trunk-", data) if b"trunk-" in data else data
    if b"authorization" not in data.lower():
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    return _CREDENTIALS.sub(lambda match: _RESPONSE.sub(rb'\1""', match[0]), head) + end + body


def call_id(data: bytes) -> bytes:
    """Return the Call-ID as written in the message; empty if there is none."""
    match = _CALL_ID.search(data.partition(b"\r\n\r\n")[0])
    return match[1] if match else b""


def encode(seen: Seen, capture_id: int, password: str = "") -> bytes:
    """Encode one packet; digest responses are removed."""
    source, destination = _address(seen.source[0]), _address(seen.destination[0])
    six = 6 in (source.version, destination.version)
    seconds, micro = divmod(round(seen.at * 1_000_000), 1_000_000)
    chunks = [
        _byte(_FAMILY, _AF_INET6 if six else _AF_INET),
        _byte(_PROTOCOL, _IP_PROTOCOL.get(seen.transport, 6)),
        _chunk(_SOURCE_6 if six else _SOURCE_4, _packed(source, six)),
        _chunk(_DESTINATION_6 if six else _DESTINATION_4, _packed(destination, six)),
        _chunk(_SOURCE_PORT, struct.pack("!H", seen.source[1])),
        _chunk(_DESTINATION_PORT, struct.pack("!H", seen.destination[1])),
        _chunk(_SECONDS, struct.pack("!I", seconds & 0xFFFFFFFF)),
        _chunk(_MICROSECONDS, struct.pack("!I", micro)),
        _byte(_KIND, _SIP),
        _chunk(_CAPTURE_ID, struct.pack("!I", capture_id)),
    ]
    if password:
        chunks.append(_chunk(_KEY, password.encode()))
    if correlation := call_id(seen.data):
        chunks.append(_chunk(_CORRELATION, correlation))
    chunks.append(_chunk(_PAYLOAD, without_hashes(seen.data)[:MAX_PAYLOAD]))
    body = b"".join(chunks)
    return struct.pack("!4sH", b"HEP3", 6 + len(body)) + body


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def _address(host: str) -> _Ip:
    """Parse an IP address; 0.0.0.0 for anything else.

    Homer drops a packet without an address, but keeps a packet with a wrong address.
    """
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return ipaddress.IPv4Address(0)


def _packed(address: _Ip, six: bool) -> bytes:
    if six and isinstance(address, ipaddress.IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + address.packed  # RFC 4291 section 2.5.5.2
    return address.packed


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value


def _byte(kind: int, value: int) -> bytes:
    return _chunk(kind, bytes((value,)))
