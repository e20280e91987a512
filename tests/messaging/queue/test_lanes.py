"""The machine of a lane: its table by conversation, and what the lane remembers."""

from __future__ import annotations

import pytest

from sipsms.core.courier_id import CourierId
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Direction, Message
from sipsms.core.queue_rows import DueLane
from sipsms.messaging.queue import lanes as machine
from sipsms.messaging.queue.lanes import CHUNK, Action, Event, Lanes, LaneState

NOW = 100.0
KEY = LaneKey("lane")


def delivery(number: int, due: float | None = NOW) -> Delivery:
    message = Message(Direction.OUT, "1", "2", "x", "test", NOW)
    return Delivery(message, CourierId("one"), "2", "1", KEY, 1e9, NOW, due_at=due, id=number)


def known(*waiting: str) -> Lanes:
    lanes = Lanes()
    lanes.learn(waiting)
    return lanes


def perform(lanes: Lanes, step: str) -> Action | None:
    """One step of a conversation: `stored 2` is a method with a number, of the lane `KEY`."""
    name, _, number = step.partition(" ")
    due = DueLane(KEY, [delivery(1)], False)
    match name:
        case "begin" | "reserve" | "release" | "park" | "forget" | "wake" | "written":
            result: Action | None = getattr(lanes, name)(KEY)
            return result
        case "stored":
            return lanes.stored(delivery(int(number)))
        case "polled":
            lanes.begin_search()
            return Action.ENTER if lanes.end_search([due])[0] else Action.NONE
        case "loaded":
            return lanes.loaded(lanes[KEY], [delivery(int(one)) for one in number.split()], NOW)
        case "waits":
            return lanes.loaded(lanes[KEY], [delivery(1, None)], NOW)
        case "not_owned":
            return lanes.loaded(lanes[KEY], None, NOW)
        case "take":
            lanes[KEY].take()
            return None
        case _:
            acted: Action = getattr(lanes, name)(lanes[KEY])
            return acted


@pytest.mark.parametrize(
    ("waiting", "steps", "action", "state"),
    [
        ("", "begin", None, "sending"),
        ("", "begin, sent", "forget", "idle"),
        ("", "begin, stored 2, sent", "start", "sending"),
        ("", "begin, reserve, sent", "forget", "storing"),
        ("", "begin, reserve, sent, stored 2", "enter", "ready"),
        ("", "begin, deferred", "wait", "waiting"),
        ("", "begin, stored 2, deferred", "wait", "waiting"),
        ("", "begin, wake, deferred", "load", "loading"),
        ("", "begin, park, sent", "load", "loading"),
        ("", "begin, stopped", "search", "waiting"),
        ("", "begin, wake, stopped", "make_due", "waking"),
        ("", "begin, stored 2, sent, stopped", "make_due", "waking"),
        ("", "begin, refused", "load", "loading"),
        ("", "reserve", None, "storing"),
        ("", "reserve, release", None, "idle"),
        ("", "reserve, reserve, release", None, "storing"),
        ("", "reserve, park, release", None, "waiting"),
        ("", "reserve, wake", "make_due", "waking"),
        ("", "stored 1", "enter", "ready"),
        ("", "stored 1, turn", "start", "sending"),
        ("", "stored 2, stored 1, turn", "load", "loading"),
        ("", "wake", "none", "idle"),
        ("", "polled", "enter", "ready"),
        ("", "polled, turn", "start", "sending"),
        ("", "park", None, "waiting"),
        ("", "park, forget", None, "idle"),
        (KEY, "reserve, release", None, "waiting"),
        (KEY, "stored 2, turn", "load", "loading"),
        (KEY, "polled, polled, turn, take, sent", "load", "loading"),
        (KEY, "wake", "make_due", "waking"),
        (KEY, "wake, written", "search", "waiting"),
        (KEY, "wake, wake, written", "make_due", "waking"),
        (KEY, "wake, reserve, written", "search", "storing"),
        (KEY, "wake, stored 2, polled", "none", "waking"),
        (KEY, "stored 2, turn, loaded 1 2", "start", "sending"),
        (KEY, "stored 2, turn, loaded", "forget", "idle"),
        (KEY, "stored 2, turn, stored 3, loaded", "load", "loading"),
        (KEY, "stored 2, turn, waits", "wait", "waiting"),
        (KEY, "stored 2, turn, wake, waits", "start", "sending"),
        (KEY, "stored 2, turn, not_owned", "wait", "waiting"),
        (KEY, "stored 2, turn, wake, not_owned", "make_due", "waking"),
        (KEY, "stored 2, turn, stopped", "search", "waiting"),
    ],
)
def test_a_lane_goes_through_its_states(waiting: str, steps: str, action: str | None, state: str) -> None:
    lanes = known(*filter(None, [waiting]))
    performed = [perform(lanes, step.strip()) for step in steps.split(",")]
    assert (performed[-1], lanes.state_of(KEY)) == (action, state)


def test_an_attempt_that_begins_answers_the_event() -> None:
    lanes = known(KEY)
    performed = [perform(lanes, step) for step in ("stored 2", "turn", "wake", "loaded 1 2", "take", "deferred")]
    assert performed[-1] is Action.WAIT
    assert known().wake("another") is Action.NONE


def test_a_lane_holds_a_bounded_number_of_deliveries() -> None:
    lanes = known()
    lanes.begin(KEY)
    for number in range(2, 200):
        lanes.stored(delivery(number))
    assert [one.id for one in lanes[KEY].pending] == list(range(2, 2 + CHUNK))
    assert lanes[KEY].more


def test_a_lane_that_left_memory_during_a_search_is_searched_again() -> None:
    lanes = known()
    lanes.begin(KEY)
    lanes.begin_search()
    lanes.sent(lanes[KEY])
    assert lanes.end_search([DueLane(KEY, [delivery(1)], False)]) == ([], True)


def test_until_the_waiting_lanes_are_known_any_lane_may_wait() -> None:
    lanes = Lanes()
    assert lanes.state_of(KEY) is LaneState.WAITING
    lanes.learn([])
    assert lanes.state_of(KEY) is LaneState.IDLE


def test_a_million_lanes_that_wait_have_no_objects() -> None:
    lanes = known(*(f"lane {number}" for number in range(1000)))
    assert (lanes.count(), lanes._lanes) == ((0, 1000), {})


def test_the_short_names_are_those_of_the_members() -> None:
    for member in (*LaneState, *Event, *Action):
        assert getattr(machine, member.name) is member
