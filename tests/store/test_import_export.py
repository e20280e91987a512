"""`sipsms import` and `export` of a DID's SMPP settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection

from sipsms.accounts import import_file
from sipsms.core.account import Smpp
from sipsms.core.errors import AdminError
from sipsms.core.yaml_file import ConfigError
from sipsms.store import dids, directory, import_export

DID, URL = "5550001111", "ssmpp://me:hunter2@smsc.example.com"
PROGRAM = {"smpp": True, "smpp_username": "acme1", "smpp_password": "s3cretpw"}


def accounts(*names: str, **did: Any) -> dict[str, Any]:
    """Each with one DID; the first one's has these settings."""
    entries = [
        {"name": name, "password": "p", "dids": [{"number": str(int(DID) + n), **(did if n == 0 else {})}]}
        for n, name in enumerate(names or ("acme",))
    ]
    return {"accounts": entries}


def load(db: Connection, folder: Path, tree: dict[str, Any]) -> dict[str, int]:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump(tree))
    return import_export.import_all(db, *import_file.read(path, "realm"), 1.0)


def smpp_of(db: Connection, number: str = DID) -> Smpp | None:
    return next(one for one in directory.changes(db, 0).dids if one.number == number).smpp


def test_sms_switched_off_by_an_import_cannot_be_switched_on_by_the_customer(db: Connection, tmp_path: Path) -> None:
    """Its customer cannot undo that; a file that changes nothing of it leaves the customer's own pause as it is."""
    load(db, tmp_path, accounts())
    dids.change_did(db, DID, {"sms_by_customer": False}, allow_private=False)
    load(db, tmp_path, accounts(sms=False, emails=["me@example.com"]))
    dids.change_did(db, DID, {"sms_by_customer": True}, allow_private=False)
    dids.change_did(db, DID, {"sms_by_customer": False}, allow_private=False)
    load(db, tmp_path, accounts(sms=True))
    load(db, tmp_path, accounts(sms=False))
    with pytest.raises(AdminError, match="operator"):
        dids.change_did(db, DID, {"sms_by_customer": True}, allow_private=False)


@pytest.mark.req("S-066", "S-071", "S-072")
def test_an_import_sets_smpp_settings_and_keeps_those_it_does_not_name(db: Connection, tmp_path: Path) -> None:
    assert load(db, tmp_path, accounts(**PROGRAM))["added"] == 2
    assert smpp_of(db) == Smpp("acme1", "s3cretpw", "", True)
    assert load(db, tmp_path, accounts(**PROGRAM))["unchanged"] == 2
    assert load(db, tmp_path, accounts())["unchanged"] == 2
    assert load(db, tmp_path, accounts(smpp_url=URL))["changed"] == 1
    assert smpp_of(db) == Smpp("acme1", "s3cretpw", URL, True)
    assert load(db, tmp_path, accounts(smpp=False))["changed"] == 1
    assert smpp_of(db) == Smpp("acme1", "s3cretpw", URL, False)


@pytest.mark.req("S-074")
def test_an_export_contains_no_password_and_imports_without_a_change(db: Connection, tmp_path: Path) -> None:
    load(db, tmp_path, accounts(**PROGRAM, smpp_url=URL))
    tree = import_export.export_all(db)
    (did,) = tree["accounts"][0]["dids"]
    assert {name: did[name] for name in did if name.startswith("smpp")} == {
        "smpp": True, "smpp_username": "acme1", "smpp_url": "ssmpp://me:***@smsc.example.com",
    }  # fmt: skip
    assert "hunter2" not in str(tree)
    assert "s3cretpw" not in str(tree)
    assert load(db, tmp_path, tree)["unchanged"] == 2
    assert smpp_of(db) == Smpp("acme1", "s3cretpw", URL, True)


def test_an_import_into_another_store_asks_for_the_passwords(db: Connection, tmp_path: Path) -> None:
    tree = accounts(smpp=True, smpp_username="acme1", smpp_url="ssmpp://me:***@smsc.example.com")
    with pytest.raises(AdminError, match="smpp_url needs its password"):
        load(db, tmp_path, tree)
    with pytest.raises(AdminError, match=f"DID {DID}: smpp_password: SMPP needs one"):
        load(db, tmp_path, accounts(smpp=True, smpp_username="acme1"))


@pytest.mark.req("A-31", "A-37")
def test_an_import_refuses_invalid_smpp_settings_with_file_and_line(db: Connection, tmp_path: Path) -> None:
    for wrong in ({"smpp_username": "a b"}, {"smpp_password": "x" * 65}, {"smpp_url": "smpp://127.0.0.1"},
                  {"smpp_url": "http://example.com"}, {"smpp": "maybe"}):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"all\.yaml:\d+: accounts\[0\]\.dids\[0\]\.{next(iter(wrong))}"):
            load(db, tmp_path, accounts(**{**PROGRAM, **wrong}))
    with pytest.raises(AdminError, match="bert is another customer's"):
        load(db, tmp_path, accounts("acme", "bert", **{**PROGRAM, "smpp_username": "bert"}))
