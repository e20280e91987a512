"""What an operator's commands do to the store: accounts, DIDs, carriers, and the lists to look at. Synchronous.

Runs beside a live server: each change raises the directory's version, by which the server notices at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from sipsms.store import provisions, targets
from sipsms.store.rows import counter, take_ids
from sipsms.store.schema import accounts, bindings, devices, dids


class AdminError(Exception):
    """A command that cannot be done; one line for the operator."""


@dataclass(frozen=True, slots=True)
class Hashes:
    md5: str
    sha256: str
    realm: str


def changed(connection: Connection, *, removed: bool = False) -> int:
    version = take_ids(connection, "directory", 1)
    if removed:
        behind = version - counter(connection, "directory-removed")
        take_ids(connection, "directory-removed", behind)
    return version


# --- accounts --------------------------------------------------------------------------------------------------------


def add_account(
    connection: Connection, name: str, hashes: Hashes, now: float, *, parent: str = "", caller_id: str = ""
) -> None:
    if account(connection, name) is not None:
        raise AdminError(f"account {name} exists already")
    if parent:
        customer(connection, parent)
    row = _account_row(name, hashes, parent, caller_id, now, changed(connection))
    connection.execute(insert(accounts), row)


def _account_row(name: str, hashes: Hashes, parent: str, caller_id: str, now: float, version: int) -> dict[str, Any]:
    return {
        "name": name, "parent": parent, "ha1_md5": hashes.md5, "ha1_sha256": hashes.sha256, "realm": hashes.realm,
        "caller_id": caller_id, "created_at": now, "version": version,
    }  # fmt: skip


def account(connection: Connection, name: str) -> Any:
    return connection.execute(select(accounts).where(accounts.c.name == name)).first()


def customer(connection: Connection, name: str) -> Any:
    """The customer's row. Raises AdminError if there is none of that name."""
    row = account(connection, name)
    if row is None:
        raise AdminError(f"no account {name}")
    if row.parent:
        raise AdminError(f"{name} is a subaccount of {row.parent}; name the customer")
    return row


def set_account(connection: Connection, name: str, **values: Any) -> None:
    if account(connection, name) is None:
        raise AdminError(f"no account {name}")
    if values:
        fresh = {**values, "version": changed(connection)}
        connection.execute(update(accounts).where(accounts.c.name == name).values(fresh))


def set_password(connection: Connection, name: str, hashes: Hashes) -> None:
    set_account(connection, name, ha1_md5=hashes.md5, ha1_sha256=hashes.sha256, realm=hashes.realm)
    provisions.forget_account(connection, name)


def remove_account(connection: Connection, name: str) -> None:
    """With its registrations. A customer with subaccounts or DIDs is refused."""
    if account(connection, name) is None:
        raise AdminError(f"no account {name}")
    children = connection.execute(select(accounts.c.name).where(accounts.c.parent == name).limit(1)).scalar()
    if children is not None:
        raise AdminError(f"{name} still has subaccounts ({children}, ...): remove them first")
    owned = connection.execute(select(dids.c.number).where(dids.c.account == name).limit(1)).scalar()
    if owned is not None:
        raise AdminError(f"{name} still owns DIDs ({owned}, ...): remove them first")
    connection.execute(delete(accounts).where(accounts.c.name == name))
    connection.execute(delete(bindings).where(bindings.c.aor == name))
    connection.execute(delete(devices).where(devices.c.aor == name))
    provisions.forget_account(connection, name)
    targets.forget_member(connection, name)
    version = changed(connection, removed=True)
    connection.execute(update(dids).where(dids.c.sip_account == name).values(sip_account="", version=version))


def list_accounts(connection: Connection) -> Iterator[dict[str, Any]]:
    for row in connection.execute(select(accounts).order_by(accounts.c.name)):
        yield {
            "name": row.name, "customer": row.parent or row.name, "subaccount": bool(row.parent),
            "caller_id": row.caller_id, "enabled": row.enabled, "legacy_digest": row.legacy_digest,
            "presence": row.presence, "copies": row.copies,
            "bulk": row.bulk, "shorteners": row.shorteners,
        }  # fmt: skip


def other_realms(connection: Connection, realm: str) -> int:
    """Accounts whose password hashes were made for another realm: they cannot log in."""
    query = select(func.count()).select_from(accounts).where(accounts.c.realm != realm)
    return int(connection.execute(query).scalar() or 0)


# --- import and export -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewAccount:
    """`hashes` is None where the file gives no password: the account must exist and keeps its own."""

    name: str
    parent: str
    caller_id: str
    hashes: Hashes | None


@dataclass(frozen=True, slots=True)
class NewDid:
    number: str
    account: str
    sip_account: str
    sms: bool


def import_all(
    connection: Connection, people: Sequence[NewAccount], numbers: Sequence[NewDid], now: float
) -> dict[str, int]:
    """Make the store hold these, whatever of them it holds already. How many were added, changed, left."""
    version = changed(connection)
    known = {row.name: row for row in connection.execute(select(accounts))}
    owned = {row.number: row for row in connection.execute(select(dids))}
    counts = {"added": 0, "changed": 0, "unchanged": 0}
    new_accounts, changed_accounts = _sort_accounts(people, known, now, version, counts)
    new_dids, changed_dids = _sort_dids(numbers, owned, now, version, counts)
    if new_accounts:
        connection.execute(insert(accounts), new_accounts)
    for name, values in changed_accounts:
        connection.execute(update(accounts).where(accounts.c.name == name).values(values))
    if new_dids:
        connection.execute(insert(dids), new_dids)
    for number, values in changed_dids:
        connection.execute(update(dids).where(dids.c.number == number).values(values))
    return counts


_Rows = list[dict[str, Any]]
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
            rows.append(_account_row(one.name, one.hashes, one.parent, one.caller_id, now, version))
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


def _sort_dids(
    numbers: Iterable[NewDid], owned: dict[str, Any], now: float, version: int, counts: dict[str, int]
) -> tuple[_Rows, _Changes]:
    rows: _Rows = []
    changes: _Changes = []
    for one in numbers:
        values = {"account": one.account, "sip_account": one.sip_account, "sms": one.sms}
        old = owned.get(one.number)
        if old is None:
            rows.append({"number": one.number, **values, "created_at": now, "version": version})
            counts["added"] += 1
        elif old.account != one.account:
            raise AdminError(f"DID {one.number} belongs to {old.account} already")
        elif (old.sip_account, old.sms) != (one.sip_account, one.sms):
            changes.append((one.number, {**values, "version": version}))
            counts["changed"] += 1
        else:
            counts["unchanged"] += 1
    return rows, changes


def export_all(connection: Connection) -> dict[str, Any]:
    """The form `import` reads, but for the passwords: only their hashes are stored, and they stay here."""
    tree: dict[str, dict[str, Any]] = {}
    rows = connection.execute(select(accounts).order_by(accounts.c.parent, accounts.c.name)).all()
    for row in rows:
        entry: dict[str, Any] = {"name": row.name, "caller_id": row.caller_id}
        if not row.parent:
            tree[row.name] = {**entry, "dids": [], "subaccounts": []}
        elif row.parent in tree:
            tree[row.parent]["subaccounts"].append(entry)
    for row in connection.execute(select(dids).order_by(dids.c.number)):
        if row.account in tree:
            tree[row.account]["dids"].append({"number": row.number, "sip_account": row.sip_account, "sms": row.sms})
    return {"accounts": list(tree.values())}
