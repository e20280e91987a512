"""Guessing is slowed for the guesser only, and what is remembered is bounded."""

from __future__ import annotations

import pytest

from sipsms.sip.auth_limiter import AuthLimiter


def attacked(guard: AuthLimiter, port: int = 4000) -> None:
    for _ in range(10):
        assert guard.allows("192.0.2.1", "alice", 0, port)
        guard.failed("192.0.2.1", "alice", 0, port)


def guesses(guard: AuthLimiter, ports: list[int]) -> int:
    """How many of 100 guesses in ten seconds are looked at; all are wrong."""
    count = 0
    for tenth in range(100):
        now, port = tenth / 10, ports[tenth % len(ports)]
        if guard.allows("192.0.2.1", "alice", now, port):
            guard.failed("192.0.2.1", "alice", now, port)
            count += 1
    return count


@pytest.mark.req("A-08")
def test_one_guess_a_second_after_ten() -> None:
    guard = AuthLimiter(free=10, window=300)
    attacked(guard)
    assert 1 <= guesses(guard, [4000]) <= 10
    assert guard.allows("192.0.2.2", "alice", 10)
    assert guard.allows("192.0.2.1", "bob", 10)
    assert guard.allows("192.0.2.1", "alice", 301, 4000)
    assert guard.allows("192.0.2.1", "alice", 301, 4000)


@pytest.mark.req("A-08")
def test_guesses_from_many_ports_of_one_address_are_limited_together() -> None:
    guard = AuthLimiter(free=10, window=300)
    attacked(guard)
    assert guesses(guard, list(range(5000, 5100))) <= 10


@pytest.mark.req("A-08")
def test_the_owner_behind_the_same_nat_is_not_limited() -> None:
    """Gets in while the guesser goes on, and is then not slowed at all; the guesser still is."""
    guard = AuthLimiter(free=10, window=300)
    attacked(guard)
    guesses(guard, [4000])
    assert guard.allows("192.0.2.1", "alice", 10, 5060)
    assert guard.allows("192.0.2.1", "alice", 10, 5060), "its nonce was stale"
    guard.succeeded("192.0.2.1", "alice", 5060)
    assert all(guard.allows("192.0.2.1", "alice", 10, 5060) for _ in range(100))
    assert sum(guard.allows("192.0.2.1", "alice", 10 + n / 10, 4000) for n in range(100)) <= 10
    guard.failed("192.0.2.1", "alice", 20, 5060)
    assert sum(guard.allows("192.0.2.1", "alice", 20, 5060) for _ in range(100)) <= 1


@pytest.mark.req("A-08")
def test_guesses_from_many_ipv6_addresses_of_one_network_are_limited_together() -> None:
    guard = AuthLimiter(free=10, window=300)
    looked_at = 0
    for n in range(100):
        if guard.allows(f"2001:db8::{n:x}", "alice", n / 100, 5060):
            guard.failed(f"2001:db8::{n:x}", "alice", n / 100, 5060)
            looked_at += 1
    assert looked_at <= 11
    assert guard.allows("2001:db8:0:1::1", "alice", 1.0, 5060)


def test_memory_is_bounded() -> None:
    guard = AuthLimiter(free=1, capacity=100)
    for number in range(1000):
        guard.failed("192.0.2.1", f"user{number}", 0)
    assert guard.allows("192.0.2.1", "user0", 0)
    assert guard.allows("192.0.2.1", "user999", 0)
    assert not guard.allows("192.0.2.1", "user999", 0)
    for port in range(1000):
        guard.failed("192.0.2.1", "user999", 0, port)
        guard.succeeded("192.0.2.1", "user999", port + 1000)
    pair = guard._pairs["192.0.2.1", "user999"]
    assert (len(pair.wrong), len(pair.right)) == (64, 64)
