"""Settings of a SIP trunk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipsms.core.validators import AbsolutePath, Domain, Positive, Secret
from sipsms.messaging.carrier_options import CarrierOptions


class SipConfig(CarrierOptions):
    """A trunk: a SIP server that takes MESSAGE from us and sends MESSAGE to us, as VoIP.ms, another sipsms or a GSM
    gateway does."""

    type: Literal["sip"]
    mms: Literal[False] = False  # media do not go by SIP MESSAGE
    server: Domain
    port: Annotated[int, Field(ge=1, le=65535)] | None = None  # 5060, of tls 5061
    transport: Literal["udp", "tcp", "tls"] = "udp"
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Secret
    domain: Domain | None = None  # behind the @, if that is not the server
    registers: bool = Field(alias="register", default=True)
    expires: Annotated[int, Field(ge=60, le=86400)] = 600  # seconds
    dids: tuple[str, ...] = ()  # numbers that may come in by it; the only one is meant where none is named
    numbers: Literal["nanpa", "e164", "e164-bare"] = "nanpa"
    from_: Literal["did", "username"] = Field(alias="from", default="did")  # whose number stands in From
    ca: AbsolutePath | None = None  # of tls: trusted instead of the system's
    drops_duplicates: bool = False  # a message may be sent again when no answer came: the server knows it by its name
    timeout: Positive = 32.0
    max_text: Annotated[int, Field(ge=0)] = 160
    text_unit: Literal["characters", "septets"] = "characters"

    @model_validator(mode="after")
    def _whose_certificate(self) -> SipConfig:
        if self.transport == "tls" and self.domain is None and ("[" in self.server or self.server[-1:].isdigit()):
            raise ValueError("with tls, `server` is a name, or `domain` says for whom its certificate is (RFC 5922)")
        return self
