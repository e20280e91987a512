"""The migrations arrive at exactly the schema of sipsms.store.schema, and back at nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Index, create_engine, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex

from sipsms.store import engine as store
from sipsms.store.schema import metadata

MIGRATIONS = Path(store.__file__).parent / "migrations"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = store.open_engine(f"sqlite:///{tmp_path}/sipsms.db")
    yield opened
    opened.dispose()


def config(connection: Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def migrate(engine: Engine) -> None:
    """All migrations, one after the other, from nothing."""
    with engine.begin() as connection:
        command.upgrade(config(connection), "head")


def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """What stands in the tables of a new store."""
    names = [*metadata.tables, "alembic_version"]
    return {name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))] for name in names}


def shape(connection: Connection) -> dict[str, str]:
    """Every table and index with the SQL that made it, blanks and quotes aside."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND sql <> ''"))
    return {row.name: "".join(row.sql.replace('"', "").split()).lower() for row in rows}


def indexes(connection: Connection) -> dict[str, str]:
    """Indexes by name: Alembic does not compare those of expressions."""
    return {name: sql for name, sql in shape(connection).items() if sql.startswith(("createindex", "createunique"))}


def test_an_empty_store_is_made_as_the_migrations_make_it(engine: Engine, tmp_path: Path) -> None:
    assert store.ensure_schema(engine) is True
    other = store.open_engine(f"sqlite:///{tmp_path}/migrated.db")
    migrate(other)
    with engine.connect() as made, other.connect() as migrated:
        assert compare_metadata(MigrationContext.configure(made), metadata) == []
        assert rows(made) == rows(migrated)
        assert indexes(made) == indexes(migrated)
    assert store.version_of(engine) == store.version_of(other) == store.HEAD
    other.dispose()


