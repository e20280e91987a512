"""SMPP in a node: the SMSC's listeners, its courier, what it needs of the store, and what `sipsms binds` shows."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from sipsms.access import Access
from sipsms.addresses import check_address
from sipsms.config import Config
from sipsms.desk import Line
from sipsms.directory import Directory
from sipsms.gateway import RECEIPT_LANES, SMPP, Gateway
from sipsms.model import Did, Media
from sipsms.ports import Clock, StoredPart
from sipsms.queue import Queue
from sipsms.smpp.bound import Looked, Options
from sipsms.smpp.carrier import Around, Smscs
from sipsms.smpp.client import Pushes, PushOptions
from sipsms.smpp.coding import CHARSETS
from sipsms.smpp.courier import SmppCourier
from sipsms.smpp.doubts import HEARD
from sipsms.smpp.intake import ORIGIN
from sipsms.smpp.server import Smsc
from sipsms.smpp.session import Limits
from sipsms.store import binds, parts, receipts, recent, replacing
from sipsms.store.admin import AdminError
from sipsms.store.sql import Store

_WRITE_EVERY = 5.0  # seconds between looks at how many messages went, where nothing else changed
_LINE = Line(concurrency=2000)  # a DID has one message and a few receipts out at a time


class HasBinds(Protocol):
    """Sessions that we have opened."""

    def binds(self) -> Iterable[dict[str, Any]]: ...


def options_of(config: Config) -> Options:
    smpp = config.smpp
    limits = Limits(smpp.window, smpp.bind_timeout, smpp.enquire_link, smpp.response_timeout)
    return Options(
        smpp.system_id, limits, smpp.rate, smpp.max_binds, smpp.max_binds_per_address, {**CHARSETS, **smpp.charsets}
    )


def push_options(config: Config) -> PushOptions:
    private = config.callbacks.allow_private
    return PushOptions(options_of(config).limits, config.smpp.verify, lambda ip: check_address(ip, private))


class Records:
    """What an SMSC asks of the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def look(self, message: int) -> Looked | None:
        found = await self._store.message(message)
        if found is None:
            return None
        state = await self._store.outcome(message)
        return Looked(found, state, await self._store.read(lambda db: replacing.settled_at(db, message)))

    async def cancel(self, message: int) -> bool:
        try:
            return await self._store.write(lambda db: replacing.cancel_whole(db, message, self._clock()))
        except AdminError:
            return False

    async def replace_text(self, message: int, text: str) -> bool:
        return await self._store.write(lambda db: replacing.replace_text(db, message, text, self._clock()))

    async def recent(self) -> Iterable[recent.Recent]:
        return await self._store.read(lambda db: recent.recent(db, ORIGIN, HEARD))

    async def open_parts(self) -> Iterable[StoredPart]:
        since = self._clock() - HEARD
        return await self._store.read(lambda db: parts.open_parts(db, ORIGIN, since))


def smscs_of(
    store: Store, directory: Directory, gateway: Gateway, clock: Clock,
    spawn: Callable[[Coroutine[Any, Any, Any]], None],
) -> Smscs:  # fmt: skip
    """Carriers of type smpp."""
    return Smscs(Around(
        gateway.receive, gateway.receipt, lambda number: directory.did(number) is not None,
        lambda courier, recipient, since: store.read(lambda db: receipts.unmatched(db, courier, recipient, since)),
        lambda origin: store.read(lambda db: recent.recent(db, origin, HEARD)), clock, spawn,
    ))  # fmt: skip


class SmppDoor:
    def __init__(
        self, config: Callable[[], Config], store: Store, directory: Directory, gateway: Gateway, queue: Queue,
        clock: Clock, media_url: Callable[[Media], str], node: str, carriers: HasBinds, most: int,
    ) -> None:  # fmt: skip
        """`carriers`: sessions with them, for the list. `most`: connections of ESMEs at once."""
        self._config = config
        self._store = store
        self._queue = queue
        self._clock = clock
        self._node = node
        self._carriers = carriers
        self._pushes = Pushes(lambda: push_options(config()), clock)
        access = Access(directory, clock, config().realm, lambda: 0)  # its own count of wrong passwords
        self.smsc = Smsc(
            lambda: options_of(config()), access, directory, gateway, Records(store, clock), clock, self._wake, most
        )
        courier = SmppCourier(self.smsc, directory, self._pushes, media_url)
        queue.set_courier(SMPP, courier, _LINE)
        self._shown: list[dict[str, Any]] | None = None
        self._write_at = 0.0

    def _wake(self, did: str) -> None:
        lane = f"{SMPP}/{did}"
        for key in (lane, *(f"{lane}~{n}" for n in range(RECEIPT_LANES))):
            self._queue.wake(key)

    async def listen(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> int:
        """The port. Raises OSError."""
        return await self.smsc.listen(host, port, tls)

    async def start(self) -> None:
        """Before anybody can bind. Raises Unavailable."""
        await self.smsc.start()

    def review(self, changed: Iterable[Did]) -> None:
        """The directory has changed: what waits for one way may go by another now, or by none."""
        self.smsc.review()
        for did in changed:
            if did.smpp is not None:
                self._wake(did.number)

    async def sweep(self) -> None:
        """Once a second. Raises Unavailable."""
        self.smsc.sweep()
        await self._pushes.sweep()
        shown = [*self.smsc.binds(), *self._pushes.binds(), *self._carriers.binds()]
        now = self._clock()
        if shown == self._shown or (self._alike(shown) and now < self._write_at):
            return
        rows = [{**one, "number": number} for number, one in enumerate(shown)]
        await self._store.write(lambda db: binds.replace(db, self._node, rows))
        self._shown, self._write_at = shown, now + _WRITE_EVERY

    def _alike(self, shown: list[dict[str, Any]]) -> bool:
        """But for how many messages went."""
        counts = {"sent": 0, "received": 0}
        return self._shown is not None and [one | counts for one in shown] == [one | counts for one in self._shown]

    async def close(self) -> None:
        await self.smsc.close()
        await self._pushes.close()
        await self._store.write(lambda db: binds.replace(db, self._node, ()))
