"""The API's lists: each is answered by an index, whatever is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from sipsms.store import history, message_list, operator_lists
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.message_list import Wanted
from sipsms.store.schema import deliveries, messages

STORED = 6000
NUMBERS = [f"555000{n:04d}" for n in range(10)]


def everything(account: str, did: str, at: float) -> bool:
    return True


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('pages') / 's.db'}")
    ensure_schema(engine)
    fixed = {"direction": "in", "source": "4445556666", "text": "x", "account": "anna"}
    over = {"courier": "sip", "destination": "anna", "source": "x", "state": "delivered", "expires_at": 9e9}
    with engine.begin() as connection:
        rows = [{"id": n + 1, "did": NUMBERS[n % 10], "received_at": float(n)} for n in range(STORED)]
        connection.execute(insert(messages), [{**fixed, "destination": row["did"], **row} for row in rows])
        connection.execute(
            insert(deliveries),
            [{**over, "id": n + 1, "message_id": n + 1, "lane": f"sip:{n % 7}", "created_at": n, "updated_at": n}
             for n in range(STORED)],
        )  # fmt: skip
        while history.follow(connection):
            pass
        connection.execute(deliveries.update().where(deliveries.c.id % 1000 == 0).values(state="queued"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


LISTS: dict[str, Callable[[Connection], Any]] = {
    "messages": lambda db: message_list.list_messages(db, Wanted(), everything),
    "of a number": lambda db: message_list.list_messages(db, Wanted(numbers=NUMBERS[:1], before=500), everything),
    "filtered": lambda db: message_list.list_messages(
        db, Wanted(contact="1", direction="in", since=5.0, until=9.0), everything
    ),
    "a message": lambda db: message_list.message(db, 5, everything),
    "conversations": lambda db: message_list.conversations(db, NUMBERS[0], everything),
    "queue": lambda db: message_list.list_queue(db, (), 50, unknown=False),
    "queue, next": lambda db: message_list.list_queue(db, ("sip:1", 5), 50, unknown=False),
    "queue of the command line": lambda db: list(operator_lists.list_queue(db, 50)),
    "unknown, of the command line": lambda db: list(operator_lists.list_queue(db, 50, unknown=True)),
    "carriers": lambda db: list(operator_lists.list_carriers(db, [])),
    "devices of the command line": lambda db: list(operator_lists.list_devices(db, 0.0)),
    "unknown": lambda db: message_list.list_queue(db, ("", 5), 50, unknown=True),
    "dead letters": lambda db: message_list.list_dead(db, None, 50, everything),
    "a dead letter": lambda db: message_list.dead_letter(db, 5, everything),
    "devices": lambda db: message_list.list_devices(db, ["anna"], 0, 50, 0.0),
    "all devices": lambda db: message_list.list_devices(db, None, 5, 50, 0.0),
    "registrations": lambda db: message_list.list_bindings(db, ["anna"], ("a", "b", "", 0), 50, 0.0),
    "blocks": lambda db: message_list.list_blocks(db, ["anna"], ("a", "b", "in"), 50),
    "tokens": lambda db: message_list.token(db, "x") or message_list.state_of(db, 5),
    "names": lambda db: message_list.names(db, "accounts", "a", 5) + message_list.names(db, "dids", "5", 5),
    "endpoints": lambda db: message_list.names(db, "endpoints", "5", 5),
}


@pytest.mark.req("L-04")
@pytest.mark.parametrize("name", LISTS)
def test_no_list_scans_a_table(db: Connection, name: str) -> None:
    """No plan has a SCAN of messages, deliveries or attempts, nor a walk over all deliveries by their ids."""
    plans: list[str] = []

    def explain(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            plan = db.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(str(row[3]) for row in plan.fetchall())

    event.listen(db.engine, "before_cursor_execute", explain)
    try:
        LISTS[name](db)
    finally:
        event.remove(db.engine, "before_cursor_execute", explain)
    assert plans
    for line in plans:
        assert not line.startswith(("SCAN messages", "SCAN deliveries", "SCAN attempts")) or " INDEX " in line, plans
        assert line != "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>?)", plans


@pytest.mark.parametrize("numbers", [None, NUMBERS, NUMBERS[3:5], NUMBERS[:1], []])
@pytest.mark.parametrize("limit", [7, 50, 200])
def test_pages_contain_every_message_once(db: Connection, numbers: list[str] | None, limit: int) -> None:
    ids: list[int] = []
    before: int | None = None
    for _ in range(STORED + 2):
        rows, before = message_list.list_messages(db, Wanted(numbers=numbers, before=before, limit=limit), everything)
        ids += [row["id"] for row in rows]
        if before is None or len(ids) > 700:
            break
    expected = [n + 1 for n in reversed(range(STORED)) if numbers is None or NUMBERS[n % 10] in numbers]
    assert ids == expected[: len(ids)]
    assert len(ids) > 700 or ids == expected


@pytest.mark.parametrize("numbers", [None, NUMBERS[:2], []])
def test_messages_of_a_contact_are_all_found(db: Connection, numbers: list[str] | None) -> None:
    rows, before = message_list.list_messages(db, Wanted(numbers, contact="4445556666", limit=7), everything)
    expected = [n + 1 for n in reversed(range(STORED)) if numbers is None or NUMBERS[n % 10] in numbers]
    assert [row["id"] for row in rows] == expected[:7]
    assert (before is None) == (len(expected) <= 7)


@pytest.mark.parametrize("numbers", [None, NUMBERS])
def test_a_contact_that_never_wrote_costs_one_look(db: Connection, numbers: list[str] | None) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        assert message_list.list_messages(db, Wanted(numbers, contact="2125559999"), everything) == ([], None)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    *_, (statement, parameters) = statements
    assert len(statements) == 3  # how far the history goes, the newest message, and one look
    plan = db.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    assert plan[0][3] == "SEARCH history USING PRIMARY KEY (kind=? AND number=? AND id>? AND id<?)"


@pytest.mark.parametrize("when", [-10.0, 0.0, 1.0, 2999.5, 5999.0, 9e9])
def test_the_last_message_before_a_time_is_found_by_bisection(db: Connection, when: float) -> None:
    assert message_list.last_before(db, when) == sum(1 for n in range(STORED) if n < when)


def test_messages_that_the_caller_may_not_see_are_skipped(db: Connection) -> None:
    rows, before = message_list.list_messages(db, Wanted(), lambda account, did, at: False)
    assert rows == []
    assert before == STORED - message_list.SCAN + 1
    assert message_list.message(db, 5, lambda account, did, at: False) is None
    assert message_list.conversations(db, NUMBERS[0], lambda account, did, at: False) == []


@pytest.mark.parametrize("state", ["", "queued", "failed"])
@pytest.mark.parametrize("limit", [1, 50, 200])
@pytest.mark.parametrize("numbers", [None, NUMBERS, NUMBERS[:1], [*NUMBERS, *(f"5559{n:06d}" for n in range(190))]])
def test_a_page_reads_a_bounded_number(db: Connection, numbers: list[str] | None, limit: int, state: str) -> None:
    """About 2,000 messages and some queries, whatever is asked for."""
    looked: list[int] = []
    queries: list[str] = []

    def sees(account: str, did: str, at: float) -> bool:
        looked.append(1)
        return True

    def count(*args: Any) -> None:
        queries.append(args[2])

    event.listen(db.engine, "before_cursor_execute", count)
    message_list.list_messages(db, Wanted(numbers=numbers, limit=limit, state=state), sees)
    event.remove(db.engine, "before_cursor_execute", count)
    assert len(looked) <= message_list.SCAN + 200
    assert len(queries) < 2 * len(numbers or [0]) + 60


def test_the_pages_of_the_queue_contain_every_delivery(db: Connection) -> None:
    ids, after = [], ()
    while after is not None:
        rows, after = message_list.list_queue(db, after, 2, unknown=False)
        ids += [row["delivery"] for row in rows]
    assert sorted(ids) == [1000, 2000, 3000, 4000, 5000, 6000]
