"""Which versions of SQLite lose rows (sqlite.org/wal.html), and that one library serves all of the store."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from sipsms.store import sqlite
from sipsms.store.engine import Broken, DriverError, driver_of, open_engine


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ("3.6.23", False), ("3.7.0", True), ("3.40.1", True), ("3.44.5", True), ("3.44.6", False), ("3.45.0", True),
        ("3.50.6", True), ("3.50.7", False), ("3.51.2", True), ("3.51.3", False), ("3.52.0", False), ("3.53.4", False),
    ],
)  # fmt: skip
def test_the_bug_is_in_these_versions(version: str, bad: bool) -> None:
    assert sqlite.has_wal_bug(version) is bad
    assert (version in sqlite.warning(version)) is bad


def test_the_store_uses_this_library() -> None:
    with open_engine("sqlite:///:memory:").connect() as connection:
        assert isinstance(driver_of(connection), sqlite.sqlite3.Connection)
        assert connection.exec_driver_sql("SELECT sqlite_version()").scalar() == sqlite.VERSION
    assert sqlite.sqlite3.Error in DriverError
    assert sqlite.sqlite3.OperationalError in Broken
    if sys.modules.get("pysqlite3") is None:
        assert sqlite3.sqlite_version == sqlite.VERSION
