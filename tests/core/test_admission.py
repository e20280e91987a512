"""Connections are counted over all listeners; idle ones make room, busy ones stay."""

from __future__ import annotations

import pytest

from sipsms.core.admission import SETTLED, Admission, Guest, Limits

pytestmark = pytest.mark.req("A-23")


class Door:
    """Lets connections in and notes which of them were closed."""

    def __init__(self, **limits: int) -> None:
        self.now = 1000.0
        self.admission = Admission(Limits(**limits), lambda: self.now)
        self.closed: list[str] = []

    def enter(self, address: str, name: str = "", *, is_proxy: bool = False) -> Guest | None:
        return self.admission.enter(address, lambda: self.closed.append(name), is_proxy=is_proxy)

    def hold(self, address: str, count: int, *, busy: bool) -> int:
        """How many of `count` connections come in."""
        guests = [self.enter(address, f"{address} {n}") for n in range(count)]
        for guest in guests if busy else ():
            if guest is not None:
                guest.busy()
        return sum(guest is not None for guest in guests)


def test_the_longest_idle_connection_of_an_address_makes_room() -> None:
    door = Door(per_address=3)
    first, second, _ = (door.enter("192.0.2.1", name) for name in "abc")
    assert first is not None
    assert second is not None
    first.busy()
    second.busy()
    second.idle()
    assert door.enter("192.0.2.1", "d") is None, "it has only just become idle"
    door.now += SETTLED
    assert door.enter("192.0.2.1", "d")
    assert door.closed == ["c"]
    assert door.enter("192.0.2.1", "e")
    assert door.closed == ["c", "b"]
    assert door.admission.count == 3


def test_busy_connections_of_an_address_keep_its_next_one_out() -> None:
    door = Door(per_address=3)
    guests = [door.enter("192.0.2.1", name) for name in "abc"]
    for guest in guests:
        assert guest
        guest.busy()
    assert door.enter("192.0.2.1") is None
    assert door.enter("::ffff:192.0.2.1") is None, "the same address"
    assert door.enter("192.0.2.2")
    assert guests[0]
    guests[0].leave()
    guests[0].leave()
    assert door.enter("192.0.2.1")
    assert door.closed == []


def test_an_ipv6_host_is_counted_by_its_64_and_its_site_by_its_48() -> None:
    door = Door(per_address=3, per_site=5)
    for n in range(3):
        guest = door.enter(f"2001:db8::{n}")
        assert guest
        guest.busy()
    assert door.enter("2001:db8::9") is None
    for n in range(2):
        guest = door.enter(f"2001:db8:0:{n + 1}::1")
        assert guest
        guest.busy()
    assert door.enter("2001:db8:0:77::1") is None
    assert door.enter("2001:db8:1::1")


def test_connections_that_are_only_held_never_fill_the_process() -> None:
    """Six addresses hold all they may; each newcomer is served, the longest idle go."""
    door = Door(total=600, per_address=100)
    assert [door.hold(f"192.0.2.{n}", 100, busy=False) for n in range(6)] == [100] * 6
    assert door.hold("198.51.100.1", 100, busy=True) == 100
    assert door.closed == [f"192.0.2.0 {n}" for n in range(100)]
    assert door.admission.count == 600
    full = Door(total=10)
    assert full.hold("192.0.2.1", 10, busy=True) == 10
    assert full.enter("192.0.2.2") is None


def test_a_proxy_has_only_the_limit_of_the_process() -> None:
    door = Door(total=10, per_address=3)
    guests = [door.enter("127.0.0.1", is_proxy=True) for _ in range(10)]
    for guest in guests:
        assert guest
        guest.busy()
    assert door.enter("127.0.0.1", is_proxy=True) is None


def test_nothing_is_remembered_of_connections_that_are_over() -> None:
    door = Door()
    for n in range(500):
        guest = door.enter(f"2001:db8:{n:x}::1")
        assert guest
        guest.busy()
        guest.idle()
        guest.leave()
        guest.idle()
    assert door.admission.count == 0
    assert door.admission._idle == {"": {}}
    assert not door.admission._counts
