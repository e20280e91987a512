"""What an operator's commands do to the store: accounts, DIDs, carriers, and the lists to look at. Synchronous.

Runs beside a live server: each change raises the directory's version, by which the server notices at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from sipsms.store import provisions
from sipsms.store.rows import OPEN, QUEUED, counter, take_ids
from sipsms.store.schema import accounts, bindings, carriers, deliveries, devices, dids, messages

# The state of a message with several deliveries is the best of theirs, for what is over, else that it is not over.
_BEST = ("delivered", "accepted", "sending", "queued", "unknown", "expired", "failed")


class AdminError(Exception):
    """A command that cannot be done; one line for the operator."""


@dataclass(frozen=True, slots=True)
class Hashes:
    md5: str
    sha256: str
    realm: str


def _changed(connection: Connection, *, removed: bool = False) -> int:
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
    row = _account_row(name, hashes, parent, caller_id, now, _changed(connection))
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
        changed = {**values, "version": _changed(connection)}
        connection.execute(update(accounts).where(accounts.c.name == name).values(changed))


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
    version = _changed(connection, removed=True)
    connection.execute(update(dids).where(dids.c.sip_account == name).values(sip_account="", version=version))


def list_accounts(connection: Connection) -> Iterator[dict[str, Any]]:
    for row in connection.execute(select(accounts).order_by(accounts.c.name)):
        yield {
            "name": row.name, "customer": row.parent or row.name, "subaccount": bool(row.parent),
            "caller_id": row.caller_id, "enabled": row.enabled, "legacy_digest": row.legacy_digest,
            "presence": row.presence, "copies": row.copies,
        }  # fmt: skip


def other_realms(connection: Connection, realm: str) -> int:
    """Accounts whose password hashes were made for another realm: they cannot log in."""
    query = select(func.count()).select_from(accounts).where(accounts.c.realm != realm)
    return int(connection.execute(query).scalar() or 0)


# --- DIDs ------------------------------------------------------------------------------------------------------------


def add_did(connection: Connection, number: str, owner: str, now: float, *, sip_account: str, sms: bool) -> None:
    if connection.execute(select(dids.c.number).where(dids.c.number == number)).first():
        raise AdminError(f"DID {number} exists already")
    customer(connection, owner)
    _check_sip_account(connection, owner, sip_account)
    row = {"number": number, "account": owner, "sip_account": sip_account, "sms": sms, "created_at": now}
    connection.execute(insert(dids), {**row, "version": _changed(connection)})


def _check_sip_account(connection: Connection, owner: str, name: str) -> None:
    if not name:
        return
    row = account(connection, name)
    if row is None:
        raise AdminError(f"no account {name}")
    if name != owner and row.parent != owner:
        raise AdminError(f"{name} is not an account of {owner}")


def set_did(connection: Connection, number: str, **values: Any) -> None:
    row = connection.execute(select(dids).where(dids.c.number == number)).first()
    if row is None:
        raise AdminError(f"no DID {number}")
    _check_sip_account(connection, values.get("account", row.account), values.get("sip_account", ""))
    if values:
        changed = {**values, "version": _changed(connection)}
        connection.execute(update(dids).where(dids.c.number == number).values(changed))


def remove_did(connection: Connection, number: str) -> None:
    if connection.execute(delete(dids).where(dids.c.number == number)).rowcount == 0:
        raise AdminError(f"no DID {number}")
    _changed(connection, removed=True)


def list_dids(connection: Connection) -> Iterator[dict[str, Any]]:
    for row in connection.execute(select(dids).order_by(dids.c.number)):
        yield {"number": row.number, "account": row.account, "sip_account": row.sip_account, "sms": row.sms}


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
    version = _changed(connection)
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


# --- carriers --------------------------------------------------------------------------------------------------------


def pause_carrier(connection: Connection, name: str, *, paused: bool) -> None:
    if connection.execute(update(carriers).where(carriers.c.name == name).values(paused=paused)).rowcount == 0:
        connection.execute(insert(carriers), {"name": name, "paused": paused})
    _changed(connection)


def carrier_states(connection: Connection) -> tuple[set[str], dict[str, int]]:
    """(names of paused carriers, deliveries waiting by courier)."""
    paused = set(connection.execute(select(carriers.c.name).where(carriers.c.paused)).scalars())
    waiting = connection.execute(
        select(deliveries.c.courier, func.count()).where(QUEUED).group_by(deliveries.c.courier)
    )
    return paused, {row.courier: row[1] for row in waiting}


# --- looking ---------------------------------------------------------------------------------------------------------


def list_bindings(connection: Connection, now: float) -> Iterator[dict[str, Any]]:
    for row in connection.execute(select(bindings).where(bindings.c.expires_at > now).order_by(bindings.c.aor)):
        yield {
            "account": row.aor, "contact": row.contact, "received": row.received, "device": row.device,
            "user_agent": row.user_agent, "expires_in": round(row.expires_at - now),
        }  # fmt: skip


def list_devices(connection: Connection, now: float) -> Iterator[dict[str, Any]]:
    bound = set(connection.execute(select(bindings.c.device).where(bindings.c.expires_at > now)).scalars())
    waiting = {
        row.device: row[1]
        for row in connection.execute(
            select(deliveries.c.device, func.count())
            .where(QUEUED, deliveries.c.courier == "sip")
            .group_by(deliveries.c.device)
        )
    }
    for row in connection.execute(select(devices).order_by(devices.c.aor, devices.c.id)):
        yield {
            "device": row.id, "account": row.aor, "key": row.key, "user_agent": row.user_agent,
            "registered": row.id in bound, "waiting": waiting.get(row.id, 0), "last_seen": row.last_seen,
        }  # fmt: skip


def list_queue(connection: Connection, limit: int) -> Iterator[dict[str, Any]]:
    query = select(deliveries).where(OPEN).order_by(deliveries.c.id).limit(limit)
    for row in connection.execute(query):
        yield {
            "delivery": row.id, "message": row.message_id, "courier": row.courier, "destination": row.destination,
            "device": row.device, "state": row.state, "attempts": row.attempts, "due_at": row.due_at,
            "expires_at": row.expires_at, "last_error": row.last_error,
        }  # fmt: skip


def list_messages(connection: Connection, did: str, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` messages, oldest of them first."""
    texts = messages.c.content_type == ""  # no notices of delivery
    query = select(messages).where(texts).order_by(messages.c.id.desc()).limit(limit)
    if did:
        query = query.where(messages.c.did == did)
    rows = connection.execute(query).all()[::-1]
    parts: dict[int, list[Any]] = {row.id: [] for row in rows}
    for chunk in _chunks(list(parts), 500):
        found = select(deliveries).where(deliveries.c.message_id.in_(chunk)).order_by(deliveries.c.id)
        for delivery in connection.execute(found):
            parts[delivery.message_id].append(delivery)
    return [_message(row, parts[row.id]) for row in rows]


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _is_copy(row: Any, part: Any) -> bool:
    """Shown on another device of the sender: says nothing about where the message stands."""
    return bool(row.direction == "out" and row.did and part.courier == "sip" and part.destination == row.account)


def _message(row: Any, parts: list[Any]) -> dict[str, Any]:
    states = {part.state for part in parts if not _is_copy(row, part)}
    state = next((name for name in _BEST if name in states), "delivered")
    carrier = next((part for part in parts if part.courier.startswith("carrier:")), None)
    inbound = row.origin.partition(":")[2] if row.direction == "in" else ""
    return {
        "id": row.id,
        "direction": row.direction,
        "from": row.source,
        "to": row.destination,
        "text": row.text,
        "state": state,
        "created_at": datetime.fromtimestamp(row.received_at, UTC).isoformat(timespec="milliseconds"),
        "account": row.account,
        "carrier": carrier.courier.removeprefix("carrier:") if carrier else inbound,
        "carrier_id": carrier.remote_id if carrier else row.remote_id,
        "deliveries": [
            {
                "courier": part.courier, "destination": part.destination, "device": part.device, "state": part.state,
                "attempts": part.attempts, "last_error": part.last_error,
            }
            for part in parts
        ],
    }  # fmt: skip
