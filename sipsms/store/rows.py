"""Ids, bulk statements without SQLAlchemy's work on each row, and messages and deliveries as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, Row, and_, bindparam, insert, literal_column, or_, select, update

from sipsms.core import report_request
from sipsms.core.courier_id import CourierId
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Direction, Media, Message, MessageKind, State
from sipsms.store.engine import driver_of
from sipsms.store.schema import counters, deliveries, messages

T = TypeVar("T")
LEASE = 900.0  # seconds; longer than any attempt

# Literals, not parameters, so that the database sees that a partial index answers the query.
QUEUED = deliveries.c.state == literal_column("'queued'")
SENDING = deliveries.c.state == literal_column("'sending'")
OPEN = deliveries.c.state.in_((literal_column("'queued'"), literal_column("'sending'")))


def in_lane(connection: Connection, lane: str) -> Any:
    """Return a condition for a lane's rows and the lanes of single deliveries (LANE#id).

    SQLite's index serves only a range; LIKE is correct in every collation."""
    if connection.dialect.name == "sqlite":
        return deliveries.c.lane.between(lane, lane + "$")  # the character behind #
    return or_(deliveries.c.lane == lane, deliveries.c.lane.startswith(f"{lane}#", autoescape=True))


WITH_MESSAGE = select(
    deliveries,
    *(messages.c[name].label(f"m_{name}") for name in messages.c.keys()),  # noqa: SIM118
).join(messages, messages.c.id == deliveries.c.message_id)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield pieces of at most 500 items, as many as one statement may name."""
    return (items[start : start + 500] for start in range(0, len(items), 500))


# --- bulk ---


def execute_many(connection: Connection, statement: Any, keys: tuple[str, ...], rows: list[tuple[Any, ...]]) -> int:
    """Run executemany, on the driver itself where that is SQLite: SQLAlchemy would cost more than SQLite does.

    Return the rows changed. `rows` hold the values of the bound parameters `keys`, in that order, in types the driver
    knows.
    """
    if not connection.dialect.positional:
        return connection.execute(statement, [dict(zip(keys, row, strict=True)) for row in rows]).rowcount
    sql, order, constants = _compiled(connection, statement, keys)
    if order is not None:
        rows = [tuple([(row + constants)[index] for index in order]) for row in rows]
    return int(driver_of(connection).executemany(sql, rows).rowcount)


def execute_scalar(connection: Connection, statement: Any, keys: tuple[str, ...], row: tuple[Any, ...]) -> Any:
    """Run a statement for one row as `execute_many` does. Return the first value of the result."""
    if not connection.dialect.positional:
        return connection.execute(statement, dict(zip(keys, row, strict=True))).scalar()
    sql, order, constants = _compiled(connection, statement, keys)
    if order is not None:
        row = tuple([(row + constants)[index] for index in order])
    found = driver_of(connection).execute(sql, row).fetchall()  # all: an open cursor would keep the statement running
    return found[0][0] if found else None


def _compiled(connection: Connection, statement: Any, keys: tuple[str, ...]) -> _Plan:
    known = _COMPILED.get(id(statement))
    if known is None:
        inserted = list(keys) if isinstance(statement, Insert) else None  # the columns that get values
        compiled = statement.compile(dialect=connection.dialect, column_keys=inserted)
        known = _COMPILED[id(statement)] = _plan_of(compiled, keys)
    return known


_Plan = tuple[str, list[int] | None, tuple[Any, ...]]

_COMPILED: dict[int, _Plan] = {}  # only for module-level statements: their id() never changes


def _plan_of(compiled: Any, keys: tuple[str, ...]) -> _Plan:
    """Return the SQL text, the order of its parameters, and the statement's own constants.

    The order holds each parameter's index in (row + constants); None if it is the order of the row."""
    fixed = [name for name in compiled.positiontup if name not in keys]
    names = [*keys, *fixed]
    order = [names.index(name) for name in compiled.positiontup]
    return str(compiled), None if order == list(range(len(keys))) else order, tuple(compiled.params[n] for n in fixed)


