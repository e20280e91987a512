"""Marks of SMPP peers: the time up to which a peer has our responses and sends nothing again."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from sipsms.store import upsert
from sipsms.store.schema import smpp_heard


def heard(connection: Connection, name: str) -> float:
    """Return the mark of a peer in seconds since the epoch; 0.0 if it has none."""
    found: float | None = connection.execute(select(smpp_heard.c.at).where(smpp_heard.c.name == name[:80])).scalar()
    return found or 0.0


def set_heard(connection: Connection, name: str, at: float) -> None:
    upsert.put(connection, smpp_heard, {"name": name[:80], "at": at})


def set_all(connection: Connection, marks: Mapping[str, float]) -> None:
    for name, at in marks.items():
        set_heard(connection, name, at)
