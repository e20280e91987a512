"""Rows of `users` and `user_dids`: people who sign in to the message centre.

Two people may change one user at the same time: a change names the version that it was made from, and the second one
is refused. What may be used once (a link, a code) is taken by one UPDATE that names the old value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role, User
from sipsms.store import accounts, sessions, upsert
from sipsms.store.schema import dids, user_dids, users

MOST: Final = 1000  # users of a customer
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Conflict(AdminError):
    """Somebody else has changed the user meanwhile."""


def add(
    connection: Connection, name: str, customer: str, role: Role, now: float, *, email: str = "",
    numbers: Sequence[str] = (),
) -> User:  # fmt: skip
    """Add a user without a password. Raises AdminError."""
    name, email = name.lower(), email.lower()
    if not _NAME.fullmatch(name):
        raise BadValue("name", "a name is 1 to 64 letters, digits, - _ . and begins with a letter or digit")
    if (role is Role.OPERATOR) == bool(customer):
        raise BadValue("customer", "an operator belongs to no customer" if customer else f"a {role} needs a customer")
    if customer:
        accounts.customer(connection, customer)
    count = connection.execute(select(func.count()).where(users.c.customer == customer)).scalar() or 0
    if count >= MOST:
        raise AdminError(f"there are {MOST} users already")
    _check_email(connection, email, None)
    row = {"name": name, "customer": customer, "role": str(role), "email": email, "created_at": now, "lang": "en"}
    fresh = upsert.insert_into(connection.dialect.name, users).values(row)
    fresh = fresh.on_conflict_do_nothing(index_elements=["name"]).returning(users.c.id)
    made = connection.execute(fresh).scalar()
    if made is None:
        raise BadValue("name", f"there is a user {name} already")
    _give(connection, made, customer, role, numbers)
    return by_id(connection, made)


def by_id(connection: Connection, user: int) -> User:
    """Return a user. Raises AdminError if there is none."""
    found = _find(connection, users.c.id == user)
    if found is None:
        raise AdminError(f"no user {user}")
    return found


def by_name(connection: Connection, name: str) -> User:
    """Return a user. Raises AdminError if there is none."""
    found = _find(connection, users.c.name == name.lower())
    if found is None:
        raise AdminError(f"no user {name}")
    return found


def known_as(connection: Connection, name: str) -> User | None:
    """Return the user with this name or e-mail address: an address has an @, which no name has."""
    lower = name.lower()
    return _find(connection, (users.c.email if "@" in lower else users.c.name) == lower) if lower else None


def of_customer(connection: Connection, customer: str | None) -> list[User]:
    """Return the users of a customer (empty: the operators; None: all users), by name."""
    query = select(users).order_by(users.c.customer, users.c.name)
    if customer is not None:
        query = query.where(users.c.customer == customer)
    rows = connection.execute(query).all()
    given: dict[int, list[str]] = {}
    numbers = select(user_dids).order_by(user_dids.c.did)
    for row in connection.execute(numbers.where(user_dids.c.user_id.in_([row.id for row in rows]))):
        given.setdefault(row.user_id, []).append(row.did)
    return [_user(row, given.get(row.id, ())) for row in rows]


def counts(connection: Connection, customers: Iterable[str]) -> dict[str, int]:
    """Return how many users each of these customers has."""
    query = select(users.c.customer, func.count()).where(users.c.customer.in_(list(customers)))
    return dict(connection.execute(query.group_by(users.c.customer)).tuples().all())


def change(
    connection: Connection, user: int, version: int, *, numbers: Sequence[str] | None = None, **values: Any
) -> User:
    """Change a user that has still this version, and its DIDs. Raises AdminError, and Conflict."""
    if "email" in values:
        values["email"] = values["email"].lower()
        _check_email(connection, values["email"], user)
    here = (users.c.id == user, users.c.version == version)
    if not connection.execute(update(users).where(*here).values(**values, version=version + 1)).rowcount:
        by_id(connection, user)
        raise Conflict("somebody else has changed this user meanwhile")
    found = by_id(connection, user)
    if numbers is not None or found.role is not Role.USER:
        connection.execute(delete(user_dids).where(user_dids.c.user_id == user))
        _give(connection, user, found.customer, found.role, numbers or ())
    return by_id(connection, user)


def set_password(connection: Connection, user: int, hashed: str, *, old: str | None = None) -> bool:
    """Store the hash of a password; with `old` only in place of that hash. An open link ends."""
    here = users.c.id == user
    if old is not None:
        here &= users.c.hash == old
    fresh = update(users).where(here).values(hash=hashed, link="", link_ends=0.0, version=users.c.version + 1)
    return bool(connection.execute(fresh).rowcount)


def rehash(connection: Connection, user: int, old: str, hashed: str) -> None:
    """Replace the hash of the same password by one with newer parameters."""
    connection.execute(update(users).where(users.c.id == user, users.c.hash == old).values(hash=hashed))


def open_link(connection: Connection, user: int, hashed: str, ends: float) -> None:
    """Let the link with this hash set the user's password until `ends`. An earlier link ends."""
    connection.execute(update(users).where(users.c.id == user).values(link=hashed, link_ends=ends))


