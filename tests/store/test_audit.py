"""The audit log: rows in order, by pages."""

from __future__ import annotations

from sqlalchemy import Connection

from sipsms.store import audit
from sipsms.store.audit import By


def test_rows_come_newest_first_and_by_pages(db: Connection) -> None:
    for number in range(5):
        audit.add(db, 10.0 + number, By("ana", "192.0.2.1"), "user_added", f"user{number}", "x" * 5000)
    first = audit.newest(db, None, 2)
    assert [row["subject"] for row in first] == ["user4", "user3"]
    assert [row["subject"] for row in audit.newest(db, first[-1]["id"], 9)] == ["user2", "user1", "user0"]
    assert first[0] == {
        "id": first[0]["id"], "at": 14.0, "who": "ana", "action": "user_added", "subject": "user4",
        "detail": "x" * 1024, "address": "192.0.2.1",
    }  # fmt: skip
