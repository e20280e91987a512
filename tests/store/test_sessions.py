"""Sessions: how long they live, who ends them, and that the store has no token."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from sipsms.core.user import Session
from sipsms.store import sessions
from sipsms.store.sessions import DAY, IDLE, MONTH

NOW = 1_000_000.0
ONE = Session("1" * 64, 7, NOW, NOW, NOW + DAY, agent="Firefox", address="192.0.2.1")
STAYS = Session("2" * 64, 7, NOW, NOW, NOW + MONTH, stay=True)
OTHERS = Session("3" * 64, 8, NOW, NOW, NOW + DAY)


def test_a_session_ends_after_its_idle_time_and_after_a_day(db: Connection) -> None:
    sessions.add(db, ONE)
    assert sessions.find(db, ONE.hash, NOW + IDLE - 1) == ONE
    assert sessions.find(db, ONE.hash, NOW + IDLE) is None
    sessions.seen(db, ONE.hash, "192.0.2.2", NOW + IDLE - 1)
    found = sessions.find(db, ONE.hash, NOW + IDLE)
    assert found == replace(ONE, seen_at=NOW + IDLE - 1, address="192.0.2.2")
    sessions.seen(db, ONE.hash, "192.0.2.2", NOW + DAY - 1)
    assert sessions.find(db, ONE.hash, NOW + DAY) is None


def test_a_session_that_stays_lives_a_month(db: Connection) -> None:
    sessions.add(db, STAYS)
    assert sessions.find(db, STAYS.hash, NOW + MONTH - 1) == STAYS
    assert sessions.find(db, STAYS.hash, NOW + MONTH) is None


def test_users_end_their_own_sessions_only(db: Connection) -> None:
    for session in (ONE, STAYS, OTHERS):
        sessions.add(db, session)
    assert sessions.end(db, OTHERS.hash, user=7) is False
    assert sessions.end(db, ONE.hash, user=7) is True
    assert sessions.end(db, ONE.hash) is False
    assert sessions.find(db, OTHERS.hash, NOW) == OTHERS


def test_all_sessions_but_this_one_end(db: Connection) -> None:
    for session in (ONE, STAYS, OTHERS):
        sessions.add(db, session)
    assert sessions.end_all(db, 7, but=STAYS.hash) == 1
    assert sessions.of_user(db, 7, NOW) == [STAYS]
    assert sessions.end_all(db, 7) == 1
    assert sessions.of_user(db, 8, NOW) == [OTHERS]


def test_the_list_begins_with_the_session_that_was_seen_last(db: Connection) -> None:
    sessions.add(db, STAYS)
    sessions.add(db, ONE)
    sessions.seen(db, STAYS.hash, "", NOW + 1)
    assert [session.hash for session in sessions.of_user(db, 7, NOW + 1)] == [STAYS.hash, ONE.hash]


def test_ended_sessions_are_forgotten(db: Connection) -> None:
    for session in (ONE, STAYS):
        sessions.add(db, session)
    sessions.forget(db, NOW + IDLE)
    rows = db.exec_driver_sql("SELECT hash FROM sessions").scalars().all()
    assert rows == [STAYS.hash]


def test_a_view_of_a_customer_begins_and_ends(db: Connection) -> None:
    sessions.add(db, ONE)
    sessions.view(db, ONE.hash, "acme", NOW + 1800)
    found = sessions.find(db, ONE.hash, NOW)
    assert found is not None
    assert (found.viewed, found.view_ends) == ("acme", NOW + 1800)
    sessions.view(db, ONE.hash, "", 0.0)
    assert sessions.find(db, ONE.hash, NOW) == ONE


def test_what_a_browser_says_is_cut_to_its_column(db: Connection) -> None:
    sessions.add(db, replace(ONE, agent="x" * 9999))
    found = sessions.find(db, ONE.hash, NOW)
    assert found is not None
    assert found.agent == "x" * 255
