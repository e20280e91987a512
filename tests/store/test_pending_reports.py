"""Whose sender has still to be told how it went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from sipsms.core.message import Delivery, Direction, Message, State
from sipsms.core.report_request import decode
from sipsms.store import message_list, messages, pending_reports
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.schema import deliveries


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def put(db: Connection, *ways: str, pieces: bool = False, notify: str = "wanted") -> int:
    """A message whose deliveries are in these states; one that ends in a + has a carrier's id, a copy is in ()."""
    message = Message(Direction.OUT, "5550001111", "4445556666", "x" * 99, "v1", 1.0, "acme", "5550001111")
    message = message._replace(report=decode(notify))
    made = []
    for index, way in enumerate(ways):
        to = "acme" if way.startswith("(") else "4445556666"
        span = (index * 10, index * 10 + 10) if pieces else (0, 0)
        courier = "sip" if way.startswith("(") else "carrier:x"
        made.append(Delivery(message, courier, to, "5550001111", "lane", 9e9, 1.0,
                             state=State(way.strip("()+")), start=span[0], end=span[1]))  # fmt: skip
    (stored,) = messages.accept_all(db, [(message, made, "node", 1.0)])
    for one, way in zip(stored.deliveries, ways, strict=True):
        named = "carrier's" if way.endswith("+") else ""
        db.execute(update(deliveries).where(deliveries.c.id == one.id).values(remote_id=named))
    return stored.message_id


def test_messages_that_failed_are_pending_until_they_are_reported(db: Connection) -> None:
    expected = {
        put(db, "failed"): ("4445556666", False),
        put(db, "failed+"): ("4445556666", True),
        put(db, "expired"): ("4445556666", False),
        put(db, "failed", "expired"): ("4445556666", False),
        put(db, "failed", "(delivered)"): ("4445556666", False),
        put(db, "delivered", "failed", pieces=True): ("4445556666", False),
    }
    for others in (["queued"], ["delivered"], ["failed", "accepted"], ["unknown"], ["(failed)"], []):
        put(db, *others)
    put(db, "delivered", "accepted", pieces=True)
    put(db, "failed", notify="")
    reported = {message.id: (to, was_accepted) for message, to, was_accepted in pending_reports.ended(db)}
    assert reported == expected
    for lost in expected:
        assert pending_reports.outcome(db, lost) in (State.FAILED, State.EXPIRED)
        pending_reports.done(db, lost)
    assert pending_reports.ended(db) == []
    assert not {message.id for message, _ in pending_reports.due(db)} & set(expected)


def _put(db: Connection, direction: Direction, did: str, *parts: tuple[str, str, str], notify: str = "wanted") -> int:
    """A message of acme with deliveries of (courier, destination, state)."""
    message = Message(direction, "5550001111", "4445556666", "x", "v1", 1.0, "acme", did, report=decode(notify))
    made = [Delivery(message, courier, to, "", f"lane{n}", 9e9, 1.0, state=State(state))
            for n, (courier, to, state) in enumerate(parts)]  # fmt: skip
    return messages.accept_all(db, [(message, made, "node", 1.0)])[0].message_id


def test_a_message_to_the_own_account_is_reported_after_a_restart(db: Connection) -> None:
    """From acme to acme: its own delivery is no copy. The notice is still owed when the server was killed before it."""
    message = _put(db, Direction.OUT, "", ("sip", "acme", "delivered"))
    assert [(one.id, to) for one, to in pending_reports.due(db)] == [(message, "acme")]
    lost = _put(db, Direction.OUT, "", ("sip", "acme", "expired"))
    assert [(one.id, to) for one, to, _ in pending_reports.ended(db)] == [(lost, "acme")]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("did", ["", "5550001111"])
@pytest.mark.parametrize("courier", ["sip", "carrier:x"])
@pytest.mark.parametrize("destination", ["acme", "4445556666"])
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("copy", [(), (("sip", "acme", "delivered"),)])
def test_a_message_has_the_same_state_in_lists_and_reports(
    db: Connection, direction: Direction, did: str, courier: str, destination: str, state: State,
    copy: tuple[tuple[str, str, str], ...],
) -> None:  # fmt: skip
    """`sipsms messages` and whoever asks by SMPP or the APIs see the same one."""
    message = _put(db, direction, did, (courier, destination, str(state)), *copy)
    (row,) = message_list.newest(db, message_list.Wanted(None), 10)
    assert row["state"] == pending_reports.outcome(db, message)
