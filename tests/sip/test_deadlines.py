"""A heap of deadlines that can be moved, without a clock."""

from __future__ import annotations

from sipsms.sip.expiry_heap import Deadlines


def test_due_in_order_and_only_once() -> None:
    deadlines = Deadlines()
    for key, at in ((1, 30.0), (2, 10.0), (3, 20.0)):
        deadlines.set(key, at)
    assert deadlines.due(5) == []
    assert deadlines.due(20) == [2, 3]
    assert deadlines.due(20) == []
    assert len(deadlines) == 1


def test_moved_and_dropped() -> None:
    deadlines = Deadlines()
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
    deadlines = Deadlines()
    for at in range(100_000):
        deadlines.set(at % 10, 1_000_000.0 + at)
    assert len(deadlines._heap) < 200
    for key in range(100_000):
        deadlines.set(1000 + key, 1_000_000.0)
        deadlines.drop(1000 + key)
    assert len(deadlines._heap) < 200
    assert len(deadlines.due(2_000_000)) == 10
