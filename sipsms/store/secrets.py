"""Random keys that an installation makes for itself once."""

from __future__ import annotations

import os

from sqlalchemy import Connection, select

from sipsms.store import upsert
from sipsms.store.schema import secrets

LENGTH = 32  # bytes


def get_or_make(connection: Connection, name: str) -> bytes:
    """Return the key of this name; make and store it on first use."""
    upsert.keep(connection, secrets, {"name": name, "value": os.urandom(LENGTH)})
    return bytes(connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar_one())
