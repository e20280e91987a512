"""What waits for a phone goes to another one: to the first of its account, or to the one that it came back as."""

from __future__ import annotations

from sqlalchemy import Connection, and_, exists, select, update

from sipsms.store.rows import INSERT_DELIVERY, QUEUED, take_ids
from sipsms.store.schema import deliveries


def adopt_open(connection: Connection, account: str, device: int, lane: str, now: float) -> int:
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
        connection.execute(INSERT_DELIVERY, rows)
    return taken + len(unique)


def move_lane(connection: Connection, old_device: int, old_lane: str, device: int, lane: str, now: float) -> int:
    other = deliveries.alias()
    has_it = exists().where(other.c.message_id == deliveries.c.message_id, other.c.device == device)
    return connection.execute(
        update(deliveries)
        .where(deliveries.c.lane == old_lane, QUEUED, ~has_it)
        .values(device=device, lane=lane, due_at=now, updated_at=now)
    ).rowcount
