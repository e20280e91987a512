"""API passwords and tokens: made here, displayed once, stored as hashes (S-105). Synchronous."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from sipsms.core.account import Scope
from sipsms.core.errors import AdminError
from sipsms.store.accounts import changed, customer, set_account
from sipsms.store.schema import dids, tokens

MOST: Final = 100  # tokens per customer
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFIX: Final = "sipsms_"  # makes a token recognisable when it appears in the wrong place


def digest(secret: str) -> str:
    """Return the hash of a secret: 192 random bits need no salt and no slow hash."""
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def make_password(connection: Connection, name: str) -> str:
    """Replace and return the API password, which is URL-safe because one client does not encode it."""
    password = secrets.token_urlsafe(24)
    set_account(connection, name, api_hash=digest(password))
    return password


def drop_password(connection: Connection, name: str) -> None:
    set_account(connection, name, api_hash="")


def add(
    connection: Connection, name: str, scope: Scope, owner: str, did: str, now: float, expires_at: float | None = None
) -> str:
    """Make and return a token of the customer `owner` (empty: the operator). Raises AdminError."""
    if not _NAME.fullmatch(name):
        raise AdminError("a token's name is made of letters, digits, - _ . and has at most 64")
    if connection.execute(select(tokens.c.id).where(tokens.c.name == name)).first() is not None:
        raise AdminError(f"token {name} exists already")
    if (scope is Scope.OPERATOR) == bool(owner):
        raise AdminError("a token needs an account" if not owner else "a token for the operator has no account")
    if owner:
        customer(connection, owner)
    if (scope is Scope.DID) != bool(did):
        raise AdminError("a token of scope did names its DID, others do not")
    if did and connection.execute(select(dids.c.account).where(dids.c.number == did)).scalar() != owner:
        raise AdminError(f"no DID {did} of {owner}")
    mine = select(func.count()).where(tokens.c.account == owner)
    if owner and (connection.execute(mine).scalar() or 0) >= MOST:
        raise AdminError(f"{owner} has {MOST} tokens already")
    token = _PREFIX + secrets.token_urlsafe(24)
    row = {
        "hash": digest(token), "account": owner, "name": name, "scope": f"{scope}:{did}" if did else str(scope),
        "created_at": now, "expires_at": expires_at, "version": changed(connection),
    }  # fmt: skip
    connection.execute(insert(tokens), row)
    return token


def remove(connection: Connection, name: str, owner: str | None = None) -> None:
    """Delete a token, of the customer `owner` or of anyone. Raises AdminError."""
    here = tokens.c.name == name if owner is None else (tokens.c.name == name) & (tokens.c.account == owner)
    if connection.execute(delete(tokens).where(here)).rowcount == 0:
        raise AdminError(f"no token {name}")
    changed(connection, removed=True)


def forget_did(connection: Connection, number: str) -> None:
    """Delete the tokens of a DID that was removed or has a new owner."""
    if connection.execute(delete(tokens).where(tokens.c.scope == f"{Scope.DID}:{number}")).rowcount:
        changed(connection, removed=True)
