"""The route of a message, as an operator sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.explain import explain
from tests.support.messaging.core import ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, SIM, set_options

SEGMENTS = CarrierOptions.model_construct(text_unit="segments")


@pytest.mark.req("P-13")
@pytest.mark.parametrize(
    ("options", "length", "how"),
    [
        (SEGMENTS, 200, "text: 200 characters, gsm7, in 2 segments of one SMS"),
        (SEGMENTS, 160, "text: 160 characters, gsm7, 1 segments at a carrier that takes it whole"),
        (CarrierOptions(max_text=160), 200, "text: 200 characters, gsm7, in 2 messages"),
        (CarrierOptions(), 200, "text: 200 characters, gsm7, 2 segments at a carrier that takes it whole"),
    ],
)
async def test_the_route_says_how_a_text_is_cut(tmp_path: Path, options: CarrierOptions, length: int, how: str) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        set_options(here, sim=options)
        found = await explain(here.messaging, here.directory, {"sim": options}, DID, PHONE, "a" * length)
        assert how in found["trace"]
        assert found["routes"] == [f"{SIM} -> {PHONE} (from {DID})"]
