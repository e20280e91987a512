"""Changes to accounts, numbers and the queue for the HTTP APIs.

When a method returns, its change is committed and the server has applied it. Methods raise AdminError (impossible),
BadValue (an invalid setting) and Unavailable.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sipsms.accounts.provisioning_link import Order, Server, facts, issue
from sipsms.core.account import Scope
from sipsms.core.directory_rows import Block
from sipsms.core.errors import AdminError
from sipsms.store import accounts, blocks, dids, operator_lists, tokens, voipms_fields
from sipsms.store.accounts import Hashes
from sipsms.store.store import Connection, Store, writes

T = TypeVar("T")
MAX_SUBACCOUNTS: Final = 1000  # subaccounts per customer made through the APIs; the command line has no limit


class Full(AdminError):
    """A limit on the number of such items is reached."""


class ServiceSettings(NamedTuple):
    """The settings that changes to accounts depend on."""

    realm: str
    allow_private: bool  # customers' URLs may lead to private addresses
    keep: float  # seconds that a retried delivery may wait
    phones: Server


class AccountService:
    def __init__(
        self, store: Store, settings: Callable[[], ServiceSettings], take_over: Callable[[], Awaitable[None]]
    ) -> None:
        """`take_over` reloads the directory and claims new deliveries of the queue."""
        self._store = store
        self._settings = settings
        self._take_over = take_over

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run a change in the store's writer, and apply it in the server."""
        result = await self._store.write(work)
        await self._take_over()
        return result

    def hashes(self, name: str, password: str) -> Hashes:
        return Hashes.of(name, password, self._settings().realm)

    # --- accounts ---

    async def add_account(
        self, name: str, password: str, *, parent: str = "", caller_id: str = "", reseller: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Add an account. `fields`: see `store.voipms_fields`. Raises also Full."""
        hashes = self.hashes(name, password)

        def add(db: Connection) -> None:
            if parent:
                _check_room(db, parent)
            accounts.add_account(db, name, hashes, time.time(), parent=parent, caller_id=caller_id)
            if reseller:
                accounts.set_account(db, name, reseller=reseller)
            voipms_fields.write(db, name, fields or {})

        await self.write(add)

    async def change_subaccount(
        self, name: str, *, caller_id: str | None, password: str | None, fields: Mapping[str, str]
    ) -> None:
        """Change a subaccount completely or not at all. None leaves a setting."""
        hashes = self.hashes(name, password) if password is not None else None

        def change(db: Connection) -> None:
            voipms_fields.write(db, name, fields)
            if caller_id is not None:
                accounts.set_account(db, name, caller_id=caller_id)
            if hashes is not None:
                accounts.set_password(db, name, hashes)

        await self.write(change)

    set_account = writes(accounts.set_account)
    remove_account = writes(accounts.remove_account)
    make_api_password = writes(tokens.make_password)
    drop_api_password = writes(tokens.drop_password)

    async def set_password(self, name: str, password: str) -> None:
        hashes = self.hashes(name, password)
        await self.write(lambda db: accounts.set_password(db, name, hashes))

    async def provision(self, order: Order) -> dict[str, Any]:
        """Make a link by which a phone sets itself up; without a password the account gets a new one."""
        return facts(await self.write(lambda db: issue(self._settings().phones, db, order, time.time())))

    # --- tokens ---

    async def add_token(
        self, name: str, scope: Scope, account: str = "", did: str = "", expires_at: float | None = None
    ) -> str:
        return await self.write(lambda db: tokens.add(db, name, scope, account, did, time.time(), expires_at))

    remove_token = writes(tokens.remove)

    # --- DIDs and groups ---

    async def add_did(self, number: str, account: str, *, sip_account: str, sms: bool = True) -> None:
        await self.write(lambda db: dids.add_did(db, number, account, time.time(), sip_account=sip_account, sms=sms))

    async def change_did(self, number: str, given: Mapping[str, Any]) -> None:
        """Change a DID. `given`: see `store.dids.change_did`."""
        allow_private = self._settings().allow_private
        await self.write(lambda db: dids.change_did(db, number, given, allow_private=allow_private))

    remove_did = writes(dids.remove_did)
    put_group = writes(dids.put_group)
    remove_group = writes(dids.remove_group)

    # --- blocks, carriers, the queue ---

    async def put_blocks(self, owner: str, number: str, directions: Sequence[str], *, active: bool, by: str) -> int:
        """Switch blocks on or off, `by` the operator or a customer, who cannot lift the operator's. Return how many."""

        def put(db: Connection) -> int:
            if active and by == blocks.BY_CUSTOMER:
                blocks.check_share(db, owner)
            now = time.time()
            changed = sum(blocks.put(db, Block(owner, number, way, active), by, now) for way in directions)
            if not changed and not active and blocks.is_operators(db, owner, number, directions):
                raise AdminError("the operator has made this block")
            return changed

        return await self.write(put)

    pause_carrier = writes(operator_lists.pause_carrier)

    async def retry_dead(self, delivery: int | None) -> int:
        return await self.write(lambda db: operator_lists.retry_dead(db, delivery, time.time(), self._settings().keep))

    async def resend_unknown(self, delivery: int) -> None:
        await self.write(lambda db: operator_lists.resend_unknown(db, delivery, time.time(), self._settings().keep))

    async def cancel(self, message: int) -> int:
        return await self.write(lambda db: operator_lists.cancel(db, message, time.time()))


def _check_room(connection: Connection, customer: str) -> None:
    count = accounts.count_subaccounts(connection, customer)
    if count >= MAX_SUBACCOUNTS:
        raise Full(f"{customer} has {count} subaccounts already")
