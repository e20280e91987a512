"""Rows of SMPP sessions, as each node last stored them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from sipsms.store.schema import smpp_binds

_LENGTHS = {"name": 64, "account": 64, "peer": 255, "mode": 16, "state": 16, "why": 255}


def replace(connection: Connection, node: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace all sessions of a node. `rows` have the names of the columns, without `node`."""
    connection.execute(delete(smpp_binds).where(smpp_binds.c.node == node))
    if rows:
        connection.execute(insert(smpp_binds), [{**row, **_cut(row), "node": node} for row in rows])


def _cut(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: row[name][:length] for name, length in _LENGTHS.items() if name in row}


def list_binds(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield sessions in order of direction, name and number."""
    order = (smpp_binds.c.direction, smpp_binds.c.name, smpp_binds.c.node, smpp_binds.c.number)
    for row in connection.execute(select(smpp_binds).order_by(*order)):
        yield {name: value for name, value in row._mapping.items() if name != "number"}
