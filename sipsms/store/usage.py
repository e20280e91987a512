"""What customers have sent by the APIs, by day; and what was sent just before a start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sipsms.store.schema import api_usage, messages

_RECENT = 10_000


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


def recent(connection: Connection, since: float) -> dict[tuple[str, str, str], int]:
    """(source, destination, text) -> id of what the APIs have sent since then."""
    query = select(messages).order_by(messages.c.id.desc()).limit(_RECENT)
    found: dict[tuple[str, str, str], int] = {}
    for row in connection.execute(query):
        if row.received_at < since:
            break
        if row.direction == "out" and not row.media and row.origin not in ("sip", "cli", "auto", "forward"):
            found.setdefault((row.source, row.destination, row.text), row.id)
    return found
