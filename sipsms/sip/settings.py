"""Settings of SIP: sections `sip` and `trace.hep` of sipsms.yaml."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipsms.core.validators import Count, Domain, Origin, Positive, Secret
from sipsms.core.yaml_file import Model


class SipSettings(Model):
    min_expires: Count = 60
    max_expires: Count = 7200
    default_expires: Count = 3600
    max_contacts: Count = 10
    nonce_lifetime: Positive = 300.0
    nonce_secret: Secret | None = None
    first_message_timeout: Positive = 5.0
    handshake_timeout: Positive = 10.0
    idle_timeout: Positive = 180.0
    max_datagram: Annotated[int, Field(ge=200, le=65535)] = 1300
    advertised: Domain | None = None  # our host as peers see it, if not the bound address (NAT, containers)
    websocket_origins: tuple[Origin, ...] = ()
    flood_limit: Annotated[int, Field(ge=0)] = 100
    scanners: Literal["drop", "answer"] = "drop"

    @model_validator(mode="after")
    def _in_order(self) -> SipSettings:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("expected min_expires <= default_expires <= max_expires")
        return self

    def nonce_key(self) -> bytes:
        """Return the key of nonces: new at each start, unless several servers share `nonce_secret` (C-082)."""
        if self.nonce_secret is None:
            return os.urandom(32)
        return blake2b(self.nonce_secret.get_secret_value().encode(), digest_size=32).digest()


class HepSettings(Model):
    """A capture server (Homer, sngrep -L, heplify) that gets a copy of every SIP message."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 9060
    id: Annotated[int, Field(ge=1, le=2**32 - 1)] = 2001
    password: Secret | None = None
