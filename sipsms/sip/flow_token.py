"""Flow tokens (RFC 5626 section 5.3): the name of a flow to one phone, sealed against forgery.

Pure.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from hashlib import blake2b
from typing import NamedTuple

from sipsms.core.flow_address import FlowAddress

_SEAL = 12


class FlowName(NamedTuple):
    """Key of a flow, as `Endpoint.flow` takes it."""

    received: FlowAddress
    local: str
    number: int


def seal(flow: FlowName, key: bytes) -> str:
    """Return the token of a flow."""
    body = f"{flow.number} {flow.local} {flow.received}".encode()
    return urlsafe_b64encode(_sealed(body, key) + body).decode().rstrip("=")


def unseal(token: str, key: bytes) -> FlowName | None:
    """Return the flow of a token; None if the token was not sealed with this key."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (Error, ValueError):
        return None
    if not hmac.compare_digest(raw[:_SEAL], _sealed(raw[_SEAL:], key)):
        return None
    number, local, received = raw[_SEAL:].decode().split(" ")
    return FlowName(FlowAddress(received), local, int(number))


def _sealed(body: bytes, key: bytes) -> bytes:
    return blake2b(body, digest_size=_SEAL, key=key[:64]).digest()
