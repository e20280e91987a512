"""Messages sent by the HTTP APIs: counts by customer and day, and recent messages.

The retry detection reads the messages sent just before a start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from sipsms.core.lane_key import LaneKey
from sipsms.core.message import HTTP_APIS
from sipsms.core.queue_rows import Past
from sipsms.store import upsert
from sipsms.store.rows import chunks, message_of
from sipsms.store.schema import api_usage, deliveries, messages

_RECENT = 200_000  # rows: a minute at 3,000 messages a second
_DOWN = 120.0  # seconds
Likeness = tuple[str, str, str, str, str]


def sent(connection: Connection, day: str, account: str) -> int:
    query = select(api_usage.c.sends).where(api_usage.c.account == account, api_usage.c.day == day)
    return int(connection.execute(query).scalar() or 0)


def add(connection: Connection, day: str, counts: Mapping[str, int]) -> None:
    for account, count in counts.items():
        upsert.put(connection, api_usage, {"account": account, "day": day, "sends": count}, sums=("sends",))


def show(connection: Connection, account: str, days: int) -> list[dict[str, Any]]:
    """Return the sends of an account by day (UTC) of the last `days` days, oldest first."""
    since = f"{datetime.now(UTC) - timedelta(days=days - 1):%Y-%m-%d}"
    query = select(api_usage).where(api_usage.c.account == account, api_usage.c.day >= since)
    return [{"day": row.day, "sends": row.sends} for row in connection.execute(query.order_by(api_usage.c.day))]


def recent(connection: Connection, span: float, until: float) -> dict[Likeness, list[Past]]:
    """Return messages that the APIs sent in the last `span` seconds of the server's run before `until`, newest first.

    The seconds count back from the newest message of all: while the server was down, for at most `_DOWN` seconds, no
    client could ask again. The key is (API, account, source, destination, text). Rows with a time after `until` are
    left out: they are of this run, or were stored before the clock was set back.
    """
    query = select(messages).order_by(messages.c.id.desc()).limit(_RECENT).execution_options(yield_per=1000)
    rows, since = [], 0.0
    for row in connection.execute(query):
        if row.received_at > until:
            continue
        since = since or max(row.received_at, until - _DOWN) - span
        if row.received_at < since:
            break
        if row.direction == "out" and row.origin in HTTP_APIS:
            rows.append(row)
    held = _held(connection, [row.id for row in rows])
    found: dict[Likeness, list[Past]] = {}
    for row in rows:
        sizes = tuple(sorted(one.size for one in message_of(row).media)) if row.media else ()
        like = (row.origin, row.account, row.source, row.destination, row.text)
        found.setdefault(like, []).append(Past(row.id, held.get(row.id, 0.0), sizes))
    return found


def _held(connection: Connection, ids: Sequence[int]) -> dict[int, float]:
    """Return the send times of messages that are or were scheduled."""
    found: dict[int, float] = {}
    for some in chunks(ids):
        here = deliveries.c.message_id.in_(some)
        query = select(deliveries.c.message_id, deliveries.c.lane).where(here, deliveries.c.lane.contains("@"))
        times = ((row.message_id, LaneKey(row.lane).held_until) for row in connection.execute(query))
        found.update((message, until) for message, until in times if until)
    return found
