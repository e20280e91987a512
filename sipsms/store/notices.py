"""Messages whose sender wants to know when they are delivered (RFC 5438): who has still to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal_column, select, update

from sipsms.store.schema import deliveries, messages

_WAITED_FOR = messages.c.notify != literal_column("''")
_DONE = update(messages).where(messages.c.id == bindparam("key")).values(notify="")
_FORGET = update(messages).where(_WAITED_FOR, messages.c.received_at < bindparam("before")).values(notify="")
_REACHED = (
    select(func.min(deliveries.c.destination))
    .where(
        deliveries.c.message_id == messages.c.id,
        deliveries.c.state == literal_column("'delivered'"),
        deliveries.c.destination != messages.c.account,  # a copy for the sender's other device says nothing
    )
    .correlate(messages)
    .scalar_subquery()
)
_DUE = select(messages, _REACHED.label("to")).where(_WAITED_FOR)


def done(connection: Connection, message: int) -> None:
    """Its sender has been told."""
    connection.execute(_DONE, {"key": message})


def forget(connection: Connection, before: float) -> None:
    """Nobody waits any more to hear that a message of before then was delivered."""
    connection.execute(_FORGET, {"before": before})


def due(connection: Connection) -> Sequence[Row[Any]]:
    """Messages that were delivered and whose sender has not been told, with `to`, where they went."""
    return [row for row in connection.execute(_DUE) if row.to]
