"""What an operator's commands do to DIDs and groups. Synchronous, beside a live server; see `store.admin`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from sipsms.store import targets
from sipsms.store.admin import AdminError, account, changed, customer
from sipsms.store.directory import with_targets
from sipsms.store.schema import dids, group_members, groups


def add_did(connection: Connection, number: str, owner: str, now: float, *, sip_account: str, sms: bool) -> None:
    if connection.execute(select(dids.c.number).where(dids.c.number == number)).first():
        raise AdminError(f"DID {number} exists already")
    customer(connection, owner)
    _check_sip_account(connection, owner, sip_account)
    row = {"number": number, "account": owner, "sip_account": sip_account, "sms": sms, "created_at": now}
    connection.execute(insert(dids), {**row, "version": changed(connection)})


def _check_sip_account(connection: Connection, owner: str, name: str) -> None:
    if not name:
        return
    row = account(connection, name)
    if row is None:
        raise AdminError(f"no account {name}")
    if name != owner and row.parent != owner:
        raise AdminError(f"{name} is not an account of {owner}")


Destinations = dict[str, list[tuple[str, dict[str, Any]]]]  # kind -> (target, options)


def set_did(connection: Connection, number: str, new: Destinations, **values: Any) -> None:
    """`values` of its row, and `new` destinations by kind: each replaces all there were of its kind."""
    row = connection.execute(select(dids).where(dids.c.number == number)).first()
    if row is None:
        raise AdminError(f"no DID {number}")
    owner = values.get("account", row.account)
    if owner != row.account:  # the new customer's messages are none of the old one's business
        customer(connection, owner)
        values = {"sip_account": "", **values}
        targets.forget(connection, number)
    _check_sip_account(connection, owner, values.get("sip_account", ""))
    for name, _ in new.get("group", []):
        check_group(connection, owner, name)
    for kind, destinations in new.items():
        targets.replace(connection, number, kind, destinations)
    if values or new:
        fresh = {**values, "version": changed(connection)}
        connection.execute(update(dids).where(dids.c.number == number).values(fresh))


def remove_did(connection: Connection, number: str) -> None:
    if connection.execute(delete(dids).where(dids.c.number == number)).rowcount == 0:
        raise AdminError(f"no DID {number}")
    targets.forget(connection, number)
    changed(connection, removed=True)


def list_dids(connection: Connection) -> Iterator[dict[str, Any]]:
    rows = connection.execute(select(dids).order_by(dids.c.number)).all()
    for did in with_targets(connection, rows):
        yield {
            "number": did.number, "account": did.account, "sip_account": did.sip_account, "sms": did.sms,
            "mms": did.mms, "dialing_mode": did.dialing_mode, "group": did.group, "emails": list(did.emails),
            "forward": did.forward, "callback": did.callback.url if did.callback else "",
            "callback_retry": did.callback.retry if did.callback else False,
            "webhook": did.webhook.url if did.webhook else "",
        }  # fmt: skip


def list_endpoints(connection: Connection) -> Iterator[dict[str, Any]]:
    """Customers' servers that are called: callbacks and webhooks, and which are switched off."""
    rows = connection.execute(select(dids).order_by(dids.c.number)).all()
    for did in with_targets(connection, rows):
        for kind, one in (("callback", did.callback), ("webhook", did.webhook)):
            if one is not None:
                yield {"did": did.number, "kind": kind, "url": one.url, "on": not one.disabled, "why": one.disabled}


# --- groups ----------------------------------------------------------------------------------------------------------


def check_group(connection: Connection, owner: str, name: str) -> None:
    row = connection.execute(select(groups).where(groups.c.name == name)).first()
    if row is None or row.account != owner:
        raise AdminError(f"no group {name} of {owner}")


def put_group(connection: Connection, name: str, members: Sequence[str]) -> str:
    """Make a group, or give it other members; the customer whose accounts they all are."""
    owners = set()
    for member in members:
        row = account(connection, member)
        if row is None:
            raise AdminError(f"no account {member}")
        owners.add(row.parent or row.name)
    if len(owners) != 1:
        raise AdminError(f"the members belong to several customers: {', '.join(sorted(owners))}")
    (owner,) = owners
    known = connection.execute(select(groups).where(groups.c.name == name)).first()
    if known is not None and known.account != owner:
        raise AdminError(f"group {name} belongs to {known.account}")
    if known is None:
        connection.execute(insert(groups), {"name": name, "account": owner})
    connection.execute(delete(group_members).where(group_members.c.group_name == name))
    connection.execute(insert(group_members), [{"group_name": name, "member": one} for one in dict.fromkeys(members)])
    targets.touch(connection, targets.using_group(connection, name))
    return str(owner)


def remove_group(connection: Connection, name: str) -> None:
    if connection.execute(select(groups).where(groups.c.name == name)).first() is None:
        raise AdminError(f"no group {name}")
    using = targets.using_group(connection, name)
    if using:
        raise AdminError(f"group {name} is used by DID {using[0]}: take it off there first")
    connection.execute(delete(groups).where(groups.c.name == name))
    connection.execute(delete(group_members).where(group_members.c.group_name == name))


def list_groups(connection: Connection) -> Iterator[dict[str, Any]]:
    for row in connection.execute(select(groups).order_by(groups.c.name)):
        found = select(group_members.c.member).where(group_members.c.group_name == row.name)
        members = sorted(connection.execute(found).scalars())
        yield {"name": row.name, "account": row.account, "members": members}
