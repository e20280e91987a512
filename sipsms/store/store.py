"""The operations that the gateway, the queue and the location service commit and read.

Every write goes through the writer thread in batches. Every read runs in a worker thread on a connection of its own.
The statements (SQLAlchemy Core) are in the modules that this class calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from sipsms.core.directory_rows import Block, DirectoryChanges
from sipsms.core.errors import Unavailable
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Message, State
from sipsms.core.queue_rows import CarrierReceipt, Closing, Doubt, Due, Stored, StoredPart
from sipsms.store import (
    blocks,
    concatenated_parts,
    delivery_receipts,
    destinations,
    directory,
    messages,
    operator_lists,
    pending_reports,
    queue,
    reassign,
)
from sipsms.store.engine import COMMAND_WAIT, SERVER_WAIT, ensure_schema, open_engine
from sipsms.store.rows import QUEUED, counter, message_of
from sipsms.store.schema import deliveries
from sipsms.store.writer import Writer

__all__ = ["Connection", "Store"]  # other packages use the type and pass connections to functions of this package

T = TypeVar("T")


class Store:
    """The store of one process. `node` names this process in leases."""

    def __init__(self, writing: Engine, reading: Engine, node: str, on_foreign_change: Callable[[], None]) -> None:
        self._reading = reading
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
        self.node = node
        self.writer = Writer(writing, on_foreign_change)

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
            except SQLAlchemyError as error:
                raise Unavailable(str(error)) from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writer, in one transaction with other waiting jobs.

        Raises Unavailable."""
        result: T = await self.writer.put(_call_each, change)
        return result

    async def ping(self) -> None:
        """Check that the writer can begin a transaction. Raises Unavailable."""
        await self.write(lambda connection: counter(connection, "directory"))

    # --- gateway ---

    async def accept(self, message: Message, new: Sequence[Delivery], now: float) -> Stored:
        """Store a message with its deliveries, or find that its duplicate key is known. Raises Unavailable."""
        stored: Stored = await self.writer.put(messages.accept_all, (message, new, self.node, now))
        return stored

    async def find_duplicate(self, dedupe_key: bytes) -> int | None:
        """Return the id of the message with this key."""
        return await self.read(lambda connection: messages.message_with_key(connection, dedupe_key))

    async def named(self, start: bytes) -> tuple[int, bytes] | None:
        """Return the message whose key begins like this, and the whole key."""
        return await self.read(lambda connection: messages.message_named(connection, start))

    async def noticed(self, message: int) -> None:
        """Write down that the sender has got its notice of delivery."""
        await self.write(lambda connection: pending_reports.done(connection, message))

    async def add(self, message: Message, new: Sequence[Delivery], fetcher: str, now: float) -> tuple[Delivery, ...]:
        """Store the media that courier `fetcher` has fetched for a message and, once, its deliveries."""
        return await self.write(lambda db: messages.add(db, (message, new, fetcher, self.node, now)))

    async def message(self, message: int) -> Message | None:
        """Return a message; None if there is none with this id."""
        return await self.read(lambda db: messages.message_with_id(db, message))

    async def outcome(self, message: int) -> State:
        """Return the state of a message (see `core.message.state_of`)."""
        return await self.read(lambda db: pending_reports.outcome(db, message))

    async def is_cancelled(self, message: int) -> bool:
        """Return whether all deliveries of a message were cancelled before they left."""
        return await self.read(lambda db: operator_lists.is_cancelled(db, message))

    async def set_block(self, block: Block, reason: str, now: float) -> bool:
        """Set or lift a block. False: nothing changed."""
        return await self.write(lambda db: blocks.put(db, block, reason, now))

    async def disable_target(self, did: str, kind: str, why: str) -> bool:
        """Switch off a DID's callback or webhook, until its owner sets it again. False: it was off."""
        return await self.write(lambda db: destinations.disable(db, did, kind, why))

    # --- receipts, unknown outcomes, segments ---

    async def receipt(self, courier: str, receipt: CarrierReceipt, now: float) -> Delivery | None:
        """Apply a carrier's receipt; return the delivery if its state has changed.

        A receipt that matches no delivery is kept for a while: it may be quicker than the response that names it.
        """
        changed: Delivery | None = await self.writer.put(delivery_receipts.apply_all, (courier, receipt, now))
        return changed

    async def doubts(self, courier: str, since: float, after: int, limit: int) -> list[Doubt]:
        """Return deliveries created since then whose outcome is unknown, oldest first, behind the delivery `after`."""
        return await self.read(lambda db: delivery_receipts.doubts(db, courier, since, after, limit))

    async def settle(self, closing: Closing) -> bool:
        """Write the outcome of an unknown delivery. False: it was settled already."""
        return await self.write(lambda db: delivery_receipts.settle(db, closing))

    async def add_part(self, part: StoredPart) -> list[StoredPart]:
        """Store a segment; return all segments when the last one has come. A known segment changes nothing.

        Another text under the same reference begins a new message: then the segments of the old one are returned, to
        be delivered as they are, and this segment must be added again.
        """
        return await self.write(lambda db: concatenated_parts.add(db, part))

    async def late_parts(self, before: float, whole: float = 0.0) -> list[list[StoredPart]]:
        """Return texts without a new segment since `before`; `whole`: the same for texts that lack none."""
        return await self.read(lambda db: concatenated_parts.late(db, before, whole))

    async def joined(self, done: Sequence[StoredPart]) -> None:
        """Mark these segments as stored in one message."""
        await self.write(lambda db: concatenated_parts.joined(db, done))

    # --- delivery reports ---

    async def forget_notices(self, before: float) -> None:
        """Forget senders who have waited since before then for a notice of delivery."""
        await self.write(lambda connection: pending_reports.forget(connection, before))

    async def forget_receipts(self, now: float) -> None:
        """Delete unmatched receipts after 72 hours (P-11) and segments of delivered texts after a day."""

        def forget(connection: Connection) -> None:
            delivery_receipts.forget(connection, now - 72 * 3600.0)
            concatenated_parts.forget(connection, now - 86400.0)

        await self.write(forget)

    async def unnoticed(self) -> list[tuple[Message, str]]:
        """Return delivered messages whose sender is still owed a notice, with whom they went to."""
        rows = await self.read(pending_reports.due)
        return [(message_of(row), row.to) for row in rows]

    async def unnoticed_losses(self) -> list[tuple[Message, str, bool]]:
        """Return the same for messages that failed or expired, and whether a carrier ever took them."""
        rows = await self.read(pending_reports.ended)
        return [(message_of(row), row.to or "", bool(row.carrier_id)) for row in rows]

    async def adopt_open(self, account: str, device: int, lane: LaneKey, now: float) -> int:
        """Give a new device what came while no device of its account was known; return how many deliveries."""
        return await self.write(lambda connection: reassign.adopt_open(connection, account, device, lane, now))

    async def move_lane(self, old_device: int, old_lane: str, device: int, lane: LaneKey, now: float) -> int:
        """Move what waits for one device to another, but for messages that the other already has or had."""
        return await self.write(
            lambda connection: reassign.move_lane(connection, old_device, old_lane, device, lane, now)
        )

    async def open_accounts(self) -> list[str]:
        """Return accounts with messages that arrived before any of their devices was known."""
        query = select(deliveries.c.destination).where(deliveries.c.open).distinct()
        return await self.read(lambda connection: list(map(LaneKey, connection.execute(query).scalars())))

    # --- queue ---

    async def begin(self, delivery: Delivery, now: float) -> bool:
        """Commit an attempt and set the delivery to `sending`. False: another component has it."""
        begun: bool = await self.writer.put(queue.begin_all, (delivery.id, delivery.attempts + 1, self.node, now))
        return begun

    async def finish(self, closing: Closing) -> State:
        """Close an attempt; return the delivery's state, which a quicker receipt may have set."""
        state: State = await self.writer.put(queue.finish_all, closing)
        return state

    async def load_lane(self, lane: str, limit: int, now: float) -> list[Delivery] | None:
        """Return the lane's queued deliveries in order, due or not. None: another node is working on it."""
        return await self.read(lambda connection: queue.load_lane(connection, lane, limit, self.node, now))

    async def divert(self, delivery: Delivery, closing: Closing) -> bool:
        """Give a queued delivery to another courier. False: its state has changed."""
        return await self.write(lambda connection: queue.divert(connection, delivery, closing))

    async def due(
        self, courier: str, now: float, limit: int, after: tuple[float, int] | None = None, *, movable: bool = False
    ) -> Due:
        """Return lanes with due deliveries, oldest first, at most `limit`; `after` continues a previous page.

        `movable`: only deliveries that another courier may take.
        """
        return await self.read(lambda connection: queue.due(connection, courier, now, limit, after, movable))

    async def make_due(self, keys: Sequence[str], now: float) -> None:
        """Make the oldest queued delivery of each of these lanes due now."""
        await self.write(lambda connection: queue.make_due(connection, keys, now))

    async def hold_back(self, lane: str, until: float | None) -> None:
        """Postpone a lane's head, and so all behind it, until then (None: until an event)."""
        await self.write(lambda connection: queue.hold_back(connection, lane, until))

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

    async def waiting_lanes(self) -> list[LaneKey]:
        """Return every lane with a queued delivery."""
        query = select(deliveries.c.lane).where(QUEUED).distinct()
        return await self.read(lambda connection: list(map(LaneKey, connection.execute(query).scalars())))

    async def claim_new(self) -> list[Delivery]:
        """Take over queued deliveries that a command beside the server has committed."""
        if await self.read(lambda connection: connection.execute(queue.UNCLAIMED.limit(1)).first()) is None:
            return []
        return await self.write(lambda connection: queue.claim_new(connection, self.node))

    # --- directory cache ---

    async def directory_version(self) -> int:
        """Return the version of the directory."""
        return await self.read(lambda db: counter(db, "directory"))

    async def directory(self, since: int) -> DirectoryChanges:
        """Return the changes after version `since`."""
        return await self.read(lambda connection: directory.changes(connection, since))


def _call_each(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [change(connection) for change in changes]


def open_store(url: str, node: str, on_foreign_change: Callable[[], None]) -> Store:
    """Open a store and upgrade its schema. Raises StoreError.

    `node`: name of the server; empty for a command, which waits longer for a lock."""
    writing = open_engine(url, lock_wait=SERVER_WAIT if node else COMMAND_WAIT)
    ensure_schema(writing)
    return Store(writing, open_engine(url, read_only=True), node, on_foreign_change)
