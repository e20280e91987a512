"""Engines for the store's URL, with the settings for durability, and the schema's version.

SQLite runs in WAL mode with synchronous=FULL: a commit that was acknowledged survives a power cut. Writing transactions
begin IMMEDIATE, so that a command waits for a running server instead of failing half way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from sipsms.core import log
from sipsms.store.schema import metadata
from sipsms.store.sqlite import sqlite3

DriverError = (SQLAlchemyError, sqlite3.Error)  # raised by a statement that the database rejects
# The database is locked, full or gone: the same for every statement. sqlite3's own come from statements on `driver_of`.
Broken = (OperationalError, InterfaceError, sqlite3.OperationalError, sqlite3.InterfaceError)

HEAD = "0012"  # the newest migration; a test compares it with Alembic's
SERVER_WAIT = 4500  # milliseconds a server waits for another program's lock
SERVER_WAIT_AGAIN = 200  # milliseconds after a failed wait, until the lock is obtained again
_WRITE_CACHE, _READ_CACHE = 65536, 8192  # KiB of pages; what is read once stands in the system's cache anyway
_LOCK_WAIT = 0.25  # seconds for a holder to say what it is
COMMAND_WAIT = 15000  # milliseconds a command waits; it may wait longer than a server


class StoreError(Exception):
    """The store cannot be used. The text is one line for the user of the program."""


class Locked(StoreError):
    """The store is locked by another process."""


def open_engine(url: str, *, read_only: bool = False, lock_wait: int = COMMAND_WAIT) -> Engine:
    """Return an engine for one kind of use. Raises StoreError."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url, parsed.database or "", read_only, lock_wait)
    try:
        return create_engine(url, pool_pre_ping=True)
    except (SQLAlchemyError, ImportError) as error:
        raise StoreError(f"store {parsed.render_as_string(hide_password=True)}: {error}") from None


def _sqlite(url: str, path: str, read_only: bool, lock_wait: int) -> Engine:
    folder = Path(path).parent
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            log.warning("store_folder_made", path=str(folder.absolute()), why="it did not exist: is `store` right?")
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}: {folder}") from None
    pool = QueuePool if read_only else NullPool
    engine = create_engine(url, module=sqlite3, poolclass=pool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the "begin" event below sends BEGIN
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={lock_wait}")
        cursor.execute(f"PRAGMA cache_size=-{_READ_CACHE if read_only else _WRITE_CACHE}")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not driver_of(connection).in_transaction:  # else `begin` has been called
            driver_of(connection).execute("BEGIN" if read_only else _BEGIN)

    return engine


def lock(engine: Engine, holder: str) -> IO[str] | None:
    """Lock a SQLite store against other processes while the result is kept; None for another database.

    `holder`: `server` or `command`, which others are told. A command's lock is waited for. Raises Locked."""
    if engine.url.get_backend_name() != "sqlite" or not engine.url.database:
        return None
    handle = open(engine.url.database + ".lock", "a+", opener=_private)  # noqa: SIM115
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            is_command = handle.read() == "command"
            if time.monotonic() - began >= (COMMAND_WAIT / 1000 if is_command else _LOCK_WAIT):
                handle.close()
                what = "a command is working" if is_command else "another sipsms server is running"
                raise Locked(f"store {engine.url.database}: {what} on it") from None
            time.sleep(0.05)
        else:
            handle.truncate(0)
            handle.write(holder)
            handle.flush()
            return handle


def _private(path: str, flags: int) -> int:
    """Open a lock that only the store's owner may open: whoever else could, could hold it against the server.

    A command of root must not keep out a server that runs as another user."""
    descriptor = os.open(path, flags, 0o600)
    with contextlib.suppress(
        PermissionError, FileNotFoundError
    ):  # of another user: it was made on purpose; no store yet
        os.fchmod(descriptor, 0o600)
        owner = os.stat(path.removesuffix(".lock"))
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def version_of(engine: Engine) -> str:
    """Return the schema's version; empty for a store without a schema. Raises StoreError."""
    try:
        with engine.connect() as connection:
            return _version(connection)
    except DriverError as error:
        raise StoreError(f"store {engine.url.render_as_string(hide_password=True)}: {reason(error)}") from None


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def driver_of(connection: Connection) -> Any:
    """Return the driver's connection, for statements that leave out SQLAlchemy."""
    return connection.connection.driver_connection


_BEGIN = "BEGIN IMMEDIATE"


def begin(connection: Connection) -> None:
    """Begin a writing transaction, in which both SQLAlchemy's statements and the driver's may run."""
    if connection.dialect.name == "sqlite":
        driver_of(connection).execute(_BEGIN)
    else:
        connection.begin()


def commit(connection: Connection) -> None:
    if connection.in_transaction():
        connection.commit()
    else:
        driver_of(connection).execute("COMMIT")


def roll_back(connection: Connection) -> None:
    connection.rollback()  # also of a commit that failed, after which SQLAlchemy refuses all other statements
    if connection.dialect.name == "sqlite" and driver_of(connection).in_transaction:
        driver_of(connection).execute("ROLLBACK")


def set_patience(connection: Connection, milliseconds: int) -> None:
    """Set how long this connection waits for a lock from now on (SQLite)."""
    if connection.dialect.name == "sqlite":
        driver_of(connection).execute(f"PRAGMA busy_timeout={milliseconds}")


def ensure_schema(engine: Engine) -> bool:
    """Make or upgrade the schema. Return True if anything changed. Raises StoreError if it is newer than we."""
    version = version_of(engine)
    if version == HEAD:
        return False
    if version > HEAD:
        name = engine.url.render_as_string(hide_password=True)
        raise StoreError(f"store {name}: its schema {version} is newer than this program's, {HEAD}; upgrade sipsms")
    try:
        if version:
            _upgrade(engine)
        else:
            _create(engine)
    except DriverError as error:
        raise StoreError(f"store: migration failed, nothing was changed: {reason(error)}") from None
    _protect(engine)
    return True


def _create(engine: Engine) -> None:
    """Make the newest schema at once: ten times as quick as all migrations, which tests hold to the same result."""
    with engine.begin() as connection:
        if _version(connection):  # another program was quicker
            return
        metadata.create_all(connection, checkfirst=False)
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{HEAD}')")
        connection.exec_driver_sql("INSERT INTO counters (name, value) VALUES ('device', 0)")


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _protect(engine: Engine) -> None:
    """Make the files readable by their owner only: they hold password hashes and people's messages."""
    if engine.url.get_backend_name() == "sqlite" and engine.url.database:
        for suffix in ("", "-wal", "-shm"):
            path = Path(engine.url.database + suffix)
            if path.exists():
                path.chmod(0o600)


def reason(error: Exception) -> str:
    """Return one line of a failure, without the statement and its values."""
    return (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0]
