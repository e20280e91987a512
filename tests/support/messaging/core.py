"""The core on a real SQLite store, with couriers that can be scripted and a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from sipsms.accounts.directory import Directory
from sipsms.core.account import Account, Did
from sipsms.core.message import Accepted, Delivery, Outcome
from sipsms.messaging.build import Messaging, build
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.order import Order
from sipsms.messaging.outbound import Outbound
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.settings import PolicySettings, QueueSettings
from sipsms.routing import rules_file
from sipsms.sip.location import Location
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class ScriptedCourier:
    """Answers with the outcomes it was given, then with `Accepted`; remembers what it was asked to deliver."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.seen: list[Delivery] = []
        self.gate: asyncio.Event | None = None
        self._arrived = asyncio.Event()

    async def deliver(self, delivery: Delivery) -> Outcome:
        self.seen.append(delivery)
        self._arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.outcomes.pop(0) if self.outcomes else Accepted(f"r{delivery.id}")

    @property
    def texts(self) -> list[str]:
        return [delivery.message.text for delivery in self.seen]

    async def wait(self, count: int, seconds: float = 15.0) -> None:
        """Until it was asked `count` times."""
        async with asyncio.timeout(seconds):
            while len(self.seen) < count:
                self._arrived.clear()
                await self._arrived.wait()


@dataclass
class Core:
    store: Store
    messaging: Messaging
    location: Location
    directory: Directory
    files: MediaFiles
    clock: Clock
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def queue(self) -> Queue:
        return self.messaging.queue

    @property
    def outbound(self) -> Outbound:
        return self.messaging.outbound

    async def send(self, account: Account, source: str, to: str, text: str, origin: str = "test", **more: Any) -> Any:
        """What `Outbound.send` returns."""
        return await self.outbound.send(Order(account, source, to, text, origin, **{"max_text": 1600, **more}))

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the store says, once the writer has done all that was asked of it before."""
        await self.store.ping()
        return await self.store.read(lambda connection: [tuple(row) for row in connection.execute(text(sql))])

    async def until(self, sql: str, expected: list[tuple[Any, ...]], seconds: float = 15.0) -> None:
        """Until a query has this result; each look waits for the writer."""
        async with asyncio.timeout(seconds):
            while await self.rows(sql) != expected:
                continue


NO_PATTERNS = PolicySettings(same_text=0, destinations=0)
A_DAY = QueueSettings(keep=86400.0)
BACK_OFF = QueueSettings(keep=86400.0, retry_min=5, retry_max=60)


@asynccontextmanager
async def core(
    folder: Path,
    couriers: dict[str, Any] | None = None,
    *,
    settings: QueueSettings = A_DAY,
    line: CourierLimits | None = None,
    policy: PolicySettings = NO_PATTERNS,
    run: bool = True,
    idempotent: tuple[str, ...] = ("sip",),
    prepare: Callable[[Core], Any] | None = None,
    media_url: str = "http://x",
    **more: Any,
) -> AsyncIterator[Core]:
    """A node's core with customer `demo`, accounts alice and bob, DIDs 5550001111 and 5550002222.

    `more`: see `messaging.build`.
    """
    url = f"sqlite:///{folder / 'core.db'}"
    writing = open_engine(url)
    ensure_schema(writing)
    store = Store(writing, open_engine(url, read_only=True), "node")
    clock, directory, location = Clock(), Directory(), Location(store)
    people = [Account("demo"), Account("alice", "demo", caller_id="5550001111"), Account("bob", "demo")]
    numbers = [Did("5550001111", "demo", "alice"), Did("5550002222", "demo", "bob", sms=False)]
    directory.update(1, True, people, numbers, frozenset())
    carriers = [name.removeprefix("carrier:") for name in couriers or {} if name.startswith("carrier:")]
    files = MediaFiles(folder / "media", lambda: media_url)
    messaging = build(
        store, directory, location, rules_file.load(None, carriers or ["sim"]), clock, files,
        settings=settings, policy=policy, jitter=lambda: 0.5, **more,
    )  # fmt: skip
    queue = messaging.queue
    for name, courier in (couriers or {}).items():
        queue.set_courier(name, courier, line or CourierLimits())
    here = Core(store, messaging, location, directory, files, clock)
    if prepare is not None:
        prepare(here)
    await location.load(clock())
    await queue.start(idempotent)
    await messaging.devices.start(await store.open_accounts())
    if run:
        here.tasks.append(asyncio.create_task(queue.run()))
    try:
        yield here
    finally:
        await queue.drain(5)
        for task in here.tasks:
            task.cancel()
        await asyncio.gather(*here.tasks, return_exceptions=True)
        await store.close()
