"""Pauses after wrong tries: how long, for whom, and who is not locked out."""

from __future__ import annotations

import pytest

from sipsms.accounts.sign_in_backoff import _MOST, FREE, FREE_OF_NETWORK, MEMORY, SignInBackoff

HERE, THERE = "192.0.2.1", "198.51.100.1"
NOW = 1000.0


def tries(backoff: SignInBackoff, count: int, *, name: str = "ana", at: str = HERE, known: bool = False) -> None:
    for _ in range(count):
        backoff.tried(name, at, NOW, known=known)


def test_five_tries_then_pauses_of_1_2_4_8_15_15_minutes() -> None:
    backoff, now, pauses = SignInBackoff(), NOW, []
    for _ in range(4):
        backoff.tried("ana", HERE, now, known=False)
        assert backoff.pause("ana", HERE, now, known=False) == 0
    for _ in range(7):
        backoff.tried("ana", HERE, now, known=False)
        pauses.append(backoff.pause("ana", HERE, now, known=False))
        now += pauses[-1]
        assert backoff.pause("ana", HERE, now, known=False) == 0
    assert pauses == [60, 120, 240, 480, 900, 900, 900]


def test_the_tries_that_are_left() -> None:
    backoff = SignInBackoff()
    left = []
    for _ in range(FREE + 1):
        left.append(backoff.tries_left("ana", HERE, NOW, known=False))
        tries(backoff, 1)
    assert left == [5, 4, 3, 2, 1, 0]


def test_guesses_from_many_networks_count_together() -> None:
    backoff = SignInBackoff()
    for number in range(FREE):
        tries(backoff, 1, at=f"203.0.113.{number}")
    assert backoff.pause("ana", "203.0.113.99", NOW, known=False) == 60
    assert backoff.pause("luis", "203.0.113.99", NOW, known=False) == 0


def test_a_known_network_is_not_locked_out_by_strangers() -> None:
    backoff = SignInBackoff()
    tries(backoff, 50, at=THERE)
    assert backoff.pause("ana", THERE, NOW, known=False) == 900
    assert backoff.pause("ana", HERE, NOW, known=True) == 0
    assert backoff.tries_left("ana", HERE, NOW, known=True) == FREE


def test_a_known_network_has_pauses_of_its_own() -> None:
    backoff = SignInBackoff()
    tries(backoff, FREE, known=True)
    assert backoff.pause("ana", HERE, NOW, known=True) == 60
    assert backoff.pause("ana", THERE, NOW, known=False) == 0, "and they lock out no other network"


def test_one_network_that_tries_many_names_is_paused() -> None:
    backoff = SignInBackoff()
    for number in range(FREE_OF_NETWORK):
        tries(backoff, 1, name=f"name{number}")
    assert backoff.pause("another", HERE, NOW, known=False) == 60
    assert backoff.pause("another", THERE, NOW, known=False) == 0


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    backoff = SignInBackoff()
    for number in range(FREE_OF_NETWORK):
        tries(backoff, 1, name=f"name{number}", at=f"2001:db8::{number:x}")
    assert backoff.pause("another", "2001:db8::ffff", NOW, known=False) == 60
    assert backoff.pause("another", "2001:db8:0:1::1", NOW, known=False) == 0


def test_a_right_try_is_taken_back() -> None:
    backoff = SignInBackoff()
    tries(backoff, FREE)
    backoff.was_right("ana", HERE, known=False)
    assert backoff.pause("ana", HERE, NOW, known=False) == 0
    assert backoff.tries_left("ana", HERE, NOW, known=False) == 1


def test_a_sign_in_forgets_the_tries_of_its_network_only() -> None:
    backoff = SignInBackoff()
    tries(backoff, FREE, known=True)
    tries(backoff, FREE, at=THERE)
    backoff.signed_in("ana", HERE)
    assert backoff.pause("ana", HERE, NOW, known=True) == 0
    assert backoff.pause("ana", THERE, NOW, known=False) == 60


def test_tries_are_forgotten_half_an_hour_after_the_pause() -> None:
    backoff = SignInBackoff()
    tries(backoff, FREE)
    assert backoff.tries_left("ana", HERE, NOW + 60 + MEMORY - 1, known=False) == 0
    assert backoff.tries_left("ana", HERE, NOW + 60 + MEMORY, known=False) == FREE


@pytest.mark.parametrize("count", [_MOST])
def test_the_memory_is_bounded(count: int) -> None:
    backoff = SignInBackoff()
    for number in range(count):
        tries(backoff, 1, name=f"n{number}", at=f"a{number}")
    assert len(backoff._counters) == _MOST
