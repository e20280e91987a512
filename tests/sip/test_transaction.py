"""The transaction tables against the times of RFC 3261 section 17."""

from __future__ import annotations

import pytest

from sipsms.sip.transaction import Action, ClientTransaction, Event, ServerTransaction, State


def _sends(machine: ClientTransaction, until: float = 100.0) -> list[float]:
    """Run the timers; when the request is sent again."""
    times = []
    while machine.state is not State.TERMINATED and machine.deadline < until:
        now = machine.deadline
        if machine.timer(now) is Action.SEND:
            times.append(now)
    return times


@pytest.mark.req("C-038")
def test_a_request_without_answer_on_udp_is_repeated_until_timer_f() -> None:
    machine = ClientTransaction(reliable=False, now=0.0)
    assert _sends(machine) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert machine.state is State.TERMINATED


@pytest.mark.req("C-039")
def test_a_provisional_response_slows_the_retransmissions() -> None:
    machine = ClientTransaction(reliable=False, now=0.0)
    assert machine.receive(Event.PROVISIONAL, 0.2) is Action.NONE
    assert _sends(machine)[:3] == [4.2, 8.2, 12.2]


@pytest.mark.req("C-040")
def test_a_second_final_response_is_absorbed() -> None:
    machine = ClientTransaction(reliable=False, now=0.0)
    assert machine.receive(Event.FINAL, 0.1) is Action.DELIVER
    assert machine.receive(Event.FINAL, 4.0) is Action.NONE
    assert machine.deadline == pytest.approx(5.1)
    assert machine.timer(5.1) is Action.NONE
    assert machine.state is State.TERMINATED


@pytest.mark.req("C-041")
def test_requests_on_streams_are_not_retransmitted() -> None:
    machine = ClientTransaction(reliable=True, now=0.0)
    assert _sends(machine) == []
    assert machine.state is State.TERMINATED


@pytest.mark.req("C-042")
def test_a_transport_error_ends_the_transaction_at_once() -> None:
    machine = ClientTransaction(reliable=False, now=0.0)
    assert machine.receive(Event.ERROR, 0.1) is Action.FAIL
    assert machine.receive(Event.FINAL, 0.2) is Action.NONE


@pytest.mark.req("C-032", "C-034")
def test_a_server_transaction_absorbs_retransmissions_until_its_answer() -> None:
    machine = ServerTransaction()
    assert machine.receive(Event.REQUEST) is Action.NONE
    assert machine.receive(Event.FINAL) is Action.SEND
    assert machine.receive(Event.REQUEST) is Action.SEND
    assert machine.receive(Event.FINAL) is Action.NONE
    assert machine.receive(Event.TIMER_END) is Action.NONE
    assert machine.receive(Event.REQUEST) is Action.NONE
