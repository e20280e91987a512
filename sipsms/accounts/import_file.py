"""The file of `sipsms import`, YAML or CSV, with errors by file, line and key as in the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from rich.console import Console
from rich.progress import track

from sipsms.accounts import import_csv
from sipsms.core.e164 import telephone_number
from sipsms.core.ssrf import check_smpp_url, check_url
from sipsms.core.yaml_file import ConfigError, Document, Model, read_text
from sipsms.store.accounts import EMAIL, Hashes, NewAccount
from sipsms.store.dids import Destinations
from sipsms.store.import_export import Imported, NewDid, NewGroup
from sipsms.store.smpp_settings import FIELDS as SMPP

_NAME = r"^[A-Za-z0-9._-]{1,64}$"
_Word = Annotated[str, Field(pattern=r"^[!-~]{0,64}$")]  # characters that a bind can carry


class Did(Model):
    """A DID of the file; of an existing one, absent keys stay, except `sip_account` and `sms`."""

    number: str | int
    sip_account: str | None = None
    sms: bool = True
    mms: bool | None = None
    dialing_mode: Literal["", "nanpa", "e164"] | None = None
    emails: tuple[Annotated[str, Field(pattern=f"^{EMAIL.pattern}$")], ...] | None = None
    forward: str | int | None = None
    group: str | None = None
    callback: str | None = None
    callback_retry: bool | None = None
    webhook: str | None = None
    bearer: str | None = None
    webhook_secret: str | None = None
    smpp: bool | None = None
    smpp_username: _Word | None = None
    smpp_password: _Word | None = None
    smpp_url: str | None = None


class Group(Model):
    name: str = Field(pattern=_NAME)
    members: tuple[str, ...] = Field(min_length=1)


class Subaccount(Model):
    name: str = Field(pattern=_NAME)
    password: str | None = None
    caller_id: str | int = ""


class Account(Subaccount):
    dids: tuple[Did, ...] = ()
    subaccounts: tuple[Subaccount, ...] = ()
    groups: tuple[Group, ...] = ()


class File(Model):
    accounts: tuple[Account, ...]


def read(path: Path, realm: str, allow_private: bool = False) -> Imported:
    """Return the accounts, DIDs and groups of a file: CSV if its name ends so, else YAML. Raises ConfigError."""
    text = read_text(path)
    document = import_csv.parse(path, text) if path.suffix.lower() == ".csv" else Document.parse(path, text)
    file = document.validate(File)
    errors = list(_doubled(document, file))
    if errors:
        raise ConfigError(errors)
    people: list[NewAccount] = []
    numbers: list[NewDid] = []
    groups: list[NewGroup] = []
    console = Console(stderr=True)
    entries = track(file.accounts, "reading", console=console) if console.is_terminal else file.accounts
    for index, entry in enumerate(entries):
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
            errors += [document.error((*where, "dids", position, key), why) for key, why in _wrong(did, allow_private)]
            numbers.append(_did(did, entry.name, target))
        for group in entry.groups:
            groups.append(NewGroup(group.name, group.members))
    if errors:
        raise ConfigError(errors)
    return Imported(people, numbers, groups)


def _doubled(document: Document, file: File) -> Iterator[str]:
    """Yield errors for duplicate names and numbers, and for invalid numbers."""
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


def _wrong(did: Did, allow_private: bool) -> Iterator[tuple[str, str]]:
    """Yield (key, error) for a DID's destinations."""
    if did.forward and telephone_number(did.forward) is None:
        yield "forward", f"not a telephone number: {did.forward!r}"
    for key, url in (("callback", did.callback), ("webhook", did.webhook)):
        if url and (why := check_url(url, allow_private)):
            yield key, why
    if did.smpp_url and (why := check_smpp_url(did.smpp_url, allow_private)):
        yield "smpp_url", why
    for key, url, options in (
        ("callback", did.callback, (did.callback_retry,)),
        ("webhook", did.webhook, (did.bearer, did.webhook_secret)),
    ):
        if url is None and any(one is not None for one in options):
            yield key, "its options are given, but not its URL"


def _did(did: Did, owner: str, sip_account: str) -> NewDid:
    columns = {"mms": did.mms, "dialing_mode": did.dialing_mode}
    given: Destinations = {}
    if did.emails is not None:
        given["email"] = [(one, {}) for one in did.emails]
    if did.forward is not None:
        given["forward"] = [(telephone_number(did.forward) or "", {})] if did.forward else []
    if did.group is not None:
        given["group"] = [(did.group, {})] if did.group else []
    for kind, url, options in (
        ("callback", did.callback, {"retry": did.callback_retry}),
        ("webhook", did.webhook, {"bearer": did.bearer, "secret": did.webhook_secret}),
    ):
        if url is not None:
            said = {name: value for name, value in options.items() if value is not None}
            given[kind] = [(url, said)] if url else []
    said_columns = {name: value for name, value in columns.items() if value is not None}
    number = telephone_number(did.number) or ""
    smpp = {name: value for name in SMPP if (value := getattr(did, name)) is not None}
    return NewDid(number, owner, {"sip_account": sip_account, "sms": did.sms, **said_columns}, given, smpp)


def _account(entry: Subaccount, parent: str, realm: str) -> NewAccount:
    hashes = Hashes.of(entry.name, entry.password, realm) if entry.password is not None else None
    return NewAccount(entry.name, parent, telephone_number(entry.caller_id) or "", hashes)
