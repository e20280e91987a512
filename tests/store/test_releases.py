"""Stores that releases wrote: each is opened by this version, and all that is in it can be read.

`tests/testdata/stores/VERSION.sql` is the dump of such a store: that of `make run ONCE=1`, and a few commands after it,
so that messages wait in lanes of a carrier, a URL, an address, an account without a phone, and a later time.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select, text

from sipsms.core.message import MessageKind
from sipsms.store import engine as store
from sipsms.store.rows import WITH_MESSAGE, delivery_of
from sipsms.store.schema import metadata
from sipsms.store.sqlite import sqlite3
from sipsms.store.store import Store

STORES = Path(__file__).parents[1] / "testdata" / "stores"


def restored(dump: Path, path: Path) -> dict[str, int]:
    """Restore a dump; return the number of rows of each table."""
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text())
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    connection.close()
    return counts


@pytest.mark.req("F-32")
@pytest.mark.parametrize("dump", sorted(STORES.glob("*.sql")), ids=lambda path: path.stem)
async def test_a_store_of_a_release_is_migrated_and_read(dump: Path, tmp_path: Path) -> None:
    before = restored(dump, tmp_path / "sipsms.db")
    url = f"sqlite:///{tmp_path}/sipsms.db"
    writing = store.open_engine(url)
    store.ensure_schema(writing)
    with writing.connect() as read:
        assert read.execute(text("SELECT version_num FROM alembic_version")).scalar() == store.HEAD
        after = {name: read.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in before}
        assert after == before | {"counters": before["counters"] + 1}, "no row is lost; the mark of the history is new"
        contact = "iif(direction = 'in', source, destination)"
        numbers = f"(SELECT did AS number FROM messages UNION ALL SELECT {contact} FROM messages)"
        by_number = "number, count(*) FROM {} WHERE number <> '' GROUP BY number"
        expected = read.execute(text(f"SELECT {by_number.format(numbers)}")).all()
        assert read.execute(text(f"SELECT {by_number.format('history')}")).all() == expected
        assert before["messages"] >= 10
        deliveries = [delivery_of(row) for row in read.execute(WITH_MESSAGE)]
        assert {one.courier.kind for one in deliveries} >= {"sip", "carrier", "callback", "webhook"}
        assert {one.message.kind for one in deliveries} >= {MessageKind.TEXT}
        for table in metadata.sorted_tables:
            read.execute(select(table)).all()
    opened = Store(writing, store.open_engine(url, read_only=True), "node")
    version, is_whole, accounts, dids, *_ = await opened.directory(0)
    assert version > 0
    assert is_whole
    assert {one.name for one in accounts} >= {"alice", "bob"}
    assert dids
    await opened.close()


def test_there_is_a_store_of_each_release() -> None:
    changes = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert sorted(path.stem for path in STORES.glob("*.sql")) == sorted(re.findall(r"^## \[?(\d[\d.]*)", changes, re.M))
