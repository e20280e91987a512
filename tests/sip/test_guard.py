"""Guessing is slowed for the guesser only, and what is remembered is bounded."""

from __future__ import annotations

import pytest

from sipsms.sip.guard import Guard


@pytest.mark.req("A-08")
def test_one_guess_a_second_after_ten() -> None:
    guard = Guard(free=10, window=300)
    for _ in range(10):
        assert guard.allows("192.0.2.1", "alice", 0)
        guard.failed("192.0.2.1", "alice", 0)
    allowed = [now / 10 for now in range(100) if guard.allows("192.0.2.1", "alice", now / 10)]
    assert len(allowed) == 10
    assert guard.allows("192.0.2.2", "alice", 0)
    assert guard.allows("192.0.2.1", "bob", 0)
    assert guard.allows("192.0.2.1", "alice", 301)
    assert guard.allows("192.0.2.1", "alice", 301)


def test_success_clears_and_memory_is_bounded() -> None:
    guard = Guard(free=1, capacity=100)
    for number in range(1000):
        guard.failed("192.0.2.1", f"user{number}", 0)
    assert guard.allows("192.0.2.1", "user0", 0)
    assert guard.allows("192.0.2.1", "user999", 0)
    assert not guard.allows("192.0.2.1", "user999", 0)
    guard.succeeded("192.0.2.1", "user999")
    assert guard.allows("192.0.2.1", "user999", 0)
    assert guard.allows("192.0.2.1", "user999", 0)
