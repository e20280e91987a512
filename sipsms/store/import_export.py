"""Import and export of accounts, DIDs and groups (`sipsms import`, `sipsms export`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from sipsms.core.account import Did
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.smpp_url import without_password
from sipsms.store import destinations as targets
from sipsms.store import smpp_settings
from sipsms.store.accounts import Hashes, NewAccount, account_row, changed, end_registrations
from sipsms.store.dids import Destinations, all_dids, check_group, put_group
from sipsms.store.message_list import UNLIMITED, list_groups
from sipsms.store.schema import accounts, dids

_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NewDid:
    """A DID of an import file; settings that the file does not name stay as they are."""

    number: str
    account: str
    columns: dict[str, Any]
    destinations: Destinations = field(default_factory=dict)
    smpp: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewGroup:
    name: str
    members: Sequence[str]


class Imported(NamedTuple):
    """The content of a file of `sipsms import`."""

    people: Sequence[NewAccount]
    numbers: Sequence[NewDid]
    groups: Sequence[NewGroup]

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        people = [{**_fields(one), "hashes": one.hashes and _fields(one.hashes)} for one in self.people]
        return {
            "people": people,
            "numbers": list(map(_fields, self.numbers)),
            "groups": list(map(_fields, self.groups)),
        }

    @classmethod
    def from_json(cls, people: _Rows, numbers: _Rows, groups: _Rows) -> Imported:
        return cls(
            [NewAccount(**{**one, "hashes": one["hashes"] and Hashes(**one["hashes"])}) for one in people],
            [NewDid(**one) for one in numbers],
            [NewGroup(**one) for one in groups],
        )


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


class DryRun(Exception):
    """The counts of an import that must change nothing."""

    def __init__(self, counts: dict[str, int]) -> None:
        super().__init__(counts)
        self.counts = counts


def import_all(
    connection: Connection, people: Sequence[NewAccount], numbers: Sequence[NewDid], groups: Sequence[NewGroup],
    now: float, *, dry_run: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Make accounts, groups and DIDs match the file. Return counts of rows. Raises AdminError.

    `dry_run`: raise DryRun at the end, which rolls everything back."""
    version = changed(connection)
    known = {row.name: row for row in connection.execute(select(accounts))}
    counts = {"added": 0, "changed": 0, "unchanged": 0}
    new_accounts, changed_accounts = _sort_accounts(people, known, now, version, counts)
    if new_accounts:
        connection.execute(insert(accounts), new_accounts)
    for name, values in changed_accounts:
        connection.execute(update(accounts).where(accounts.c.name == name).values(values))
        if values.get("ha1_md5", known[name].ha1_md5) != known[name].ha1_md5:
            end_registrations(connection, name)
    for group in groups:
        put_group(connection, group.name, group.members)
    _import_dids(connection, numbers, now, version, counts)
    if dry_run:
        raise DryRun(counts)
    return counts


def _import_dids(
    connection: Connection, numbers: Sequence[NewDid], now: float, version: int, counts: dict[str, int]
) -> None:
    owned = {did.number: did for did in all_dids(connection)}
    rows = []
    for one in numbers:
        old = owned.get(one.number)
        if old is None:
            row = {"mms": True, "dialing_mode": "", **one.columns}
            rows.append({"number": one.number, "account": one.account, **row, "created_at": now, "version": version})
            counts["added"] += 1
        elif old.account != one.account:
            raise AdminError(f"DID {one.number} belongs to {old.account} already")
        elif _is_so(old, one) and _smpp_is_so(connection, old, one):
            counts["unchanged"] += 1
            continue
        else:
            fresh = {**one.columns, "version": version}
            if old.sms != one.columns.get("sms", old.sms):  # the operator's setting now
                fresh["sms_paused"] = False
            connection.execute(update(dids).where(dids.c.number == one.number).values(fresh))
            counts["changed"] += 1
        _set_destinations(connection, one)
    if rows:
        connection.execute(insert(dids), rows)
    for one in numbers:
        if one.smpp:
            targets.replace(connection, one.number, "smpp", _smpp(connection, one))


def _smpp(connection: Connection, did: NewDid) -> list[tuple[str, dict[str, Any]]]:
    """Return the SMPP destination of a stored DID. Raises AdminError.

    An exported URL without its password keeps the stored password."""
    try:
        found = smpp_settings.settings(connection, did.number, did.smpp, allow_private=True)
    except BadValue as error:
        raise AdminError(f"DID {did.number}: {error}") from None
    if any(":***@" in url for url, _ in found):
        raise AdminError(f"DID {did.number}: smpp_url needs its password, which is not exported")
    return found


