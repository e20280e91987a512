"""The session machine: states, answers, windows, timers; no socket, and the time as it is given."""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.smpp.pdu import BINDS, Command, Framer, Pdu, Status, decode, encode
from sipsms.smpp.session import Answer, Closed, Event, Late, Limits, Lost, Mode, NotBound, Request, Session, State

LIMITS = Limits(window=3, bind_timeout=10, enquire_link=30, response_timeout=20)
RESPONSE = 0x80000000


def out(session: Session) -> list[Pdu]:
    framer = Framer()
    framer.feed(session.take())
    return [decode(data) for data in framer]


def pdu(command: int, sequence: int = 1, **fields: Any) -> bytes:
    return encode(Pdu(command, sequence, 0, fields))


def bound(role: str = "smsc", mode: Mode = Mode.TRANSCEIVER) -> Session:
    session = Session(role, 0.0, LIMITS)  # type: ignore[arg-type]
    session.bound(mode)
    return session


def statuses(session: Session) -> list[tuple[int, int]]:
    return [(one.command & ~RESPONSE, one.status) for one in out(session)]


def test_a_bind_request_is_answered() -> None:
    session = Session("smsc", 0.0, LIMITS)
    (event,) = session.receive(pdu(Command.BIND_TRANSMITTER, 5, system_id="a", password="b"), 1.0)
    assert isinstance(event, Request)
    assert event.pdu.fields["system_id"] == "a"
    session.answer(event.pdu, fields={"system_id": "sipsms"}, tlvs={0x0210: b"\x34"})
    session.bound(Mode.TRANSMITTER)
    (answer,) = out(session)
    assert (answer.sequence, answer.status, answer.fields["system_id"]) == (5, 0, "sipsms")
    assert session.state is State.BOUND


@pytest.mark.req("P-01")
def test_commands_in_the_wrong_state_are_refused() -> None:
    session = Session("smsc", 0.0, LIMITS)
    for command in (Command.SUBMIT_SM, Command.QUERY_SM, Command.UNBIND):
        assert session.receive(pdu(command), 0.0) == []
        assert statuses(session) == [(command, Status.WRONG_BIND_STATE)]
    for command in BINDS:
        assert bound().receive(pdu(command), 0.0) == []
        session = bound()
        session.receive(pdu(command), 0.0)
        assert statuses(session) == [(command, Status.ALREADY_BOUND)]
    receiver = bound(mode=Mode.RECEIVER)
    assert receiver.receive(pdu(Command.SUBMIT_SM) + pdu(Command.DELIVER_SM), 0.0) == []
    assert [status for _, status in statuses(receiver)] == [Status.WRONG_BIND_STATE] * 2
    esme = bound("esme", Mode.TRANSMITTER)
    assert esme.receive(pdu(Command.DELIVER_SM) + pdu(Command.SUBMIT_SM), 0.0) == []
    assert [status for _, status in statuses(esme)] == [Status.WRONG_BIND_STATE] * 2


@pytest.mark.req("P-01")
def test_a_second_bind_is_refused() -> None:
    session = Session("smsc", 0.0, LIMITS)
    events = session.receive(pdu(Command.BIND_RECEIVER, 1) + pdu(Command.BIND_RECEIVER, 2), 0.0)
    assert len(events) == 1
    assert statuses(session) == [(Command.BIND_RECEIVER, Status.ALREADY_BOUND)]


@pytest.mark.req("P-04", "P-05", "P-06")
def test_an_unreadable_pdu_is_answered_and_the_session_continues() -> None:
    session = bound()
    unknown = bytes.fromhex("00000010 00001234 00000000 00000009")
    short = bytes.fromhex("00000011 00000004 00000000 0000000a 41")
    assert [type(one) for one in session.receive(unknown + short + pdu(Command.SUBMIT_SM, 3), 0.0)] == [Request]
    assert [(one.command, one.status, one.sequence) for one in out(session)] == [
        (RESPONSE, Status.INVALID_COMMAND_ID, 9), (RESPONSE | 4, Status.INVALID_SERVICE_TYPE, 10),
    ]  # fmt: skip


@pytest.mark.req("P-03")
def test_an_impossible_length_ends_the_session() -> None:
    session = bound()
    session.ask(Command.DELIVER_SM, {}, 0.0, "mine")
    session.take()
    assert [type(one) for one in session.receive(b"\x7f" * 16, 0.0)] == [Lost, Closed]
    (answer,) = out(session)
    assert (answer.command, answer.status) == (RESPONSE, Status.INVALID_COMMAND_LENGTH)
    assert session.receive(pdu(Command.SUBMIT_SM), 0.0) == []
    assert session.take() == b""


