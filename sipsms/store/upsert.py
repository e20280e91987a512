"""Inserts that two processes may race: the second one changes the first one's row, or leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(dialect: str, table: Table) -> Any:
    """Return an INSERT of a table that may be given ON CONFLICT; `dialect`: `sqlite` or `postgresql`."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def put(connection: Connection, table: Table, row: Mapping[str, Any], sums: Sequence[str] = ()) -> None:
    """Insert a row, or give the one with its primary key these values. `sums`: columns that are added up instead."""
    statement = insert_into(connection.dialect.name, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in row if name not in keys}
    changed |= {name: table.c[name] + statement.excluded[name] for name in sums}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), row)


def keep(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless there is one with its primary key. Return whether it was inserted."""
    keys = [column.name for column in table.primary_key]
    statement = insert_into(connection.dialect.name, table).on_conflict_do_nothing(index_elements=keys)
    return bool(connection.execute(statement, row).rowcount)
