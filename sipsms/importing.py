"""The YAML that `sipsms import` reads, checked with file, line and key like the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.progress import track

from sipsms.document import ConfigError, Document, Model
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
    errors = list(_doubled(document, file))
    if errors:
        raise ConfigError(errors)
    people: list[NewAccount] = []
    numbers: list[NewDid] = []
    console = Console(stderr=True)
    for index, entry in enumerate(track(file.accounts, "reading", console=console, disable=not console.is_terminal)):
        where: tuple[str | int, ...] = ("accounts", index)
        owners = {entry.name, *(one.name for one in entry.subaccounts)}
        everyone = [
            (where, entry, ""),
            *(((*where, "subaccounts", place), one, entry.name) for place, one in enumerate(entry.subaccounts)),
        ]
        for place, one, parent in everyone:
            if one.caller_id and telephone_number(one.caller_id) is None:
                errors.append(document.error((*place, "caller_id"), f"not a telephone number: {one.caller_id!r}"))
            people.append(_account(one, parent, realm))
        for position, did in enumerate(entry.dids):
            target = entry.name if did.sip_account is None else did.sip_account
            if target and target not in owners:
                place = (*where, "dids", position, "sip_account")
                errors.append(document.error(place, f"{target} is no account of {entry.name}"))
            numbers.append(NewDid(telephone_number(did.number) or "", entry.name, target, did.sms))
    if errors:
        raise ConfigError(errors)
    return people, numbers


def _doubled(document: Document, file: File) -> Iterator[str]:
    """Names and numbers that stand there twice, and numbers that are none."""
    names: set[str] = set()
    numbers: set[str] = set()
    for index, entry in enumerate(file.accounts):
        where: tuple[str | int, ...] = ("accounts", index)
        for place, one in [
            ((*where, "name"), entry),
            *(((*where, "subaccounts", place, "name"), one) for place, one in enumerate(entry.subaccounts)),
        ]:
            if one.name in names:
                yield document.error(place, f"account {one.name} stands there twice")
            names.add(one.name)
        for position, did in enumerate(entry.dids):
            number = telephone_number(did.number)
            place = (*where, "dids", position, "number")
            if number is None:
                yield document.error(place, f"not a telephone number: {did.number!r}")
            elif number in numbers:
                yield document.error(place, f"DID {number} stands there twice")
            numbers.add(number or "")


def telephone_number(value: str | int) -> str | None:
    """Ten digits, or + and digits: what a DID or a caller ID can be."""
    number = normalise(str(value))
    return number if number and number.lstrip("+").isdigit() and len(number) >= 10 else None


def _account(entry: Subaccount, parent: str, realm: str) -> NewAccount:
    hashes = None
    if entry.password is not None:
        md5, sha256 = (ha1(entry.name, realm, entry.password, name) for name in ("MD5", "SHA-256"))
        hashes = Hashes(md5, sha256, realm)
    return NewAccount(entry.name, parent, telephone_number(entry.caller_id) or "", hashes)