@pytest.mark.req("P-08")
def test_submits_beyond_the_window_wait() -> None:
    session = bound()
    events = session.receive(b"".join(pdu(Command.SUBMIT_SM, n) for n in range(1, 8)), 0.0)
    assert [one.pdu.sequence for one in events if isinstance(one, Request)] == [1, 2, 3]
    assert session.is_full
    second = events[1]
    assert isinstance(second, Request)
    session.answer(second.pdu, 0, "id-2")  # in the order in which they are done
    (answer,) = out(session)
    assert (answer.sequence, answer.fields["message_id"]) == (2, "id-2")
    (fourth,) = session.receive(b"", 0.0)
    assert isinstance(fourth, Request)
    assert fourth.pdu.sequence == 4


def test_responses_are_matched_to_requests() -> None:
    session = bound()
    first = session.ask(Command.DELIVER_SM, {"source_addr": "1"}, 0.0, "one")
    second = session.ask(Command.DELIVER_SM, {"source_addr": "2"}, 0.0, "two")
    assert [one.sequence for one in out(session)] == [first, second]
    answers = session.receive(pdu(RESPONSE | 5, second) + pdu(RESPONSE | 4, first) + pdu(RESPONSE, first), 1.0)
    assert [(type(one), one.token) for one in answers] == [(Answer, "two"), (Answer, "one")]  # type: ignore[union-attr]
    assert session.receive(pdu(RESPONSE | 5, second) + pdu(RESPONSE | 5, 999), 1.0) == []


def test_a_request_times_out_and_its_late_answer_is_reported() -> None:
    session = bound()
    sequence = session.ask(Command.DELIVER_SM, {}, 0.0, "one")
    assert session.tick(19.9) == []
    assert session.tick(20.0) == [Lost("one", "no answer in 20 s")]
    (late,) = session.receive(pdu(RESPONSE | 5, sequence), 25.0)
    assert isinstance(late, Late)
    assert late.token == "one"
    assert session.receive(pdu(RESPONSE | 5, sequence), 25.0) == []


def test_no_request_is_sent_without_a_bind() -> None:
    with pytest.raises(NotBound):
        Session("smsc", 0.0, LIMITS).ask(Command.DELIVER_SM, {}, 0.0, "x")


@pytest.mark.req("P-07")
def test_enquire_link_is_sent_and_its_timeout_ends_the_session() -> None:
    session = bound()
    session.receive(pdu(Command.ENQUIRE_LINK, 4), 0.0)
    assert [(one.command, one.sequence) for one in out(session)] == [(RESPONSE | 0x15, 4)]
    assert session.tick(29.0) == []
    assert session.take() == b""
    session.tick(30.0)
    (asked,) = out(session)
    assert asked.command == Command.ENQUIRE_LINK
    session.receive(pdu(RESPONSE | 0x15, asked.sequence), 31.0)
    assert session.tick(60.0) == []
    assert session.take() == b""
    assert session.tick(61.0) == session.tick(91.0) == []
    assert statuses(session) == [(0x15, 0), (0x15, 0)]
    assert session.tick(121.0) == [Closed("heard nothing for 90 s")]


@pytest.mark.req("A-43")
def test_a_session_without_a_bind_ends() -> None:
    session = Session("smsc", 0.0, LIMITS)
    session.receive(pdu(Command.ENQUIRE_LINK), 9.0)
    assert session.tick(9.9) == []
    assert session.tick(10.0) == [Closed("no bind in time")]


@pytest.mark.req("P-17")
def test_unbind_waits_for_requests_in_both_directions() -> None:
    session = bound()
    mine = session.ask(Command.DELIVER_SM, {}, 0.0, "mine")
    (request,) = session.receive(pdu(Command.SUBMIT_SM, 8) + pdu(Command.UNBIND, 9), 0.0)
    assert isinstance(request, Request)
    session.take()
    session.answer(request.pdu, 0, "x")
    assert session.receive(b"", 0.0) == []
    assert [type(one) for one in session.receive(pdu(RESPONSE | 5, mine), 0.1)] == [Answer, Closed]
    assert [(one.command, one.sequence) for one in out(session)] == [(RESPONSE | 4, 8), (RESPONSE | 6, 9)]


