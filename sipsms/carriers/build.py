"""Configuration -> carrier, for every type that needs nothing but `CarrierTools`."""

from __future__ import annotations

from sipsms.carrier_config import HttpCarrierConfig
from sipsms.carriers.http import HttpCarrier
from sipsms.document import Model
from sipsms.ports import Carrier, CarrierTools


def build(name: str, config: Model, tools: CarrierTools) -> Carrier:
    match config:
        case HttpCarrierConfig():
            return HttpCarrier(name, config, tools)
        case _:
            raise TypeError(f"no carrier for {type(config).__name__}")
