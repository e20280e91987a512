"""Reads of the store for /v1, and the few changes that only /v1 makes.

This module implements `v1.services.Records`. Each list is a page. A caller's permissions come as a function of a
message's account and DID, or as names of owners.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.accounts.provisioning_link import Order, Server, facts, issue
from sipsms.accounts.service import AccountService
from sipsms.core.account import Did
from sipsms.core.directory_rows import Block
from sipsms.core.e164 import normalise
from sipsms.core.message import Direction, Message
from sipsms.core.refusal import Refusal
from sipsms.core.segmentation import sender_name
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import Gateway
from sipsms.routing.dialplan import Decision
from sipsms.store import accounts, api_usage, blocks, message_list, operator_lists, smpp_binds
from sipsms.store.accounts import AdminError
from sipsms.store.blocks import BY_CUSTOMER
from sipsms.store.message_list import Found, Sees, Wanted

_DAYS = 31


class Queries:
    def __init__(
        self, service: AccountService, carriers: Callable[[], Mapping[str, CarrierOptions]],
        server: Callable[[], Server], directory: Directory, gateway: Gateway,
    ) -> None:  # fmt: skip
        self._service = service
        self._read = service.read
        self._options = carriers
        self._server = server
        self._directory = directory
        self._gateway = gateway

    # --- messages ---

    async def messages(self, sees: Sees, **wanted: Any) -> Found:
        return await self._read(lambda db: message_list.list_messages(db, Wanted(**wanted), sees))

    async def message(self, message: int, sees: Sees) -> dict[str, Any] | None:
        return await self._read(lambda db: message_list.message(db, message, sees))

    async def conversations(self, number: str, sees: Sees) -> list[dict[str, Any]]:
        return await self._read(lambda db: message_list.conversations(db, number, sees))

    # --- lists by key ---

    async def names(self, kind: str, after: str, limit: int) -> list[str]:
        return await self._read(lambda db: message_list.names(db, kind, after, limit))

    async def with_endpoints(self, after: str, limit: int) -> list[str]:
        return await self._read(lambda db: message_list.with_endpoints(db, after, limit))

    async def groups(self, owners: Sequence[str] | None, after: str, limit: int) -> list[dict[str, Any]]:
        return await self._read(lambda db: message_list.list_groups(db, owners, after, limit))

    async def group(self, name: str) -> dict[str, Any] | None:
        return await self._read(lambda db: message_list.group(db, name))

    async def tokens(self, owners: Sequence[str] | None, after: str, limit: int) -> list[dict[str, Any]]:
        return await self._read(lambda db: message_list.list_tokens(db, owners, after, limit))

    async def token(self, name: str) -> dict[str, Any] | None:
        return await self._read(lambda db: message_list.token(db, name))

    async def devices(self, owners: Sequence[str] | None, after: int, limit: int) -> list[dict[str, Any]]:
        return await self._read(lambda db: message_list.list_devices(db, owners, after, limit, time.time()))

    async def registrations(self, owners: Sequence[str] | None, after: Sequence[Any], limit: int) -> Found:
        return await self._read(lambda db: message_list.list_bindings(db, owners, after, limit, time.time()))

    async def blocks(self, owners: Sequence[str] | None, after: Sequence[str], limit: int) -> Found:
        return await self._read(lambda db: message_list.list_blocks(db, owners, after, limit))

    # --- the queue, carriers ---

    async def queue(self, after: Sequence[Any], limit: int, *, unknown: bool) -> Found:
        return await self._read(lambda db: message_list.list_queue(db, after, limit, unknown=unknown))

    async def dead_letters(self, before: int | None, limit: int, sees: Sees) -> Found:
        return await self._read(lambda db: message_list.list_dead(db, before, limit, sees))

    async def is_dead_letter(self, delivery: int, sees: Sees) -> bool:
        return await self._read(lambda db: message_list.dead_letter(db, delivery, sees))

    async def state_of(self, delivery: int) -> str:
        return await self._read(lambda db: message_list.state_of(db, delivery))

    async def carriers(self) -> list[dict[str, Any]]:
        paused, waiting, seen = await self._read(operator_lists.carrier_states)
        return operator_lists.show_carriers(
            [(name, one.kind, one.rate) for name, one in self._options().items()], paused, waiting, seen
        )

    async def binds(self) -> list[dict[str, Any]]:
        return await self._read(lambda db: list(smpp_binds.list_binds(db)))

    # --- usage ---

    async def usage(self, account: str, days: int) -> list[dict[str, Any]]:
        since = (datetime.now(UTC) - timedelta(days=min(days, _DAYS) - 1)).strftime("%Y-%m-%d")
        return await self._read(lambda db: api_usage.show(db, account, since))

    # --- changes ---

    async def add_customer(self, name: str, password: str, caller_id: str, reseller: str) -> None:
        """Add a customer, managed by `reseller` unless that is empty. Raises AdminError."""
        hashes = self._service.hashes(name, password)

        def add(db: Any) -> None:
            accounts.add_account(db, name, hashes, time.time(), caller_id=caller_id)
            if reseller:
                accounts.set_account(db, name, reseller=reseller)

        await self._service.change(add)

    async def put_blocks(self, owner: str, number: str, directions: Sequence[str], *, active: bool, by: str) -> int:
        """Switch blocks on or off. Return how many changed. Raises AdminError."""
        now = time.time()

        def put(db: Any) -> int:
            if active and by == BY_CUSTOMER:
                did = self._directory.did(owner)
                customer = did.account if did is not None else owner
                numbers = [one.number for one in self._directory.dids_of(customer)]
                blocks.check_share(db, [customer, *numbers])
            changed = sum(blocks.put(db, Block(owner, number, way, active), by, now) for way in directions)
            if not changed and not active and blocks.is_operators(db, owner, number, directions):
                raise AdminError("the operator has made this block")
            return changed

        return await self._service.change(put)

    async def count_groups(self, owner: str) -> int:
        return await self._read(lambda db: message_list.count_groups(db, owner))

    async def provision(self, name: str, password: str | None, **options: Any) -> dict[str, Any]:
        """Make a link by which a phone sets itself up; without a password the account gets a new one.

        Raises AdminError."""
        order = Order(name=name, password=password, **options)
        return facts(await self._service.change(lambda db: issue(self._server(), db, order, time.time())))

    # --- routes ---

    def explain(self, source: str, target: str, text: str) -> dict[str, Any]:
        return explain(self._gateway, self._directory, self._options(), source, target, text)


# --- explaining a route -----------------------------------------------------------------------------------------------


def explain(
    gateway: Gateway, directory: Directory, carriers: Mapping[str, CarrierOptions], source: str, target: str, text: str
) -> dict[str, Any]:
    """Return the route of a message between two numbers, with reasons.

    Nothing is sent or counted."""
    number = normalise(target) or target
    into = directory.did(number)
    out = directory.did(normalise(source) or source)
    if into is not None and out is None:
        return _explained(gateway.explain(_incoming(into, source, text)))
    checked = gateway.dialplan.numbering.check(target)
    if isinstance(checked, Refusal):
        return _explained(Decision(trace=(f"numbering: {checked.reason}",), refusal=checked))
    account = out.account if out is not None else ""
    sender = out.number if out is not None else source
    message = Message(Direction.OUT, sender, checked, text, "cli", 0.0, account, sender)
    decision = gateway.explain(message)
    owner = directory.account(account)
    if owner is not None and decision.refusal is None:
        refusal = gateway.consent.objection(owner, sender, checked, text)
        decision = decision._replace(refusal=refusal, trace=(*decision.trace, _consent(refusal)))
    return _explained(decision, _carriers(carriers, decision))


def _incoming(did: Did, source: str, text: str) -> Message:
    sender = normalise(source) or source[:64]
    return Message(Direction.IN, sender, did.number, text, "cli", 0.0, did.account, did.number)


def _consent(refusal: Refusal | None) -> str:
    return f"consent and policy: {refusal.reason}" if refusal is not None else "consent and policy: ok"


def _carriers(carriers: Mapping[str, CarrierOptions], decision: Decision) -> list[str]:
    """Return the sender name and the rate that each carrier of the route applies."""
    found = []
    for route in decision.routes:
        options = carriers.get(route.courier.removeprefix("carrier:"))
        if options is None:
            continue
        if options.sender_name:
            found.append(f"{route.courier}: shown as {sender_name(options.sender_name, options.sender_length)}")
        if options.rate:
            found.append(f"{route.courier}: at most {options.rate:g} a second")
    return found


def _explained(decision: Decision, more: Sequence[str] = ()) -> dict[str, Any]:
    routes = () if decision.refusal else decision.routes
    return {
        "routes": [f"{one.courier} -> {one.destination} (from {one.source})" for one in routes],
        "trace": [*decision.trace, *more],
        "refused": decision.refusal.reason if decision.refusal else None,
    }
