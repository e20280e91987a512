"""Random keys that an installation makes for itself once."""

from __future__ import annotations

import os

from sqlalchemy import Connection, insert, select

from sipsms.store.schema import secrets

LENGTH = 32  # bytes


def get_or_make(connection: Connection, name: str) -> bytes:
    """Return the key of this name; make and store it on first use."""
    known = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    if known is not None:
        return bytes(known)
    made = os.urandom(LENGTH)
    connection.execute(insert(secrets), {"name": name, "value": made})
    return made
