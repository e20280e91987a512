"""Users: names and addresses, DIDs, links and codes that work once, two people who change one user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role, Session
from sipsms.store import accounts, dids, sessions, users
from sipsms.store.accounts import Hashes
from sipsms.store.engine import ensure_schema, open_engine

NOW = 1_000_000.0
WORKSHOP, SALES, FOREIGN = "5550001111", "5550002222", "5550009999"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    engine: Engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    with engine.begin() as connection:
        for name in ("acme", "other"):
            accounts.add_account(connection, name, Hashes.of(name, "pw", "r"), NOW)
        for number, owner in ((WORKSHOP, "acme"), (SALES, "acme"), (FOREIGN, "other")):
            dids.add_did(connection, number, owner, NOW, sip_account="", sms=True)
        yield connection
    engine.dispose()


def test_a_user_is_known_by_name_and_by_address_in_any_case(db: Connection) -> None:
    ana = users.add(db, "Ana", "acme", Role.CUSTOMER, NOW, email="Ana@Example.net")
    assert (ana.name, ana.email, ana.hash) == ("ana", "ana@example.net", "")
    assert users.known_as(db, "ANA") == users.known_as(db, "ana@EXAMPLE.net") == ana
    assert users.known_as(db, "") is None
    assert users.known_as(db, "nobody") is None


@pytest.mark.parametrize(
    ("name", "customer", "role", "email", "numbers", "field"),
    [
        ("an a", "acme", Role.USER, "", (), "name"),
        ("a@b", "acme", Role.USER, "", (), "name"),
        ("", "acme", Role.USER, "", (), "name"),
        ("-x", "acme", Role.USER, "", (), "name"),
        ("x" * 65, "acme", Role.USER, "", (), "name"),
        ("taken", "acme", Role.USER, "", (), "name"),
        ("op", "acme", Role.OPERATOR, "", (), "customer"),
        ("ana", "", Role.CUSTOMER, "", (), "customer"),
        ("ana", "acme", Role.USER, "no address", (), "email"),
        ("ana", "acme", Role.USER, "TAKEN@example.net", (), "email"),
        ("ana", "acme", Role.USER, "", (FOREIGN,), "did"),
        ("ana", "acme", Role.USER, "", ("5550000000",), "did"),
        ("ana", "acme", Role.CUSTOMER, "", (WORKSHOP,), "did"),
    ],
)
def test_what_a_user_cannot_be(
    db: Connection, name: str, customer: str, role: Role, email: str, numbers: tuple[str, ...], field: str
) -> None:
    users.add(db, "taken", "acme", Role.USER, NOW, email="taken@example.net")
    with pytest.raises(BadValue) as refused:
        users.add(db, name, customer, role, NOW, email=email, numbers=numbers)
    assert refused.value.field == field


def test_a_user_belongs_to_a_customer_that_is_no_subaccount(db: Connection) -> None:
    accounts.add_account(db, "desk", Hashes.of("desk", "pw", "r"), NOW, parent="acme")
    with pytest.raises(AdminError, match="subaccount"):
        users.add(db, "ana", "desk", Role.CUSTOMER, NOW)
    with pytest.raises(AdminError, match="no account"):
        users.add(db, "ana", "nobody", Role.CUSTOMER, NOW)


def test_users_of_a_customer_with_their_dids(db: Connection) -> None:
    luis = users.add(db, "luis", "acme", Role.USER, NOW, numbers=[SALES, WORKSHOP, SALES])
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    op = users.add(db, "op", "", Role.OPERATOR, NOW)
    assert luis.dids == (WORKSHOP, SALES)
    assert users.of_customer(db, "acme") == [ana, luis]
    assert users.of_customer(db, None) == [op, ana, luis]
    assert users.counts(db, ["acme", "other"]) == {"acme": 2}


def test_the_second_of_two_changes_is_refused(db: Connection) -> None:
    luis = users.add(db, "luis", "acme", Role.USER, NOW, numbers=[SALES])
    first = users.change(db, luis.id, luis.version, email="L@example.net", numbers=[WORKSHOP])
    assert (first.email, first.dids, first.version) == ("l@example.net", (WORKSHOP,), 2)
    with pytest.raises(users.Conflict):
        users.change(db, luis.id, luis.version, email="x@example.net")
    assert users.by_id(db, luis.id) == first
    with pytest.raises(AdminError, match="no user"):
        users.change(db, 999, 1, email="")


def test_a_change_keeps_the_dids_unless_they_are_named_or_the_role_has_none(db: Connection) -> None:
    luis = users.add(db, "luis", "acme", Role.USER, NOW, numbers=[SALES])
    luis = users.change(db, luis.id, luis.version, theme="dark")
    assert (luis.theme, luis.dids) == ("dark", (SALES,))
    assert users.change(db, luis.id, luis.version, role=str(Role.CUSTOMER)).dids == ()


def test_a_link_works_once_and_until_its_end(db: Connection) -> None:
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    assert users.take_link(db, "", NOW) is None, "no link is no link"
    users.open_link(db, ana.id, "a" * 64, NOW + 10)
    assert users.by_link(db, "a" * 64, NOW + 10) is None
    users.open_link(db, ana.id, "b" * 64, NOW + 10)
    assert users.take_link(db, "a" * 64, NOW) is None, "an earlier link ends"
    taken = users.take_link(db, "b" * 64, NOW + 9)
    assert taken is not None
    assert taken.id == ana.id
    assert users.take_link(db, "b" * 64, NOW + 9) is None


def test_a_new_password_ends_the_open_link(db: Connection) -> None:
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    users.open_link(db, ana.id, "a" * 64, NOW + 10)
    assert users.set_password(db, ana.id, "h2", old="") is True
    assert users.by_link(db, "a" * 64, NOW) is None
    assert users.set_password(db, ana.id, "h3", old="h1") is False
    users.rehash(db, ana.id, "h1", "h4")
    assert users.by_id(db, ana.id).hash == "h2"


def test_codes_work_once(db: Connection) -> None:
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    assert [users.take_step(db, ana.id, step) for step in (7, 7, 6, 8)] == [True, False, False, True]
    users.set_second_factor(db, ana.id, recovery="one two")
    assert [users.take_recovery(db, ana.id, code) for code in ("one", "one", "", "three", "two")] == [
        True, False, False, False, True,
    ]  # fmt: skip


def test_a_did_that_goes_is_taken_from_its_users(db: Connection) -> None:
    luis = users.add(db, "luis", "acme", Role.USER, NOW, numbers=[SALES, WORKSHOP])
    dids.remove_did(db, SALES)
    assert users.by_id(db, luis.id).dids == (WORKSHOP,)
    dids.set_did(db, WORKSHOP, {}, account="other")
    assert users.by_id(db, luis.id).dids == ()


def test_the_users_of_a_removed_customer_are_removed(db: Connection) -> None:
    luis = users.add(db, "luis", "acme", Role.USER, NOW, numbers=[SALES])
    users.add(db, "kim", "other", Role.USER, NOW)
    sessions.add(db, Session("s" * 64, luis.id, NOW, NOW, NOW + 60))
    for number in (SALES, WORKSHOP):
        dids.remove_did(db, number)
    accounts.remove_account(db, "acme")
    assert [user.name for user in users.of_customer(db, None)] == ["kim"]
    assert sessions.find(db, "s" * 64, NOW) is None


def test_a_removed_user_has_no_session(db: Connection) -> None:
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    sessions.add(db, Session("s" * 64, ana.id, NOW, NOW, NOW + 60))
    users.remove(db, ana.id)
    assert users.known_as(db, "ana") is None
    assert sessions.find(db, "s" * 64, NOW) is None


def test_lists_show_no_secret(db: Connection) -> None:
    ana = users.add(db, "ana", "acme", Role.CUSTOMER, NOW)
    users.set_password(db, ana.id, "argon2-hash")
    users.set_second_factor(db, ana.id, totp="TOTPSECRET", recovery="recovery-hash")
    shown = users.shown(users.by_id(db, ana.id))
    assert (shown["password"], shown["totp"]) == (True, True)
    assert not {"argon2-hash", "TOTPSECRET", "recovery-hash"} & {str(value) for value in shown.values()}
