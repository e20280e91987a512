"""What an account's apps fetch, and where they want to be woken: the store's part of /acrobits/."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sipsms.gateway import APP, Gateway
from sipsms.model import Message, State
from sipsms.ports import Clock, PushToken
from sipsms.store import apps
from sipsms.store.sql import Store


class Inbox:
    def __init__(self, store: Store, gateway: Gateway, taken: Callable[[Sequence[int]], None], clock: Clock) -> None:
        """`taken`: these deliveries have been fetched."""
        self._store = store
        self._gateway = gateway
        self._taken = taken
        self._clock = clock

    async def received(self, account: str, after: int, since: float, limit: int) -> Sequence[tuple[int, Message]]:
        return await self._store.read(lambda db: apps.received(db, account, after, since, limit))

    async def sent(self, account: str, dids: Sequence[str], after: int, since: float, limit: int) -> Sequence[Message]:
        return await self._store.read(lambda db: apps.sent(db, account, dids, after, since, limit))

    async def fetched(self, account: str, received: Sequence[tuple[int, Message]]) -> None:
        ids = [delivery for delivery, _ in received]
        self._taken(ids)  # before it is written down: a push of these may be under way
        fresh = set(await self._store.write(lambda db: apps.fetched(db, ids, self._clock())))
        for delivery, message in received:
            if delivery in fresh:
                self._gateway.feed.note(message, str(State.DELIVERED), APP, "fetched")

    async def report_token(self, account: str, token: PushToken) -> None:
        await self._store.write(lambda db: apps.report_token(db, account, token, self._clock()))
