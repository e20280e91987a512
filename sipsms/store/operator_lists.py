"""The lists an operator reads, and commands on carriers, dead letters and unknown outcomes. Synchronous."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, literal_column, select, update

from sipsms.core.courier_id import CourierId, carrier_of
from sipsms.core.errors import AdminError
from sipsms.core.message import State, is_copy_of, state_of
from sipsms.store import carrier_state
from sipsms.store.accounts import changed
from sipsms.store.rows import OPEN, QUEUED, media_of
from sipsms.store.schema import attempts, bindings, carriers, deliveries, devices, messages

# --- carriers --------------------------------------------------------------------------------------------------------


def pause_carrier(connection: Connection, name: str, *, paused: bool) -> None:
    carrier_state.put(connection, name, paused=paused)
    changed(connection)


def list_carriers(
    connection: Connection, configured: Iterable[tuple[str, str, float | None]]
) -> Iterator[dict[str, Any]]:
    """Yield the configured carriers with their state. `configured`: name, type and rate of each."""
    known = {row.name: row for row in connection.execute(select(carriers))}
    queued = select(deliveries.c.courier, func.count()).where(QUEUED).group_by(deliveries.c.courier)
    waiting = {row.courier: row[1] for row in connection.execute(queued)}
    for name, kind, rate in configured:
        row = known.get(name)
        paused = row is not None and row.paused
        status: dict[str, Any] = {"state": "not seen yet", "why": "", "rate": 0.0, "counts": {}}
        if row is not None and row.status:
            status |= json.loads(row.status)
        yield {
            "name": name, "type": kind, "state": "paused" if paused else status["state"], "why": status["why"],
            "paused": paused, "waiting": waiting.get(CourierId.of_carrier(name), 0), "rate": status["rate"],
            "limit": rate, "counts": status["counts"],
        }  # fmt: skip


# --- lists -----------------------------------------------------------------------------------------------------------


def list_devices(connection: Connection, now: float) -> Iterator[dict[str, Any]]:
    bound = set(connection.execute(select(bindings.c.device).where(bindings.c.expires_at > now)).scalars())
    waiting = {
        row.device: row[1]
        for row in connection.execute(
            select(deliveries.c.device, func.count())
            .where(QUEUED, deliveries.c.courier == "sip")
            .group_by(deliveries.c.device)
        )
    }
    for row in connection.execute(select(devices).order_by(devices.c.aor, devices.c.id)):
        yield device_row(row, bound, waiting)


def device_row(row: Any, bound: set[int], waiting: Mapping[int, int]) -> dict[str, Any]:
    """Return a device as lists show it. `bound`: devices with a binding; `waiting`: messages by device."""
    return {
        "device": row.id, "account": row.aor, "key": row.key, "user_agent": row.user_agent,
        "registered": row.id in bound, "waiting": waiting.get(row.id, 0), "last_seen": row.last_seen,
    }  # fmt: skip


def list_queue(connection: Connection, limit: int, *, unknown: bool = False) -> Iterator[dict[str, Any]]:
    """Return open deliveries, oldest first; with `unknown` those of unknown outcome instead."""
    chosen = deliveries.c.state == literal_column("'unknown'") if unknown else OPEN
    by_id: Any = literal_column("+deliveries.id")  # without the sign SQLite would walk over all deliveries by their ids
    query = select(deliveries).where(chosen).order_by(by_id).limit(limit)
    return map(queue_row, connection.execute(query))


def queue_row(row: Any) -> dict[str, Any]:
    return {
        "delivery": row.id, "message": row.message_id, "courier": row.courier, "destination": row.destination,
        "device": row.device, "state": row.state, "attempts": row.attempts, "due_at": row.due_at,
        "expires_at": row.expires_at, "last_error": row.last_error,
    }  # fmt: skip


def message_row(row: Any, parts: list[Any]) -> dict[str, Any]:
    """Return a message with its deliveries as lists and APIs show it."""
    own = [
        part for part in parts
        if not is_copy_of(row.direction, row.did, part.courier, part.destination, row.account)
    ]  # fmt: skip
    state = state_of((State(part.state), part.text_end > 0) for part in own)
    carrier = next((part for part in parts if carrier_of(part.courier)), None)
    inbound = carrier_of(row.origin) if row.direction == "in" else ""
    return {
        "id": row.id,
        "direction": row.direction,
        "from": row.source,
        "to": row.destination,
        "text": row.text,
        "media": [one._asdict() for one in media_of(row.media)],
        "state": str(state),
        "delivered_count": sum(part.state == State.DELIVERED for part in own),
        "delivery_count": len(own),
        "created_at": datetime.fromtimestamp(row.received_at, UTC).isoformat(timespec="milliseconds"),
        "account": row.account,
        "carrier": carrier_of(carrier.courier) if carrier else inbound,
        "carrier_id": carrier.remote_id if carrier else row.remote_id,
        "deliveries": [
            {
                "courier": part.courier, "destination": part.destination, "device": part.device, "state": part.state,
                "attempts": part.attempts, "last_error": part.last_error,
            }
            for part in parts
        ],
    }  # fmt: skip


# --- dead letters and unknown outcomes --------------------------------------------------------------------------------

DEAD = and_(
    deliveries.c.courier.in_(tuple(literal_column(f"'{name}'") for name in ("callback", "webhook", "mail"))),
    deliveries.c.state.in_((literal_column("'failed'"), literal_column("'expired'"))),
)
DEAD_LETTERS = (
    select(deliveries, messages.c.account, messages.c.did, messages.c.received_at, messages.c.source.label("sender"))
    .join(messages, messages.c.id == deliveries.c.message_id)
    .where(DEAD)
)


def list_dead(connection: Connection, limit: int) -> Iterator[dict[str, Any]]:
    """Yield callbacks, webhooks and e-mail that failed for good, oldest first."""
    for row in connection.execute(DEAD_LETTERS.order_by(deliveries.c.id).limit(limit)):
        yield {**dead_row(row), "created_at": datetime.fromtimestamp(row.created_at, UTC).isoformat(timespec="seconds")}


def dead_row(row: Any) -> dict[str, Any]:
    return {
        "delivery": row.id, "message": row.message_id, "did": row.did, "from": row.sender, "courier": row.courier,
        "destination": row.destination, "state": row.state, "attempts": row.attempts, "last_error": row.last_error,
        "created_at": row.created_at,
    }  # fmt: skip


def retry_dead(connection: Connection, delivery: int | None, now: float, keep: float) -> int:
    """Retry one dead letter or all from the start. Return how many. Raises AdminError for a wrong id."""
    chosen = DEAD if delivery is None else and_(DEAD, deliveries.c.id == delivery)
    ids = list(connection.execute(select(deliveries.c.id).where(chosen)).scalars())
    if delivery is not None and not ids:
        raise AdminError(f"no dead letter {delivery}")
    for one in ids:
        connection.execute(delete(attempts).where(attempts.c.delivery_id == one))
        _again(connection, one, now, now + keep, attempts=0)
    return len(ids)


def resend_unknown(connection: Connection, delivery: int, now: float, keep: float) -> None:
    """Send a delivery of unknown outcome once more; only an operator may decide so. Raises AdminError."""
    row = connection.execute(select(deliveries).where(deliveries.c.id == delivery)).first()
    if row is None or row.state != "unknown":
        raise AdminError(f"delivery {delivery} is not in doubt" if row is not None else f"no delivery {delivery}")
    _again(connection, delivery, now, now + keep, attempts=row.attempts)


def _again(connection: Connection, delivery: int, now: float, until: float, *, attempts: int) -> None:
    """Queue a delivery without a lease, as a row that the server will claim."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(
            state="queued", due_at=now, expires_at=until, attempts=attempts, updated_at=now, lease_owner="",
            last_error="sent again by hand",
        )
    )  # fmt: skip


_CANCELLED = "cancelled"


def cancel(connection: Connection, message: int, now: float) -> int:
    """Cancel the deliveries that have not been sent. Return how many. Raises AdminError if there is no message."""
    if connection.execute(select(messages.c.id).where(messages.c.id == message)).first() is None:
        raise AdminError(f"no message {message}")
    whole = deliveries.c.message_id == message
    # later devices get no copy
    connection.execute(update(deliveries).where(whole, deliveries.c.open).values(open=False))
    values = {"state": "failed", "due_at": None, "updated_at": now, "last_error": _CANCELLED}
    return int(connection.execute(update(deliveries).where(whole, QUEUED).values(values)).rowcount)


def is_cancelled(connection: Connection, message: int) -> bool:
    """Return whether all deliveries of a message were cancelled before they were sent."""
    query = select(deliveries.c.state, deliveries.c.last_error).where(deliveries.c.message_id == message)
    return {tuple(row) for row in connection.execute(query)} == {("failed", _CANCELLED)}
