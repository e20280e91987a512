"""Which phone is this."""

from __future__ import annotations

from typing import Any

from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding, Device
from sipsms.sip.device_identity import find, inherit, key_of, successor


def _binding(contact: str, instance: str = "", agent: str = "phone/1") -> Binding:
    return Binding(
        "alice", contact, 100.0, "c", 1, FlowAddress("udp:192.0.2.1:5060"), instance=instance, user_agent=agent
    )


def _device(number: int, key: str, **values: Any) -> Device:
    given = {"user_agent": "phone/1", "first_seen": 1.0, "last_seen": 1.0, "stable": False, **values}
    return Device(number, "alice", key, **given)


def test_the_key_of_a_device_is_its_instance_or_its_contact() -> None:
    assert key_of(_binding("sip:a@h", "<urn:uuid:1>")) == ("<urn:uuid:1>", True)
    assert key_of(_binding("sip:a@h")) == ("sip:a@h", False)
    known = [_device(1, "sip:a@h"), _device(2, "<urn:uuid:1>", stable=True)]
    assert find(_binding("sip:other@h", "<urn:uuid:1>"), known) is known[1]


def test_a_new_contact_replaces_the_device_of_a_phone_that_is_gone() -> None:
    other = _device(1, "sip:a@h:1", user_agent="desk/2", last_seen=9.0)
    same = _device(2, "sip:a@h:2", user_agent="phone/0.9", last_seen=5.0)
    bound = _device(3, "sip:a@h:3", last_seen=99.0)
    stable = _device(4, "<urn:uuid:1>", stable=True, last_seen=99.0)
    assert inherit(_binding("sip:a@h:9"), [other, same, bound, stable], {3}) is same
    assert inherit(_binding("sip:a@h:9", agent="third/1"), [other, same, bound, stable], {3}) is other
    assert inherit(_binding("sip:a@h:9", "<urn:uuid:2>"), [other, same], set()) is None
    assert inherit(_binding("sip:a@h:9"), [bound, stable], {3}) is None


def test_the_successor_of_a_phone_that_crashed_is_its_new_device() -> None:
    gone = _device(1, "sip:a@h:1", last_seen=10.0)
    before = _device(2, "sip:a@h:2", first_seen=5.0)
    after = _device(3, "sip:a@h:3", first_seen=11.0)
    assert successor(gone, [gone, before, after], {2, 3}) is after
    assert successor(gone, [gone, before, after], {2}) is None
    assert successor(_device(4, "<urn:uuid:1>", stable=True), [after], {3}) is None
