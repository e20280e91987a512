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
    assert all(guard.allows("192.0.2.1", "alice", 20, 5060) for _ in range(100)), "somebody used its address"
    assert not guard.allows("192.0.2.1", "alice", 10, 4000)


@pytest.mark.req("A-08")
def test_the_right_password_before_the_attack_is_remembered() -> None:
    guard = AuthLimiter(free=10, window=300)
    guard.succeeded("192.0.2.1", "alice", 5060)
    attacked(guard)
    guesses(guard, list(range(5000, 5060)))
    assert all(guard.allows("192.0.2.1", "alice", 10, 5060) for _ in range(100))


@pytest.mark.req("A-08")
def test_guesses_from_fresh_ports_do_not_use_up_the_owners_turn() -> None:
    """Ten guesses a second, each from a fresh port: forty of forty tries of the owner are checked, on fresh ports."""
    guard, checked = AuthLimiter(free=10, window=300), 0
    attacked(guard)
    for tenth in range(400):
        now = tenth / 10
        if guard.allows("192.0.2.1", "alice", now, 10_000 + tenth, "fetched once"):
            guard.failed("192.0.2.1", "alice", now, 10_000 + tenth, "fetched once")
            checked += 1
        if tenth % 10 == 0:
            assert guard.allows("192.0.2.1", "alice", now, 40_000 + tenth, f"its own {tenth}")
    assert checked <= 25, "one challenge does not serve many guesses"


@pytest.mark.req("A-08")
def test_wrong_passwords_of_one_network_are_counted_over_all_users() -> None:
    """Of 600 names, the first sixty guesses of an address are checked, then one in two seconds."""
    guard, checked = AuthLimiter(), 0
    guard.succeeded("192.0.2.1", "carol", 5060)
    for n in range(600):
        now = n / 100
        if guard.allows("192.0.2.1", f"user{n}", now, 4000, f"nonce {n}"):
            guard.failed("192.0.2.1", f"user{n}", now, 4000, f"nonce {n}")
            checked += 1
    assert 60 <= checked <= 65
    assert guard.allows("192.0.2.2", "user599", 6.0, 4000), "from elsewhere"
    assert guard.allows("192.0.2.1", "carol", 6.0, 5060), "the port is known"
    assert guard.allows("192.0.2.1", "dave", 6.0, 5070, "its own"), "a fresh port"
    assert guard.allows("192.0.2.1", "user0", 400.0, 4000), "the window is over"


@pytest.mark.req("A-08")
def test_an_ipv6_site_does_not_multiply_the_limit_by_its_networks() -> None:
    guard, checked = AuthLimiter(), 0
    for n in range(3000):
        address = f"2001:db8:0:{n:x}::1"
        if guard.allows(address, f"user{n}", 1.0, 4000):
            guard.failed(address, f"user{n}", 1.0, 4000)
            checked += 1
    assert 600 <= checked <= 602
    assert guard.allows("2001:db8:1::1", "alice", 1.0, 4000)


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
        guard.failed(f"192.0.2.{number % 250}", f"user{number}", 0, number, f"nonce {number}")
        guard.succeeded("192.0.2.1", "user999", number)
    assert len(guard._tallies) == len(guard._spent) == 100
    assert len(guard._right) == 1000
    for port in range(1000):
        guard.failed("192.0.2.1", "user999", 0, port)
    assert len(guard._tallies["192.0.2.1", "user999"].wrong) == 64
