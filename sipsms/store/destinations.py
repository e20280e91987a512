"""Where a DID delivers besides its SIP account: one row a destination, options as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update

from sipsms.store.rows import take_ids
from sipsms.store.schema import did_targets, dids, group_members

KINDS = ("email", "forward", "callback", "webhook", "group", "smpp")


def replace(connection: Connection, did: str, kind: str, targets: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """All destinations of one kind; the caller raises the DID's version."""
    connection.execute(delete(did_targets).where(did_targets.c.did == did, did_targets.c.kind == kind))
    rows = [{"did": did, "kind": kind, "target": one, "options": json.dumps(options)} for one, options in targets]
    if rows:
        connection.execute(insert(did_targets), rows)


def options(connection: Connection, did: str, kind: str) -> tuple[str, dict[str, Any]] | None:
    """(target, options) of the first of a kind."""
    row = connection.execute(
        select(did_targets).where(did_targets.c.did == did, did_targets.c.kind == kind).order_by(did_targets.c.id)
    ).first()
    return (row.target, json.loads(row.options)) if row is not None else None


def kept_options(connection: Connection, did: str, kind: str, url: str) -> dict[str, Any]:
    """What stays of a callback or webhook that is set again: not that it was off, and no secret for another server."""
    known = options(connection, did, kind)
    if known is None or urlsplit(known[0])[:2] != urlsplit(url)[:2]:
        return {}
    return {name: value for name, value in known[1].items() if name != "disabled"}


def disable(connection: Connection, did: str, kind: str, why: str) -> bool:
    """Nothing is sent there any more until its owner sets it again. False: it is not there, or was off already."""
    known = options(connection, did, kind)
    if known is None or known[1].get("disabled"):
        return False
    replace(connection, did, kind, [(known[0], {**known[1], "disabled": why[:200]})])
    touch(connection, [did])
    return True


def touch(connection: Connection, numbers: Iterable[str]) -> None:
    """The server has to look at these DIDs again."""
    version = take_ids(connection, "directory", 1)
    connection.execute(update(dids).where(dids.c.number.in_(list(numbers))).values(version=version))


def forget(connection: Connection, did: str) -> None:
    connection.execute(delete(did_targets).where(did_targets.c.did == did))


def using_group(connection: Connection, name: str) -> list[str]:
    """DIDs that deliver to a group."""
    found = select(did_targets.c.did).where(did_targets.c.kind == "group", did_targets.c.target == name)
    return list(connection.execute(found).scalars())


def forget_member(connection: Connection, name: str) -> None:
    """An account is removed: no group has it any more."""
    member_of = select(group_members.c.group_name).where(group_members.c.member == name)
    for group in list(connection.execute(member_of).scalars()):
        touch(connection, using_group(connection, group))
    connection.execute(delete(group_members).where(group_members.c.member == name))
