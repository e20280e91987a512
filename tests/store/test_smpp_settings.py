"""A DID's SMPP settings in the store."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from sipsms.core.account import Did, Smpp
from sipsms.core.errors import AdminError, BadValue
from sipsms.store import accounts, dids, directory, smpp_binds
from sipsms.store.accounts import Hashes

DID, SECOND, FOREIGN = "5550001111", "5550002222", "5550003333"
NONE = Hashes("", "", "")
SECRET = "ssmpp://me:hunter2@smsc.example.com"


@pytest.fixture
def db(db: Connection) -> Connection:
    for name, parent in (("acme", ""), ("desk", "acme"), ("other", ""), ("phone", "other")):
        accounts.add_account(db, name, NONE, 1.0, parent=parent)
    for number, owner in ((DID, "acme"), (SECOND, "acme"), (FOREIGN, "other")):
        dids.add_did(db, number, owner, 1.0, sip_account="", sms=True)
    return db


def change(db: Connection, number: str = DID, private: bool = False, **given: Any) -> Smpp | None:
    dids.change_did(db, number, given, allow_private=private)
    return did(db, number).smpp


def did(db: Connection, number: str = DID) -> Did:
    return next(one for one in directory.changes(db, 0).dids if one.number == number)


@pytest.mark.req("S-066", "S-071", "S-072", "S-076")
def test_smpp_settings_change_one_by_one(db: Connection) -> None:
    assert did(db).smpp is None
    assert change(db, smpp_password="p") == Smpp("", "p", "", True), "what is new is on"
    assert did(db).smpp_username == "acme"
    assert change(db, smpp_username="u") == Smpp("u", "p", "", True)
    assert change(db, smpp_url=SECRET) == Smpp("u", "p", SECRET, True)
    assert change(db, smpp=False) == Smpp("u", "p", SECRET, False), "off, and nothing forgotten"
    assert change(db, smpp_password="") == Smpp("u", "", SECRET, False)
    assert change(db, smpp=True) == Smpp("u", "", SECRET, True)
    assert change(db, smpp_url="") == Smpp("u", "", "", False), "the last way in is gone"
    assert change(db, smpp_username="") is None, "nothing is left"
    assert change(db, smpp=False, smpp_url="") is None


@pytest.mark.req("S-074")
def test_a_url_with_a_masked_password_keeps_the_stored_password(db: Connection) -> None:
    change(db, smpp_url=SECRET)
    (row,) = (dids.did_row(one) for one in dids.all_dids(db) if one.number == DID)
    assert (row["smpp"], row["smpp_username"], row["smpp_url"]) == (True, "acme", "ssmpp://me:***@smsc.example.com")
    rows = change(db, smpp_url=row["smpp_url"])
    assert rows is not None
    assert rows.url == SECRET


def wrong(db: Connection, number: str = DID, **given: Any) -> str:
    before = did(db, number)
    with pytest.raises(BadValue) as caught:
        change(db, number, **given)
    assert did(db, number) == before
    assert "hunter2" not in str(caught.value)
    return caught.value.field


@pytest.mark.req("S-066", "A-31")
def test_invalid_smpp_settings_are_refused(db: Connection) -> None:
    assert wrong(db, smpp=True) == "smpp_password"
    assert wrong(db, smpp=True, smpp_username="x") == "smpp_password"
    for bad in ("a b", "é", "x" * 65, "a\r\n", "\x00"):
        assert wrong(db, smpp_username=bad, smpp_password="p") == "smpp_username"
        assert wrong(db, smpp_password=bad) == "smpp_password"
    for url in ("http://smsc.example.com", "smpp://u:hunter2@127.0.0.1", "smpp://u:hunter2@smsc.example.com/x",
                "smpp://localhost", "smpp://smsc.example.com:25", "smpp://2130706433", "smpp://[::1]"):  # fmt: skip
        assert wrong(db, smpp_url=url) == "smpp_url"
    with pytest.raises(AdminError, match="no DID"):
        change(db, "5559999999", smpp=True)
    assert change(db, private=True, smpp_url="smpp://127.0.0.1:2775") is not None


@pytest.mark.req("A-37")
def test_two_customers_cannot_have_the_same_smpp_username(db: Connection) -> None:
    change(db, smpp_username="shared", smpp_password="p")
    assert change(db, SECOND, smpp_username="shared", smpp_password="p") is not None, "of one customer"
    assert wrong(db, FOREIGN, smpp_username="shared", smpp_password="q") == "smpp_username"
    assert wrong(db, FOREIGN, smpp_username="acme", smpp_password="q") == "smpp_username"
    assert wrong(db, FOREIGN, smpp_username="desk", smpp_password="q") == "smpp_username"
    assert change(db, FOREIGN, smpp_username="phone", smpp_password="q") is not None, "its own"
    assert change(db, FOREIGN, smpp_username="share_", smpp_password="q") is not None, "_ is no wildcard"
    change(db, smpp_username="late", smpp=False)
    assert wrong(db, FOREIGN, smpp_username="late") == "smpp_username", "also while it is off"
    accounts.add_account(db, "late", NONE, 1.0)
    dids.add_did(db, "5550004444", "late", 1.0, sip_account="", sms=True)
    assert wrong(db, "5550004444", smpp_password="p") == "smpp_username", "a name taken before its owner was there"
    assert change(db, "5550004444", smpp_username="own", smpp_password="p") is not None


@pytest.mark.req("A-37")
def test_a_did_that_changes_its_customer_loses_its_smpp_settings(db: Connection) -> None:
    change(db, smpp_username="mine", smpp_password="p", smpp_url=SECRET)
    dids.change_did(db, DID, {"account": "other"}, allow_private=False)
    assert did(db).smpp is None
    change(db, smpp_username="mine", smpp_password="p")
    assert change(db, account="acme", smpp_password="new") == Smpp("", "new", "", True)


def test_smpp_sessions_of_all_nodes_are_listed(db: Connection) -> None:
    row = {
        "number": 1, "direction": "in", "name": "acme", "account": "acme", "peer": "192.0.2.1:4000", "mode": "trx",
        "tls": True, "state": "bound", "since": 5.0, "sent": 3, "received": 4, "why": "",
    }  # fmt: skip
    smpp_binds.replace(db, "a", [row, {**row, "number": 2, "direction": "out", "name": "carrier:x", "why": "w" * 300}])
    smpp_binds.replace(db, "b", [{**row, "name": "zeta"}])
    smpp_binds.replace(db, "b", [{**row, "name": "beta"}])
    rows = list(smpp_binds.list_binds(db))
    assert [(one["node"], one["direction"], one["name"]) for one in rows] == [
        ("a", "in", "acme"), ("b", "in", "beta"), ("a", "out", "carrier:x")
    ]  # fmt: skip
    assert rows[0] == {"node": "a", **{name: value for name, value in row.items() if name != "number"}}
    assert len(rows[2]["why"]) == 255
    smpp_binds.replace(db, "a", [])
    assert [one["node"] for one in smpp_binds.list_binds(db)] == ["b"]
