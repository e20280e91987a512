"""The queue's operations in SQL: attempts begun and closed, lanes, due and expired deliveries.

No query scans a table: each is answered from an index that holds only open deliveries (see `schema`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, delete, func, literal_column, select, true, update

from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, State
from sipsms.core.queue_rows import Closing, Due, DueLane
from sipsms.store import delivery_receipts
from sipsms.store.messages import ATTEMPT_KEYS, INSERT_ATTEMPT
from sipsms.store.rows import LEASE, OPEN, QUEUED, SENDING, WITH_MESSAGE, chunks, delivery_of, execute_many
from sipsms.store.schema import attempts, deliveries

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


class _Fenced(Exception):
    """A delivery of the batch was changed by another process: the writer must run each job alone."""


def begin_all(connection: Connection, batch: Sequence[tuple[int, int, str, float]]) -> list[bool]:
    rows = [(key, number, now, node, now + LEASE) for key, number, node, now in batch]
    changed = execute_many(connection, _BEGIN, ("key", "number", "now", "node", "until"), rows)
    if changed != len(batch):
        if len(batch) > 1:
            raise _Fenced
        return [False]
    started = [(key, number, now) for key, number, _, now in batch]
    execute_many(connection, INSERT_ATTEMPT, ATTEMPT_KEYS, started)
    return [True] * len(batch)


_FINISH = (
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("key"),
        deliveries.c.attempts == bindparam("nth"),
        deliveries.c.state.in_(tuple(literal_column(f"'{state}'") for state in ("sending", "queued", "unknown"))),
    )
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

_NO_ATTEMPT = delete(attempts).where(attempts.c.delivery_id == bindparam("key"), attempts.c.number == bindparam("nth"))
_ONE_LESS = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"), deliveries.c.attempts == bindparam("nth"))
    .values(attempts=deliveries.c.attempts - 1)
)
_STATE = select(deliveries.c.state).where(deliveries.c.id == bindparam("key"))
_MOVE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"))
    .values(courier=bindparam("to_courier"), lane=bindparam("to_lane"), others=bindparam("rest"))
)


def finish_all(connection: Connection, batch: Sequence[Closing]) -> list[State]:
    """Close attempts. Return each delivery's state, which a quicker receipt or a later attempt may have set."""
    rows = [
        (one.delivery_id, one.number, str(one.state), one.due_at, one.detail[:255], one.remote_id[:128], one.now)
        for one in batch
    ]
    changed = execute_many(connection, _FINISH, ("key", "nth", "new_state", "due", "error", "remote", "now"), rows)
    if changed != len(batch) and len(batch) > 1:
        raise _Fenced
    ends = [(one.delivery_id, one.number, one.now, one.outcome, one.detail[:255]) for one in batch]
    execute_many(connection, _CLOSE, ("key", "nth", "now", "result", "error"), ends)
    if not changed:  # a receipt was quicker, or a later attempt has begun: this one is history
        return [State(connection.execute(_STATE, {"key": batch[0].delivery_id}).scalar() or batch[0].state)]
    moved = [(one.delivery_id, *one.moved) for one in batch if one.moved is not None]
    if moved:
        execute_many(connection, _MOVE, ("key", "to_courier", "to_lane", "rest"), moved)
    untried = [(one.delivery_id, one.number) for one in batch if one.untried]
    if untried:
        execute_many(connection, _NO_ATTEMPT, ("key", "nth"), untried)
        execute_many(connection, _ONE_LESS, ("key", "nth"), untried)
    named = [one for one in batch if one.remote_id and one.state is State.ACCEPTED]
    early = delivery_receipts.match(connection, named) if named else {}
    return [early.get(one.delivery_id, one.state) for one in batch]


def divert(connection: Connection, delivery: Delivery, closing: Closing) -> bool:
    """Give a queued delivery to another courier. Return False if its state has changed."""
    assert closing.moved is not None
    courier, lane, others = closing.moved
    same = (deliveries.c.id == delivery.id, QUEUED, deliveries.c.attempts == delivery.attempts)
    changed = connection.execute(
        update(deliveries)
        .where(*same)
        .values(
            courier=courier, lane=lane, others=others, due_at=closing.due_at, updated_at=closing.now,
            last_error=closing.detail[:255],
        )
    ).rowcount  # fmt: skip
    return bool(changed)


# --- lanes -----------------------------------------------------------------------------------------------------------

_LANE = (
    WITH_MESSAGE.where(deliveries.c.lane == bindparam("key"), OPEN).order_by(deliveries.c.id).limit(bindparam("most"))
)


def load_lane(connection: Connection, lane: str, limit: int, node: str, now: float) -> list[Delivery] | None:
    """Return the lane's queued deliveries in order, due or not; None if another node is working on the lane."""
    rows = connection.execute(_LANE, {"key": lane, "most": limit}).all()
    if any(row.lease_until > now and row.lease_owner != node for row in rows):
        return None
    return [delivery_of(row) for row in rows if row.state == "queued"]


