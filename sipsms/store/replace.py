"""Changes to messages that have not been sent yet, by the sender (cancel_sm, replace_sm)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from sipsms.store import operator_lists, pending_reports
from sipsms.store.schema import deliveries, messages

_MARGIN = 2.0  # seconds before the due time in which the queue may already have begun the delivery


def _deliveries(connection: Connection, message: int) -> list[Row[Any]]:
    columns = (deliveries.c.state, deliveries.c.attempts, deliveries.c.due_at, deliveries.c.text_end)
    return list(connection.execute(select(*columns).where(deliveries.c.message_id == message)))


def cancel_whole(connection: Connection, message: int, now: float) -> bool:
    """Cancel a whole message without a report. Return False if part of it was sent or it does not exist."""
    rows = _deliveries(connection, message)
    if not rows or any(row.state != "queued" for row in rows):
        return False
    operator_lists.cancel(connection, message, now)
    pending_reports.done(connection, message)
    return True


def replace_text(connection: Connection, message: int, text: str, now: float) -> bool:
    """Replace the text of a scheduled message.

    Return False if it is too late or the text has several segments. The new text is sent as one segment: the caller
    must have checked that the carrier takes it whole.
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
    """Return the errors of a message's failed deliveries, in order of the segments."""
    of = (deliveries.c.message_id == message) & (deliveries.c.state == "failed")
    return list(connection.execute(select(deliveries.c.last_error).where(of).order_by(deliveries.c.id)).scalars())


def settled_at(connection: Connection, message: int) -> float:
    """Return the time of the last change to a message's deliveries; 0.0 if it has none."""
    newest = select(func.max(deliveries.c.updated_at)).where(deliveries.c.message_id == message)
    return float(connection.execute(newest).scalar() or 0.0)
