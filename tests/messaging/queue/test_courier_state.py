"""The state of a courier as a value: circuit breaker, window, rate and health."""

from __future__ import annotations

import pytest

from sipsms.core.message import EVENT, Accepted, Attempt, Deferred, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.queue.courier_state import BREAKER_MAX, CourierLimits, CourierState
from tests.support.messaging.core import ScriptedCourier


def courier_state(**line: object) -> CourierState:
    return CourierState("carrier:a", ScriptedCourier(), CourierLimits(**line))  # type: ignore[arg-type]


def opens_after(state: CourierState, *outcomes: Outcome) -> list[bool]:
    return [state.note(outcome) for outcome in outcomes]


def test_without_a_breaker_only_a_failure_of_the_courier_itself_opens_it() -> None:
    state = courier_state()
    assert not any(opens_after(state, *[Unknown("?")] * 10, *[Deferred("480")] * 10))
    assert opens_after(state, Deferred("away", scope=Scope.COURIER)) == [True]


@pytest.mark.req("F-10", "F-12")
def test_the_breaker_opens_after_failures_without_a_clear_answer() -> None:
    state = courier_state(breaker=True)
    assert opens_after(state, Unknown("1"), Unknown("2"), Unknown("3")) == [False, False, True]
    other = courier_state(breaker=True)
    assert opens_after(other, *[Deferred("500")] * 5) == [False] * 4 + [True]
    assert opens_after(courier_state(breaker=True), Deferred("cannot connect", scope=Scope.COURIER)) == [True]


def test_a_clear_answer_resets_the_count_of_the_breaker() -> None:
    state = courier_state(breaker=True)
    assert not any(
        opens_after(state, Unknown("1"), Unknown("2"), Rejected("400"), Unknown("3"), Unknown("4"), Accepted())
    )
    assert not any(opens_after(state, Deferred("parked", retry=EVENT), Deferred("aside", scope=Scope.MESSAGE)) * 5)


@pytest.mark.req("F-10")
def test_after_a_failure_the_courier_sends_one_probe_before_the_rest() -> None:
    state = courier_state(breaker=True, concurrency=4)
    state.close_for(300.0, now=100.0)
    assert not state.open(100.0 + BREAKER_MAX - 1)
    assert state.open(100.0 + BREAKER_MAX)
    assert state.has_room
    state.active = 1
    assert not state.has_room
    state.note(Accepted())
    assert state.has_room
    assert state.health(1000.0).state == "up"


def test_health_names_each_state_of_the_courier() -> None:
    state = courier_state(breaker=True)
    state.note(Deferred("cannot connect: refused", scope=Scope.COURIER))
    state.close_for(5.0, now=0.0)
    assert state.health(1.0)[:2] == ("down", "cannot connect: refused")
    assert state.health(6.0).state == "trying"
    state.paused = True
    assert state.health(6.0).state == "paused"
    state.paused, state.courier = False, None
    assert state.health(6.0).state == "gone"


def test_an_attempt_that_was_not_made_does_not_count_for_the_breaker() -> None:
    state = courier_state(breaker=True)
    for _ in range(10):
        assert not state.note(Deferred("the window is full", attempt=Attempt.NOT_MADE))
    assert state.note(Deferred("not bound", attempt=Attempt.NOT_MADE, scope=Scope.COURIER))


def test_the_courier_limits_its_own_window_and_rate_within_the_configured_limits() -> None:
    room, pace = 2, 0.0
    state = CourierState(
        "carrier:x", ScriptedCourier(), CourierLimits(10, rate=100.0, room=lambda: room, pace=lambda now: pace)
    )
    state.active = 2
    assert not state.has_room
    room = 20
    assert state.has_room
    state.active = 10
    assert not state.has_room, "never more than configured"
    assert [state.take_slot(5.0) for _ in range(2)] == [0.0, pytest.approx(0.01)]
    pace = 10.0
    state.take_slot(6.0)
    assert state.take_slot(6.0) == pytest.approx(0.1)
    pace = 1000.0
    state.take_slot(7.0)
    assert state.take_slot(7.0) == pytest.approx(0.01), "nor faster"


def test_a_rate_gives_each_delivery_its_own_slot() -> None:
    state = courier_state(rate=10.0)
    assert [round(state.take_slot(5.0), 3) for _ in range(3)] == [0.0, 0.1, 0.2]
    assert not state.is_free(5.2)
    assert state.is_free(5.3)
    assert courier_state().take_slot(5.0) == 0.0


def test_a_changed_rate_applies_at_once() -> None:
    state = courier_state(rate=1 / 60)
    for _ in range(32):
        state.take_slot(0.0)
    state.replace(ScriptedCourier(), CourierLimits(rate=10.0))
    assert state.take_slot(1.0) == 0.0
