"""STUN Binding on the SIP port (RFC 5389, RFC 5626 4.4.2): keep-alive, and a phone's address.

Pure. Each well-formed request gets one answer to its source, 12 or 24 bytes larger than a request without attributes.
Answers to strangers are counted like those to SIP requests, so an attacker gains nothing by a forged source.
"""

from __future__ import annotations

import ipaddress
import struct

_COOKIE = 0x2112A442
_REQUEST, _SUCCESS = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_HEADER = struct.Struct("!HHI12s")


def answer(data: bytes, source: tuple[str, int]) -> bytes | None:
    """Return the Binding success response with XOR-MAPPED-ADDRESS (section 15.2).

    Returns None if `data` is no request.
    """
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != _REQUEST or cookie != _COOKIE or length % 4 or len(data) != _HEADER.size + length:
        return None
    host, port = source[0].partition("%")[0], source[1] ^ (_COOKIE >> 16)
    address = ipaddress.ip_address(host)
    family = 2 if address.version == 6 else 1
    key = struct.pack("!I", _COOKIE) + transaction
    hidden = bytes(a ^ b for a, b in zip(address.packed, key, strict=False))
    value = struct.pack("!BBH", 0, family, port) + hidden
    attribute = struct.pack("!HH", _XOR_MAPPED_ADDRESS, len(value)) + value
    return _HEADER.pack(_SUCCESS, len(attribute), _COOKIE, transaction) + attribute
