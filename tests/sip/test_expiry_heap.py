"""A heap of deadlines that can be moved, without a clock."""

from __future__ import annotations

from sipsms.sip.expiry_heap import ExpiryHeap


def test_entries_are_due_in_order_and_once() -> None:
    deadlines = ExpiryHeap()
    for key, at in ((1, 30.0), (2, 10.0), (3, 20.0)):
        deadlines.set(key, at)
    assert deadlines.due(5) == []
    assert deadlines.due(20) == [2, 3]
    assert deadlines.due(20) == []
    assert len(deadlines) == 1


def test_entries_can_be_moved_and_dropped() -> None:
    deadlines = ExpiryHeap()
    deadlines.set(1, 10)
    deadlines.set(2, 10)
    deadlines.set(1, 30)  # later
    deadlines.drop(2)
    deadlines.drop(99)
    assert deadlines.due(20) == []
    deadlines.set(1, 25)  # earlier
    assert deadlines.due(25) == [1]
    assert deadlines.due(100) == []


def test_old_entries_do_not_pile_up() -> None:
    deadlines = ExpiryHeap()
    for at in range(100_000):
        deadlines.set(at % 10, 1_000_000.0 + at)
    assert len(deadlines._heap) < 200
    for key in range(100_000):
        deadlines.set(1000 + key, 1_000_000.0)
        deadlines.drop(1000 + key)
    assert len(deadlines._heap) < 200
    assert len(deadlines.due(2_000_000)) == 10
