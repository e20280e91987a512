"""The operations that the gateway, the queue and the location service commit and read.

Every write goes through the writer thread in batches. Every read runs in a worker thread on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

from sipsms.core.errors import Unavailable
from sipsms.core.message import Delivery, Message, State
from sipsms.core.queue_rows import CarrierReceipt, Closing, Stored
from sipsms.store import (
    blocks,
    concatenated_parts,
    delivery_receipts,
    destinations,
    history,
    messages,
    operator_lists,
    pending_reports,
    queue,
    reassign,
    threads,
)
from sipsms.store.directory import changes
from sipsms.store.engine import COMMAND_WAIT, SERVER_WAIT, DriverError, ensure_schema, open_engine, reason
from sipsms.store.rows import counter, take_ids
from sipsms.store.writer import Writer

# Other packages use the type and pass connections to functions of this package.
__all__ = ["Connection", "Store", "writes"]

P = ParamSpec("P")
T = TypeVar("T")
_Function = Callable[Concatenate[Connection, P], T]
_Method = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]


def _reads(query: _Function[P, T]) -> _Method[P, T]:
    """Make a method that runs a query in a worker thread. Raises Unavailable."""

    def method(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self.read(lambda connection: query(connection, *args, **kwargs))

    return method


def writes(change: _Function[P, T]) -> _Method[P, T]:
    """Make a method that passes a change to the method `write` of its class."""

    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        result: Coroutine[Any, Any, T] = self.write(lambda connection: change(connection, *args, **kwargs))
        return result

    return method


class Store:
    """The store of one process. `node` names this process in leases."""

    def __init__(self, writing: Engine, reading: Engine, node: str) -> None:
        self._reading = reading
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
        self.node = node
        self.writer = Writer(writing, history.follow)

    async def close(self) -> None:
        """Commit what waits, then close."""
        await self.writer.close()
        self._threads.shutdown()
        self._reading.dispose()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a worker thread. Raises Unavailable."""

        def run() -> T:
            try:
                with self._reading.connect() as connection:
                    return query(connection)
            except DriverError as error:
                raise Unavailable(reason(error)) from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writer, in one transaction with other jobs. Raises Unavailable."""
        return await self.writer.put(_call_each, change)

    async def ping(self) -> None:
        """Check that the writer can commit a change: a full disk still lets it begin one. Raises Unavailable."""
        await self.write(lambda connection: take_ids(connection, "pings", 1))

    # --- gateway ---

    async def accept(self, message: Message, new: Sequence[Delivery], now: float) -> Stored:
        """Store a message with its deliveries, or find that its duplicate key is known. Raises Unavailable."""
        return await self.writer.put(messages.accept_all, (message, new, self.node, now))

    async def last_did(self, account: str, peer: str) -> str:
        """Return the DID that `peer` last wrote to, or an empty text. Raises Unavailable.

        The writer reads it, because the writer keeps the order of a sender's messages.
        """
        return await self.writer.put(threads.last_dids, (account, peer))

    async def add(self, message: Message, new: Sequence[Delivery], fetcher: str, now: float) -> tuple[Delivery, ...]:
        """Store the media that courier `fetcher` has fetched for a message and, once, its deliveries."""
        return await self.write(lambda db: messages.add(db, (message, new, fetcher, self.node, now)))

    find_duplicate = _reads(messages.message_with_key)
    named = _reads(messages.message_named)
    message = _reads(messages.message_with_id)
    is_cancelled = _reads(operator_lists.is_cancelled)
    set_block = writes(blocks.put)
    disable_target = writes(destinations.disable)
    adopt_open = writes(reassign.adopt_open)
    move_lane = writes(reassign.move_lane)
    open_accounts = _reads(reassign.open_accounts)

    # --- receipts, unknown outcomes, segments ---

    async def receipt(self, courier: str, receipt: CarrierReceipt, now: float) -> Delivery | None:
        """Apply a carrier's receipt, or keep it for the response that names it; return a delivery that changed."""
        return await self.writer.put(delivery_receipts.apply_all, (courier, receipt, now))

    doubts = _reads(delivery_receipts.doubts)
    settle = writes(delivery_receipts.settle)
    add_part = writes(concatenated_parts.add)
    late_parts = _reads(concatenated_parts.late)
    joined = writes(concatenated_parts.joined)

    # --- delivery reports ---

    outcome = _reads(pending_reports.outcome)
    noticed = writes(pending_reports.done)
    unnoticed = _reads(pending_reports.due)
    unnoticed_losses = _reads(pending_reports.ended)
    forget_notices = writes(pending_reports.forget)

    async def forget_receipts(self, now: float) -> None:
        """Delete unmatched receipts after 72 hours (P-11) and segments of delivered texts after a day."""

        def forget(connection: Connection) -> None:
            delivery_receipts.forget(connection, now - 72 * 3600.0)
            concatenated_parts.forget(connection, now - 86400.0)

        await self.write(forget)

    # --- queue ---

    async def begin(self, delivery: Delivery, now: float) -> bool:
        """Commit an attempt and set the delivery to `sending`. False: another component has it."""
        return await self.writer.put(queue.begin_all, (delivery.id, delivery.attempts + 1, self.node, now))

    async def finish(self, closing: Closing) -> State:
        """Close an attempt; return the delivery's state, which a quicker receipt may have set."""
        return await self.writer.put(queue.finish_all, closing)

    async def load_lane(self, lane: str, limit: int, now: float) -> list[Delivery] | None:
        """Return the lane's queued deliveries in order, due or not. None: another node is working on it."""
        return await self.read(lambda connection: queue.load_lane(connection, lane, limit, self.node, now))

    divert = writes(queue.divert)
    due = _reads(queue.due)
    make_due = writes(queue.make_due)
    hold_back = writes(queue.hold_back)
    waiting_lanes = _reads(queue.waiting_lanes)

    async def expire(self, now: float, limit: int) -> list[Delivery]:
        """Close queued deliveries whose time is over, at most `limit`."""
        waiting = await self.read(lambda connection: connection.execute(queue.EXPIRING, {"now": now}).first())
        if waiting is None:
            return []
        return await self.write(lambda connection: queue.expire(connection, now, limit))

    async def recover(self, idempotent: Sequence[str], now: float, *, own: bool) -> tuple[int, int]:
        """Close attempts that nobody will close: unknown, or queued again where a second copy is harmless.

        `own`: attempts of this node, after a restart; else attempts whose lease has ended. Return how many were queued
        again, and how many are unknown.
        """
        return await self.write(lambda connection: queue.recover(connection, self.node if own else "", idempotent, now))

    async def claim_new(self) -> list[Delivery]:
        """Take over deliveries that a change has queued and no lane knows (again by hand, from an app to phones)."""
        if await self.read(lambda connection: connection.execute(queue.UNCLAIMED.limit(1)).first()) is None:
            return []
        return await self.write(lambda connection: queue.claim_new(connection, self.node))

    # --- directory cache ---

    async def directory_version(self) -> int:
        return await self.read(lambda db: counter(db, "directory"))

    directory = _reads(changes)


def _call_each(connection: Connection, changes: Sequence[Callable[[Connection], T]]) -> list[T]:
    return [change(connection) for change in changes]


def open_store(url: str, node: str) -> Store:
    """Open a store and upgrade its schema. `node` is empty for a command, which waits longer. Raises StoreError."""
    writing = open_engine(url, lock_wait=SERVER_WAIT if node else COMMAND_WAIT)
    ensure_schema(writing)
    return Store(writing, open_engine(url, read_only=True), node)
