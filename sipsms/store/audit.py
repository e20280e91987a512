"""The audit log: who did what in the message centre, and from where. Rows are only added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from sipsms.store.schema import audit


@dataclass(frozen=True, slots=True)
class By:
    """The author of a change: the name of a user, and the address it came from."""

    who: str
    address: str = ""


def add(connection: Connection, now: float, by: By, action: str, subject: str, detail: str = "") -> None:
    """Add a row in the transaction of the change that it tells of."""
    row = {"at": now, "who": by.who[:64], "action": action, "subject": subject[:255], "detail": detail[:1024]}
    connection.execute(insert(audit), {**row, "address": by.address[:64]})


def newest(connection: Connection, before: int | None, limit: int) -> Sequence[dict[str, Any]]:
    """Return rows, newest first. `before`: only rows with a smaller id."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [dict(row) for row in connection.execute(query).mappings()]
