"""Take over what commands and APIs have changed in accounts, DIDs, tokens, blocks and carriers.

What is read replaces the directory in one turn of the event loop. Then registrations end whose account was removed,
disabled, or has another password: whoever registered before must not go on getting its messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from sipsms.accounts.directory import Directory
from sipsms.app.smpp import SmppNode
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.courier_id import CourierId
from sipsms.messaging.queue.queue import Queue
from sipsms.sip.endpoint import Endpoint
from sipsms.sip.location import Location
from sipsms.sip.presence_server import PresenceServer
from sipsms.sip.transport import StreamConnection
from sipsms.store.store import Store


class DirectoryRefresh:
    def __init__(
        self, store: Store, directory: Directory, location: Location, endpoint: Endpoint, queue: Queue,
        presence: PresenceServer, smpp: SmppNode,
    ) -> None:  # fmt: skip
        self._store = store
        self._directory = directory
        self._location = location
        self._endpoint = endpoint
        self._queue = queue
        self._presence = presence
        self._smpp = smpp
        self._reading = asyncio.Lock()
        self._asked = self._done = 0  # refreshes that were asked for, and those that are done
        self._removed: set[str] = set()  # accounts whose registrations are still to be forgotten
        self._locked_out: set[str] = set()  # accounts whose registrations are still to be ended

    async def refresh(self) -> None:
        """Read the directory again, one read at a time, which all waiters share. Raises Unavailable."""
        self._asked += 1
        asked = self._asked
        async with self._reading:
            if self._done >= asked:
                return
            serves = self._asked  # a read that begins now sees all that was committed before it was asked for
            await self._read()
            self._done = serves

    async def _read(self) -> None:
        changes = await self._store.directory(self._directory.version)
        self._locked_out.update(self._lose_access(changes.accounts))
        self._removed.update(self._directory.update(*changes))
        self._presence.review(None if changes.whole else [account.name for account in changes.accounts])
        self._queue.set_paused(CourierId.of_carrier(name) for name in changes.paused)
        self._smpp.review(changes.dids)
        await self._end_registrations()
        log.note("directory", version=changes.version, accounts=len(self._directory))

    def _lose_access(self, changed: Sequence[Account]) -> Iterator[str]:
        """Yield accounts with another password, or disabled with or without their customer."""
        for account in changed:
            before = self._directory.account(account.name)
            if before is None:
                continue
            off = before.enabled and not account.enabled
            if off or before.ha1_md5 != account.ha1_md5:
                yield account.name
            if off and not account.parent:
                yield from (one.name for one in self._directory.subaccounts(account.name))

    async def _end_registrations(self) -> None:
        """End registrations; where the store fails, the next refresh tries again."""
        for name in list(self._removed):
            await self._location.forget_account(name)
            self._removed.discard(name)
        for name in list(self._locked_out):
            for binding in await self._location.log_out(name):
                flow = self._endpoint.flow(binding.received, binding.local, binding.flow) if binding.flow else None
                if isinstance(flow, StreamConnection):
                    flow.close()
            self._locked_out.discard(name)