def _smpp_is_so(connection: Connection, old: Did, new: NewDid) -> bool:
    if not new.smpp:
        return True
    there = old.smpp
    options = {"username": there.username, "password": there.password, "enabled": there.enabled} if there else {}
    return _smpp(connection, new) == ([(there.url, options)] if there else [])


def _is_so(old: Did, new: NewDid) -> bool:
    return all(getattr(old, name) == value for name, value in new.columns.items()) and all(
        _has(old, kind, destinations) for kind, destinations in new.destinations.items()
    )


def _has(old: Did, kind: str, destinations: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    names = [target for target, _ in destinations]
    if kind == "email":
        return list(old.emails) == names
    if kind in ("forward", "group"):
        return [getattr(old, kind)] == (names or [""])
    there = getattr(old, kind)
    if there is None or not names:
        return there is None and not names
    options = destinations[0][1]
    return [there.url] == names and all(getattr(there, name) == value for name, value in options.items())


def _set_destinations(connection: Connection, did: NewDid) -> None:
    """Replace the destinations of a DID; a URL of the same server keeps options that are not given."""
    for kind, destinations in did.destinations.items():
        if kind == "group" and destinations:
            check_group(connection, did.account, destinations[0][0])
        fresh = destinations
        if kind in ("callback", "webhook"):
            fresh = [
                (url, targets.kept_options(connection, did.number, kind, url) | options)
                for url, options in destinations
            ]
        targets.replace(connection, did.number, kind, fresh)


_Changes = list[tuple[str, dict[str, Any]]]


def _sort_accounts(
    people: Iterable[NewAccount], known: dict[str, Any], now: float, version: int, counts: dict[str, int]
) -> tuple[_Rows, _Changes]:
    rows: _Rows = []
    changes: _Changes = []
    for one in people:
        old = known.get(one.name)
        if old is None:
            if one.hashes is None:
                raise AdminError(f"account {one.name} is new and needs a password")
            rows.append(account_row(one.name, one.hashes, one.parent, one.caller_id, now, version))
            counts["added"] += 1
            continue
        if old.parent != one.parent:
            raise AdminError(f"account {one.name} exists already, under {old.parent or 'no customer'}")
        values: dict[str, Any] = {}
        if one.caller_id != old.caller_id:
            values["caller_id"] = one.caller_id
        if one.hashes is not None and (one.hashes.md5, one.hashes.realm) != (old.ha1_md5, old.realm):
            values |= {"ha1_md5": one.hashes.md5, "ha1_sha256": one.hashes.sha256, "realm": one.hashes.realm}
        counts["changed" if values else "unchanged"] += 1
        if values:
            changes.append((one.name, {**values, "version": version}))
    return rows, changes


def export_all(connection: Connection) -> dict[str, Any]:
    """Return all accounts in the form that `import` reads, without passwords and their hashes."""
    tree: dict[str, dict[str, Any]] = {}
    rows = connection.execute(select(accounts).order_by(accounts.c.parent, accounts.c.name)).all()
    for row in rows:
        entry: dict[str, Any] = {"name": row.name, "caller_id": row.caller_id}
        if not row.parent:
            tree[row.name] = {**entry, "dids": [], "subaccounts": []}
        elif row.parent in tree:
            tree[row.parent]["subaccounts"].append(entry)
    for group in list_groups(connection, None, "", UNLIMITED):
        if group["account"] in tree:
            groups = tree[group["account"]].setdefault("groups", [])
            groups.append({"name": group["name"], "members": group["members"]})
    for did in all_dids(connection):
        if did.account in tree:
            tree[did.account]["dids"].append(_exported(did))
    return {"accounts": list(tree.values())}


def _exported(did: Did) -> dict[str, Any]:
    """Return a DID's settings without secrets (webhook, SMPP) and without defaults."""
    entry: dict[str, Any] = {"number": did.number, "sip_account": did.sip_account, "sms": did.sms}
    more = {
        "mms": None if did.mms else False, "dialing_mode": did.dialing_mode, "emails": list(did.emails),
        "forward": did.forward, "group": did.group, "callback": did.callback.url if did.callback else "",
        "callback_retry": None if did.callback is None or did.callback.retry else False,
        "webhook": did.webhook.url if did.webhook else "", "smpp": did.smpp.enabled if did.smpp else None,
        "smpp_username": did.smpp.username if did.smpp else "",
        "smpp_url": without_password(did.smpp.url) if did.smpp else "",
    }  # fmt: skip
    return entry | {name: value for name, value in more.items() if value not in (None, "", [])}
