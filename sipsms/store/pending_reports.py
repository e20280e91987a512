"""Messages whose sender requested a delivery report that is not sent yet (RFC 5438 for SIP).

The column `notify` holds the request and is cleared when the report is sent or forgotten.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, literal_column, or_, select, update

from sipsms.core.message import Message, State, state_of
from sipsms.store.rows import IS_COPY, message_of
from sipsms.store.schema import deliveries, messages

_WAITED_FOR = messages.c.notify != literal_column("''")
_DONE = update(messages).where(messages.c.id == bindparam("key")).values(notify="")
_FORGET = update(messages).where(_WAITED_FOR, messages.c.received_at < bindparam("before")).values(notify="")
_OTHER = deliveries.alias()
_MISSING = (  # a long text is delivered when all its segments are
    select(_OTHER.c.id)
    .where(
        _OTHER.c.message_id == deliveries.c.message_id,
        _OTHER.c.text_end > 0,
        _OTHER.c.state != literal_column("'delivered'"),
    )
    .exists()
)
_REACHED = (
    select(func.min(deliveries.c.destination))
    .where(
        deliveries.c.message_id == messages.c.id,
        deliveries.c.state == literal_column("'delivered'"),
        ~_MISSING,
        ~IS_COPY,
    )
    .correlate(messages)
    .scalar_subquery()
)
_DUE = select(messages, _REACHED.label("to")).where(_WAITED_FOR)
_MINE = and_(deliveries.c.message_id == messages.c.id, ~IS_COPY)
_LOST = deliveries.c.state.in_((literal_column("'failed'"), literal_column("'expired'")))
_PIECE = deliveries.c.text_end > 0


def _of(*tests: Any) -> Any:
    return select(deliveries.c.id).where(_MINE, *tests).correlate(messages).exists()


_CAME_BY_PIECES = _of(_PIECE)
_ENDED = select(
    messages,
    select(func.min(deliveries.c.destination)).where(_MINE, _LOST).correlate(messages).scalar_subquery().label("to"),
    select(func.max(deliveries.c.remote_id))
    .where(_MINE, _LOST)
    .correlate(messages)
    .scalar_subquery()
    .label("carrier_id"),
).where(
    _WAITED_FOR,
    _of(_LOST),
    # Of several routes one that did not fail is enough; of several segments each is needed.
    or_(and_(_CAME_BY_PIECES, _of(_LOST, _PIECE)), and_(~_CAME_BY_PIECES, ~_of(~_LOST))),
)


def done(connection: Connection, message: int) -> None:
    connection.execute(_DONE, {"key": message})


def forget(connection: Connection, before: float) -> None:
    """Drop requests for delivery reports of messages received before a time."""
    connection.execute(_FORGET, {"before": before})


def due(connection: Connection) -> list[tuple[Message, str]]:
    """Return delivered messages whose report is not sent yet, with the destination reached."""
    return [(message_of(row), row.to) for row in connection.execute(_DUE) if row.to]


def ended(connection: Connection) -> list[tuple[Message, str, bool]]:
    """Return failed and expired messages without a report: destination, and whether a carrier accepted it."""
    return [(message_of(row), row.to or "", bool(row.carrier_id)) for row in connection.execute(_ENDED)]


def outcome(connection: Connection, message: int) -> State:
    """Return the state of a message (see `core.message.state_of`)."""
    rows = connection.execute(
        select(deliveries.c.state, deliveries.c.text_end)
        .join(messages, messages.c.id == deliveries.c.message_id)
        .where(deliveries.c.message_id == message, ~IS_COPY)
    )
    return state_of((State(row.state), row.text_end > 0) for row in rows)
