"""Names of lanes."""

from __future__ import annotations

import pytest

from sipsms.core.lane_key import LaneKey


@pytest.mark.parametrize(
    ("lane", "text"),
    [
        (LaneKey.of_device(7), "sip:7"),
        (LaneKey.to("sip", "7"), "sip/7"),
        (LaneKey.to("app", "alice"), "app/alice"),
        (LaneKey.between("carrier:sim", "5550001111", "2125550123"), "carrier:sim/5550001111/2125550123"),
        (LaneKey.to("smpp", "5550001111").branch(3), "smpp/5550001111~3"),
        (LaneKey("a/b").held(12.4), "a/b@12"),
        (LaneKey("a/b").held(12.4).aside(9), "a/b@12#9"),
        (LaneKey("a/b").aside(9).aside(10), "a/b#9"),
    ],
)
def test_each_constructor_gives_its_lane_key(lane: LaneKey, text: str) -> None:
    assert lane == text


@pytest.mark.parametrize(
    ("text", "device", "until", "is_aside"),
    [
        ("sip:7", 7, 0.0, False),
        ("sip:alice", 0, 0.0, False),
        ("sip/7", 0, 0.0, False),
        ("7", 0, 0.0, False),
        ("sip:7@12", 0, 12.0, False),
        ("mail/a@b.net", 0, 0.0, False),
        ("mail/a@b.net@12#3", 0, 12.0, True),
        ("mail/a@12", 0, 12.0, False),
        ("callback/5550001111#4", 0, 0.0, True),
    ],
)
def test_a_lane_key_gives_device_time_and_aside_back(text: str, device: int, until: float, is_aside: bool) -> None:
    lane = LaneKey(text)
    assert (lane.device, lane.held_until, lane.is_aside) == (device, until, is_aside)


def test_a_long_address_fits_the_column() -> None:
    assert len(LaneKey.to("mail", "a" * 300).held(1e10).aside(10**12)) <= 160
