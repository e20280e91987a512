"""Rows of `sessions`: browsers that have signed in. Only the hash of a session's token is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from sipsms.core.user import Session
from sipsms.store.schema import sessions

IDLE = 12 * 3600.0  # seconds without a request after which a session ends, unless its user chose to stay signed in
DAY, MONTH = 86400.0, 30 * 86400.0  # a session's longest life, without and with `stay`
STEP = 600.0  # seconds for the second step of a sign-in


def add(connection: Connection, session: Session) -> None:
    row = {
        "hash": session.hash, "user_id": session.user, "made_at": session.made_at, "seen_at": session.seen_at,
        "ends_at": session.ends_at, "stay": session.stay, "stage": session.stage, "agent": session.agent[:255],
        "address": session.address[:64],
    }  # fmt: skip
    connection.execute(insert(sessions), row)


def find(connection: Connection, hashed: str, now: float) -> Session | None:
    """Return the session with this hash, unless it has ended."""
    row = connection.execute(select(sessions).where(sessions.c.hash == hashed, _lives(now))).first()
    return None if row is None else _session(row)


def of_user(connection: Connection, user: int, now: float) -> Sequence[Session]:
    """Return a user's sessions, the one that was seen last first."""
    query = select(sessions).where(sessions.c.user_id == user, _lives(now)).order_by(sessions.c.seen_at.desc())
    return [_session(row) for row in connection.execute(query)]


def seen(connection: Connection, hashed: str, address: str, now: float) -> None:
    connection.execute(update(sessions).where(sessions.c.hash == hashed).values(seen_at=now, address=address[:64]))


def view(connection: Connection, hashed: str, customer: str, ends: float) -> None:
    """Let a session show the pages of a customer until `ends`; an empty customer ends that."""
    connection.execute(update(sessions).where(sessions.c.hash == hashed).values(viewed=customer, view_ends=ends))


def end(connection: Connection, hashed: str, user: int | None = None) -> bool:
    """End a session, of `user` or of anyone. Return whether there was one."""
    here = sessions.c.hash == hashed
    if user is not None:
        here &= sessions.c.user_id == user
    return bool(connection.execute(delete(sessions).where(here)).rowcount)


def end_all(connection: Connection, user: int, but: str = "") -> int:
    """End the sessions of a user, but the one with the hash `but`. Return how many."""
    here = and_(sessions.c.user_id == user, sessions.c.hash != but)
    return int(connection.execute(delete(sessions).where(here)).rowcount)


def forget(connection: Connection, now: float) -> None:
    """Delete the rows of sessions that have ended."""
    connection.execute(delete(sessions).where(~_lives(now)))


def _lives(now: float) -> Any:
    return and_(sessions.c.ends_at > now, or_(sessions.c.stay, sessions.c.seen_at > now - IDLE))


def _session(row: Row[Any]) -> Session:
    return Session(
        row.hash, row.user_id, row.made_at, row.seen_at, row.ends_at, row.stay, row.stage, row.agent, row.address,
        row.viewed, row.view_ends,
    )  # fmt: skip