@pytest.mark.req("P-17")
def test_unbind_ends_after_its_timeout() -> None:
    session = bound()
    session.ask(Command.DELIVER_SM, {}, 0.0, "mine")
    session.receive(pdu(Command.UNBIND, 9), 0.0)
    assert session.tick(4.9) == []
    events = session.tick(5.0)
    assert [type(one) for one in events] == [Lost, Closed]
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert not closed.orderly


def test_the_server_can_unbind() -> None:
    session = bound("esme")
    session.unbind(0.0)
    (asked,) = out(session)
    assert session.receive(pdu(RESPONSE | 6, asked.sequence), 0.1) == [Closed("unbound", True)]
    session = bound("esme")
    session.unbind(0.0)
    assert session.tick(5.0) == [Closed("no answer to unbind")]


def test_the_end_of_the_connection_fails_open_requests() -> None:
    session = bound()
    session.ask(Command.DELIVER_SM, {}, 0.0, "a")
    session.ask(Command.DELIVER_SM, {}, 0.0, "b")
    events: list[Event] = session.end("reset")
    assert events == [Lost("a", "reset"), Lost("b", "reset"), Closed("reset")]
    assert session.end("again") == []
    assert session.tick(999.0) == []


def test_sequence_numbers_wrap_around() -> None:
    session = bound()
    session._sequence = 0x7FFFFFFF
    assert session.ask(Command.DELIVER_SM, {}, 0.0, "x") == 1


@pytest.mark.req("A-43")
def test_pdus_are_read_in_bounded_portions() -> None:
    """A thousand PDUs in one go: some now, the others when it is called again; none is lost."""
    session = bound()
    answered, turns = 0, 0
    data = b"".join(pdu(Command.ENQUIRE_LINK, n) for n in range(1, 1001))
    while turns == 0 or session.has_more:
        session.receive(data if turns == 0 else b"", 0.0)
        answered += len(out(session))
        turns += 1
    assert (answered, turns) == (1000, 6)


@pytest.mark.req("P-07")
def test_an_early_enquire_link_is_sent_once_and_keeps_the_timer() -> None:
    """Once, and its next turn is when it would have been."""
    session = bound()
    assert session.unanswered(9.0) == 0
    for now in (10.0, 11.0):
        session.probe(now)
    assert [one.command for one in out(session)] == [Command.ENQUIRE_LINK]
    assert session.unanswered(15.0) == 5
    session.tick(59.0)
    assert session.take() == b""
    session.tick(60.0)
    assert [one.command for one in out(session)] == [Command.ENQUIRE_LINK]
    assert session.unanswered(61.0) == 51
    session.receive(pdu(Command.ENQUIRE_LINK), 61.0)
    assert session.unanswered(70.0) == 0
    unbound = Session("smsc", 0.0, LIMITS)
    unbound.probe(5.0)
    assert unbound.take() == b""


@pytest.mark.req("P-17")
def test_a_message_that_crosses_the_unbind_is_refused_with_a_retry_status() -> None:
    """Its sender could not know; after its own unbind it must not send any more."""
    session = bound()
    session.unbind(0.0)
    out(session)
    assert session.receive(pdu(Command.SUBMIT_SM), 0.0) == []
    assert statuses(session) == [(Command.SUBMIT_SM, Status.QUEUE_FULL)]
    esme = bound("esme", Mode.TRANSCEIVER)
    esme.unbind(0.0)
    out(esme)
    assert esme.receive(pdu(Command.DELIVER_SM), 0.0) == []
    assert statuses(esme) == [(Command.DELIVER_SM, Status.QUEUE_FULL)]


@pytest.mark.req("A-21", "A-43")
def test_an_unfinished_pdu_is_not_kept_alive_by_an_octet_now_and_then() -> None:
    """The time runs from its first octet, and anew after each whole PDU; a carrier that we called has no limit."""
    enquiry = encode(Pdu(Command.ENQUIRE_LINK, 7))
    for role, ends in (("smsc", True), ("esme", False)):
        session = Session(role, 0.0, LIMITS._replace(pdu_timeout=10.0))  # type: ignore[arg-type]
        session.bound(Mode.TRANSCEIVER)
        for n in range(12):  # whole PDUs, cut in the middle
            session.receive(enquiry[8:] + enquiry[:8] if n else enquiry[:8], float(n))
            assert session.tick(float(n)) == []
        for n in range(7):
            session.receive(enquiry[8 + n : 9 + n], 11.0 + n)
        assert session.tick(20.9) == []
        assert any(isinstance(event, Closed) for event in session.tick(21.0)) is ends
