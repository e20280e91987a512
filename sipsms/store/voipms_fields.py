"""What clients of the VoIP.ms-compatible API say of a subaccount and means nothing here: kept, and told again, so that
a program that compares what it reads with what it has written finds no difference. Synchronous; see `store.admin`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select, update

from sipsms.store.accounts import AdminError, BadValue, account
from sipsms.store.schema import accounts


def written(connection: Connection, customer: str) -> dict[str, dict[str, str]]:
    """Of its subaccounts that have any, by name."""
    rows = connection.execute(select(accounts.c.name, accounts.c.api_fields).where(accounts.c.parent == customer))
    return {row.name: json.loads(row.api_fields) for row in rows if row.api_fields != "{}"}


def write(connection: Connection, name: str, fields: Mapping[str, str]) -> None:
    """What is not among them stays; an empty one is as usual again. Raises BadValue or AdminError."""
    if not fields:
        return
    row = account(connection, name)
    if row is None:
        raise AdminError(f"no account {name}")
    extension = fields.get("internal_extension")
    others = written(connection, row.parent) if extension else {}
    if any(one.get("internal_extension") == extension for other, one in others.items() if other != name):
        raise BadValue("internal_extension", f"{extension} is another subaccount's")
    kept = {key: value for key, value in {**json.loads(row.api_fields), **fields}.items() if value}
    connection.execute(
        update(accounts).where(accounts.c.name == name).values(api_fields=json.dumps(kept, ensure_ascii=False))
    )