# --- ids -------------------------------------------------------------------------------------------------------------


def take_ids(connection: Connection, name: str, count: int) -> int:
    """Reserve `count` ids in this transaction. Return the first."""
    last = execute_scalar(connection, _COUNT, ("key", "step"), (name, count))
    if last is None:
        connection.execute(insert(counters), {"name": name, "value": count})
        last = count
    return int(last) - count + 1


_COUNT = (
    update(counters)
    .where(counters.c.name == bindparam("key"))
    .values(value=counters.c.value + bindparam("step"))
    .returning(counters.c.value)
)


def counter(connection: Connection, name: str) -> int:
    return int(connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar() or 0)


IS_COPY = and_(  # the same as `core.message.is_copy_of`
    messages.c.direction == literal_column("'out'"),
    messages.c.did != literal_column("''"),
    deliveries.c.courier == literal_column("'sip'"),
    deliveries.c.destination == messages.c.account,
)

# --- rows ------------------------------------------------------------------------------------------------------------

INSERT_MESSAGE = insert(messages)
INSERT_DELIVERY = insert(deliveries)

MESSAGE_KEYS = tuple(
    "id direction source destination text origin account did received_at expires_at dedupe_key remote_id content_type "
    "device notify media".split()
)
DELIVERY_KEYS = tuple(
    "id message_id courier destination source device lane state attempts due_at expires_at created_at updated_at "
    "lease_owner lease_until open others text_start text_end".split()
)


def message_row(message: Message, message_id: int) -> tuple[Any, ...]:
    return (
        message_id, str(message.direction), message.source, message.destination, message.text, message.origin,
        message.account, message.did, message.received_at, message.expires_at, message.dedupe_key, message.remote_id,
        str(message.kind), message.device, report_request.encode(message.report), media_text(message.media),
    )  # fmt: skip


def delivery_row(delivery: Delivery, delivery_id: int, message_id: int, node: str, now: float) -> tuple[Any, ...]:
    return (
        delivery_id, message_id, delivery.courier, delivery.destination, delivery.source, delivery.device,
        delivery.lane, str(delivery.state), delivery.attempts, delivery.due_at, delivery.expires_at, now, now, node,
        now + LEASE if node else 0.0, delivery.open, delivery.others, delivery.start, delivery.end,
    )  # fmt: skip


def delivery_of(row: Row[Any]) -> Delivery:
    return Delivery(
        message=message_of(row, "m_"),
        courier=CourierId(row.courier),
        destination=row.destination,
        source=row.source,
        lane=LaneKey(row.lane),
        expires_at=row.expires_at,
        created_at=row.created_at,
        device=row.device,
        state=State(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        last_error=row.last_error,
        remote_id=row.remote_id,
        others=row.others,
        open=row.open,
        start=row.text_start,
        end=row.text_end,
        id=row.id,
    )


_NO_COLUMNS = ("direction", "kind", "report", "media", "answering")  # made from columns of other names, or not stored
_FIELDS = tuple(name for name in Message._fields if name not in _NO_COLUMNS)


def message_of(row: Row[Any], prefix: str = "") -> Message:
    values = row._mapping
    fields: dict[str, Any] = {name: values[prefix + name] for name in _FIELDS}
    return Message(
        direction=Direction(values[prefix + "direction"]), kind=MessageKind(values[prefix + "content_type"]),
        report=report_request.decode(values[prefix + "notify"]), media=media_of(values[prefix + "media"]), **fields,
    )  # fmt: skip


def media_text(media: tuple[Media, ...]) -> str:
    """Return the parts of an MMS as one column, a JSON list of lists in the order of the fields; empty for none."""
    return json.dumps(media, ensure_ascii=False) if media else ""


def media_of(text: str) -> tuple[Media, ...]:
    return tuple(Media(*one) for one in json.loads(text)) if text else ()