def test_an_upgrade_gives_the_schema(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_upgrade_gives_the_indexes_with_their_conditions(engine: Engine) -> None:
    """Alembic's comparison does not look at the WHERE of a partial index; the queue's speed hangs on them."""
    migrate(engine)
    with engine.connect() as connection:
        migrated = shape(connection)
    fresh = create_engine("sqlite://")
    metadata.create_all(fresh)
    with fresh.connect() as connection:
        created = shape(connection)
    indexes: list[Index] = [index for table in metadata.tables.values() for index in table.indexes]
    partial = [i for i in indexes if " WHERE " in str(CreateIndex(i).compile(dialect=sqlite.dialect()))]
    assert len(partial) >= 5
    for index in indexes:
        assert index.name is not None
        assert migrated.get(index.name) == created[index.name], index.name
    extra = {name for name in migrated if name.startswith("ix_")} - {str(index.name) for index in indexes}
    assert extra == set()


def test_the_head_of_the_schema_is_the_head_of_alembic() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [store.HEAD]


def test_a_second_upgrade_changes_nothing(engine: Engine) -> None:
    assert store.ensure_schema(engine) is True
    with engine.connect() as connection:
        before = shape(connection)
    assert store.ensure_schema(engine) is False
    assert store.version_of(engine) == store.HEAD
    with engine.connect() as connection:
        assert shape(connection) == before


def test_a_downgrade_to_the_base_can_be_upgraded_again(engine: Engine) -> None:
    store.ensure_schema(engine)
    with engine.begin() as connection:
        command.downgrade(config(connection), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    assert store.version_of(engine) == ""
    assert store.ensure_schema(engine) is True
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migration_0005_keeps_the_receipts(engine: Engine) -> None:
    """There and back: with their numbers in the key there may be more of them than without."""
    both = "SELECT remote_id, state, opt_out, received_at FROM receipts ORDER BY remote_id, received_at"
    with engine.begin() as connection:
        command.upgrade(config(connection), "0004")
        for name in ("a", "b"):
            connection.execute(text(f"INSERT INTO receipts VALUES ('{name}', 'carrier:x', 'failed', 'why', 5.0, 1)"))
        before = connection.execute(text(both)).all()
        command.upgrade(config(connection), "head")
        assert connection.execute(text(both)).all() == before
        more = "INSERT INTO receipts (remote_id, courier, state, received_at, opt_out, recipient, sender) VALUES "
        connection.execute(text(more + "('a', 'carrier:x', 'failed', 6.0, 0, '1', '2')"))
        connection.execute(text(more + "('c', 'carrier:x', 'failed', 7.0, 0, '1', '2')"))
        connection.execute(text(more + "('c', 'carrier:x', 'failed', 7.0, 0, '1', '3')"))
        command.downgrade(config(connection), "0004")
        kept = [("c", "failed", 0, 7.0)]
        assert [tuple(row) for row in connection.execute(text(both))] == [tuple(row) for row in before] + kept


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine) -> None:
    """All or nothing: a table that is in the way, and not one of ours is there afterwards."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE messages (id INTEGER)"))
    with pytest.raises(store.StoreError, match="nothing was changed"):
        store.ensure_schema(engine)
    assert inspect(engine).get_table_names() == ["messages"]


@pytest.mark.req("A-48")
def test_the_file_of_the_store_is_readable_only_by_its_owner(engine: Engine, tmp_path: Path) -> None:
    store.ensure_schema(engine)
    assert (tmp_path / "sipsms.db").stat().st_mode & 0o077 == 0


def test_commits_survive_a_power_cut(engine: Engine) -> None:
    """WAL with synchronous=FULL (2): NORMAL loses committed rows."""
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


@pytest.mark.req("F-32")
def test_migration_0002_keeps_accounts_messages_and_registrations(engine: Engine) -> None:
    """Accounts, messages and registrations of the first version's store; and they fit the first version again."""
    with engine.begin() as connection:
        command.upgrade(config(connection), "0001")
    binding = """
        INSERT INTO bindings
        (aor, contact, expires_at, call_id, cseq, received, path, params, q, instance, reg_id, device)
        VALUES ('alice', 'sip:a@192.0.2.1', 9e9, 'c', 7, 'udp:192.0.2.1:5', '[]', '[]', 1, :instance, :flow, :device)"""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts (name, created_at, version) VALUES ('alice', 1.0, 1)"))
        connection.execute(
            text(
                "INSERT INTO messages (id, direction, source, destination, text, received_at) "
                "VALUES (1, 'out', '5550001111', '5551234567', 'kept', 1.0)"
            )
        )
        connection.execute(text(binding), {"instance": "<urn:uuid:1>", "flow": 1, "device": 3})
    assert store.ensure_schema(engine) is True
    with engine.begin() as connection:
        row = connection.execute(text("SELECT * FROM bindings")).one()
        assert (row.aor, row.contact, row.cseq, row.instance, row.reg_id, row.device) == (
            "alice", "sip:a@192.0.2.1", 7, "<urn:uuid:1>", 1, 3,
        )  # fmt: skip
        account = connection.execute(text("SELECT presence, copies FROM accounts")).one()
        assert (bool(account.presence), bool(account.copies)) == (True, False)
        message = connection.execute(text("SELECT text, content_type, device, notify FROM messages")).one()
        assert tuple(message) == ("kept", "", 0, "")
        connection.execute(text(binding), {"instance": "<urn:uuid:2>", "flow": 0, "device": 4})
    with engine.begin() as connection:
        command.downgrade(config(connection), "0001")
        assert connection.execute(text("SELECT device FROM bindings")).scalars().all() == [4]
        assert connection.execute(text("SELECT text FROM messages")).scalars().all() == ["kept"]


def test_migration_0007_gives_accounts_lanes_of_their_own(engine: Engine) -> None:
    """An account named 7, and device 7, waited in the same lane."""
    rows = [
        (1, "sip", 0, "sip:7", "queued"), (2, "sip", 7, "sip:7", "queued"), (3, "sip", 0, "sip:7@99#3", "queued"),
        (4, "sip", 0, "sip:7", "accepted"), (5, "app", 0, "app/7", "queued"),
    ]  # fmt: skip
    with engine.begin() as connection:
        command.upgrade(config(connection), "0006")
        connection.execute(
            text(
                "INSERT INTO messages (id, direction, source, destination, text, received_at) "
                "VALUES (1, 'in', '', '', '', 1.0)"
            )
        )
        for row in rows:
            values = dict(zip(("id", "courier", "device", "lane", "state"), row, strict=True))
            connection.execute(
                text(
                    "INSERT INTO deliveries (id, message_id, courier, destination, source, device, lane, state, "
                    "expires_at, created_at, updated_at) "
                    "VALUES (:id, 1, :courier, '7', '', :device, :lane, :state, 2.0, 1.0, 1.0)"
                ),
                values,
            )
    lanes = text("SELECT lane FROM deliveries ORDER BY id")
    assert store.ensure_schema(engine) is True
    with engine.begin() as connection:
        assert connection.execute(lanes).scalars().all() == ["sip/7", "sip:7", "sip/7@99#3", "sip:7", "app/7"]
        command.downgrade(config(connection), "0006")
        assert connection.execute(lanes).scalars().all() == [row[3] for row in rows]


@pytest.mark.req("F-32")
def test_migration_0003_keeps_messages_deliveries_and_pauses(engine: Engine) -> None:
    """Messages, their deliveries and the carriers' pauses; new columns say "as before"; and back again."""
    with engine.begin() as connection:
        command.upgrade(config(connection), "0002")
    with engine.begin() as connection:
        for sql in (
            "INSERT INTO accounts (name, created_at, version) VALUES ('alice', 1.0, 1)",
            "INSERT INTO carriers (name, paused) VALUES ('acme', 1)",
            "INSERT INTO messages (id, direction, source, destination, text, received_at) "
            "VALUES (1, 'out', '5550001111', '5551234567', 'kept', 1.0)",
            "INSERT INTO deliveries (id, message_id, courier, destination, source, lane, state, expires_at, "
            "created_at, updated_at, remote_id) "
            "VALUES (1, 1, 'carrier:acme', '5551234567', '5550001111', 'l', 'accepted', 2.0, 1.0, 1.0, 'c-1')",
        ):  # fmt: skip
            connection.execute(text(sql))
    assert store.ensure_schema(engine) is True
    with engine.begin() as connection:
        message = connection.execute(text("SELECT text, media FROM messages")).one()
        assert tuple(message) == ("kept", "")
        delivery = connection.execute(text("SELECT state, remote_id, text_start, text_end FROM deliveries")).one()
        assert tuple(delivery) == ("accepted", "c-1", 0, 0)
        account = connection.execute(text("SELECT bulk, shorteners FROM accounts")).one()
        assert (bool(account.bulk), bool(account.shorteners)) == (False, False)
        carrier = connection.execute(text("SELECT paused, polled_at, status FROM carriers")).one()
        assert (bool(carrier.paused), carrier.polled_at, carrier.status) == (True, 0.0, "")
    with engine.begin() as connection:
        command.downgrade(config(connection), "0002")
        assert connection.execute(text("SELECT remote_id FROM deliveries")).scalars().all() == ["c-1"]
        assert connection.execute(text("SELECT text FROM messages")).scalars().all() == ["kept"]


@pytest.mark.req("F-32", "P-13")
def test_a_downgrade_of_0005_does_not_take_outgoing_parts_for_incoming_parts(engine: Engine) -> None:
    store.ensure_schema(engine)
    part = """
        INSERT INTO parts (carrier, source, destination, reference, number, total, text, received_at, joined, account)
        VALUES (:carrier, '5550001111', '2125550123', 'r', 1, 2, 'one', 1.0, 0, :account)"""
    with engine.begin() as connection:
        connection.execute(text(part), {"carrier": "smpp", "account": "demo"})
        connection.execute(text(part), {"carrier": "carrier:sim", "account": ""})
    with pytest.raises(RuntimeError, match="1 parts"), engine.begin() as connection:
        command.downgrade(config(connection), "0004")
    assert store.version_of(engine) == store.HEAD
    with engine.begin() as connection:
        connection.execute(text("UPDATE parts SET joined = 1 WHERE carrier = 'smpp'"))
    with engine.begin() as connection:
        command.downgrade(config(connection), "0004")
        assert connection.execute(text("SELECT carrier FROM parts")).scalars().all() == ["carrier:sim"]


QUERIES = {  # by which index each is answered, a million settled rows or none
    "receipt": ("SELECT id FROM deliveries WHERE remote_id = 'x' AND remote_id <> '' AND courier = 'c'",
                "ix_deliveries_remote_id"),
    "doubts": ("SELECT id FROM deliveries WHERE state = 'unknown' AND courier = 'c' ORDER BY id LIMIT 9",
               "ix_deliveries_unknown"),
    "dead letters": ("SELECT id FROM deliveries WHERE courier IN ('callback', 'webhook', 'mail') AND state IN "
                     "('failed', 'expired') ORDER BY id LIMIT 9", "ix_deliveries_dead"),
    "blocks": ("SELECT number FROM blocks WHERE version > 7", "ix_blocks_version"),
    "parts that wait": ("SELECT carrier FROM parts WHERE joined = 0 GROUP BY carrier, source, destination, reference",
                        "ix_parts_open"),
    "parts": ("SELECT number FROM parts WHERE joined AND received_at < 7", "ix_parts_received_at"),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_of_the_queue_scans_a_table_after_an_upgrade(engine: Engine, name: str) -> None:
    store.ensure_schema(engine)
    sql, index = QUERIES[name]
    with engine.connect() as connection:
        plan = " ".join(row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}")))
    assert index in plan, plan
