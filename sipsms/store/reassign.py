"""Waiting deliveries that move to another device, from an app to the phones, or fail with their device or account."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, literal_column, select, update

from sipsms.core.errors import AdminError
from sipsms.core.lane_key import LaneKey
from sipsms.store.rows import INSERT_DELIVERY, OPEN, QUEUED, chunks, in_lane, take_ids
from sipsms.store.schema import accounts, bindings, deliveries, devices


class Ended(NamedTuple):
    """Counts of the deliveries that waited for a removed device."""

    failed: int
    kept: int  # these wait for the account's next device


def adopt_open(connection: Connection, account: str, device: int, lane: LaneKey, now: float) -> int:
    """Assign waiting deliveries to an account's first device, or copy them in order for a later one.

    Return the number of deliveries."""
    since = select(accounts.c.created_at).where(accounts.c.name == account).scalar_subquery()
    waiting = and_(
        deliveries.c.destination == account, deliveries.c.open, deliveries.c.expires_at > now,
        deliveries.c.created_at >= func.coalesce(since, 0.0),  # older rows were for an earlier account of this name
    )  # fmt: skip
    taken = connection.execute(
        update(deliveries)
        .where(waiting, deliveries.c.device == 0, QUEUED)
        .values(device=device, lane=lane, due_at=now, updated_at=now)
    ).rowcount
    other = deliveries.alias()
    has_it = exists().where(other.c.message_id == deliveries.c.message_id, other.c.device == device)
    copied = connection.execute(
        select(deliveries)
        .where(waiting, deliveries.c.device != 0, deliveries.c.device != device, ~has_it)
        .order_by(deliveries.c.message_id)
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


def move_lane(connection: Connection, old_lane: str, device: int, lane: LaneKey, now: float) -> int:
    """Move waiting deliveries to another device that never had their message. Return how many."""
    other = deliveries.alias()
    has_it = exists().where(other.c.message_id == deliveries.c.message_id, other.c.device == device)
    return connection.execute(
        update(deliveries)
        .where(deliveries.c.lane == old_lane, QUEUED, ~has_it)
        .values(device=device, lane=lane, due_at=now, updated_at=now)
    ).rowcount


def open_accounts(connection: Connection) -> list[str]:
    """Return accounts with messages that arrived before any of their devices was known."""
    return list(connection.execute(select(deliveries.c.destination).where(deliveries.c.open).distinct()).scalars())


# --- removal of a device ---------------------------------------------------------------------------------------------


def owner_of(connection: Connection, device: int) -> str:
    """Return the account of a device. Raises AdminError if no such device is known."""
    owner = connection.execute(select(devices.c.aor).where(devices.c.id == device)).scalar()
    if owner is None:
        raise AdminError(f"no device {device}")
    return str(owner)


def remove_device(connection: Connection, account: str, device: int, now: float) -> Ended:
    """Delete a device with its bindings, and end what waits for it (see `end_device`)."""
    connection.execute(delete(bindings).where(bindings.c.aor == account, bindings.c.device == device))
    connection.execute(delete(devices).where(devices.c.id == device))
    return end_device(connection, account, device, now)


def end_device(connection: Connection, account: str, device: int, now: float) -> Ended:
    """Fail what waits for a removed device. If it was the last, it waits for the account's next device instead."""
    waiting = and_(deliveries.c.lane == LaneKey.of_device(device), QUEUED)
    if connection.execute(select(devices.c.id).where(devices.c.aor == account).limit(1)).first() is None:
        kept = {"device": 0, "lane": LaneKey.to("sip", account), "open": True, "due_at": None, "updated_at": now}
        return Ended(0, connection.execute(update(deliveries).where(waiting).values(kept)).rowcount)
    ids = list(connection.execute(select(deliveries.c.id).where(waiting)).scalars())
    _fail(connection, ids, now, "the device was removed")
    return Ended(len(ids), 0)


# --- removal of an account or of its app -----------------------------------------------------------------------------

_APP = deliveries.c.courier == literal_column("'app'")  # a literal, so that the partial index is used


def to_phones(connection: Connection, account: str, now: float) -> int:
    """Queue an account's waiting app deliveries for its phones, as if none had registered. Return how many."""
    lane = in_lane(connection, LaneKey.to("app", account))
    waiting = select(deliveries).where(_APP, OPEN, lane, deliveries.c.expires_at > now)
    found = connection.execute(waiting.order_by(deliveries.c.id)).all()
    _fail(connection, [row.id for row in found], now, "its phones get it by SIP instead")
    if found:
        first = take_ids(connection, "delivery", len(found))
        fresh = {"courier": "sip", "lane": LaneKey.to("sip", account), "device": 0, "open": True, "state": "queued",
                 "attempts": 0, "due_at": None, "updated_at": now, "last_error": "", "remote_id": "",
                 "lease_owner": "", "lease_until": 0.0}  # fmt: skip
        rows = [{**row._mapping, **fresh, "id": first + index} for index, row in enumerate(found)]
        connection.execute(INSERT_DELIVERY, rows)
    return len(found)


def end(connection: Connection, account: str, now: float) -> None:
    """Fail all deliveries of a removed account: a later account of its name must never get them."""
    phones = connection.execute(select(devices.c.id).where(devices.c.aor == account)).scalars()
    lanes = [LaneKey.to("sip", account), LaneKey.to("app", account), *map(LaneKey.of_device, phones)]
    mine = deliveries.c.destination == account
    ids: list[int] = []
    for lane in lanes:
        waiting = select(deliveries.c.id, deliveries.c.destination).where(in_lane(connection, lane), OPEN)
        ids += [row.id for row in connection.execute(waiting) if row.destination == account]
    _fail(connection, ids, now, "the account was removed")
    connection.execute(update(deliveries).where(mine, deliveries.c.open).values(open=False))


def _fail(connection: Connection, ids: list[int], now: float, why: str) -> None:
    values: dict[str, Any] = {"state": "failed", "due_at": None, "updated_at": now, "last_error": why, "open": False}
    for chosen in chunks(ids):
        connection.execute(update(deliveries).where(deliveries.c.id.in_(chosen)).values(values))
