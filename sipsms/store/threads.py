"""The DID that a peer last wrote to, for accounts that answer from it.

Rows are written in the commit that stores the incoming message, and only for accounts with `reply_from_thread`. So the
messages of all other accounts cost nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from sipsms.store.schema import threads

Thread = tuple[str, str]  # account, peer


def note_all(connection: Connection, rows: Iterable[tuple[str, str, str]]) -> None:
    """Store rows of (account, peer, DID) in their order: the last DID of a thread stays."""
    last = {(account, peer): did for account, peer, did in rows}
    values = [{"account": account, "peer": peer, "did": did} for (account, peer), did in last.items()]
    connection.execute(_upsert(connection.dialect.name), values)


@cache
def _upsert(dialect: str) -> Any:
    statement = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(threads)
    return statement.on_conflict_do_update(index_elements=["account", "peer"], set_={"did": statement.excluded["did"]})


def last_dids(connection: Connection, batch: Sequence[Thread]) -> list[str]:
    """Return the DID that each peer last wrote to; empty if the account has no message of the peer."""
    return [_last_did(connection, account, peer) for account, peer in batch]


def _last_did(connection: Connection, account: str, peer: str) -> str:
    query = select(threads.c.did).where(threads.c.account == account, threads.c.peer == peer)
    return str(connection.execute(query).scalar() or "")


def forget(connection: Connection, account: str) -> None:
    """Delete all threads of an account."""
    connection.execute(delete(threads).where(threads.c.account == account))
