"""Operations by which operators manage a server: values of JSON in, values of JSON out.

A running server does it for `sipsms.cli` through its control socket; without one, the command does it itself. Methods
raise AdminError (impossible), BadValue (an invalid setting) and Unavailable.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sipsms.accounts.directory import Directory
from sipsms.accounts.provisioning_link import Order as LinkOrder
from sipsms.accounts.provisioning_link import facts, issue
from sipsms.accounts.service import AccountService
from sipsms.accounts.users import By, UserService
from sipsms.app.settings import Config
from sipsms.core import log
from sipsms.core.account import Scope
from sipsms.core.directory_rows import Block
from sipsms.core.errors import AdminError
from sipsms.core.refusal import Refusal
from sipsms.core.user import Role
from sipsms.messaging.build import Messaging
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.explain import explain
from sipsms.messaging.order import File, Order
from sipsms.store import accounts, api_usage, blocks, dids, import_export, message_list, operator_lists, users
from sipsms.store import smpp_binds as binds
from sipsms.store.store import Connection, Store

T = TypeVar("T")
_ALL: Final = message_list.UNLIMITED
_BY: Final = By("command line")
_LONGEST: Final = 366 * 86400.0  # seconds that a message may be scheduled ahead

Rows = list[dict[str, Any]]


class Operations:
    def __init__(
        self, config: Callable[[], Config], store: Store, service: AccountService, messaging: Messaging,
        directory: Directory, people: UserService, load: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        """`load`: read from the store what concerns a number; None: this is a server, which has it all."""
        self._config = config
        self._store = store
        self._service = service
        self._messaging = messaging
        self._directory = directory
        self._people = people
        self._load = load

    async def _rows(self, query: Callable[[Connection], Iterable[dict[str, Any]]]) -> Rows:
        return await self._store.read(lambda db: list(query(db)))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._service.write(work)

    # --- accounts ---

    async def add_account(self, name: str, password: str, parent: str, caller_id: str) -> None:
        """Add an account; unlike for `AccountService.add_account`, a customer may have any number of them."""
        hashes, now = self._service.hashes(name, password), time.time()
        await self._write(lambda db: accounts.add_account(db, name, hashes, now, parent=parent, caller_id=caller_id))

    async def list_accounts(self) -> Rows:
        return await self._rows(accounts.list_accounts)

    async def set_password(self, name: str, password: str) -> None:
        await self._service.set_password(name, password)

    async def set_account(self, name: str, values: Mapping[str, Any]) -> None:
        await self._service.set_account(name, **values)

    async def remove_account(self, name: str) -> None:
        await self._service.remove_account(name)

    async def provision(self, **order: Any) -> dict[str, Any]:
        """Make a link that sets up a phone. Return all that `cli.provision` displays."""
        made = await self._write(lambda db: issue(self._config().for_phones, db, LinkOrder(**order), time.time()))
        password = made.settings.password if made.is_new else "(as it was)"
        return {
            "facts": facts(made), "base": made.base, "links": made.links, "codes": made.codes,
            "by_hand": {**made.settings.fields, "password": password},
        }  # fmt: skip

    async def make_api_password(self, name: str) -> str:
        return await self._service.make_api_password(name)

    async def drop_api_password(self, name: str) -> None:
        await self._service.drop_api_password(name)

    async def usage(self, name: str, days: int) -> Rows:
        """Return how many messages a customer sent by the APIs, by day."""

        def look(db: Connection) -> Rows:
            accounts.customer(db, name)
            return api_usage.show(db, name, days)

        return await self._rows(look)

    # --- tokens ---

    async def add_token(self, name: str, scope: str, account: str, did: str, lasts: float | None) -> str:
        """Return the token's secret. `lasts`: seconds; None: until it is removed."""
        until = time.time() + lasts if lasts else None
        return await self._service.add_token(name, Scope(scope), account, did, until)

    async def list_tokens(self) -> Rows:
        return await self._rows(lambda db: message_list.list_tokens(db, None, "", _ALL))

    async def remove_token(self, name: str) -> None:
        await self._service.remove_token(name)

    # --- people ---

    async def add_user(
        self, name: str, role: str, customer: str, email: str, numbers: Sequence[str], lasts: float
    ) -> dict[str, Any]:
        """Add a user of the message centre. Return the link by which the user sets a password."""
        url = self._centre()
        token = await self._people.add(name, customer, Role(role), _BY, email=email, dids=numbers, lasts=lasts)
        return {"name": name.lower(), "link": f"{url}/password/{token}", "expires_at": time.time() + lasts}

    async def list_users(self, customer: str) -> Rows:
        """Return the users of a customer; empty: all users."""
        return [users.shown(user) for user in await self._people.of_customer(customer or None)]

    async def remove_user(self, name: str) -> None:
        await self._people.remove(await self._people.by_name(name), _BY)

    async def make_password_link(self, name: str, lasts: float, reset_totp: bool) -> dict[str, Any]:
        """Return a new link to set a password. `reset_totp`: remove the authenticator app, too."""
        url, user = self._centre(), await self._people.by_name(name)
        if reset_totp:
            await self._people.reset_totp(user, _BY)
        token = await self._people.make_link(user, _BY, lasts)
        return {"name": user.name, "link": f"{url}/password/{token}", "expires_at": time.time() + lasts}

    async def list_user_sessions(self, name: str) -> Rows:
        """Return the browsers in which a user is signed in."""
        found = await self._people.sessions(await self._people.by_name(name))
        return [
            {
                "address": one.address, "agent": one.agent, "since": one.made_at, "last_seen": one.seen_at,
                "ends_at": one.ends_at,
            }
            for one in found
        ]  # fmt: skip

    async def end_user_sessions(self, name: str) -> int:
        """Return how many sessions ended."""
        return await self._people.end_sessions(await self._people.by_name(name), _BY)

    def _centre(self) -> str:
        url = self._config().centre_url
        if url is None:
            raise AdminError("the message centre is off: listen.http is null, or web.centre.enabled is false")
        return url

    # --- DIDs and groups ---

    async def add_did(self, number: str, account: str, sip_account: str, sms: bool) -> None:
        await self._service.add_did(number, account, sip_account=sip_account, sms=sms)

    async def change_did(self, number: str, given: Mapping[str, Any]) -> bool:
        """Change a DID (see `store.dids.change_did`). False: no mail server is configured."""
        await self._service.change_did(number, given)
        return self._config().smtp is not None

    async def list_dids(self) -> Rows:
        return await self._rows(lambda db: map(dids.did_row, dids.all_dids(db)))

    async def remove_did(self, number: str) -> None:
        await self._service.remove_did(number)

    async def list_endpoints(self) -> Rows:
        """Return callbacks and webhooks."""
        return await self._rows(lambda db: (row for one in dids.all_dids(db) for row in dids.endpoint_rows(one)))

    async def put_group(self, name: str, members: Sequence[str]) -> str:
        """Return the group's customer."""
        return await self._service.put_group(name, members)

    async def list_groups(self) -> Rows:
        return await self._rows(lambda db: message_list.list_groups(db, None, "", _ALL))

    async def remove_group(self, name: str) -> None:
        await self._service.remove_group(name)

    # --- blocks ---

    async def put_blocks(
        self, number: str, did: str | None, customer: str | None, directions: Sequence[str], active: bool
    ) -> int:
        """Switch blocks of a DID, of a customer or for everybody on or off. Return how many changed."""

        def put(db: Connection) -> int:
            if customer:
                accounts.account(db, customer)
            owner, now = did or customer or "*", time.time()
            made = (Block(owner, number, way, active) for way in directions)
            return sum(blocks.put(db, block, blocks.BY_HAND, now) for block in made)

        return await self._write(put)

    async def list_blocks(self, owner: str) -> Rows:
        """Return the blocks of an owner; empty: all blocks."""
        owners = [owner] if owner else None
        return await self._rows(lambda db: message_list.list_blocks(db, owners, (), _ALL)[0])

    # --- phones, carriers, SMPP sessions ---

    async def list_bindings(self) -> Rows:
        return await self._rows(lambda db: message_list.list_bindings(db, None, (), _ALL, time.time())[0])

    async def list_devices(self) -> Rows:
        return await self._rows(lambda db: operator_lists.list_devices(db, time.time()))

    async def remove_device(self, device: int) -> dict[str, int]:
        """Remove a device. Return how many deliveries failed, and how many wait for the account's next device."""
        return (await self._messaging.devices.remove(device))._asdict()

    async def list_carriers(self) -> Rows:
        configured = [(name, one.type, one.rate) for name, one in self._config().carriers.items()]
        return await self._rows(lambda db: operator_lists.list_carriers(db, configured))

    async def pause_carrier(self, name: str, paused: bool) -> None:
        if name not in self._config().carriers:
            raise AdminError(f"no carrier {name} in the configuration")
        await self._service.pause_carrier(name, paused=paused)

    async def list_binds(self) -> Rows:
        return await self._rows(binds.list_binds) if self._load is None else []

    # --- messages and deliveries ---

    async def list_messages(self, wanted: Mapping[str, Any], limit: int) -> Rows:
        """Return the newest messages, newest first. `wanted`: fields of `message_list.Wanted`."""
        return await self._rows(lambda db: message_list.newest(db, message_list.Wanted(**wanted), limit))

    async def message(self, message: int) -> dict[str, Any]:
        found = await self._store.read(lambda db: message_list.message(db, message, lambda *_: True))
        if found is None:
            raise AdminError(f"no message {message}")
        return found

    async def conversations(self, number: str) -> Rows:
        return await self._rows(lambda db: message_list.conversations(db, number, lambda *_: True))

    async def list_queue(self, limit: int, unknown: bool) -> Rows:
        return await self._rows(lambda db: operator_lists.list_queue(db, limit, unknown=unknown))

    async def list_dead(self, limit: int) -> Rows:
        return await self._rows(lambda db: operator_lists.list_dead(db, limit))

    async def retry_dead(self, delivery: int | None) -> int:
        return await self._service.retry_dead(delivery)

    async def resend_unknown(self, delivery: int) -> None:
        await self._service.resend_unknown(delivery)
        log.audit("cli", "operator", str(delivery), "an unknown delivery is sent again by hand")

    async def cancel(self, message: int) -> int:
        """Return how many deliveries were cancelled."""
        count = await self._service.cancel(message)
        if not count:
            raise AdminError(f"nothing of message {message} is waiting")
        return count

    async def receive(self, source: str, target: str, text: str) -> int:
        """Deliver an SMS to a DID, as if a carrier had sent it. Return the message's id."""
        await self._look_up(target)
        result = await self._messaging.inbound.receive(InboundSms(source, target, text), "cli")
        if result is None:
            raise AdminError(f"{target} is not a DID of this server")
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return result.message_id

    async def send(
        self, source: str, target: str, text: str, files: Sequence[Mapping[str, str]], due_at: float | None
    ) -> int:
        """Send an SMS, or with files (`name`, `data` in base64) an MMS, not before `due_at`. Return its id."""
        if due_at is not None and due_at > time.time() + _LONGEST:
            raise AdminError("that is more than a year ahead")
        await self._look_up(source)
        did = self._directory.did(source)
        owner = self._directory.account(did.account) if did is not None else None
        if owner is None or not self._directory.may_send_from(owner, source):
            raise AdminError(f"{source} is not an SMS-enabled DID of this server")
        unit, most = self._config().messages.length_unit, self._config().messages.max_length
        given = [File(base64.b64decode(file["data"]), name=file["name"]) for file in files]
        sent = await self._messaging.outbound.send(
            Order(owner, source, target, text, "cli", given, max_text=most, unit=unit, due_at=due_at)
        )
        if isinstance(sent, Refusal):
            raise AdminError(sent.reason)
        return sent.message

    async def route(self, source: str, target: str, text: str) -> dict[str, Any]:
        """Return the route of a message between two numbers, with reasons; nothing is sent or counted."""
        await self._look_up(target)
        return await explain(self._messaging, self._directory, self._config().carriers, source, target, text)

    async def _look_up(self, number: str) -> None:
        if self._load is not None:
            await self._load(number)

    # --- the whole store ---

    async def import_all(self, people: Rows, numbers: Rows, groups: Rows, dry_run: bool = False) -> dict[str, int]:
        """Take over what `accounts.import_file.read` found in a file. Return counts of rows.

        `dry_run`: only check and count, by a change that is rolled back."""
        given = import_export.Imported.from_json(people, numbers, groups)
        try:
            return await self._write(lambda db: import_export.import_all(db, *given, time.time(), dry_run=dry_run))
        except import_export.DryRun as done:
            return done.counts

    async def export_all(self) -> dict[str, Any]:
        return await self._store.read(import_export.export_all)


NAMES: Final = frozenset(name for name in vars(Operations) if not name.startswith("_"))
