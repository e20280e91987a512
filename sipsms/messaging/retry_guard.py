"""Protection against blind retries of the HTTP APIs: a client that got no answer sends the same request again.

The same order within 30 seconds is the same message, until the client has received the answer to the first. A client
that names its request by an idempotency key gets the same message for ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.clock import Clock
from sipsms.core.queue_rows import Past
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import encode
from sipsms.messaging.order import File, Order, Sent
from sipsms.store import api_usage
from sipsms.store.api_usage import Likeness
from sipsms.store.store import Store

REPEAT: Final = 30.0  # seconds in which the same message again may be a retry of one whose answer was lost
_REMEMBERED: Final = 10_000
_SAME_MOMENT: Final = 2 * REPEAT + 5  # seconds: "in five minutes", said again after a restart, is a little later

Take = Callable[[Order, bytes | None], Awaitable[Sent | Refusal]]
Fetched = Callable[[Sequence[File], str], Awaitable[list[File] | Refusal]]
Look = Callable[[], Awaitable[None]]


class _Repeat:
    """A message whose retry may come."""

    __slots__ = ("at", "message", "result")

    def __init__(self, at: float, result: asyncio.Future[Sent | Refusal]) -> None:
        self.at = at
        self.result = result
        self.message = 0


class RetryGuard:
    def __init__(
        self, store: Store, directory: Directory, clock: Clock, take: Take, fetched: Fetched, look: Look
    ) -> None:
        """`take(order, key)` sends an order; `fetched` gets its files. `look`: call `answered` for messages whose
        answers have been received meanwhile.
        """
        self._store = store
        self._directory = directory
        self._clock = clock
        self._take = take
        self._fetched = fetched
        self._look = look
        self._started = clock()
        self._before: dict[Likeness, list[Past]] | None = None  # what was sent just before the start
        self._repeats: OrderedDict[bytes, _Repeat] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[None]] = {}  # by idempotency key

    async def once(self, order: Order) -> Sent | Refusal:
        """Take a checked order, unless it is a retry. Raises Unavailable.

        The same again while the first is under way, or before `answered` was called for it, is the same message: the
        client may not have heard the answer. So it is just after a start of the server.
        """
        if order.idempotency:
            return await self._once_for_ever(order)
        parts = (order.origin, order.account.name, _stated(order), order.destination, order.text, order.when)
        key = _digest(16, *parts, files=order.files)
        known = self._known(key)
        if known is not None and known.result.done():
            await self._look()
            known = self._known(key)
        if known is None:
            return await self._first(key, order)
        sent = await asyncio.shield(known.result)
        known.at = self._clock()  # the answer to this retry may be lost, too
        if self._repeats.get(key) is known:
            self._repeats.move_to_end(key)
        return Sent(sent.message, sent.source, sent.destination, True, key) if isinstance(sent, Sent) else sent

    def answered(self, *sent: Sent) -> None:
        """The client has its answer: the same again is another message."""
        for one in sent:
            known = self._repeats.get(one.repeat)
            if known is not None and known.message == one.message:
                del self._repeats[one.repeat]

    async def _first(self, key: bytes, order: Order) -> Sent | Refusal:
        repeat = _Repeat(self._clock(), asyncio.get_running_loop().create_future())
        self._repeats[key] = repeat
        try:
            sent = await self._take_unless_sent_before(order)
        except BaseException as error:
            self._forget(key, repeat)
            _fail(repeat.result, error)
            raise
        if isinstance(sent, Refusal):
            self._forget(key, repeat)
        else:
            sent.repeat, repeat.message, repeat.at = key, sent.message, self._clock()  # its files may have taken long
            if self._repeats.get(key) is repeat:
                self._repeats.move_to_end(key)
        repeat.result.set_result(sent)
        return sent

    def _forget(self, key: bytes, repeat: _Repeat) -> None:
        if self._repeats.get(key) is repeat:
            del self._repeats[key]

    def _known(self, key: bytes) -> _Repeat | None:
        now = self._clock()
        while self._repeats:
            first = next(iter(self._repeats))
            old = self._repeats[first]
            if not old.result.done() or (now - old.at < REPEAT and len(self._repeats) <= _REMEMBERED):
                break
            del self._repeats[first]
        found = self._repeats.get(key)
        return found if found is not None and (not found.result.done() or now - found.at < REPEAT) else None

    # --- idempotency keys ---

    async def _once_for_ever(self, order: Order) -> Sent | Refusal:
        """Take one request at a time for an idempotency key: later ones find the first in the store."""
        name = self._name(order)
        parts = (_stated(order), order.destination, order.text, order.when, encode(order.report))
        key = name + _digest(12, *parts, files=order.files)
        while (ahead := self._under_way.get(name)) is not None:
            await asyncio.wait((ahead,))
        self._under_way[name] = done = asyncio.get_running_loop().create_future()
        try:
            if (known := await self._store.named(name)) is None:
                return await self._take(order, key)
        finally:
            del self._under_way[name]
            done.set_result(None)
        message, found = known
        if found != key:
            return Refusal(RefusalCode.CONFLICT, "this Idempotency-Key was used for another request")
        return Sent(message, await self._source(order, message), order.destination, duplicate=True)

    async def _source(self, order: Order, message: int) -> str:
        """Return the sender of the message that an order repeats. Raises Unavailable."""
        first = await self._store.message(message) if order.from_thread else None
        return first.source if first is not None else order.source

    def _name(self, order: Order) -> bytes:
        """For ever, but not for who comes after the customer under its name."""
        customer = self._directory.account(order.account.customer)
        since = customer.since if customer is not None else 0.0
        return _digest(20, "idempotency", order.account.customer, repr(since), order.idempotency)

    # --- after a start ---

    async def _take_unless_sent_before(self, order: Order) -> Sent | Refusal:
        """Take an order, unless the server took it within the last seconds of its run before this one."""
        if self._clock() - self._started >= REPEAT:
            self._before = {}
            return await self._take(order, None)
        if self._before is None:
            found = await self._store.read(  # retries of before have moved the half minute
                lambda db: api_usage.recent(db, 2 * REPEAT, self._started)
            )
            if self._before is None:  # another request may have been quicker
                self._before = found
        for source in self._sources(order):
            sent = await self._sent_before(order._replace(source=source), self._before)
            if sent is not None:
                return sent
        return await self._take(order, None)

    def _sources(self, order: Order) -> Sequence[str]:
        """Return the numbers that the same order may have been sent from before."""
        if not order.from_thread:
            return (order.source,)
        return [did.number for did in self._directory.dids_of(order.account.customer)]

    async def _sent_before(self, order: Order, before: dict[Likeness, list[Past]]) -> Sent | Refusal | None:
        alike = before.get((order.origin, order.account.name, order.source, order.destination, order.text), [])
        for past in list(alike):
            if not self._same_moment(past, order) or len(past.sizes) != len(order.files):
                continue
            files = await self._fetched(order.files, order.account.customer)
            if isinstance(files, Refusal):
                return files
            order = order._replace(files=files)
            if past.sizes == tuple(sorted(len(one.data) for one in files)) and past in alike:
                alike.remove(past)  # once: what comes then is another
                return Sent(past.message, order.source, order.destination, duplicate=True)
        return None

    def _same_moment(self, past: Past, order: Order) -> bool:
        """A moment that is over is none any more for who asks again."""
        if order.due_at is not None:
            return abs(past.due_at - order.due_at) < _SAME_MOMENT
        return not past.due_at or (bool(order.when) and past.due_at <= self._clock())


def _fail(future: asyncio.Future[Sent | Refusal], error: BaseException) -> None:
    """Give the same error to all that wait for this message; without any, drop it."""
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
        future.exception()


def _stated(order: Order) -> str:
    """Return the source that tells two orders apart: a source that was chosen by the thread does not."""
    return "" if order.from_thread else order.source


def _digest(size: int, *parts: str, files: Sequence[File] = ()) -> bytes:
    """Return a digest of a request. Keys in the store have it: it must stay as it is."""
    digest = blake2b(digest_size=size)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    for one in files:
        digest.update(one.url.encode("utf-8", "surrogatepass") + b"\0" + blake2b(one.data, digest_size=16).digest())
    return digest.digest()
