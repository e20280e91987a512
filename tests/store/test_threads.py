"""The DID that a peer last wrote to: rows, their order and their end."""

from __future__ import annotations

from sqlalchemy import Connection

from sipsms.store import accounts
from sipsms.store.accounts import Hashes
from sipsms.store.threads import forget, last_dids, note_all

PEER, OTHER = "2125550123", "2125550124"
FIRST, SECOND = "5550001111", "5550002222"


def test_the_last_did_of_a_thread_stays(db: Connection) -> None:
    note_all(db, [("acme", PEER, FIRST), ("acme", PEER, SECOND), ("acme", OTHER, FIRST), ("desk", PEER, FIRST)])
    wanted = [("acme", PEER), ("acme", OTHER), ("desk", PEER), ("desk", OTHER), ("nobody", PEER)]
    assert last_dids(db, wanted) == [SECOND, FIRST, FIRST, "", ""]
    note_all(db, [("acme", PEER, FIRST)])
    assert last_dids(db, wanted[:1]) == [FIRST]
    forget(db, "acme")
    assert last_dids(db, wanted) == ["", "", FIRST, "", ""]


def test_the_look_up_reads_one_row_of_an_index(db: Connection) -> None:
    plan = db.exec_driver_sql("EXPLAIN QUERY PLAN SELECT did FROM threads WHERE account = 'a' AND peer = 'b'").all()
    assert [row[3] for row in plan] == ["SEARCH threads USING PRIMARY KEY (account=? AND peer=?)"]


def test_threads_end_with_the_setting_and_with_the_account(db: Connection) -> None:
    for name in ("acme", "other"):
        accounts.add_account(db, name, Hashes.of(name, "pw", "r"), 1.0)
        accounts.set_account(db, name, reply_from_thread=True)
        note_all(db, [(name, PEER, FIRST)])
    accounts.set_account(db, "acme", copies=True)
    assert last_dids(db, [("acme", PEER)]) == [FIRST]
    accounts.set_account(db, "acme", reply_from_thread=False)
    accounts.remove_account(db, "other")
    assert last_dids(db, [("acme", PEER), ("other", PEER)]) == ["", ""]
