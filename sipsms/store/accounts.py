"""Rows of accounts and the rules for changing them. Synchronous.

Each change must raise the directory's version: a running server reloads only rows with a newer version."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from sipsms.core.account import Account
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.ha1 import ha1
from sipsms.store import destinations, provisioning_links, reassign, threads
from sipsms.store.rows import counter, take_ids
from sipsms.store.schema import accounts, bindings, devices, dids, push_tokens, sessions, tokens, user_dids, users

EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,188}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Hashes:
    md5: str
    sha256: str
    realm: str

    @classmethod
    def of(cls, name: str, password: str, realm: str) -> Hashes:
        return cls(ha1(name, realm, password), ha1(name, realm, password, "SHA-256"), realm)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account of an import file. Without `hashes` the account must exist, and it keeps its password."""

    name: str
    parent: str
    caller_id: str
    hashes: Hashes | None


def changed(connection: Connection, *, removed: bool = False) -> int:
    """Raise and return the directory's version. After a removal (`removed`) the server reloads all."""
    version = take_ids(connection, "directory", 1)
    if removed:
        behind = version - counter(connection, "directory-removed")
        take_ids(connection, "directory-removed", behind)
    return version


# --- accounts --------------------------------------------------------------------------------------------------------


def add_account(
    connection: Connection, name: str, hashes: Hashes, now: float, *, parent: str = "", caller_id: str = ""
) -> None:
    if connection.execute(select(accounts.c.name).where(accounts.c.name == name)).first() is not None:
        raise AdminError(f"account {name} exists already")
    if parent:
        customer(connection, parent)
    row = account_row(name, hashes, parent, caller_id, now, changed(connection))
    connection.execute(insert(accounts), row)


def account_row(name: str, hashes: Hashes, parent: str, caller_id: str, now: float, version: int) -> dict[str, Any]:
    return {
        "name": name, "parent": parent, "ha1_md5": hashes.md5, "ha1_sha256": hashes.sha256, "realm": hashes.realm,
        "caller_id": caller_id, "created_at": now, "version": version,
    }  # fmt: skip


def account(connection: Connection, name: str) -> Any:
    """Return an account's row. Raises AdminError if there is none."""
    row = connection.execute(select(accounts).where(accounts.c.name == name)).first()
    if row is None:
        raise AdminError(f"no account {name}")
    return row


def customer(connection: Connection, name: str) -> Any:
    """Return the customer's row. Raises AdminError if no customer has this name."""
    row = account(connection, name)
    if row.parent:
        raise AdminError(f"{name} is a subaccount of {row.parent}; name the customer")
    return row


def set_account(connection: Connection, /, name: str, **values: Any) -> None:
    row = account(connection, name)
    if values.get("email"):
        _check_email(connection, name, values["email"])
    if values.get("reseller"):
        _check_reseller(connection, row, values["reseller"])
    if values.get("api_allow_ip"):
        values["api_allow_ip"] = networks(values["api_allow_ip"])
    if row.app_messages and values.get("app_messages") is False:
        reassign.to_phones(connection, name, time.time())
    if values.get("reply_from_thread") is False:
        threads.forget(connection, name)
    if values:
        fresh = {**values, "version": changed(connection)}
        connection.execute(update(accounts).where(accounts.c.name == name).values(fresh))
        if values.get("ha1_md5", row.ha1_md5) != row.ha1_md5 or values.get("enabled") is False:
            end_registrations(connection, name, with_subaccounts=values.get("enabled") is False)


def end_registrations(connection: Connection, name: str, *, with_subaccounts: bool = False) -> None:
    """Delete the bindings of an account, also while no server runs: its devices get no more messages."""
    gone = bindings.c.aor == name
    if with_subaccounts:
        gone |= bindings.c.aor.in_(select(accounts.c.name).where(accounts.c.parent == name))
    connection.execute(delete(bindings).where(gone))


def _check_email(connection: Connection, name: str, email: str) -> None:
    """Check an e-mail address. Raises BadValue also if the address, a name at rest.php, is another account's."""
    if not EMAIL.fullmatch(email):
        raise BadValue("email", f"{email!r} is not an e-mail address")
    same = select(accounts.c.name).where(func.lower(accounts.c.email) == email.lower(), accounts.c.name != name)
    if (other := connection.execute(same.limit(1)).scalar()) is not None:
        raise BadValue("email", f"{email} belongs to {other} already")


