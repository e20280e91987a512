"""Messages that have not left yet: changed or called back by the program that sent them (cancel_sm, replace_sm)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from sipsms.store import operator_lists, pending_reports
from sipsms.store.schema import deliveries, messages

_MARGIN = 2.0  # seconds before it is due, a message may be in the queue's hands


def _deliveries(connection: Connection, message: int) -> list[Row[Any]]:
    columns = (deliveries.c.state, deliveries.c.attempts, deliveries.c.due_at, deliveries.c.text_end)
    return list(connection.execute(select(*columns).where(deliveries.c.message_id == message)))


def cancel_whole(connection: Connection, message: int, now: float) -> bool:
    """All of a message never leaves, and nobody hears that it failed. False: some of it has left, or there is none."""
    rows = _deliveries(connection, message)
    if not rows or any(row.state != "queued" for row in rows):
        return False
    operator_lists.cancel(connection, message, now)
    pending_reports.done(connection, message)
    return True


def replace_text(connection: Connection, message: int, text: str, now: float) -> bool:
    """Another text for a message that is to leave later. False: it is too late, or it goes in several pieces.

    It goes as one piece, too: the caller has seen to it that a carrier takes it whole.
    """
    rows = _deliveries(connection, message)
    if len(rows) != 1:
        return False
    row = rows[0]
    waits = row.state == "queued" and not row.attempts and row.due_at is not None and row.due_at > now + _MARGIN
    if not waits or row.text_end:
        return False
    connection.execute(update(messages).where(messages.c.id == message).values(text=text))
    return True


def errors(connection: Connection, message: int) -> list[str]:
    """Why it failed, of each of its pieces, the first one first."""
    of = (deliveries.c.message_id == message) & (deliveries.c.state == "failed")
    return list(connection.execute(select(deliveries.c.last_error).where(of).order_by(deliveries.c.id)).scalars())


def settled_at(connection: Connection, message: int) -> float:
    """When anything last happened to it; seconds since the epoch."""
    newest = select(func.max(deliveries.c.updated_at)).where(deliveries.c.message_id == message)
    return float(connection.execute(newest).scalar() or 0.0)