_IS_NEW = and_(QUEUED, deliveries.c.lease_owner == literal_column("''"))
UNCLAIMED = WITH_MESSAGE.where(_IS_NEW).order_by(deliveries.c.id)
_CLAIM = update(deliveries).where(_IS_NEW).values(lease_owner=bindparam("node"))


def claim_new(connection: Connection, node: str) -> list[Delivery]:
    fresh = [delivery_of(row) for row in connection.execute(UNCLAIMED)]
    connection.execute(_CLAIM, {"node": node})
    return fresh


def waiting_lanes(connection: Connection) -> list[LaneKey]:
    """Return every lane with a queued delivery."""
    return list(map(LaneKey, connection.execute(select(deliveries.c.lane).where(QUEUED).distinct()).scalars()))


def make_due(connection: Connection, lanes: Sequence[str], now: float) -> None:
    """Make the oldest queued delivery of each of these lanes due now."""
    for names in chunks(lanes):
        heads = (
            select(func.min(deliveries.c.id)).where(deliveries.c.lane.in_(names), QUEUED).group_by(deliveries.c.lane)
        )
        ids = list(connection.execute(heads).scalars())
        if ids:
            connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(due_at=now))


def due(
    connection: Connection, courier: str, now: float, limit: int, after: tuple[float, int] | None = None, *,
    movable: bool = False,
) -> Due:  # fmt: skip
    """Return lanes with due deliveries, oldest first, at most `limit`; `after` continues a previous page.

    `movable`: only deliveries that another courier may take."""
    mine = and_(deliveries.c.courier == courier, QUEUED)
    oldest = (
        WITH_MESSAGE.where(mine, deliveries.c.due_at <= now).order_by(deliveries.c.due_at, deliveries.c.id).limit(limit)
    )
    if movable:
        oldest = oldest.where(deliveries.c.others != "")
    if after is not None:
        oldest = oldest.where(
            deliveries.c.due_at >= after[0], (deliveries.c.due_at > after[0]) | (deliveries.c.id > after[1])
        )
    groups: dict[str, list[Delivery]] = {}
    rows = connection.execute(oldest).all()
    for row in rows:
        groups.setdefault(row.lane, []).append(delivery_of(row))
    later = select(func.min(deliveries.c.due_at)).where(mine, deliveries.c.due_at > now)
    last = (rows[-1].due_at, rows[-1].id) if len(rows) >= limit else None
    return Due(_lanes_of(connection, groups), last, connection.execute(later).scalar())


def _lanes_of(connection: Connection, groups: dict[str, list[Delivery]]) -> list[DueLane]:
    """Return the due lanes, each with those first deliveries that may start.

    No delivery may pass its lane's head. So a lane gets all its deliveries only if all of them are due, else only its
    head, and none if the head is not due."""
    heads: dict[str, tuple[int, int]] = {}
    for names in chunks(list(groups)):
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


def hold_back(connection: Connection, lane: str, until: float | None) -> None:
    """Postpone a lane's head, and so all behind it, until a time (None: until an event)."""
    early = deliveries.c.due_at.is_not(None) if until is None else deliveries.c.due_at < until
    connection.execute(update(deliveries).where(deliveries.c.lane == lane, QUEUED, early).values(due_at=until))


EXPIRING = select(deliveries.c.id).where(QUEUED, deliveries.c.expires_at <= bindparam("now")).limit(1)


def expire(connection: Connection, now: float, limit: int) -> list[Delivery]:
    late = WITH_MESSAGE.where(QUEUED, deliveries.c.expires_at <= now).limit(limit)
    over = [delivery_of(row)._replace(state=State.EXPIRED) for row in connection.execute(late)]
    for delivery in over:
        connection.execute(_EXPIRE, {"key": delivery.id, "now": now})
    return over


_EXPIRE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"), QUEUED)
    .values(state="expired", updated_at=bindparam("now"))
)


def recover(connection: Connection, node: str, idempotent: Sequence[str], now: float) -> tuple[int, int]:
    stale = deliveries.c.lease_owner == node if node else deliveries.c.lease_until < now
    if connection.dialect.name == "sqlite" and node:
        stale = true()  # the store has one server: at its start no other process can be sending, whatever its name was
    mine = and_(SENDING, stale)
    again = connection.execute(
        update(deliveries)
        .where(mine, deliveries.c.courier.in_(idempotent))
        .values(
            state="queued",
            due_at=now,
            updated_at=now,
            others="",
            last_error="interrupted; sent again under the same id",
        )
    ).rowcount
    unknown = connection.execute(
        update(deliveries)
        .where(mine)
        .values(state="unknown", updated_at=now, last_error="the program stopped before the answer came")
    ).rowcount
    return again, unknown
