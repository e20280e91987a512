"""The store's verbs: what the gateway, the queue and the location service commit and ask (SQLAlchemy Core).

Every write goes through the writer thread, in bulk; every read runs in a worker thread on a connection of its own.
No query here scans: each one is answered from an index that holds only what is still open (see schema).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Row,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sipsms.model import Account, Delivery, Did, Direction, Message, State
from sipsms.ports import Closing, Due, DueLane, Stored, Unavailable
from sipsms.store import notices
from sipsms.store.schema import accounts, attempts, carriers, counters, deliveries, dids, messages
from sipsms.store.writer import ALONE, Writer

T = TypeVar("T")

LEASE = 120.0  # seconds; longer than any attempt

# Literals, not parameters: only so can the database see that a partial index answers the query.
QUEUED = deliveries.c.state == literal_column("'queued'")
SENDING = deliveries.c.state == literal_column("'sending'")
OPEN = deliveries.c.state.in_((literal_column("'queued'"), literal_column("'sending'")))


class Store:
    """One per process. `node` names this process in leases."""

    def __init__(self, writing: Engine, reading: Engine, node: str, on_foreign_change: Callable[[], None]) -> None:
        self._reading = reading
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
        self.node = node
        self.writer = Writer(writing, on_foreign_change)

    async def close(self) -> None:
        await self.writer.close()
        self._threads.shutdown()
        self._reading.dispose()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a worker thread. Raises Unavailable."""

        def run() -> T:
            try:
                with self._reading.connect() as connection:
                    return query(connection)
            except SQLAlchemyError as error:
                raise Unavailable(str(error)) from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writer, in one transaction with whatever else waits."""
        result: T = await self.writer.put(_call_each, change)
        return result

    async def ping(self) -> None:
        """Raises Unavailable if the writer cannot begin a transaction."""
        await self.write(lambda connection: counter(connection, "directory"))

    # --- gateway ---

    async def accept(self, message: Message, new: Sequence[Delivery], now: float) -> Stored:
        stored: Stored = await self.writer.put(accept_all, (message, new, self.node, now))
        return stored

    async def find_duplicate(self, dedupe_key: bytes) -> int | None:
        return await self.read(lambda connection: message_with_key(connection, dedupe_key))

    async def noticed(self, message: int) -> None:
        await self.write(lambda connection: notices.done(connection, message))

    async def forget_notices(self, before: float) -> None:
        await self.write(lambda connection: notices.forget(connection, before))

    async def unnoticed(self) -> list[tuple[Message, str]]:
        rows = await self.read(notices.due)
        return [(message_of(row), row.to) for row in rows]

    async def adopt_open(self, account: str, device: int, lane: str, now: float) -> int:
        return await self.write(lambda connection: _adopt_open(connection, account, device, lane, now))

    async def move_lane(self, old_device: int, old_lane: str, device: int, lane: str, now: float) -> int:
        return await self.write(lambda connection: _move_lane(connection, old_device, old_lane, device, lane, now))

    async def open_accounts(self) -> list[str]:
        """Accounts with messages that came before any device of theirs was known."""
        query = select(deliveries.c.destination).where(deliveries.c.open).distinct()
        return await self.read(lambda connection: list(connection.execute(query).scalars()))

    # --- queue ---

    async def begin(self, delivery: Delivery, now: float) -> bool:
        begun: bool = await self.writer.put(_begin_all, (delivery.id, delivery.attempts + 1, self.node, now))
        return begun

    async def finish(self, closing: Closing) -> None:
        await self.writer.put(_finish_all, closing)

    async def load_lane(self, lane: str, limit: int, now: float) -> list[Delivery] | None:
        return await self.read(lambda connection: _load_lane(connection, lane, limit, self.node, now))

    async def due(self, courier: str, now: float, limit: int) -> Due:
        return await self.read(lambda connection: _due(connection, courier, now, limit))

    async def make_due(self, lanes: Sequence[str], now: float) -> None:
        await self.write(lambda connection: _make_due(connection, lanes, now))

    async def hold_back(self, lane: str, until: float | None) -> None:
        await self.write(lambda connection: _hold_back(connection, lane, until))

    async def expire(self, now: float, limit: int) -> list[tuple[int, int]]:
        waiting = await self.read(lambda connection: connection.execute(_EXPIRING, {"now": now}).first())
        if waiting is None:
            return []
        return await self.write(lambda connection: _expire(connection, now, limit))

    async def recover(self, idempotent: Sequence[str], now: float, *, own: bool) -> tuple[int, int]:
        return await self.write(lambda connection: _recover(connection, self.node if own else "", idempotent, now))

    async def waiting_lanes(self) -> list[str]:
        query = select(deliveries.c.lane).where(QUEUED).distinct()
        return await self.read(lambda connection: list(connection.execute(query).scalars()))

    async def claim_new(self) -> list[Delivery]:
        if await self.read(lambda connection: connection.execute(_UNCLAIMED.limit(1)).first()) is None:
            return []
        return await self.write(lambda connection: _claim_new(connection, self.node))

    # --- what the server keeps in memory ---

    async def directory(self, since: int) -> tuple[int, bool, list[Account], list[Did], frozenset[str]]:
        """(version, whole, accounts, DIDs, paused carriers) changed after version `since`."""
        return await self.read(lambda connection: _directory(connection, since))


# --- bulk ---


def execute_many(connection: Connection, statement: Any, keys: tuple[str, ...], rows: list[tuple[Any, ...]]) -> int:
    """executemany without SQLAlchemy's work on each row, where the driver takes tuples; the rows changed.

    `rows` hold the values of the bound parameters `keys`, in that order, in types the driver knows.
    """
    if not connection.dialect.positional:
        return connection.execute(statement, [dict(zip(keys, row, strict=True)) for row in rows]).rowcount
    sql, order, constants = _compiled(connection, statement, keys)
    if order is not None:
        rows = [tuple([(row + constants)[index] for index in order]) for row in rows]
    return connection.exec_driver_sql(sql, rows).rowcount


def execute_scalar(connection: Connection, statement: Any, keys: tuple[str, ...], row: tuple[Any, ...]) -> Any:
    """The same for one row; the first value of the result."""
    if not connection.dialect.positional:
        return connection.execute(statement, dict(zip(keys, row, strict=True))).scalar()
    sql, order, constants = _compiled(connection, statement, keys)
    if order is not None:
        row = tuple([(row + constants)[index] for index in order])
    return connection.exec_driver_sql(sql, row).scalar()


def _compiled(connection: Connection, statement: Any, keys: tuple[str, ...]) -> _Plan:
    known = _COMPILED.get(id(statement))
    if known is None:
        inserted = list(keys) if isinstance(statement, Insert) else None  # the columns that get values
        compiled = statement.compile(dialect=connection.dialect, column_keys=inserted)
        known = _COMPILED[id(statement)] = _plan_of(compiled, keys)
    return known


_Plan = tuple[str, list[int] | None, tuple[Any, ...]]

_COMPILED: dict[int, _Plan] = {}  # of the module's own statements, which live for ever


def _plan_of(compiled: Any, keys: tuple[str, ...]) -> _Plan:
    """SQL text, where each of its parameters stands in (row + constants), and the constants of the statement itself."""
    fixed = [name for name in compiled.positiontup if name not in keys]
    names = [*keys, *fixed]
    order = [names.index(name) for name in compiled.positiontup]
    return str(compiled), None if order == list(range(len(keys))) else order, tuple(compiled.params[n] for n in fixed)


# --- ids -------------------------------------------------------------------------------------------------------------


def take_ids(connection: Connection, name: str, count: int) -> int:
    """Reserve `count` ids in this transaction; the first of them."""
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


# --- accept ----------------------------------------------------------------------------------------------------------

_INSERT_MESSAGE = insert(messages)
_INSERT_DELIVERY = insert(deliveries)

Acceptance = tuple[Message, Sequence[Delivery], str, float]


def accept_all(connection: Connection, batch: Sequence[Acceptance]) -> list[Stored]:
    """Messages with their deliveries. A key that is there already fails the batch, then is found when run alone."""
    if connection.info.get(ALONE) and (key := batch[0][0].dedupe_key) is not None:
        known = message_with_key(connection, key)
        if known is not None:
            return [Stored(known, duplicate=True)]
    message_id = take_ids(connection, "message", len(batch))
    total = sum(len(item[1]) for item in batch)
    delivery_id = take_ids(connection, "delivery", total) if total else 0
    message_rows: list[tuple[Any, ...]] = []
    delivery_rows: list[tuple[Any, ...]] = []
    begun_rows: list[tuple[Any, ...]] = []
    results: list[Stored] = []
    for message, new, node, now in batch:
        message_rows.append(_message_row(message, message_id))
        kept = []
        numbered = message._replace(id=message_id)
        for delivery in new:
            delivery_rows.append(_delivery_row(delivery, delivery_id, message_id, node, now))
            if delivery.attempts:
                begun_rows.append((delivery_id, delivery.attempts, now))
            kept.append(delivery._replace(message=numbered, id=delivery_id))
            delivery_id += 1
        results.append(Stored(message_id, tuple(kept)))
        message_id += 1
    execute_many(connection, _INSERT_MESSAGE, _MESSAGE_KEYS, message_rows)
    if delivery_rows:
        execute_many(connection, _INSERT_DELIVERY, _DELIVERY_KEYS, delivery_rows)
    if begun_rows:
        execute_many(connection, _INSERT_ATTEMPT, _ATTEMPT_KEYS, begun_rows)
    return results


def message_with_key(connection: Connection, key: bytes) -> int | None:
    return connection.execute(select(messages.c.id).where(messages.c.dedupe_key == key)).scalar()


_MESSAGE_KEYS = tuple(
    "id direction source destination text origin account did received_at expires_at dedupe_key remote_id content_type "
    "device notify".split()
)
_DELIVERY_KEYS = tuple(
    "id message_id courier destination source device lane state attempts due_at expires_at created_at updated_at "
    "lease_owner lease_until open others".split()
)


def _message_row(message: Message, message_id: int) -> tuple[Any, ...]:
    return (
        message_id, str(message.direction), message.source, message.destination, message.text, message.origin,
        message.account, message.did, message.received_at, message.expires_at, message.dedupe_key, message.remote_id,
        message.content_type, message.device, message.notify,
    )  # fmt: skip


def _delivery_row(delivery: Delivery, delivery_id: int, message_id: int, node: str, now: float) -> tuple[Any, ...]:
    return (
        delivery_id, message_id, delivery.courier, delivery.destination, delivery.source, delivery.device,
        delivery.lane, str(delivery.state), delivery.attempts, delivery.due_at, delivery.expires_at, now, now, node,
        now + LEASE if node else 0.0, delivery.open, delivery.others,
    )  # fmt: skip


# --- attempts --------------------------------------------------------------------------------------------------------

_BEGIN = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"), QUEUED, deliveries.c.attempts == bindparam("number") - 1)
    .values(
        state="sending",
        attempts=bindparam("number"),
        updated_at=bindparam("now"),
        lease_owner=bindparam("node"),
        lease_until=bindparam("until"),
    )
)
_INSERT_ATTEMPT = insert(attempts)
_ATTEMPT_KEYS = ("delivery_id", "number", "started_at")


class _Fenced(Exception):
    """One of a batch is not ours any more; run each alone to learn which."""


def _begin_all(connection: Connection, batch: Sequence[tuple[int, int, str, float]]) -> list[bool]:
    rows = [(key, number, now, node, now + LEASE) for key, number, node, now in batch]
    changed = execute_many(connection, _BEGIN, ("key", "number", "now", "node", "until"), rows)
    if changed != len(batch):
        if len(batch) > 1:
            raise _Fenced
        return [False]
    started = [(key, number, now) for key, number, _, now in batch]
    execute_many(connection, _INSERT_ATTEMPT, _ATTEMPT_KEYS, started)
    return [True] * len(batch)


_FINISH = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"))
    .values(
        state=bindparam("new_state"),
        due_at=bindparam("due"),
        last_error=bindparam("error"),
        remote_id=bindparam("remote"),
        updated_at=bindparam("now"),
        lease_until=0.0,
    )
)
_CLOSE = (
    update(attempts)
    .where(attempts.c.delivery_id == bindparam("key"), attempts.c.number == bindparam("nth"))
    .values(ended_at=bindparam("now"), outcome=bindparam("result"), detail=bindparam("error"))
)


_MOVE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"))
    .values(courier=bindparam("to_courier"), lane=bindparam("to_lane"), others=bindparam("rest"))
)


def _finish_all(connection: Connection, batch: Sequence[Closing]) -> list[None]:
    rows = [
        (one.delivery_id, str(one.state), one.due_at, one.detail[:255], one.remote_id[:128], one.now) for one in batch
    ]
    execute_many(connection, _FINISH, ("key", "new_state", "due", "error", "remote", "now"), rows)
    ends = [(one.delivery_id, one.number, one.now, one.outcome, one.detail[:255]) for one in batch]
    execute_many(connection, _CLOSE, ("key", "nth", "now", "result", "error"), ends)
    moved = [(one.delivery_id, *one.moved) for one in batch if one.moved is not None]
    if moved:
        execute_many(connection, _MOVE, ("key", "to_courier", "to_lane", "rest"), moved)
    return [None] * len(batch)


# --- lanes -----------------------------------------------------------------------------------------------------------

_WITH_MESSAGE = select(
    deliveries,
    *(messages.c[name].label(f"m_{name}") for name in messages.c.keys()),  # noqa: SIM118
).join(messages, messages.c.id == deliveries.c.message_id)

_LANE = (
    _WITH_MESSAGE.where(deliveries.c.lane == bindparam("key"), OPEN).order_by(deliveries.c.id).limit(bindparam("most"))
)


def _load_lane(connection: Connection, lane: str, limit: int, node: str, now: float) -> list[Delivery] | None:
    rows = connection.execute(_LANE, {"key": lane, "most": limit}).all()
    if any(row.lease_until > now and row.lease_owner != node for row in rows):
        return None
    return [delivery_of(row) for row in rows if row.state == "queued"]


def delivery_of(row: Row[Any]) -> Delivery:
    return Delivery(
        message=message_of(row, "m_"),
        courier=row.courier,
        destination=row.destination,
        source=row.source,
        lane=row.lane,
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
        id=row.id,
    )


def message_of(row: Row[Any], prefix: str = "") -> Message:
    values = row._mapping
    fields = (
        "source", "destination", "text", "origin", "received_at", "account", "did", "expires_at", "dedupe_key",
        "remote_id", "content_type", "device", "notify", "id",
    )  # fmt: skip
    return Message(Direction(values[prefix + "direction"]), *(values[prefix + name] for name in fields))


_IS_NEW = and_(QUEUED, deliveries.c.lease_owner == literal_column("''"))
_UNCLAIMED = _WITH_MESSAGE.where(_IS_NEW).order_by(deliveries.c.id)
_CLAIM = update(deliveries).where(_IS_NEW).values(lease_owner=bindparam("node"))


def _claim_new(connection: Connection, node: str) -> list[Delivery]:
    fresh = [delivery_of(row) for row in connection.execute(_UNCLAIMED)]
    connection.execute(_CLAIM, {"node": node})
    return fresh


def _make_due(connection: Connection, lanes: Sequence[str], now: float) -> None:
    for names in _chunks(list(lanes), 500):
        heads = (
            select(func.min(deliveries.c.id)).where(deliveries.c.lane.in_(names), QUEUED).group_by(deliveries.c.lane)
        )
        ids = list(connection.execute(heads).scalars())
        if ids:
            connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(due_at=now))


def _due(connection: Connection, courier: str, now: float, limit: int) -> Due:
    mine = and_(deliveries.c.courier == courier, QUEUED)
    oldest = (
        _WITH_MESSAGE.where(mine, deliveries.c.due_at <= now)
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(limit)
    )
    groups: dict[str, list[Delivery]] = {}
    rows = connection.execute(oldest).all()
    for row in rows:
        groups.setdefault(row.lane, []).append(delivery_of(row))
    later = select(func.min(deliveries.c.due_at)).where(mine, deliveries.c.due_at > now)
    return Due(_lanes_of(connection, groups), len(rows) >= limit, connection.execute(later).scalar())


def _lanes_of(connection: Connection, groups: dict[str, list[Delivery]]) -> list[DueLane]:
    """A lane goes as far as it is known without a gap: nothing passes its head."""
    heads: dict[str, tuple[int, int]] = {}
    for names in _chunks(list(groups), 500):
        of_lane = (
            select(deliveries.c.lane, func.min(deliveries.c.id), func.count())
            .where(deliveries.c.lane.in_(names), OPEN)
            .group_by(deliveries.c.lane)
        )
        heads.update((row[0], (row[1], row[2])) for row in connection.execute(of_lane))
    found: list[DueLane] = []
    for name, group in groups.items():
        group.sort(key=lambda delivery: delivery.id)
        head, count = heads.get(name, (0, 0))
        if group[0].id != head:
            found.append(DueLane(name, (), True))
        elif count == len(group):
            found.append(DueLane(name, group, False))
        else:
            found.append(DueLane(name, group[:1], True))
    return found


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _hold_back(connection: Connection, lane: str, until: float | None) -> None:
    early = deliveries.c.due_at.is_not(None) if until is None else deliveries.c.due_at < until
    connection.execute(update(deliveries).where(deliveries.c.lane == lane, QUEUED, early).values(due_at=until))


_EXPIRING = select(deliveries.c.id).where(QUEUED, deliveries.c.expires_at <= bindparam("now")).limit(1)


def _expire(connection: Connection, now: float, limit: int) -> list[tuple[int, int]]:
    chosen = select(deliveries.c.id).where(QUEUED, deliveries.c.expires_at <= now).limit(limit).scalar_subquery()
    rows = connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(chosen))
        .values(state="expired", updated_at=now)
        .returning(deliveries.c.message_id, deliveries.c.id)
    )
    return [(row.message_id, row.id) for row in rows]


def _recover(connection: Connection, node: str, idempotent: Sequence[str], now: float) -> tuple[int, int]:
    # One server to a SQLite store: at its start nobody else can be sending, whatever name it had before.
    alone = connection.dialect.name == "sqlite" and bool(node)
    mine = deliveries.c.lease_owner == node if node else deliveries.c.lease_until < now
    stale = true() if alone else mine
    mine = and_(SENDING, stale)
    again = connection.execute(
        update(deliveries)
        .where(mine, deliveries.c.courier.in_(idempotent))
        .values(state="queued", due_at=now, updated_at=now, last_error="interrupted; sent again under the same id")
    ).rowcount
    unknown = connection.execute(
        update(deliveries)
        .where(mine)
        .values(state="unknown", updated_at=now, last_error="the program stopped before the answer came")
    ).rowcount
    return again, unknown


# --- devices ---------------------------------------------------------------------------------------------------------


def _adopt_open(connection: Connection, account: str, device: int, lane: str, now: float) -> int:
    """The first device takes the waiting rows over; each later one gets copies of them, in the same order."""
    waiting = and_(deliveries.c.destination == account, deliveries.c.open, deliveries.c.expires_at > now)
    taken = connection.execute(
        update(deliveries)
        .where(waiting, deliveries.c.device == 0, QUEUED)
        .values(device=device, lane=lane, due_at=now, updated_at=now)
    ).rowcount
    other = deliveries.alias()
    has_it = exists().where(other.c.message_id == deliveries.c.message_id, other.c.device == device)
    copied = connection.execute(
        select(deliveries).where(waiting, deliveries.c.device != device, ~has_it).order_by(deliveries.c.message_id)
    ).all()
    unique = {row.message_id: row for row in copied}
    if unique:
        first = take_ids(connection, "delivery", len(unique))
        rows = [
            {**row._mapping, "id": first + index, "device": device, "lane": lane, "state": "queued", "attempts": 0,
             "due_at": now, "created_at": now, "updated_at": now, "open": False, "last_error": "", "remote_id": "",
             "lease_until": 0.0}
            for index, row in enumerate(unique.values())
        ]  # fmt: skip
        connection.execute(_INSERT_DELIVERY, rows)
    return taken + len(unique)


def _move_lane(connection: Connection, old_device: int, old_lane: str, device: int, lane: str, now: float) -> int:
    other = deliveries.alias()
    has_it = exists().where(other.c.message_id == deliveries.c.message_id, other.c.device == device)
    return connection.execute(
        update(deliveries)
        .where(deliveries.c.lane == old_lane, QUEUED, ~has_it)
        .values(device=device, lane=lane, due_at=now, updated_at=now)
    ).rowcount


# --- directory -------------------------------------------------------------------------------------------------------


def _directory(connection: Connection, since: int) -> tuple[int, bool, list[Account], list[Did], frozenset[str]]:
    version = counter(connection, "directory")
    whole = since < counter(connection, "directory-removed") or since == 0
    after = 0 if whole else since
    people = [
        Account(
            row.name,
            row.parent,
            row.ha1_md5,
            row.ha1_sha256,
            row.caller_id,
            row.enabled,
            row.legacy_digest,
            row.presence,
            row.copies,
        )
        for row in connection.execute(select(accounts).where(accounts.c.version > after))
    ]
    numbers = [
        Did(row.number, row.account, row.sip_account, row.sms)
        for row in connection.execute(select(dids).where(dids.c.version > after))
    ]
    paused = connection.execute(select(carriers.c.name).where(carriers.c.paused)).scalars()
    return version, whole, people, numbers, frozenset(paused)


def _call_each(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [change(connection) for change in changes]
