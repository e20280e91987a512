"""A courier's breaker and rate, as a value."""

from __future__ import annotations

import pytest

from sipsms.core.message import EVENT, Accepted, Attempt, Deferred, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.queue.courier_state import BREAKER_MAX, CourierLimits, CourierState
from tests.support.messaging.core import ScriptedCourier


def desk(**line: object) -> CourierState:
    return CourierState("carrier:a", ScriptedCourier(), CourierLimits(**line))  # type: ignore[arg-type]


def opens_after(one: CourierState, *outcomes: Outcome) -> list[bool]:
    return [one.note(outcome) for outcome in outcomes]


def test_without_a_breaker_single_failures_say_nothing_of_the_courier() -> None:
    one = desk()
    assert not any(opens_after(one, *[Unknown("?")] * 10, *[Deferred("480")] * 10))
    assert opens_after(one, Deferred("away", scope=Scope.COURIER)) == [True]


@pytest.mark.req("F-10", "F-12")
def test_the_breaker_opens_where_no_clear_answers_come() -> None:
    one = desk(breaker=True)
    assert opens_after(one, Unknown("1"), Unknown("2"), Unknown("3")) == [False, False, True]
    other = desk(breaker=True)
    assert opens_after(other, *[Deferred("500")] * 5) == [False] * 4 + [True]
    assert opens_after(desk(breaker=True), Deferred("cannot connect", scope=Scope.COURIER)) == [True]


def test_answers_in_between_are_a_sign_of_life() -> None:
    one = desk(breaker=True)
    assert not any(
        opens_after(one, Unknown("1"), Unknown("2"), Rejected("400"), Unknown("3"), Unknown("4"), Accepted())
    )
    assert not any(opens_after(one, Deferred("parked", retry=EVENT), Deferred("aside", scope=Scope.MESSAGE)) * 5)


@pytest.mark.req("F-10")
def test_after_a_failure_one_goes_first_and_the_pause_is_short() -> None:
    one = desk(breaker=True, concurrency=4)
    one.close_for(300.0, now=100.0)
    assert not one.open(100.0 + BREAKER_MAX - 1)
    assert one.open(100.0 + BREAKER_MAX)
    assert one.has_room
    one.active = 1
    assert not one.has_room
    one.note(Accepted())
    assert one.has_room
    assert one.health(1000.0).state == "up"


def test_health() -> None:
    one = desk(breaker=True)
    one.note(Deferred("cannot connect: refused", scope=Scope.COURIER))
    one.close_for(5.0, now=0.0)
    assert one.health(1.0)[:2] == ("down", "cannot connect: refused")
    assert one.health(6.0).state == "trying"
    one.paused = True
    assert one.health(6.0).state == "paused"
    one.paused, one.courier = False, None
    assert one.health(6.0).state == "gone"


def test_what_was_not_tried_says_nothing_of_the_far_side() -> None:
    one = desk(breaker=True)
    for _ in range(10):
        assert not one.note(Deferred("the window is full", attempt=Attempt.NOT_MADE))
    assert one.note(Deferred("not bound", attempt=Attempt.NOT_MADE, scope=Scope.COURIER))


def test_the_courier_says_how_much_it_takes_now() -> None:
    room, pace = 2, 0.0
    one = CourierState(
        "carrier:x", ScriptedCourier(), CourierLimits(10, rate=100.0, room=lambda: room, pace=lambda now: pace)
    )
    one.active = 2
    assert not one.has_room
    room = 20
    assert one.has_room
    one.active = 10
    assert not one.has_room, "never more than configured"
    assert [one.take_slot(5.0) for _ in range(2)] == [0.0, pytest.approx(0.01)]
    pace = 10.0
    one.take_slot(6.0)
    assert one.take_slot(6.0) == pytest.approx(0.1)
    pace = 1000.0
    one.take_slot(7.0)
    assert one.take_slot(7.0) == pytest.approx(0.01), "nor faster"


def test_a_rate_is_a_slot_for_each() -> None:
    one = desk(rate=10.0)
    assert [round(one.take_slot(5.0), 3) for _ in range(3)] == [0.0, 0.1, 0.2]
    assert not one.is_free(5.2)
    assert one.is_free(5.3)
    assert desk().take_slot(5.0) == 0.0


def test_another_rate_holds_at_once() -> None:
    one = desk(rate=1 / 60)
    for _ in range(32):
        one.take_slot(0.0)
    one.replace(ScriptedCourier(), CourierLimits(rate=10.0))
    assert one.take_slot(1.0) == 0.0
