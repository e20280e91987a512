"""Sign-in to the message centre, and the sessions of browsers.

An unknown name, a wrong password and a disabled customer get the same answer after the same work. A session is a random
token of 192 bits, of which the store has only the hash; every completed step of a sign-in makes a new one. A session
whose `stage` is not empty has shown a right password only, and opens nothing but the page of the missing step.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from sipsms.accounts import second_factor
from sipsms.accounts.directory import Directory
from sipsms.accounts.passwords import Passwords, Verdict
from sipsms.accounts.sign_in_backoff import SignInBackoff
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.network import network_of
from sipsms.core.user import Role, Session, User
from sipsms.store import audit, sessions, users
from sipsms.store.audit import By
from sipsms.store.sessions import DAY, MONTH, STEP
from sipsms.store.store import Connection, Store
from sipsms.store.tokens import digest

CODE, ENROL = "code", "enrol"  # stages: the code is missing; no authenticator app was set up
VIEW: Final = 1800.0  # seconds that the pages of a customer are shown to somebody else
_SEEN_EVERY: Final = 60.0  # seconds between two writes of a session's last request
_MOST: Final = 10_000  # places that are remembered


class SignInRefused(Exception):
    """A wrong name, password or code. `pause`: seconds to wait before the next try; `tries`: those left until then."""

    def __init__(self, pause: float, tries: int, *, paused: bool = False) -> None:
        super().__init__("wrong name, password or code")
        self.pause = pause
        self.tries = tries
        self.paused = paused  # the password was not looked at


class SignedIn(NamedTuple):
    token: str  # for the browser's cookie
    session: Session
    user: User


@dataclass(frozen=True, slots=True)
class Place:
    """The browser that asks."""

    address: str
    agent: str = ""


class SignIn:
    def __init__(self, store: Store, directory: Directory, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._passwords = passwords
        self._clock = clock
        self._backoff = SignInBackoff()
        self._familiar: OrderedDict[tuple[int, str], None] = OrderedDict()  # (user, network) of completed sign-ins

    # --- steps ---

    async def sign_in(self, name: str, password: str, place: Place, *, stay: bool = False) -> SignedIn:
        """Check a name or e-mail address and a password. Raises SignInRefused and Unavailable."""
        user = await self._store.read(lambda db: users.known_as(db, name))
        who = user.name if user is not None else name.lower()[:64]
        known = await self._begin_try(who, user, place)
        verdict = await self._passwords.verify(user.hash if user is not None else "", password)
        if user is None or verdict is Verdict.WRONG or not self._is_enabled(user):
            raise self._wrong(who, place, known, "wrong name or password")
        if verdict is Verdict.OLD:
            await self._rehash(user, password)
        self._backoff.was_right(who, place.address, known=known)
        stage = CODE if user.totp else ENROL if user.role is Role.OPERATOR else ""
        return await self._open(user, place, stay=stay, stage=stage)

    async def enter_code(self, session: Session, code: str, place: Place) -> SignedIn:
        """Check a code of the authenticator app or a recovery code; complete the sign-in of a session.

        Raises SignInRefused and Unavailable."""
        user = await self._store.read(lambda db: users.by_id(db, session.user))
        known = await self._begin_try(user.name, user, place)
        if not await self._is_right(user, code):
            raise self._wrong(user.name, place, known, "wrong code")
        self._backoff.was_right(user.name, place.address, known=known)
        return await self._complete(session, user, place)

    async def _is_right(self, user: User, code: str) -> bool:
        now = self._clock()
        if second_factor.is_recovery(code):
            hashed = second_factor.recovery_hash(code)
            return await self._store.write(lambda db: users.take_recovery(db, user.id, hashed))
        step = second_factor.step_of(user.totp, code, now)
        return step is not None and await self._store.write(lambda db: users.take_step(db, user.id, step))

    async def enrolled(self, session: Session, place: Place) -> SignedIn:
        """Complete the sign-in of a session whose user has set up an authenticator app. Raises AdminError."""
        user = await self._store.read(lambda db: users.by_id(db, session.user))
        if not user.totp:
            raise AdminError(f"{user.name} has no authenticator app")
        return await self._complete(session, user, place)

    async def _complete(self, session: Session, user: User, place: Place) -> SignedIn:
        await self._store.write(lambda db: sessions.end(db, session.hash))
        return await self._open(user, place, stay=session.stay, stage="")

    async def _open(self, user: User, place: Place, *, stay: bool, stage: str) -> SignedIn:
        """Store a new session."""
        now, token = self._clock(), secrets.token_urlsafe(24)
        lasts = STEP if stage else MONTH if stay else DAY
        session = Session(digest(token), user.id, now, now, now + lasts, stay, stage, place.agent, place.address)
        await self._store.write(lambda db: sessions.add(db, session))
        if not stage:
            self._remember(user, place)
            self._backoff.signed_in(user.name, place.address)
            log.note("signed_in", user=user.name, src=place.address)
        return SignedIn(token, session, user)

    async def _rehash(self, user: User, password: str) -> None:
        hashed = await self._passwords.hash(password)
        await self._store.write(lambda db: users.rehash(db, user.id, user.hash, hashed))

    # --- wrong tries ---

    async def check_password(self, user: User, password: str, place: Place) -> None:
        """Ask a signed-in user for the password again, before a change of it. Raises SignInRefused."""
        known = await self._begin_try(user.name, user, place)
        if await self._passwords.verify(user.hash, password) is Verdict.WRONG:
            raise self._wrong(user.name, place, known, "wrong password")
        self._backoff.was_right(user.name, place.address, known=known)

    async def _begin_try(self, who: str, user: User | None, place: Place) -> bool:
        """Count a try. Return whether the network is known for this user. Raises SignInRefused during a pause."""
        known = user is not None and await self._is_known(user, place.address)
        now = self._clock()
        pause = self._backoff.pause(who, place.address, now, known=known)
        if pause > 0:
            log.auth_failure("web", who, place.address, 0, "too many wrong tries")
            raise SignInRefused(pause, 0, paused=True)
        self._backoff.tried(who, place.address, now, known=known)
        return known

    def _wrong(self, who: str, place: Place, known: bool, reason: str) -> SignInRefused:
        log.auth_failure("web", who, place.address, 0, reason)
        now = self._clock()
        pause = self._backoff.pause(who, place.address, now, known=known)
        return SignInRefused(pause, self._backoff.tries_left(who, place.address, now, known=known))

    async def _is_known(self, user: User, address: str) -> bool:
        """Return whether the user has signed in from this network: since the start, or in a session that lives."""
        network = network_of(address)
        if (user.id, network) in self._familiar:
            return True
        now = self._clock()
        found = await self._store.read(lambda db: sessions.of_user(db, user.id, now))
        return any(not one.stage and network_of(one.address) == network for one in found)

    def _remember(self, user: User, place: Place) -> None:
        key = (user.id, network_of(place.address))
        self._familiar[key] = None
        self._familiar.move_to_end(key)
        if len(self._familiar) > _MOST:
            self._familiar.popitem(last=False)

    # --- sessions ---

    async def find(self, token: str, place: Place) -> tuple[Session, User] | None:
        """Return the session of a token with its user; None if it has ended, or if the customer is disabled."""
        if not token:
            return None
        hashed, now = digest(token), self._clock()
        found = await self._store.read(lambda db: _with_user(db, hashed, now))
        if found is None or not self._is_enabled(found[1]):
            return None
        if now - found[0].seen_at >= _SEEN_EVERY:
            await self._store.write(lambda db: sessions.seen(db, hashed, place.address, now))
        return found

    def _is_enabled(self, user: User) -> bool:
        account = self._directory.account(user.customer)
        return not user.customer or (account is not None and account.enabled)

    async def sign_out(self, session: Session) -> None:
        await self._store.write(lambda db: sessions.end(db, session.hash))

    async def end_session(self, user: User, hashed: str) -> bool:
        """End a session of the user. False: there is none with this hash."""
        return await self._store.write(lambda db: sessions.end(db, hashed, user.id))

    async def end_others(self, user: User, session: Session) -> int:
        return await self._store.write(lambda db: sessions.end_all(db, user.id, session.hash))

    async def view_as(self, session: Session, customer: str, reason: str, by: By) -> None:
        """Show this session the pages of a customer for half an hour. Raises BadValue without a reason."""
        if len(reason.strip()) < 3:
            raise BadValue("reason", "Say why: the audit log keeps it.")
        now = self._clock()

        def begin(db: Connection) -> None:
            sessions.view(db, session.hash, customer, now + VIEW)
            audit.add(db, now, by, "view_as", customer, reason.strip())

        await self._store.write(begin)

    async def end_view(self, session: Session, by: By) -> None:
        now = self._clock()

        def end(db: Connection) -> None:
            sessions.view(db, session.hash, "", 0.0)
            audit.add(db, now, by, "view_as_ended", session.viewed)

        await self._store.write(end)

    async def forget(self) -> None:
        """Delete sessions that have ended."""
        now = self._clock()
        await self._store.write(lambda db: sessions.forget(db, now))


def _with_user(connection: Connection, hashed: str, now: float) -> tuple[Session, User] | None:
    session = sessions.find(connection, hashed, now)
    return None if session is None else (session, users.by_id(connection, session.user))