def _check_reseller(connection: Connection, row: Any, reseller: str) -> None:
    if row.parent:
        raise BadValue("reseller", f"{row.name} is a subaccount: its customer {row.parent} may have one")
    found = customer(connection, reseller)
    if reseller == row.name or found.reseller:
        raise BadValue("reseller", f"{reseller} cannot be the reseller of {row.name}: a reseller has none itself")
    if connection.execute(select(accounts.c.name).where(accounts.c.reseller == row.name).limit(1)).first() is not None:
        raise BadValue("reseller", f"{row.name} is a reseller itself")


def networks(text: str) -> str:
    """Return addresses and CIDR networks (by commas or spaces) as they are stored. Raises AdminError."""
    given = text.replace(",", " ").split()
    if text and not given:
        raise BadValue("api_allow_ip", "no network is named; nothing at all stands for every address")
    if any("%" in one for one in given):
        raise BadValue("api_allow_ip", "an address without %: its zone means nothing elsewhere")
    try:
        found = [str(ip_network(one, strict=False)) for one in given]
    except ValueError as error:
        raise BadValue("api_allow_ip", str(error)) from None
    joined = " ".join(dict.fromkeys(found))
    if len(joined) > 1024:
        raise BadValue("api_allow_ip", "too many networks")
    return joined


def set_password(connection: Connection, name: str, hashes: Hashes) -> None:
    set_account(connection, name, ha1_md5=hashes.md5, ha1_sha256=hashes.sha256, realm=hashes.realm)
    provisioning_links.forget_account(connection, name)


def remove_account(connection: Connection, name: str) -> None:
    """Remove an account without subaccounts and DIDs, its registrations and its deliveries. Raises AdminError."""
    account(connection, name)
    children = connection.execute(select(accounts.c.name).where(accounts.c.parent == name).limit(1)).scalar()
    if children is not None:
        raise AdminError(f"{name} still has subaccounts ({children}, ...): remove them first")
    owned = connection.execute(select(dids.c.number).where(dids.c.account == name).limit(1)).scalar()
    if owned is not None:
        raise AdminError(f"{name} still owns DIDs ({owned}, ...): remove them first")
    reassign.end(connection, name, time.time())
    connection.execute(delete(accounts).where(accounts.c.name == name))
    connection.execute(delete(bindings).where(bindings.c.aor == name))
    connection.execute(delete(devices).where(devices.c.aor == name))
    provisioning_links.forget_account(connection, name)
    connection.execute(delete(tokens).where(tokens.c.account == name))
    _remove_users(connection, name)
    threads.forget(connection, name)
    connection.execute(delete(push_tokens).where(push_tokens.c.account == name))
    connection.execute(update(accounts).where(accounts.c.reseller == name).values(reseller=""))
    destinations.forget_member(connection, name)
    version = changed(connection, removed=True)
    connection.execute(update(dids).where(dids.c.sip_account == name).values(sip_account="", version=version))


def _remove_users(connection: Connection, customer: str) -> None:
    """Remove the people of a customer, with their sessions."""
    people = select(users.c.id).where(users.c.customer == customer)
    for table in (sessions, user_dids):
        connection.execute(delete(table).where(table.c.user_id.in_(people)))
    connection.execute(delete(users).where(users.c.customer == customer))


def count_subaccounts(connection: Connection, customer: str) -> int:
    return int(connection.execute(select(func.count()).where(accounts.c.parent == customer)).scalar_one())


def list_accounts(connection: Connection) -> Iterator[dict[str, Any]]:
    return map(shown_account, connection.execute(select(accounts).order_by(accounts.c.name)))


def shown_account(row: Row[Any] | Account) -> dict[str, Any]:
    """Return an account as lists show it, without its secrets."""
    return {
        "name": row.name, "customer": row.parent or row.name, "subaccount": bool(row.parent),
        "caller_id": row.caller_id, "enabled": row.enabled, "legacy_digest": row.legacy_digest,
        "presence": row.presence, "copies": row.copies, "bulk": row.bulk, "shorteners": row.shorteners,
        "api": bool(row.api_hash), "api_daily_limit": row.api_daily_limit, "api_allow_ip": row.api_allow_ip,
        "email": row.email, "reseller": row.reseller, "app_messages": row.app_messages, "smpp_rate": row.smpp_rate,
        "reply_from_thread": row.reply_from_thread,
    }  # fmt: skip


def other_realms(connection: Connection, realm: str) -> int:
    """Return the number of accounts that cannot log in: their hashes were made for another realm."""
    query = select(func.count()).select_from(accounts).where(accounts.c.realm != realm)
    return int(connection.execute(query).scalar() or 0)
