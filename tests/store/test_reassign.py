"""What waits for phones and apps when there are others, or none any more."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select, update

from sipsms.core.errors import BadValue
from sipsms.core.message import Delivery, Direction, Message
from sipsms.store import accounts, app_messages, messages, operator_lists, reassign
from sipsms.store.accounts import Hashes
from sipsms.store.schema import deliveries

NO_HASHES = Hashes("", "", "")


@pytest.fixture
def db(db: Connection) -> Connection:
    accounts.add_account(db, "101", NO_HASHES, 50.0)
    return db


def put(db: Connection, courier: str = "sip", *, device: int = 0, at: float = 100.0) -> int:
    message = Message(Direction.IN, "4445556666", "5550001111", "code 4711", "hook", at, "acme", "5550001111")
    lane = {"sip": f"sip:{device}" if device else "sip/101", "app": "app/101"}[courier]
    due = at if courier == "app" else None
    delivery = Delivery(message, courier, "101", "4445556666", lane, 9e9, at, device, due_at=due, open=not device)
    delivery = delivery._replace(open=courier == "sip" and not device)
    (stored,) = messages.accept_all(db, [(message, [delivery], "node", at)])
    if courier == "app" and at != 99.0:  # one that has been tried steps aside
        db.execute(update(deliveries).where(deliveries.c.message_id == stored.message_id).values(lane="app/101#9"))
    return stored.message_id


def rows(db: Connection) -> list[tuple[str, str, bool, int]]:
    query = select(deliveries).order_by(deliveries.c.id)
    return [(row.courier, row.state, row.open, row.device) for row in db.execute(query)]


def test_deliveries_of_a_removed_account_fail(db: Connection) -> None:
    put(db), put(db, "app"), put(db, device=0)
    reassign.adopt_open(db, "101", 7, "sip:7", 150.0)
    put(db)
    accounts.remove_account(db, "101")
    assert [(state, is_open) for _, state, is_open, device in rows(db) if not device] == [("failed", False)] * 2
    accounts.add_account(db, "101", NO_HASHES, 200.0)
    assert reassign.adopt_open(db, "101", 8, "sip:8", 300.0) == 0


def test_deliveries_of_an_earlier_account_of_the_same_name_are_not_adopted(db: Connection) -> None:
    put(db, at=10.0)
    assert reassign.adopt_open(db, "101", 8, "sip:8", 300.0) == 0
    put(db, at=60.0)
    assert reassign.adopt_open(db, "101", 8, "sip:8", 300.0) == 1


def test_a_cancelled_delivery_is_not_adopted_by_a_later_phone(db: Connection) -> None:
    first, second = put(db), put(db)
    assert operator_lists.cancel(db, first, 110.0) == 1
    assert reassign.adopt_open(db, "101", 7, "sip:7", 120.0) == 1
    assert operator_lists.cancel(db, second, 130.0) == 1
    assert reassign.adopt_open(db, "101", 8, "sip:8", 140.0) == 0


def test_a_delivery_adopted_by_one_phone_is_adopted_by_later_phones_once(db: Connection) -> None:
    put(db)
    assert [reassign.adopt_open(db, "101", phone, f"sip:{phone}", 120.0) for phone in (7, 8, 8)] == [1, 1, 0]


def test_waiting_app_messages_go_to_the_phones_when_the_app_is_switched_off(db: Connection) -> None:
    accounts.set_account(db, "101", app_messages=True)
    put(db, "app", at=99.0), put(db, "app")
    accounts.set_account(db, "101", app_messages=False)
    assert rows(db) == [("app", "failed", False, 0)] * 2 + [("sip", "queued", True, 0)] * 2
    assert reassign.adopt_open(db, "101", 7, "sip:7", 120.0) == 2
    accounts.set_account(db, "101", app_messages=True)
    assert app_messages.received(db, "101", 0, 50.0, 50.0, 100) == [], "its phones have these"


@pytest.mark.parametrize("networks", [",", " ", "fe80::1%eth0", "192.0.2.1,x"])
def test_invalid_networks_are_refused(db: Connection, networks: str) -> None:
    with pytest.raises(BadValue):
        accounts.set_account(db, "101", api_allow_ip=networks)
    accounts.set_account(db, "101", api_allow_ip="192.0.2.1, 2001:db8::/32")
    accounts.set_account(db, "101", api_allow_ip="")
