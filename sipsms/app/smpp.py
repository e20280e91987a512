"""SMPP in a node: the SMSC's listeners, its courier, what it needs of the store, and what `sipsms binds` shows."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from sipsms.accounts.auth import Access
from sipsms.accounts.directory import Directory
from sipsms.app.settings import Config
from sipsms.core import log
from sipsms.core.account import Did
from sipsms.core.admission import Admission
from sipsms.core.clock import Clock
from sipsms.core.courier_id import SMPP
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Media
from sipsms.core.ssrf import check_address
from sipsms.messaging.build import Messaging
from sipsms.messaging.planner import RECEIPT_LANES
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.smpp.bind import Resolve
from sipsms.smpp.carrier import SmppCarriers
from sipsms.smpp.courier import LateAnswers, SmppCourier
from sipsms.smpp.customer_smsc import CustomerSmscs
from sipsms.smpp.resend_detection import HEARD
from sipsms.smpp.server import Smsc
from sipsms.smpp.submit import ORIGIN
from sipsms.store import smpp_binds, smpp_marks
from sipsms.store.store import Store
from sipsms.web.client import GuardedResolver

_WRITE_EVERY = 5.0  # seconds between looks at how many messages went, where nothing else changed
_LINE = CourierLimits(concurrency=2000)  # a DID has one message and a few receipts out at a time


def resolver(guard: Callable[[str], str]) -> Resolve:
    """The system's, in threads of its own; `guard`: why there is to be no connection to an IP address."""
    found = GuardedResolver(guard)

    async def resolve(host: str, port: int) -> list[str]:
        results = await found.resolve(host, port, socket.AF_UNSPEC)
        return list(dict.fromkeys(one["host"] for one in results))

    return resolve


class SmppNode:
    def __init__(
        self, config: Callable[[], Config], store: Store, directory: Directory, messaging: Messaging,
        clock: Clock, media_url: Callable[[Media], str], node: str, carriers: SmppCarriers, admission: Admission,
    ) -> None:  # fmt: skip
        """`carriers`: sessions with them, for the list. `admission`: of ESMEs' connections."""
        self._config = config
        self._store = store
        self._queue = messaging.queue
        self._clock = clock
        self._node = node
        self._carriers = carriers
        guarded = resolver(lambda address: check_address(address, config().callbacks.allow_private))
        late = LateAnswers()
        self._pushes = CustomerSmscs(lambda: config().smpp, clock, guarded, late.came)
        access = Access(directory, clock, config().realm, lambda: 0)  # its own count of wrong passwords
        self.smsc = Smsc(
            lambda: config().smpp, access, directory, messaging.consent, messaging.outbound, store, clock, self._wake,
            admission,
        )  # fmt: skip
        courier = SmppCourier(self.smsc, directory, self._pushes, media_url, late, lambda: config().smpp.charsets)
        messaging.queue.set_courier(SMPP, courier, _LINE)
        self._shown: list[dict[str, Any]] | None = None
        self._write_at = self._mark_at = 0.0
        self._is_over = False

    def _wake(self, did: str) -> None:
        lane = LaneKey.to(SMPP, did)
        for key in (lane, *map(lane.branch, range(RECEIPT_LANES))):
            self._queue.wake(key)

    def review(self, changed: Iterable[Did]) -> None:
        """The directory has changed: what waits for one way may go by another now, or by none."""
        self.smsc.review()
        for did in changed:
            if did.smpp is not None:
                self._wake(did.number)

    async def sweep(self) -> None:
        """Sweep sessions and write down the binds; called once a second. Raises Unavailable."""
        if self._is_over:
            return
        self.smsc.sweep()
        self._pushes.sweep()
        shown = [*self.smsc.binds(), *self._pushes.binds(), *self._carriers.binds()]
        for direction in ("in", "out"):
            bound = sum(one["direction"] == direction and one["state"] == "bound" for one in shown)
            log.SMPP_BINDS.labels(direction).set(bound)
        now = self._clock()
        if now >= self._mark_at:
            self._mark_at = now + _WRITE_EVERY
            await self._mark(now)
        if shown == self._shown or (self._alike(shown) and now < self._write_at):
            return
        rows = [{**one, "number": number} for number, one in enumerate(shown)]
        await self._store.write(lambda db: smpp_binds.replace(db, self._node, rows))
        self._shown, self._write_at = shown, now + _WRITE_EVERY

    def _alike(self, shown: list[dict[str, Any]]) -> bool:
        """Return whether only the counts of messages have changed."""
        counts = {"sent": 0, "received": 0}
        return self._shown is not None and [one | counts for one in shown] == [one | counts for one in self._shown]

    async def _mark(self, now: float, span: float = HEARD) -> None:
        """Mark the time before which peers have our answers: older messages need not be recalled after a restart."""
        marks = {ORIGIN: self.smsc.heard_by(now, span), **self._carriers.heard_by(now, span)}
        fresh = {name: at for name, at in marks.items() if at}
        if fresh:
            await self._store.write(lambda db: smpp_marks.set_all(db, fresh))

    async def close(self) -> None:
        """ESMEs and pushes; the carriers' binds stay."""
        await self.smsc.close()
        await self._pushes.close()

    async def finish(self) -> None:
        """The carriers' binds are closed, too. Who has said good-bye has heard all answers. Raises Unavailable."""
        self._is_over = True
        await self._mark(self._clock(), 0.0)
        await self._store.write(lambda db: smpp_binds.replace(db, self._node, ()))
