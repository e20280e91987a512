"""Fields of a subaccount that VoIP.ms clients set and that have no effect here. Synchronous.

The fields are stored and returned, so that a program that reads back what it wrote finds no difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select, update

from sipsms.core.errors import BadValue
from sipsms.store.accounts import account
from sipsms.store.schema import accounts


def written(connection: Connection, customer: str) -> dict[str, dict[str, str]]:
    """Return the stored fields by name of the subaccount, for subaccounts that have any."""
    rows = connection.execute(select(accounts.c.name, accounts.c.api_fields).where(accounts.c.parent == customer))
    return {row.name: json.loads(row.api_fields) for row in rows if row.api_fields != "{}"}


def write(connection: Connection, name: str, fields: Mapping[str, str]) -> None:
    """Set fields of a subaccount; an empty value removes the field. Raises BadValue or AdminError."""
    if not fields:
        return
    row = account(connection, name)
    extension = fields.get("internal_extension")
    others = written(connection, row.parent) if extension else {}
    if any(one.get("internal_extension") == extension for other, one in others.items() if other != name):
        raise BadValue("internal_extension", f"{extension} is another subaccount's")
    kept = {key: value for key, value in {**json.loads(row.api_fields), **fields}.items() if value}
    connection.execute(
        update(accounts).where(accounts.c.name == name).values(api_fields=json.dumps(kept, ensure_ascii=False))
    )
