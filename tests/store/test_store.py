"""The store: group commit, isolation of failures, and queries that never scan."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError

from sipsms.core.errors import Unavailable
from sipsms.core.message import Delivery, Direction, Message, State
from sipsms.core.report_request import ImdnRequest
from sipsms.store.engine import DriverError, Locked, StoreError, ensure_schema, lock, open_engine, version_of
from sipsms.store.sqlite import sqlite3
from sipsms.store.store import Store
from tests.support.messaging.core import core


def _store(folder: Path, wait: int = 200) -> Store:
    url = f"sqlite:///{folder / 's.db'}"
    writing = open_engine(url, lock_wait=wait)
    ensure_schema(writing)
    return Store(writing, open_engine(url, read_only=True), "node")


def _message(text: str, key: bytes | None = None) -> Message:
    return Message(Direction.OUT, "5550001111", "2125550123", text, "test", 1.0, "alice", "5550001111", None, key)


async def test_waiting_jobs_are_written_in_one_commit(tmp_path: Path) -> None:
    store = _store(tmp_path)
    sizes: list[int] = []

    def count(connection: Connection, batch: Any) -> list[int]:
        sizes.append(len(batch))
        return list(batch)

    assert await asyncio.gather(*(store.writer.put(count, number) for number in range(100))) == list(range(100))
    assert max(sizes) > 50
    await store.close()


async def test_only_the_failing_job_of_a_batch_fails(tmp_path: Path) -> None:
    store = _store(tmp_path)
    bad = _message("bad")._replace(text=None)
    results = await asyncio.gather(
        *(store.accept(message, (), 1.0) for message in (_message("one"), bad, _message("two"))), return_exceptions=True
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    texts = await store.read(lambda db: [row[0] for row in db.exec_driver_sql("SELECT text FROM messages ORDER BY id")])
    assert texts == ["one", "two"]
    await store.close()


async def test_the_writer_goes_on_after_a_commit_that_failed(tmp_path: Path) -> None:
    writing = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(writing)
    event.listen(writing, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    store = Store(writing, open_engine(f"sqlite:///{tmp_path / 's.db'}", read_only=True), "node")

    def break_commit(db: Connection) -> None:  # like a full disk: the commit itself fails
        db.exec_driver_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        db.exec_driver_sql("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        db.exec_driver_sql("INSERT INTO child VALUES (1)")

    with pytest.raises(IntegrityError):
        await store.write(break_commit)
    await store.ping()
    assert (await store.accept(_message("one"), (), 1.0)).message_id == 1
    await store.close()


@pytest.mark.req("F-05")
async def test_a_locked_store_is_unavailable_and_stores_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(
        *(store.accept(_message(f"{n}"), (), 1.0) for n in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, Unavailable) for result in results)
    other.execute("ROLLBACK")
    other.close()
    assert (await store.accept(_message("after"), (), 1.0)).message_id == 1
    await store.close()


async def test_a_failure_is_told_without_the_statement_and_its_values(tmp_path: Path) -> None:
    store = _store(tmp_path)
    query = text("SELECT * FROM absent WHERE name = :name")
    with pytest.raises(Unavailable) as raised:
        await store.read(lambda db: db.execute(query, {"name": "a secret"}))
    assert str(raised.value) == "no such table: absent"
    await store.close()


async def test_a_second_server_on_the_same_store_is_refused(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    (tmp_path / "s.db.lock").touch(0o644)  # of an older version
    first = lock(engine, "server")
    assert (tmp_path / "s.db.lock").stat().st_mode & 0o777 == 0o600
    for holder in ("server", "command"):
        with pytest.raises(Locked, match="another sipsms server"):
            lock(engine, holder)
    assert first is not None
    first.close()
    again = lock(engine, "server")
    assert again is not None
    again.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_the_lock_belongs_to_the_owner_of_the_store(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    os.chown(tmp_path / "s.db", 65534, 65534)
    held = lock(engine, "command")
    assert held is not None
    with held:
        assert (tmp_path / "s.db.lock").stat().st_uid == 65534


async def test_a_server_waits_for_a_command_to_end(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    command = lock(engine, "command")
    server = asyncio.create_task(asyncio.to_thread(lock, engine, "server"))
    await asyncio.wait((server,), timeout=0.2)
    assert not server.done()
    assert command is not None
    command.close()
    held = await server
    assert held is not None
    held.close()


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer"):
        ensure_schema(engine)
    assert (tmp_path / "s.db").stat().st_mode & 0o077 == 0


def test_a_locked_store_is_an_expected_error_of_a_command(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}", lock_wait=50)
    ensure_schema(engine)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked"):
        version_of(engine)
    with pytest.raises(DriverError, match="database is locked"), engine.begin():
        pass
    other.close()


async def test_sqlite_runs_with_wal_and_full_synchronous(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    with engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    assert (mode, synchronous) == ("wal", 2)  # 2 is FULL


@pytest.mark.req("L-07")
async def test_no_query_of_message_traffic_scans_a_table(tmp_path: Path) -> None:
    """Every statement the store sends while messages flow is answered from an index."""
    seen: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen[statement] = parameters[0] if many else parameters

    event.listen(Engine, "before_cursor_execute", note)
    async with core(tmp_path, {}) as here:
        store, message = here.store, _message("x", b"key")
        delivery = Delivery(message, "carrier:sim", "2125550123", "5550001111", "lane", 9e9, 1.0, due_at=1.0)
        stored = await store.accept(message, [delivery], 1.0)
        assert (await store.accept(message, [delivery], 1.0)).duplicate
        await store.begin(stored.deliveries[0], 2.0)
        await store.due("carrier:sim", 2.0, 10)
        await store.load_lane("lane", 10, 2.0)
        await store.hold_back("lane", 5.0)
        await store.expire(2.0, 10)
        await store.find_duplicate(b"key")
        await store.claim_new()
        await store.adopt_open("alice", 1, "sip:1", 2.0)
        await store.move_lane("sip:1", 2, "sip:2", 2.0)
        await store.recover(["sip"], 2.0, own=True)
        await store.directory(5)
    event.remove(Engine, "before_cursor_execute", note)
    scans = {}
    with sqlite3.connect(tmp_path / "core.db") as plain:
        queries = {text: values for text, values in seen.items() if text.startswith(("SELECT", "UPDATE", "DELETE"))}
        for text, values in queries.items():
            for row in plain.execute(f"EXPLAIN QUERY PLAN {text}", values):
                if row[3].startswith("SCAN") and "INDEX" not in row[3]:
                    scans[text] = row[3]
    assert len(queries) > 15
    small = ("counters", "carriers", "alembic_version", "bindings", "devices", "sqlite_master")
    assert {text: plan for text, plan in scans.items() if not any(name in plan for name in small)} == {}


async def test_wanted_notices_are_forgotten_after_a_while(tmp_path: Path) -> None:
    """What a sender wanted to know and never came to pass is not looked through at every start for ever."""
    store, now = _store(tmp_path), 5000.0
    for name, at in (("young", now), ("old", now - 1000)):
        message = _message(name)._replace(received_at=at, report=ImdnRequest(name), device=1)
        delivery = Delivery(
            message, "carrier:x", "2125550123", "5550001111", name, now + 99, now, state=State.DELIVERED
        )
        await store.accept(message, [delivery], now)
    assert sorted(message.report.message_id for message, _ in await store.unnoticed()) == ["old", "young"]
    await store.forget_notices(now - 500)
    assert [(message.report.message_id, to) for message, to in await store.unnoticed()] == [("young", "2125550123")]
    await store.close()
