"""Users of the message centre: changes to people, their passwords and their authenticator apps.

Each change is one transaction with its row in the audit log. Methods raise AdminError (impossible), BadValue (an
invalid field, with a sentence for people), Conflict (somebody else changed the user meanwhile) and Unavailable.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sipsms.accounts import passwords, second_factor
from sipsms.accounts.passwords import Passwords
from sipsms.core.clock import Clock
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role, Session, User
from sipsms.store import audit, sessions, users
from sipsms.store.audit import By
from sipsms.store.store import Connection, Store
from sipsms.store.tokens import digest
from sipsms.store.users import Conflict

__all__ = ["GRANTS", "By", "Conflict", "UserService"]

T = TypeVar("T")
LINK_LASTS: Final = 3 * 86400.0  # seconds

# The roles that a user of each role may give to others of the same customer.
GRANTS: Final[Mapping[Role, tuple[Role, ...]]] = {
    Role.OPERATOR: (Role.OPERATOR, Role.RESELLER, Role.CUSTOMER, Role.USER),
    Role.RESELLER: (Role.RESELLER, Role.CUSTOMER, Role.USER),
    Role.CUSTOMER: (Role.CUSTOMER, Role.USER),
    Role.USER: (),
}


class UserService:
    def __init__(self, store: Store, hasher: Passwords, clock: Clock, issuer: Callable[[], str]) -> None:
        """`issuer`: the name of this server in authenticator apps."""
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._issuer = issuer

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._store.read(query)

    async def _change(
        self, by: By, action: str, work: Callable[[Connection], T], subject: Callable[[T], str], detail: str = ""
    ) -> T:
        """Run a change and add its row to the audit log, in one transaction."""
        now = self._clock()

        def change(db: Connection) -> T:
            result = work(db)
            audit.add(db, now, by, action, subject(result), detail)
            return result

        return await self._store.write(change)

    # --- people ---

    async def add(
        self, name: str, customer: str, role: Role, by: By, *, email: str = "", dids: Sequence[str] = (),
        lasts: float = LINK_LASTS,
    ) -> str:  # fmt: skip
        """Add a user. Return the token of a link by which the user sets a password within `lasts` seconds."""
        now, token = self._clock(), secrets.token_urlsafe(24)

        def add(db: Connection) -> User:
            user = users.add(db, name, customer, role, now, email=email, numbers=dids)
            users.open_link(db, user.id, digest(token), now + lasts)
            return user

        detail = ", ".join(filter(None, (role, customer, *dids)))
        await self._change(by, "user_added", add, lambda user: user.name, detail)
        return token

    async def change(
        self, user: User, version: int, by: By, *, email: str, role: Role, dids: Sequence[str]
    ) -> User:  # fmt: skip
        """Change a user; one whose role or DIDs become fewer keeps its sessions, which see the change at once."""
        if (role is Role.OPERATOR) != (user.role is Role.OPERATOR):
            raise BadValue("role", "A user of a customer cannot become an operator, nor the reverse: add another user.")
        numbers = dids if role is Role.USER else ()

        def change(db: Connection) -> User:
            return users.change(db, user.id, version, email=email, role=str(role), numbers=numbers)

        return await self._change(by, "user_changed", change, lambda _: user.name, ", ".join((role, *numbers)))

    async def remove(self, user: User, by: By) -> None:
        await self._change(by, "user_removed", lambda db: users.remove(db, user.id), lambda _: user.name)

    async def make_link(self, user: User, by: By, lasts: float = LINK_LASTS) -> str:
        """Return the token of a new link to set a password; an earlier link ends, the password stays until then."""
        token, ends = secrets.token_urlsafe(24), self._clock() + lasts
        await self._change(
            by, "link_made", lambda db: users.open_link(db, user.id, digest(token), ends), lambda _: user.name
        )
        return token

    async def end_sessions(self, user: User, by: By) -> int:
        """End all sessions of a user. Return how many."""
        return await self._change(by, "sessions_ended", lambda db: sessions.end_all(db, user.id), lambda _: user.name)

    async def sessions(self, user: User) -> Sequence[Session]:
        """Return the browsers in which a user is signed in."""
        now = self._clock()
        found = await self._read(lambda db: sessions.of_user(db, user.id, now))
        return [session for session in found if not session.stage]

    async def by_id(self, user: int) -> User:
        return await self._read(lambda db: users.by_id(db, user))

    async def by_name(self, name: str) -> User:
        return await self._read(lambda db: users.by_name(db, name))

    async def of_customer(self, customer: str | None) -> list[User]:
        """Return the users of a customer; None: all users."""
        return await self._read(lambda db: users.of_customer(db, customer))

    async def counts(self, customers: Iterable[str]) -> dict[str, int]:
        return await self._read(lambda db: users.counts(db, customers))

    async def audit(self, before: int | None, limit: int) -> Sequence[dict[str, Any]]:
        """Return rows of the audit log, newest first."""
        return await self._read(lambda db: audit.newest(db, before, limit))

    # --- passwords ---

    async def link_of(self, token: str) -> User | None:
        """Return the user whose password this link sets; None if it is wrong, old or used."""
        now = self._clock()
        return await self._read(lambda db: users.by_link(db, digest(token), now))

    async def set_password_by_link(self, token: str, password: str, address: str) -> User:
        """Use up a link and set the password; all sessions of the user end."""
        user = await self.link_of(token)
        if user is None:
            raise AdminError("this link is wrong, used or too old")
        hashed = await self._hashed(user, password)
        now = self._clock()

        def take(db: Connection) -> User:
            taken = users.take_link(db, digest(token), now)
            if taken is None:
                raise AdminError("this link is wrong, used or too old")
            users.set_password(db, taken.id, hashed)
            sessions.end_all(db, taken.id)
            return taken

        return await self._change(By(user.name, address), "password_set", take, lambda taken: taken.name, "by link")

    async def set_password(self, user: User, session: Session, password: str, by: By) -> int:
        """Set another password; the other sessions of the user end. Return how many did."""
        hashed = await self._hashed(user, password)

        def put(db: Connection) -> int:
            if not users.set_password(db, user.id, hashed, old=user.hash):
                raise Conflict("the password was changed meanwhile")
            return sessions.end_all(db, user.id, session.hash)

        return await self._change(by, "password_set", put, lambda _: user.name)

    async def _hashed(self, user: User, password: str) -> str:
        why = passwords.problem(password, user.name, user.email, user.email.partition("@")[0], user.customer)
        if why:
            raise BadValue("password", why)
        return await self._hasher.hash(password)

    # --- the authenticator app ---

    async def begin_totp(self, user: User) -> User:
        """Make a key for an authenticator app; a code must confirm it. Return the user with the key."""
        if not user.totp_new:
            key = second_factor.new_key()
            await self._store.write(lambda db: users.set_second_factor(db, user.id, totp_new=key))
        return await self.by_id(user.id)

    def totp_uri(self, user: User) -> str:
        return second_factor.uri(user.totp_new, user.name, self._issuer())

    async def confirm_totp(self, user: User, code: str, by: By) -> list[str]:
        """Switch the authenticator app on by its first code. Return new recovery codes, which nothing shows again."""
        step = second_factor.step_of(user.totp_new, code, self._clock()) if user.totp_new else None
        if step is None:
            raise BadValue("code", "This code is wrong. Is the clock of your phone right?")
        codes = second_factor.new_recovery_codes()
        values = {"totp": user.totp_new, "totp_new": "", "totp_step": step, "recovery": _hashes(codes)}
        await self._change(
            by, "totp_on", lambda db: users.set_second_factor(db, user.id, **values), lambda _: user.name
        )
        return codes

    async def end_totp(self, user: User, by: By) -> None:
        """Switch the authenticator app off."""
        if user.role is Role.OPERATOR:
            raise AdminError("operators need an authenticator app")
        values = {"totp": "", "totp_new": "", "recovery": ""}
        await self._change(
            by, "totp_off", lambda db: users.set_second_factor(db, user.id, **values), lambda _: user.name
        )

    async def reset_totp(self, user: User, by: By) -> None:
        """Remove the authenticator app of somebody who has lost it; an operator sets up another at the next sign-in."""
        values = {"totp": "", "totp_new": "", "recovery": ""}

        def reset(db: Connection) -> None:
            users.set_second_factor(db, user.id, **values)
            sessions.end_all(db, user.id)

        await self._change(by, "totp_reset", reset, lambda _: user.name)

    async def new_recovery_codes(self, user: User, by: By) -> list[str]:
        """Replace the recovery codes. Return the new ones, which nothing shows again."""
        if not user.totp:
            raise AdminError("recovery codes go with an authenticator app")
        codes = second_factor.new_recovery_codes()
        await self._change(
            by, "recovery_codes", lambda db: users.set_second_factor(db, user.id, recovery=_hashes(codes)),
            lambda _: user.name,
        )  # fmt: skip
        return codes

    # --- how pages look ---

    async def set_look(self, user: User, *, tz: str, lang: str, theme: str) -> User:
        """Set the time zone, the language and the theme (light, dark or empty) of the pages."""
        return await self._store.write(
            lambda db: users.change(db, user.id, user.version, tz=tz, lang=lang, theme=theme)
        )


def _hashes(codes: Sequence[str]) -> str:
    return " ".join(second_factor.recovery_hash(code) for code in codes)
