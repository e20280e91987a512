"""Destinations of a DID besides its SIP account: one row per destination, options as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update

from sipsms.store.rows import take_ids
from sipsms.store.schema import did_targets, dids, group_members


def replace(connection: Connection, did: str, kind: str, targets: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Replace all destinations of one kind. The caller must raise the DID's version."""
    connection.execute(delete(did_targets).where(did_targets.c.did == did, did_targets.c.kind == kind))
    rows = [{"did": did, "kind": kind, "target": one, "options": json.dumps(options)} for one, options in targets]
    if rows:
        connection.execute(insert(did_targets), rows)


def options(connection: Connection, did: str, kind: str) -> tuple[str, dict[str, Any]] | None:
    """Return (target, options) of the first destination of a kind, or None."""
    row = connection.execute(
        select(did_targets).where(did_targets.c.did == did, did_targets.c.kind == kind).order_by(did_targets.c.id)
    ).first()
    return (row.target, json.loads(row.options)) if row is not None else None


def kept_options(connection: Connection, did: str, kind: str, url: str) -> dict[str, Any]:
    """Return the options that a callback or webhook keeps when it is set again, without "disabled".

    For another server nothing stays, so that no secret goes to it."""
    known = options(connection, did, kind)
    if known is None or urlsplit(known[0])[:2] != urlsplit(url)[:2]:
        return {}
    return {name: value for name, value in known[1].items() if name != "disabled"}


def disable(connection: Connection, did: str, kind: str, why: str) -> bool:
    """Stop calls to a callback or webhook until its owner sets it again. Return False if absent or off."""
    known = options(connection, did, kind)
    if known is None or known[1].get("disabled"):
        return False
    replace(connection, did, kind, [(known[0], {**known[1], "disabled": why[:200]})])
    touch(connection, [did])
    return True


def touch(connection: Connection, numbers: Iterable[str]) -> None:
    """Raise the version of these DIDs, so that the server reloads them."""
    version = take_ids(connection, "directory", 1)
    connection.execute(update(dids).where(dids.c.number.in_(list(numbers))).values(version=version))


def forget(connection: Connection, did: str) -> None:
    connection.execute(delete(did_targets).where(did_targets.c.did == did))


def using_group(connection: Connection, name: str) -> list[str]:
    found = select(did_targets.c.did).where(did_targets.c.kind == "group", did_targets.c.target == name)
    return list(connection.execute(found).scalars())


def forget_member(connection: Connection, name: str) -> None:
    """Remove a deleted account from all groups."""
    member_of = select(group_members.c.group_name).where(group_members.c.member == name)
    for group in list(connection.execute(member_of).scalars()):
        touch(connection, using_group(connection, group))
    connection.execute(delete(group_members).where(group_members.c.member == name))
