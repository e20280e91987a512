"""Messages that an account's apps fetch, and their push tokens: the stored data of /acrobits/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.courier_id import APP
from sipsms.core.message import Message, State
from sipsms.core.queue_rows import PushToken
from sipsms.messaging.event_stream import EventStream
from sipsms.store import app_messages
from sipsms.store.store import Store

_REMEMBERED: Final = 10_000  # accounts


class _Passed(NamedTuple):
    """A range of message ids in which the account sent nothing from these DIDs."""

    dids: tuple[str, ...]
    since: float  # the account's creation
    after: int
    until: int


class Inbox:
    def __init__(
        self, store: Store, feed: EventStream, taken: Callable[[str, Sequence[int]], None], clock: Clock
    ) -> None:
        """Read from the store. `taken` is called when an account's app has fetched these deliveries."""
        self._store = store
        self._feed = feed
        self._taken = taken
        self._clock = clock
        self._passed: dict[str, _Passed] = {}  # by account

    async def received(self, account: Account, after: int, since: float, limit: int) -> Sequence[tuple[int, Message]]:
        """Return messages for the account's apps, with the ids of their deliveries."""
        return await self._store.read(
            lambda db: app_messages.received(db, account.name, account.since, after, since, limit)
        )

    async def sent(
        self, account: Account, dids: Sequence[str], after: int, since: float, limit: int
    ) -> Sequence[Message]:
        """Return messages the account sent after `after`. Where it found none, the next query starts there."""
        since = account.since if after else max(since, account.since)
        dids, start = tuple(dids), after
        known = self._passed.pop(account.name, None)
        same = known is not None and (known.dids, known.since) == (dids, account.since)
        if known is not None and same and known.after <= after <= known.until:
            start, after = known.until, known.after
        found, until = await self._store.read(lambda db: app_messages.sent(db, account.name, dids, start, since, limit))
        if start:
            self._passed[account.name] = _Passed(dids, account.since, after, start if found else until)
        while len(self._passed) > _REMEMBERED:
            del self._passed[next(iter(self._passed))]
        return found

    async def fetched(self, account: str, received: Sequence[tuple[int, Message]]) -> None:
        """Mark these messages as delivered to the app."""
        ids = [delivery for delivery, _ in received]
        self._taken(account, ids)  # before the write: a push for these messages may be under way
        fresh = set(await self._store.write(lambda db: app_messages.fetched(db, ids, self._clock())))
        for delivery, message in received:
            if delivery in fresh:
                self._feed.note(message, str(State.DELIVERED), APP, "fetched")

    async def report_token(self, account: str, token: PushToken) -> None:
        await self._store.write(lambda db: app_messages.report_token(db, account, token, self._clock()))
