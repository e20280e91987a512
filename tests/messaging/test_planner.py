"""The planner: the deliveries of each kind of message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.courier_id import APP, CALLBACK, FORWARD, MAIL, MEDIA, SIP, SMPP, WEBHOOK, CourierId
from sipsms.core.message import Direction, Media, Message, MessageKind, Route
from sipsms.messaging.planner import RECEIPT_LANES, Facts, Limits, Phone, TextLimit, copies, held, plan, spans_of

NOW, DAY = 1_000_000.0, 86400.0
DID, PEER = "5550001111", "2125550123"
OUT = Message(Direction.OUT, DID, PEER, "hello", "t", NOW, "alice", DID)
IN = Message(Direction.IN, PEER, DID, "hello", "t", NOW, "demo", DID)
INTERNAL = Message(Direction.OUT, "alice", "bob", "hello", "sip", NOW, "alice")
NOTICE = Message(Direction.IN, PEER, "bob", "<imdn/>", "notice", NOW, "bob", kind=MessageKind.IMDN)
ONE, TWO, THREE = (CourierId.of_carrier(name) for name in ("one", "two", "three"))
TO_BOB = [Route(SIP, "bob", PEER)]
PHONES = {"bob": [Phone(1, True), Phone(2, False)]}


def ways(*carriers: CourierId) -> list[Route]:
    return [Route(carrier, PEER, DID) for carrier in carriers]


# --- to a number ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carriers", "away", "first", "others"),
    [
        ([ONE], [], ONE, ""),
        ([ONE, TWO, THREE], [], ONE, "carrier:two,carrier:three"),
        ([ONE, TWO, THREE], [ONE, THREE], TWO, "carrier:one,carrier:three"),
        ([ONE, TWO], [ONE, TWO], ONE, "carrier:two"),
    ],
)
def test_an_sms_leaves_by_the_first_carrier_that_is_not_away(
    carriers: list[CourierId], away: list[CourierId], first: str, others: str
) -> None:
    (delivery,) = plan(OUT, ways(*carriers), Facts(NOW, away=away), Limits(DAY))
    assert (delivery.courier, delivery.others) == (first, others)
    assert (delivery.lane, delivery.due_at) == (f"{first}/{DID}/{PEER}", NOW)
    assert (delivery.start, delivery.end) == (0, 0)


@pytest.mark.parametrize(
    ("limits", "changes", "spans"),
    [
        ({}, {}, []),
        ({ONE: TextLimit(160, "septets")}, {}, [(0, 160), (160, 200)]),
        ({ONE: TextLimit(0, "segments")}, {}, [(0, 153), (153, 200)]),
        ({TWO: TextLimit(160, "septets")}, {}, [(0, 160), (160, 200)]),  # a failed delivery may go on there
        ({ONE: TextLimit(160, "septets"), TWO: TextLimit(70, "characters")}, {}, [(0, 70), (70, 140), (140, 200)]),
        ({THREE: TextLimit(70, "septets")}, {}, []),
        ({ONE: TextLimit(160, "septets")}, {"text": "a" * 160}, []),
        ({ONE: TextLimit(160, "septets")}, {"media": (Media(token="t"),)}, []),
    ],
)
def test_a_long_text_goes_in_pieces_that_each_carrier_takes(
    limits: dict[CourierId, TextLimit], changes: dict[str, Any], spans: list[tuple[int, int]]
) -> None:
    message = OUT._replace(**{"text": "a" * 200, **changes})
    planned = plan(message, ways(ONE, TWO), Facts(NOW), Limits(DAY, texts=limits))
    assert [(one.start, one.end) for one in planned] == (spans or [(0, 0)])
    assert len({one.lane for one in planned}) == 1, "in order"


@given(st.text(max_size=500), st.sampled_from(["characters", "septets", "segments"]), st.integers(1, 160))
def test_pieces_are_the_whole_text(text: str, unit: Any, size: int) -> None:
    spans = spans_of(OUT._replace(text=text), ways(ONE), Limits(DAY, texts={ONE: TextLimit(size, unit)}))
    assert "".join(text[start:end] for start, end in spans) == (text if spans else "")
    assert len(spans) != 1


# --- to destinations of ours ------------------------------------------------------------------------------------------


def test_an_incoming_message_goes_to_all_destinations() -> None:
    couriers = [MAIL, CALLBACK, WEBHOOK, SMPP, FORWARD, MEDIA]
    planned = plan(IN, [Route(courier, "to", PEER) for courier in couriers], Facts(NOW), Limits(DAY))
    assert [(one.courier, one.lane, one.due_at) for one in planned] == [(one, f"{one}/to", NOW) for one in couriers]
    assert [(one.expires_at - NOW) / DAY for one in planned] == [5, 3, 4, 1, 1, 1]
    assert plan(IN, [], Facts(NOW), Limits(DAY)) == plan(OUT, [], Facts(NOW), Limits(DAY)) == []


@pytest.mark.parametrize("message", [IN, INTERNAL])
def test_each_known_device_gets_a_message(message: Message) -> None:
    planned = plan(message, TO_BOB, Facts(NOW, PHONES), Limits(DAY))
    assert [(one.device, one.lane, one.due_at) for one in planned] == [(1, "sip:1", NOW), (2, "sip:2", None)]
    assert not any(one.open for one in planned)


@pytest.mark.parametrize("message", [IN, INTERNAL])
def test_a_message_to_an_account_without_device_is_open(message: Message) -> None:
    (delivery,) = plan(message, TO_BOB, Facts(NOW, {"bob": []}), Limits(DAY))
    assert (delivery.open, delivery.device, delivery.lane, delivery.due_at) == (True, 0, "sip/bob", None)


@pytest.mark.parametrize(("device", "planned"), [(2, [2]), (3, []), (0, [1, 2])])
def test_a_notice_is_for_the_device_that_wants_it(device: int, planned: list[int]) -> None:
    found = plan(NOTICE._replace(device=device), TO_BOB, Facts(NOW, PHONES, {"bob"}), Limits(DAY))
    assert [(one.courier, one.device) for one in found] == [(SIP, one) for one in planned]


def test_an_account_whose_app_fetches_gets_no_message_by_sip() -> None:
    (delivery,) = plan(IN, TO_BOB, Facts(NOW, PHONES, {"bob"}), Limits(DAY))
    assert (delivery.courier, delivery.lane, delivery.due_at) == (APP, "app/bob", NOW)


def test_receipts_for_esmes_are_spread_over_lanes() -> None:
    receipts = [IN._replace(kind=MessageKind.SMPP, dedupe_key=bytes([number])) for number in range(50)]
    lanes = {plan(one, [Route(SMPP, DID, PEER)], Facts(NOW), Limits(DAY))[0].lane for one in receipts}
    assert 10 < len(lanes) <= RECEIPT_LANES
    assert lanes <= {f"smpp/{DID}~{number}" for number in range(RECEIPT_LANES)}


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "expires_in"), [(None, DAY), (60.0, 60.0), (2 * DAY, DAY)])
def test_a_delivery_expires_by_the_settings_or_earlier_by_its_sender(own: float | None, expires_in: float) -> None:
    expires_at = None if own is None else NOW + own
    out, into = OUT._replace(expires_at=expires_at), IN._replace(expires_at=expires_at)
    for planned in (plan(out, ways(ONE), Facts(NOW), Limits(DAY)), plan(into, TO_BOB, Facts(NOW, PHONES), Limits(DAY))):
        assert {one.expires_at - NOW for one in planned} == {expires_in}


def test_copies_go_to_other_devices_from_the_number_that_was_written_to() -> None:
    found = copies(OUT._replace(expires_at=NOW + 1), [Phone(7, False), Phone(8, True)], NOW, Limits(DAY))
    assert [(one.destination, one.source, one.device, one.due_at, one.expires_at) for one in found] == [
        ("alice", PEER, 7, None, NOW + DAY), ("alice", PEER, 8, NOW, NOW + DAY),
    ]  # fmt: skip


@pytest.mark.parametrize(("own", "expires_in"), [(None, DAY + 50), (DAY, DAY), (80.0, 80.0)])
def test_a_held_delivery_waits_alone_and_has_its_time_after_that(own: float | None, expires_in: float) -> None:
    message = OUT._replace(expires_at=None if own is None else NOW + own)
    (delivery,) = plan(message, ways(ONE), Facts(NOW), Limits(DAY))
    later = held(delivery, NOW + 50)
    assert (later.lane, later.due_at) == (f"carrier:one/{DID}/{PEER}@1000050", NOW + 50)
    assert later.expires_at == NOW + expires_in
