"""What apps fetch: nothing is skipped, whatever else there is, and a look is short."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, update

from sipsms.core.message import Delivery, Direction, Message
from sipsms.store import app_messages, history
from sipsms.store import messages as accepting
from sipsms.store.schema import deliveries, messages
from tests.support.tools.weight import steps

DIDS = [f"555000{n:04d}" for n in range(100)]


def come(db: Connection, count: int, at: float = 100.0) -> list[int]:
    """The ids of their deliveries."""
    message = Message(Direction.IN, "4445556666", DIDS[0], "x", "hook", at, "acme", DIDS[0])
    one = Delivery(message, "app", "101", "4445556666", "app/101", 9e9, at)
    stored = accepting.accept_all(db, [(message, [one], "node", at)] * count)
    ids = [each.deliveries[0].id for each in stored]
    for delivery in ids:  # all but one step aside when they have been tried
        if delivery % 7:
            aside = update(deliveries).where(deliveries.c.id == delivery)
            db.execute(aside.values(lane=f"app/101#{delivery}", due_at=None))
    return ids


def told(db: Connection, after: int = 0, made: float = 0.0, since: float = 0.0) -> list[int]:
    return [delivery for delivery, _ in app_messages.received(db, "101", made, after, since, 100)]


def test_the_first_fetch_returns_all_waiting_messages(db: Connection) -> None:
    old = come(db, 30)
    app_messages.fetched(db, old, 100.0)
    fresh = come(db, 230)
    known, last = [], 0
    while page := told(db, last):
        known += page
        app_messages.fetched(db, page, 200.0)
        last = page[-1]
    assert known == fresh
    assert told(db) == fresh[-100:], "another app, when nothing waits any more"


def test_a_waiting_message_is_returned_however_old_it_is(db: Connection) -> None:
    old, fresh = come(db, 1, at=100.0), come(db, 2, at=900.0)
    assert told(db, since=500.0) == old + fresh
    app_messages.fetched(db, old, 900.0)
    assert told(db, since=500.0) == fresh


def test_messages_of_an_earlier_account_of_the_same_name_are_not_returned(db: Connection) -> None:
    old, fresh = come(db, 150, at=100.0), come(db, 2, at=900.0)
    assert told(db, made=500.0) == told(db, after=old[3], made=500.0) == fresh


def test_a_cancelled_message_is_not_returned(db: Connection) -> None:
    one, two = come(db, 2)
    db.execute(update(deliveries).where(deliveries.c.id == one).values(state="failed"))
    assert told(db) == [two]


def fill(db: Connection, dids: list[str], own: set[int], count: int, first: int = 1) -> None:
    fixed = {"source": "4445556666", "destination": "x", "text": "x" * 100, "received_at": 100.0}
    mine, other = {"direction": "out", "account": "101"}, {"direction": "in", "account": "acme"}
    rows = [
        {**fixed, "id": n, "did": dids[n % len(dids)], **(mine if n in own else other)} for n in range(first, count + 1)
    ]
    db.execute(insert(messages), rows)
    while history.follow(db):
        pass


def test_messages_of_other_accounts_do_not_hide_sent_messages(db: Connection) -> None:
    own = {1, 2, 6100, 6101, 9000}
    fill(db, DIDS[:3], own, 9000)
    ids, after, passed, looks = [], 1, 1, 0
    while after < 9000:
        rows, passed = app_messages.sent(db, "101", DIDS[:3], max(after, passed), 0.0, 100)
        ids += [row.id for row in rows]
        after, looks = rows[-1].id if rows else after, looks + 1
        assert looks < 12
    assert set(ids) == own - {1}
    assert ids == sorted(ids)


def test_a_first_fetch_returns_the_newest_sent_messages(db: Connection) -> None:
    fill(db, DIDS[:3], set(range(100, 9000, 10)), 9000)
    rows, _ = app_messages.sent(db, "101", DIDS[:3], 0, 0.0, 100)
    assert [row.id for row in rows] == list(range(8000, 9000, 10))
    assert app_messages.sent(db, "101", DIDS[:3], 0, 100.5, 100)[0] == []
    assert app_messages.sent(db, "101", [], 0, 0.0, 100)[0] == []


def test_a_page_begins_where_the_page_before_ended(db: Connection) -> None:
    fill(db, DIDS[:2], set(range(1, 301)), 300)
    first, _ = app_messages.sent(db, "101", DIDS[:2], 10, 0.0, 100)
    second, _ = app_messages.sent(db, "101", DIDS[:2], first[-1].id, 0.0, 100)
    assert [row.id for row in (*first, *second)] == list(range(11, 211))


@pytest.mark.parametrize("after", [0, 5])
def test_a_query_for_a_hundred_dids_takes_bounded_work(db: Connection, after: int) -> None:
    def look() -> None:
        app_messages.sent(db, "101", DIDS, after, 0.0, 100)

    fill(db, DIDS, {5}, 5_000)
    few = steps(db, look)
    fill(db, DIDS, set(), 50_000, first=5_001)
    assert 0 < steps(db, look) < 1.1 * few, "as long with ten times as many"
    assert few < 500, "a hundred numbers share what one look passes by"
