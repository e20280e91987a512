"""A delivery as submit_sm: its validity, and the content of segments."""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.core.message import Delivery, Direction, Message
from sipsms.core.segmentation import pieces
from sipsms.smpp.data_coding import UDHI
from sipsms.smpp.pdu import Tag
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_encoder import address, encode


def config(**options: Any) -> SmppConfig:
    return SmppConfig.model_validate({"type": "smpp", "url": "smpp://user:pass@smsc.example.net", **options})


def delivery(text: str = "hello", **changes: Any) -> Delivery:
    message = Message(Direction.OUT, "5550001111", "2125550123", text, "v1", 1000.0, "demo", "5550001111", **changes)
    return Delivery(message, "carrier:acme", "2125550123", "5550001111", "lane", 9e9, 1000.0)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (300.0, "000000000500000R"), (59.2, "000000000100000R"), (90_061.0, "000001010101000R"),
        (-5.0, "000000000001000R"), (4 * 86400.0, ""), (None, ""),
    ],
)  # fmt: skip
def test_the_validity_period_is_that_of_the_message(seconds: float | None, written: str) -> None:
    one = delivery(expires_at=None if seconds is None else 1000.0 + seconds)
    assert encode(one, config(), 1000.0).fields.get("validity_period", "") == written
    assert encode(one, config(validity=False), 1000.0).fields.get("validity_period", "") == ""


@pytest.mark.parametrize(
    ("numbers", "number", "expected"),
    [
        ("nanpa", "2125550123", (2, 1, "2125550123")), ("e164-bare", "2125550123", (1, 1, "12125550123")),
        ("e164", "2125550123", (1, 1, "+12125550123")), ("e164", "ACME", (5, 0, "ACME")),
    ],
)  # fmt: skip
def test_numbers_follow_the_format_of_the_carrier(numbers: str, number: str, expected: tuple[int, int, str]) -> None:
    assert address(number, config(numbers=numbers)) == expected


def test_the_configuration_sets_types_of_numbers() -> None:
    fields = encode(delivery(), config(source_ton=5, dest_npi=8), 1000.0).fields
    assert (fields["source_addr_ton"], fields["source_addr_npi"]) == (5, 1)
    assert (fields["dest_addr_ton"], fields["dest_addr_npi"]) == (1, 8)


@pytest.mark.parametrize("long", ["udh", "sar"])
def test_a_segment_has_its_number(long: str) -> None:
    text = "x" * 200
    start, end = pieces(text, 0, "segments")[1]
    sm = encode(delivery(text, id=0x10203)._replace(start=start, end=end), config(long=long), 1000.0)
    if long == "udh":
        assert sm.fields["esm_class"] == UDHI
        assert sm.fields["short_message"][-2:] == b"xx"
    else:
        assert sm.tlvs == {Tag.SAR_REFERENCE: b"\2\3", Tag.SAR_TOTAL: b"\2", Tag.SAR_NUMBER: b"\2"}
        assert sm.fields["short_message"] == b"x" * 47


def test_a_long_text_sent_whole_is_a_payload() -> None:
    sm = encode(delivery("x" * 200), config(long="payload"), 1000.0)
    assert sm.tlvs == {Tag.MESSAGE_PAYLOAD: b"x" * 200}
    assert "short_message" not in sm.fields
