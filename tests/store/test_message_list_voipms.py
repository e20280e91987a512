"""Messages read back by DID and time: found by bisection, page by page, at a cost that does not grow with the rest."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from sipsms.core.message import Direction, Media, Message
from sipsms.store import history, message_list, message_list_voipms
from sipsms.store.rows import media_text
from sipsms.store.schema import messages

A, B, OTHER = "5550001111", "5550002222", "5550009999"
NO_END = 1e12


def fill(db: Connection, count: int, dids: tuple[str, ...] = (A, B, OTHER), first: int = 1, **values: Any) -> None:
    """One every ten seconds, the DIDs in turn."""
    rows = [
        {
            "id": n, "direction": "in", "source": "2125550123", "destination": dids[n % len(dids)], "text": str(n),
            "received_at": 10.0 * n, "did": dids[n % len(dids)], **values,
        }
        for n in range(first, first + count)
    ]  # fmt: skip
    db.execute(insert(messages), rows)
    while history.follow(db):
        pass


def found(db: Connection, *dids: str, since: float = 0, until: float = NO_END, **filters: Any) -> list[int]:
    filters = {"limit": 10_000, **filters}

    def render(message: Message) -> int | None:
        return message.id if since <= message.received_at < until else None

    owned = dict.fromkeys(dids, 0.0)
    return message_list_voipms.past(db, owned, since, until, render, **filters)


def statements(db: Connection, work: Any) -> int:
    seen: list[str] = []
    listen = lambda *args: seen.append(args[2])  # noqa: E731
    event.listen(db, "before_cursor_execute", listen)
    work()
    event.remove(db, "before_cursor_execute", listen)
    return len(seen)


def test_an_empty_store_gives_an_empty_list(db: Connection) -> None:
    assert found(db, A) == []
    fill(db, 30)
    assert found(db) == []
    assert found(db, "5558887777") == []


@pytest.mark.parametrize(("since", "until"), [(0, NO_END), (3000, 6000), (10, 20), (29_990, NO_END), (40_000, NO_END)])
def test_messages_are_listed_by_did_and_time(db: Connection, since: float, until: float) -> None:
    fill(db, 3000)
    expected = [n for n in range(3000, 0, -1) if since <= 10.0 * n < until and n % 3 != 2]
    assert found(db, A, B, since=since, until=until) == expected
    assert found(db, A, since=since, until=until, limit=7) == [n for n in expected if n % 3 == 0][:7]


def test_gaps_in_ids_and_times_out_of_order_hide_no_message(db: Connection) -> None:
    """Messages wait for a commit, and ids are lost with a batch that failed."""
    fill(db, 100, first=1000)
    fill(db, 100, first=50_000)
    db.execute(
        messages.update().where(messages.c.id == 50_050).values(received_at=500_500 - message_list_voipms._SLACK / 2)
    )
    assert 50_050 in found(db, A, B, OTHER, since=500_500 - message_list_voipms._SLACK / 2, until=500_500)
    assert found(db, A, B, OTHER, since=11_000, until=400_000) == []
    assert len(found(db, A, B, OTHER, since=10_500)) == 150


def test_filters_select_by_direction_contact_and_mms(db: Connection) -> None:
    fill(db, 10, (A,))
    fill(db, 10, (A,), 11, direction="out", destination="3125550000", source=A)
    fill(db, 10, (A,), 21, media=media_text((Media("image/jpeg", "a.jpg", 1, "t"),)))
    fill(db, 10, (A,), 31, hidden=True)
    fill(db, 10, (A,), 41, content_type="message/imdn+xml")
    assert found(db, A) == list(range(30, 0, -1))
    assert found(db, A, direction=Direction.OUT) == list(range(20, 10, -1))
    assert found(db, A, contact="3125550000") == list(range(20, 10, -1))
    assert found(db, A, mms=True) == list(range(30, 20, -1))
    assert found(db, A, mms=False, limit=3) == [20, 19, 18]


@pytest.mark.req("A-37")
def test_a_customer_sees_only_messages_from_the_time_of_owning_the_did(db: Connection) -> None:
    """A number that was another customer's before."""
    fill(db, 20, (A,))
    owned = {A: 105.0}
    assert message_list_voipms.past(db, owned, 0, NO_END, lambda one: one.id, limit=99) == list(range(20, 10, -1))
    assert message_list_voipms.one(db, 3, owned) is None
    assert not message_list_voipms.hide(db, 3, owned)
    assert message_list_voipms.one(db, 13, owned) is not None


def test_a_message_is_read_and_hidden_only_by_the_owner_of_its_did(db: Connection) -> None:
    fill(db, 9)
    message = message_list_voipms.one(db, 3, {A: 0.0})
    assert message is not None
    assert (message.id, message.text, message.direction, message.did) == (3, "3", Direction.IN, A)
    for number, dids in ((3, {B: 0.0}), (3, {}), (99, {A: 0.0}), (2**63 - 1, {A: 0.0})):
        assert message_list_voipms.one(db, number, dids) is None
        assert not message_list_voipms.hide(db, number, dids)
    assert message_list_voipms.hide(db, 3, {A: 0.0, B: 0.0})
    assert message_list_voipms.one(db, 3, {A: 0.0}) is None
    assert not message_list_voipms.hide(db, 3, {A: 0.0})


def test_statements_do_not_grow_with_the_messages(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many statements for a hundred times the messages, but for the bisection's few; each of them by an index."""
    fill(db, 1000)
    few = statements(db, lambda: found(db, A, since=9000, limit=50))
    fill(db, 99_000, first=1001)
    many = statements(db, lambda: found(db, A, since=999_000, limit=50))
    assert many <= few + 16, "two bisections, of which each has seven steps more"
    sql = str(message_list.RECEIVED_AT.compile(db))
    (step,) = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).all()
    assert step[3].startswith("SEARCH"), step
    monkeypatch.setattr(message_list_voipms, "LOOKED_AT", 1000)
    assert found(db, A, contact="3125550000") == [], "and who looks for what is not there gives up"


def test_pages_grow_so_that_long_lists_need_few_statements(db: Connection) -> None:
    fill(db, 5000, (A,))
    assert statements(db, lambda: found(db, A, limit=20)) < 32
    assert statements(db, lambda: found(db, A)) < 45
    assert found(db, A) == list(range(5000, 0, -1))