def by_link(connection: Connection, hashed: str, now: float) -> User | None:
    return _find(connection, (users.c.link == hashed) & (users.c.link != "") & (users.c.link_ends > now))


def take_link(connection: Connection, hashed: str, now: float) -> User | None:
    """Use up a link. Return its user; None if the link is wrong, old or used."""
    here = (users.c.link == hashed, users.c.link != "", users.c.link_ends > now)
    taken = update(users).where(*here).values(link="", link_ends=0.0).returning(users.c.id)
    user = connection.execute(taken).scalar()
    return None if user is None else by_id(connection, user)


def take_step(connection: Connection, user: int, step: int) -> bool:
    """Use up the code of a step, and with it all codes of earlier steps. False: it was used."""
    here = (users.c.id == user, users.c.totp_step < step)
    return bool(connection.execute(update(users).where(*here).values(totp_step=step)).rowcount)


def take_recovery(connection: Connection, user: int, hashed: str) -> bool:
    """Use up a recovery code. False: it is none of the user's unused codes."""
    old = connection.execute(select(users.c.recovery).where(users.c.id == user)).scalar() or ""
    if hashed not in old.split():
        return False
    left = " ".join(code for code in old.split() if code != hashed)
    here = (users.c.id == user, users.c.recovery == old)
    return bool(connection.execute(update(users).where(*here).values(recovery=left)).rowcount)


def set_second_factor(connection: Connection, user: int, **values: Any) -> None:
    """Set `totp`, `totp_new`, `totp_step` or `recovery`."""
    connection.execute(update(users).where(users.c.id == user).values(**values, version=users.c.version + 1))


def remove(connection: Connection, user: int) -> None:
    """Remove a user with its sessions."""
    sessions.end_all(connection, user)
    connection.execute(delete(user_dids).where(user_dids.c.user_id == user))
    connection.execute(delete(users).where(users.c.id == user))


def forget_did(connection: Connection, number: str) -> None:
    """Take a DID that was removed or has a new owner from all users."""
    connection.execute(delete(user_dids).where(user_dids.c.did == number))


def _give(connection: Connection, user: int, customer: str, role: Role, numbers: Sequence[str]) -> None:
    if numbers and role is not Role.USER:
        raise BadValue("did", f"a {role} sees all DIDs of its customer: only users get single ones")
    for number in dict.fromkeys(numbers):
        if connection.execute(select(dids.c.account).where(dids.c.number == number)).scalar() != customer:
            raise BadValue("did", f"no DID {number} of {customer}")
        connection.execute(insert(user_dids), {"user_id": user, "did": number})


def _check_email(connection: Connection, email: str, user: int | None) -> None:
    if not email:
        return
    if not accounts.EMAIL.fullmatch(email):
        raise BadValue("email", f"{email!r} is not an e-mail address")
    other = connection.execute(select(users.c.id).where(users.c.email == email)).scalar()
    if other is not None and other != user:
        raise BadValue("email", "another user has this e-mail address")


def _find(connection: Connection, here: Any) -> User | None:
    row = connection.execute(select(users).where(here)).first()
    if row is None:
        return None
    given = select(user_dids.c.did).where(user_dids.c.user_id == row.id).order_by(user_dids.c.did)
    return _user(row, connection.execute(given).scalars().all())


def _user(row: Row[Any], numbers: Sequence[str]) -> User:
    return User(
        row.id, row.name, row.customer, Role(row.role), row.email, row.hash, row.totp, row.totp_step, row.totp_new,
        row.recovery, row.tz, row.lang, row.theme, row.version, row.created_at, tuple(numbers), bool(row.link),
    )  # fmt: skip


def shown(user: User) -> dict[str, Any]:
    """Return a user as lists show it, without secrets."""
    return {
        "name": user.name, "customer": user.customer, "role": str(user.role), "email": user.email,
        "dids": list(user.dids), "password": bool(user.hash), "totp": bool(user.totp), "link": user.has_link,
        "created_at": user.created_at,
    }  # fmt: skip
