"""Settings of a SIP trunk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipsms.core.validators import AbsolutePath, Domain, Positive, Secret
from sipsms.messaging.carrier_options import CarrierOptions


class SipConfig(CarrierOptions):
    """Settings of a SIP server that takes MESSAGE from us and sends MESSAGE to us.

    Examples: VoIP.ms, another sipsms, a GSM gateway.
    """

    type: Literal["sip"]
    mms: Literal[False] = False  # SIP MESSAGE carries no media
    server: Domain
    port: Annotated[int, Field(ge=1, le=65535)] | None = None  # default 5060, with tls 5061
    transport: Literal["udp", "tcp", "tls"] = "udp"
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Secret
    domain: Domain | None = None  # domain of the AOR, if not the server
    registers: bool = Field(alias="register", default=True)
    expires: Annotated[int, Field(ge=60, le=86400)] = 600  # seconds
    dids: tuple[str, ...] = ()  # DIDs that may come in by this trunk; a single DID is the default destination
    numbers: Literal["nanpa", "e164", "e164-bare"] = "nanpa"
    from_: Literal["did", "username"] = Field(alias="from", default="did")  # user part of From
    ca: AbsolutePath | None = None  # with tls: authorities trusted instead of the system's
    drops_duplicates: bool = False  # resend after a missing response: the server recognizes duplicates
    timeout: Positive = 32.0
    max_text: Annotated[int, Field(ge=0)] = 160
    text_unit: Literal["characters", "septets"] = "characters"

    @model_validator(mode="after")
    def _whose_certificate(self) -> SipConfig:
        if self.transport == "tls" and self.domain is None and ("[" in self.server or self.server[-1:].isdigit()):
            raise ValueError("with tls, `server` is a name, or `domain` says for whom its certificate is (RFC 5922)")
        return self
