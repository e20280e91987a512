"""Settings of SMPP: section `smpp` of sipsms.yaml, and of a carrier that we bind to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sipsms.core.segmentation import PieceUnit
from sipsms.core.validators import AbsolutePath, Charsets, Count, Positive, Secret, SmppServer
from sipsms.core.yaml_file import Model
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.smpp.receipt import MessageIds
from sipsms.smpp.session import Limits

Ton = Annotated[int, Field(ge=0, le=6)] | None  # SMPP 3.4 section 5.2.5; None: derived from the number
Npi = Annotated[int, Field(ge=0, le=18)] | None  # section 5.2.6


class SmppSettings(Model):
    """Customers' programs that speak SMPP, with us as their SMSC, and customers' servers that we bind to."""

    system_id: Annotated[str, Field(pattern="^[!-~]{1,15}$")] = "sipsms"
    window: Annotated[int, Field(ge=1, le=10_000)] = 100
    deliver_window: Annotated[int, Field(ge=1, le=10_000)] = 10  # unanswered requests to one ESME or server
    rate: Annotated[float, Field(ge=0)] = 0.0  # messages a second of a customer; 0: no limit
    max_binds: Count = 10
    bind_timeout: Positive = 10.0
    enquire_link: Positive = 30.0
    response_timeout: Positive = 30.0
    charsets: Charsets = Field(default_factory=dict)
    verify: bool = True  # certificates of ssmpp:// servers

    @property
    def limits(self) -> Limits:
        return Limits(self.window, self.bind_timeout, self.enquire_link, self.response_timeout)


class SmppConfig(CarrierOptions):
    """Settings of a carrier's SMSC; a long text goes in segments, or whole with `long: payload`."""

    _joins_segments = True

    type: Literal["smpp"]
    mms: Literal[False] = False
    url: SmppServer = Field(repr=False)
    username: Annotated[str, Field(max_length=64)] = ""  # user and password, instead of those in the URL
    password: Secret | None = None
    bind: Literal["transceiver", "separate", "transmitter"] = "transceiver"  # separate: transmitters and receivers
    binds: Annotated[int, Field(ge=1, le=64)] = 1
    window: Annotated[int, Field(ge=1, le=1000)] = 10  # unanswered submits at once, on each bind
    system_type: Annotated[str, Field(pattern="^[ -~]{0,12}$")] = ""
    service_type: Annotated[str, Field(pattern="^[ -~]{0,5}$")] = ""
    source_ton: Ton = None
    source_npi: Npi = None
    dest_ton: Ton = None
    dest_npi: Npi = None
    numbers: Literal["nanpa", "e164", "e164-bare"] = "e164-bare"
    charsets: Charsets = Field(default_factory=dict)
    long: Literal["udh", "sar", "payload"] = "udh"
    receipts: bool = True
    validity: bool = True  # pass the sender's expiry on as validity_period
    message_ids: MessageIds = "auto"
    enquire_link: Positive = 30.0
    response_timeout: Positive = 30.0
    verify: bool = True
    ca: AbsolutePath | None = None
    text_unit: PieceUnit = "segments"

    @model_validator(mode="before")
    @classmethod
    def _whole_in_a_payload(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("long") == "payload":
            return {"text_unit": "septets", **data}
        return data

    @model_validator(mode="after")
    def _fits(self) -> SmppConfig:
        if self.long_texts == "mms":
            raise ValueError("`long_texts: mms`: no media go by SMPP")
        if self.long != "payload" and self.charsets.get(0) == "utf8":
            raise ValueError("`charsets: {0: utf8}` needs `long: payload`: segments have a fixed number of octets")
        if self.long == "payload" and self.text_unit == "segments":
            raise ValueError("`long: payload` sends a text whole: `text_unit: segments` would cut it")
        return self

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password to bind with."""
        password = self.password.get_secret_value() if self.password is not None else self.url.password
        return self.username or self.url.username, password
