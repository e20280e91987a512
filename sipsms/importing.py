"""The YAML that `sipsms import` reads, checked with file, line and key like the configuration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import Field
from rich.progress import track

from sipsms.config import ConfigError, Document, Model
from sipsms.numbers import normalise
from sipsms.sip.digest import ha1
from sipsms.store.admin import Hashes, NewAccount, NewDid

_NAME = r"^[A-Za-z0-9._-]{1,64}$"


class Did(Model):
    number: str | int
    sip_account: str | None = None
    sms: bool = True


class Subaccount(Model):
    name: str = Field(pattern=_NAME)
    password: str | None = None
    caller_id: str | int = ""


class Account(Subaccount):
    dids: tuple[Did, ...] = ()
    subaccounts: tuple[Subaccount, ...] = ()


class File(Model):
    accounts: tuple[Account, ...]


def read(path: Path, realm: str) -> tuple[list[NewAccount], list[NewDid]]:
    """Accounts and DIDs of a file. Raises ConfigError."""
    document = Document.read(path)
    file = document.validate(File)
    errors: list[str] = []
    people: list[NewAccount] = []
    numbers: list[NewDid] = []
    for index, entry in enumerate(track(file.accounts, "reading", transient=True)):
        where = ("accounts", index)
        members = {entry.name, *(one.name for one in entry.subaccounts)}
        people.append(_account(entry, "", realm))
        people += [_account(one, entry.name, realm) for one in entry.subaccounts]
        for position, did in enumerate(entry.dids):
            number = normalise(str(did.number))
            target = entry.name if did.sip_account is None else did.sip_account
            if number is None or not number.lstrip("+").isdigit() or len(number) < 10:
                errors.append(document.error((*where, "dids", position, "number"), f"not a number: {did.number!r}"))
            elif target and target not in members:
                errors.append(
                    document.error((*where, "dids", position, "sip_account"), f"{target} is no account of {entry.name}")
                )
            else:
                numbers.append(NewDid(number, entry.name, target, did.sms))
    twice = [name for name, count in Counter(one.name for one in people).items() if count > 1]
    errors += [document.error(("accounts",), f"account {name} stands there twice") for name in twice[:20]]
    if errors:
        raise ConfigError(errors)
    return people, numbers


def _account(entry: Subaccount, parent: str, realm: str) -> NewAccount:
    hashes = None
    if entry.password is not None:
        md5, sha256 = (ha1(entry.name, realm, entry.password, name) for name in ("MD5", "SHA-256"))
        hashes = Hashes(md5, sha256, realm)
    caller_id = normalise(str(entry.caller_id)) or "" if entry.caller_id else ""
    return NewAccount(entry.name, parent, caller_id, hashes)
