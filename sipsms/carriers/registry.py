"""Registry: builds a carrier from its settings, for every type that needs only `CarrierTools`."""

from __future__ import annotations

from sipsms.carriers.bandwidth import BandwidthCarrier
from sipsms.carriers.http_api import HttpCarrier
from sipsms.carriers.settings import BandwidthConfig, HttpCarrierConfig, TelnyxConfig, TwilioConfig, VoipmsConfig
from sipsms.carriers.telnyx import TelnyxCarrier
from sipsms.carriers.twilio import TwilioCarrier
from sipsms.carriers.voipms import VoipmsCarrier
from sipsms.core.yaml_file import Model
from sipsms.messaging.carrier import Carrier, CarrierTools


def build(name: str, config: Model, tools: CarrierTools) -> Carrier:
    """Return the carrier for these settings. Raises TypeError for an unknown type."""
    match config:
        case HttpCarrierConfig():
            return HttpCarrier(name, config, tools)
        case VoipmsConfig():
            return VoipmsCarrier(name, config, tools)
        case TelnyxConfig():
            return TelnyxCarrier(name, config, tools)
        case TwilioConfig():
            return TwilioCarrier(name, config, tools)
        case BandwidthConfig():
            return BandwidthCarrier(name, config, tools)
        case _:
            raise TypeError(f"no carrier for {type(config).__name__}")
