"""One definition of a message's state and of a copy, by tables."""

from __future__ import annotations

import itertools

import pytest

from sipsms.core.message import Delivery, Direction, Message, State, is_copy, is_copy_of, state_of

D, A, S, Q, U, X, F = (
    State.DELIVERED, State.ACCEPTED, State.SENDING, State.QUEUED, State.UNKNOWN, State.EXPIRED, State.FAILED,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ([], D),  # stored, with nowhere to go: nothing is left to do
        ([D, F, Q], D), ([A, F], A), ([S, U], S), ([Q, X], Q), ([U, F], U), ([X, F], X), ([F], F),
    ],
)  # fmt: skip
def test_a_message_has_the_best_state_of_its_deliveries(ways: list[State], expected: State) -> None:
    for order in itertools.permutations(ways):
        assert state_of([(state, False) for state in order]) is expected


@pytest.mark.parametrize(
    ("segments", "expected"),
    [([D, D], D), ([D, A], A), ([D, Q], Q), ([Q, S], S), ([S, U], U), ([U, X], X), ([X, F], F)],
)
def test_a_long_text_has_the_worst_state_of_its_segments(segments: list[State], expected: State) -> None:
    """A long text has arrived when all its segments have; other ways of the same message say nothing then."""
    assert state_of([(state, True) for state in segments]) is expected
    assert state_of([(D, False), *((state, True) for state in segments)]) is expected


@pytest.mark.parametrize(
    ("direction", "did", "courier", "destination", "expected"),
    [
        ("out", "5550001111", "sip", "acme", True),
        ("in", "5550001111", "sip", "acme", False),  # an SMS that came for the account
        ("out", "", "sip", "acme", False),  # from the account to itself: it is the message
        ("out", "5550001111", "carrier:x", "acme", False),  # a number that is an account's name
        ("out", "5550001111", "sip", "other", False),
    ],
)
def test_a_copy_is_an_outgoing_delivery_to_the_own_account(
    direction: str, did: str, courier: str, destination: str, expected: bool
) -> None:
    message = Message(Direction(direction), "5550001111", "4445556666", "x", "v1", 1.0, "acme", did)
    delivery = Delivery(message, courier, destination, "5550001111", "lane", 9e9, 1.0)
    assert is_copy(delivery) is expected
    assert is_copy_of(direction, did, courier, destination, "acme") is expected
