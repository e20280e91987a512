"""Inserts that may be raced: the second changes the row, adds to it, or leaves it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from sipsms.store import upsert
from sipsms.store.schema import api_usage, secrets


def test_put_changes_the_row_that_is_there(db: Connection) -> None:
    row = {"account": "acme", "day": "2026-11-29", "sends": 3}
    upsert.put(db, api_usage, row)
    upsert.put(db, api_usage, {**row, "sends": 5})
    upsert.put(db, api_usage, {**row, "day": "2026-11-30"})
    assert list(db.execute(select(api_usage.c.sends).order_by(api_usage.c.day)).scalars()) == [5, 3]


def test_put_adds_up(db: Connection) -> None:
    for sends in (3, 4):
        upsert.put(db, api_usage, {"account": "acme", "day": "2026-11-29", "sends": sends}, sums=("sends",))
    assert db.execute(select(api_usage.c.sends)).scalar() == 7


def test_keep_leaves_the_row_that_is_there(db: Connection) -> None:
    assert upsert.keep(db, secrets, {"name": "tags", "value": b"one"})
    assert not upsert.keep(db, secrets, {"name": "tags", "value": b"two"})
    assert db.execute(select(secrets.c.value)).scalar() == b"one"
