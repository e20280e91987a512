"""History by number: added behind by the writer, complete for readers at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select

from sipsms.core.message import Direction, Message
from sipsms.store import history
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.rows import counter
from sipsms.store.schema import messages
from sipsms.store.store import Store

DIDS = ["5550001111", "5550002222", ""]
STORED = history.CHUNK + 60


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    rows = [
        {"id": n, "direction": ("in", "out")[n % 2], "source": "4445556666", "destination": "5550001111", "text": "x",
         "did": DIDS[n % 3], "received_at": float(n)}
        for n in range(1, STORED + 1)
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(messages), rows)
        yield connection
    engine.dispose()


def right(by: history.By, number: str, low: int, high: int) -> list[int]:
    def number_of(n: int) -> str:
        return DIDS[n % 3] if by is history.DID else ("4445556666", "5550001111")[n % 2]

    return [n for n in range(STORED, 0, -1) if low < n < high and number_of(n) == number]


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("by", [history.DID, history.CONTACTS])
@pytest.mark.parametrize(("low", "high"), [(0, 2**62), (990, 1010), (1010, 1040), (5, 700)])
def test_readers_miss_nothing_wherever_the_mark_is(
    db: Connection, steps: int, by: history.By, low: int, high: int
) -> None:
    more = [history.follow(db) for _ in range(steps)]
    assert more == [True, False][:steps]
    assert counter(db, history.MARK) == min(steps * history.CHUNK, STORED)
    for number in ("5550001111", "5550002222", "4445556666", "nobody"):
        expected = right(by, number, low, high)
        for most in (1, 7, 5000):
            rows = history.History(db).rows([messages.c.id], by, number, low, high, most)
            assert [row.id for row in rows] == expected[:most]
            rows = history.History(db).rows([messages.c.id], by, number, low, high, most, ascending=True)
            assert [row.id for row in rows] == expected[::-1][:most]


def test_a_step_with_nothing_new_changes_nothing(db: Connection) -> None:
    while history.follow(db):
        pass
    stored = db.execute(select(history.history)).all()
    written: list[str] = []
    event.listen(db, "before_cursor_execute", lambda *call: written.append(call[2]))
    assert history.follow(db) is False
    assert [statement for statement in written if not statement.startswith("SELECT")] == []
    assert db.execute(select(history.history)).all() == stored
    assert len(stored) == STORED + sum(1 for n in range(1, STORED + 1) if DIDS[n % 3])


async def test_the_writer_adds_what_was_accepted_when_it_is_idle(tmp_path: Path) -> None:
    """Also what an earlier process left behind."""
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    first = Store(engine, engine, "one")
    await _accept(first, 1)
    await first.close()
    failing = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    store = Store(failing, failing, "two")
    await _until(store, 1)
    await _accept(store, 2)
    await _until(store, 2)
    await store.close()


async def _accept(store: Store, number: int) -> None:
    message = Message(Direction.IN, "4445556666", "5550001111", "x", "test", float(number), did="5550001111")
    stored = await store.accept(message, (), float(number))
    assert stored.message_id == number


async def _until(store: Store, mark: int) -> None:
    def look(connection: Connection) -> Any:
        return counter(connection, history.MARK)

    async with asyncio.timeout(60):
        while await store.read(look) != mark:
            pass
