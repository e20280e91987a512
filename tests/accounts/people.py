"""A store with a customer and people, a clock that is set by hand, and quick hashes."""

from __future__ import annotations

from pathlib import Path

from argon2 import PasswordHasher

from sipsms.accounts.directory import Directory
from sipsms.accounts.passwords import Passwords
from sipsms.accounts.sign_in import Place, SignedIn, SignIn
from sipsms.accounts.users import By, UserService
from sipsms.core.user import Role, User
from sipsms.store import accounts, dids
from sipsms.store.accounts import Hashes
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.store import Connection, Store

PASSWORD = "three plain words"
HOME, STRANGER = Place("192.0.2.1", "Firefox"), Place("198.51.100.66", "curl")
OP = By("op", "192.0.2.9")
WORKSHOP, SALES, FOREIGN = "5550001111", "5550002222", "5550009999"


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class People:
    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 's.db'}"
        writing = open_engine(url)
        ensure_schema(writing)
        self.store = Store(writing, open_engine(url, read_only=True), "node")
        self.clock = Clock()
        self.directory = Directory()
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.users = UserService(self.store, self.passwords, self.clock, lambda: "sip.example.net")
        self.sign_in = SignIn(self.store, self.directory, self.passwords, self.clock)

    async def seed(self) -> None:
        def fill(db: Connection) -> None:
            for name in ("acme", "other"):
                accounts.add_account(db, name, Hashes.of(name, "pw", "r"), 1.0)
            for number, owner in ((WORKSHOP, "acme"), (SALES, "acme"), (FOREIGN, "other")):
                dids.add_did(db, number, owner, 1.0, sip_account="", sms=True)

        await self.store.write(fill)
        await self.refresh()

    async def refresh(self) -> None:
        self.directory.update(*await self.store.directory(0))

    async def add(self, name: str, role: Role = Role.CUSTOMER, customer: str = "acme", **more: object) -> User:
        """A user with PASSWORD."""
        owner = "" if role is Role.OPERATOR else customer
        token = await self.users.add(name, owner, role, OP, **more)  # type: ignore[arg-type]
        await self.users.set_password_by_link(token, PASSWORD, HOME.address)
        return await self.users.by_name(name)

    async def enter(self, name: str, place: Place = HOME, **more: bool) -> SignedIn:
        return await self.sign_in.sign_in(name, PASSWORD, place, **more)

    async def close(self) -> None:
        self.passwords.close()
        await self.store.close()
