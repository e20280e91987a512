"""The stored state of a carrier: paused or not, polled up to which time, last known status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from sipsms.store import upsert
from sipsms.store.schema import carriers


def polled_at(connection: Connection, name: str) -> float:
    """Return the time up to which the carrier was polled for incoming messages; 0 if never."""
    found = connection.execute(select(carriers.c.polled_at).where(carriers.c.name == name)).scalar()
    return float(found or 0.0)


def set_status(connection: Connection, statuses: Mapping[str, Mapping[str, Any]]) -> None:
    for name, status in statuses.items():
        put(connection, name, status=json.dumps(status))


def put(connection: Connection, name: str, **values: Any) -> None:
    upsert.put(connection, carriers, {"name": name, **values})
