"""What customers have sent by the APIs, by day; and what was sent just before a start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sipsms.store.schema import api_usage, deliveries, messages

_RECENT = 10_000
_NO_APIS = ("sip", "cli", "auto", "forward")


def sent(connection: Connection, day: str, account: str) -> int:
    query = select(api_usage.c.sends).where(api_usage.c.account == account, api_usage.c.day == day)
    return int(connection.execute(query).scalar() or 0)


def add(connection: Connection, day: str, counts: Mapping[str, int]) -> None:
    for account, count in counts.items():
        here = (api_usage.c.account == account, api_usage.c.day == day)
        if not connection.execute(update(api_usage).where(*here).values(sends=api_usage.c.sends + count)).rowcount:
            connection.execute(insert(api_usage), {"account": account, "day": day, "sends": count})


def show(connection: Connection, account: str, since: str) -> list[dict[str, Any]]:
    """By day, the oldest first; `since` is a day."""
    query = select(api_usage).where(api_usage.c.account == account, api_usage.c.day >= since)
    return [{"day": row.day, "sends": row.sends} for row in connection.execute(query.order_by(api_usage.c.day))]


def recent(connection: Connection, since: float) -> dict[tuple[str, str, str, str, str], int]:
    """(door, account, source, destination, text) -> id of what the APIs have sent since then: texts that are not held
    for later."""
    query = select(messages).order_by(messages.c.id.desc()).limit(_RECENT)
    found: dict[tuple[str, str, str, str, str], int] = {}
    for row in connection.execute(query):
        if row.received_at < since:
            break
        if row.direction == "out" and not row.media and row.origin not in _NO_APIS:
            found.setdefault((row.origin, row.account, row.source, row.destination, row.text), row.id)
    held = select(deliveries.c.message_id).where(
        deliveries.c.message_id.in_(list(found.values())), deliveries.c.lane.contains("@")
    )
    later = set(connection.execute(held).scalars()) if found else set()
    return {like: message for like, message in found.items() if message not in later}
