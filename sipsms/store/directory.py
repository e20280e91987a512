"""The rows that the server caches: accounts, DIDs, blocks, tokens and paused carriers.

Names of accounts stand in many rows: they are interned, so that a hundred thousand accounts need less memory.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from sys import intern
from typing import Any

from sqlalchemy import Connection, Row, select

from sipsms.core.account import Account, Callback, Did, Scope, Smpp, Token, Webhook
from sipsms.core.directory_rows import Block, DirectoryChanges
from sipsms.store.rows import chunks, counter
from sipsms.store.schema import accounts, blocks, carriers, did_targets, dids, group_members, tokens


def changes(connection: Connection, since: int) -> DirectoryChanges:
    """Return the rows changed after version `since`; all rows if it is 0 or something was deleted since then."""
    version = counter(connection, "directory")
    whole = since < counter(connection, "directory-removed") or since == 0
    after = 0 if whole else since
    people = [
        Account(intern(row[0]), *row[1:]) for row in connection.execute(_ACCOUNT.where(accounts.c.version > after))
    ]
    numbers: list[Did] = []
    for rows in connection.execute(select(dids).where(dids.c.version > after)).partitions(500):
        numbers += with_targets(connection, rows)
    paused = connection.execute(select(carriers.c.name).where(carriers.c.paused)).scalars()
    blocked = [
        Block(row.owner, row.number, row.direction, row.active)
        for row in connection.execute(select(blocks).where(blocks.c.version > after))
    ]
    keys = [_token(row) for row in connection.execute(select(tokens).where(tokens.c.version > after))]
    return DirectoryChanges(version, whole, people, numbers, frozenset(paused), blocked, keys)


_ACCOUNT = select(*(  # in the order of the fields of `Account`
    accounts.c[name]
    for name in (
        "name", "parent", "ha1_md5", "ha1_sha256", "caller_id", "enabled", "legacy_digest", "presence", "copies",
        "bulk", "shorteners", "api_hash", "api_daily_limit", "api_allow_ip", "email", "reseller", "app_messages",
        "created_at", "smpp_rate", "reply_from_thread",
    )
))  # fmt: skip


def _token(row: Row[Any]) -> Token:
    scope, _, did = row.scope.partition(":")
    return Token(row.name, row.hash, row.account, Scope(scope), did, row.expires_at)


def with_targets(connection: Connection, rows: Sequence[Row[Any]]) -> list[Did]:
    """Return DIDs with all their destinations."""
    targets: dict[str, list[Row[Any]]] = defaultdict(list)
    for found in _in_chunks(connection, did_targets, did_targets.c.did, [row.number for row in rows]):
        targets[found.did].append(found)
    names = {one.target for found in targets.values() for one in found if one.kind == "group"}
    members: dict[str, list[str]] = defaultdict(list)
    for member in _in_chunks(connection, group_members, group_members.c.group_name, sorted(names)):
        members[member.group_name].append(member.member)
    return [_did(row, targets.get(row.number, []), members) for row in rows]


def _in_chunks(connection: Connection, table: Any, column: Any, keys: list[str]) -> Iterable[Row[Any]]:
    for names in chunks(keys):
        yield from connection.execute(select(table).where(column.in_(names)))


def _did(row: Row[Any], targets: list[Row[Any]], members: dict[str, list[str]]) -> Did:
    of_kind: dict[str, list[Row[Any]]] = defaultdict(list)
    for one in targets:
        of_kind[one.kind].append(one)
    callback = next((Callback(one.target, **json.loads(one.options)) for one in of_kind["callback"]), None)
    webhook = next((Webhook(one.target, **json.loads(one.options)) for one in of_kind["webhook"]), None)
    smpp = next((Smpp(url=one.target, **json.loads(one.options)) for one in of_kind["smpp"]), None)
    group = next((one.target for one in of_kind["group"]), "")
    return Did(
        row.number, intern(row.account), intern(row.sip_account), row.sms, row.mms, row.dialing_mode, group,
        tuple(sorted(members[group])) if group else (), tuple(one.target for one in of_kind["email"]),
        next((one.target for one in of_kind["forward"]), ""), callback, webhook, row.created_at,
        smpp,
    )  # fmt: skip
