"""Rows of `provisions`: phone settings that can be fetched by a link.

A link works a few times and for a limited time. The store alone reveals no secret: a row holds the SHA-256 of the
link's token, and settings that only the token decrypts. The key is HKDF-SHA256 of the token (RFC 5869). The token has
192 random bits, so neither hash nor key needs a salt or a slow function.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, NamedTuple

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, delete, insert, select, update

from sipsms.store.schema import provisions

_PURPOSE = b"sipsms provision"


class Fetched(NamedTuple):
    account: str
    secret: dict[str, Any]  # the decrypted settings


def create(
    connection: Connection, token: str, account: str, secret: dict[str, Any], expires_at: float, fetches: int
) -> None:
    sealed = _lock(token).encrypt(json.dumps(secret).encode())
    row = {"hash": _hash(token), "account": account, "sealed": sealed}
    connection.execute(insert(provisions), {**row, "expires_at": expires_at, "fetches_left": fetches})


def is_there(connection: Connection, token: str, now: float) -> bool:
    """Return whether a token is valid, without writing: a client that guesses must not lock the store."""
    return connection.execute(select(provisions.c.hash).where(*_good(token, now))).first() is not None


def take(connection: Connection, token: str, now: float) -> Fetched | None:
    """Use up one fetch. Return None for a token that is wrong, expired or used up."""
    counted = update(provisions).where(*_good(token, now)).values(fetches_left=provisions.c.fetches_left - 1)
    row = connection.execute(counted.returning(provisions.c.account, provisions.c.sealed)).first()
    if row is None:
        return None
    try:
        return Fetched(row.account, json.loads(_lock(token).decrypt(row.sealed)))
    except InvalidToken:  # the row was tampered with
        return None


def forget(connection: Connection, now: float) -> None:
    """Delete links that cannot be fetched any more."""
    connection.execute(delete(provisions).where((provisions.c.expires_at <= now) | (provisions.c.fetches_left <= 0)))


def forget_account(connection: Connection, account: str) -> None:
    """Delete the links of an account that was removed or has a new password."""
    connection.execute(delete(provisions).where(provisions.c.account == account))


def _good(token: str, now: float) -> tuple[Any, ...]:
    return provisions.c.hash == _hash(token), provisions.c.expires_at > now, provisions.c.fetches_left > 0


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _lock(token: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(token.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
