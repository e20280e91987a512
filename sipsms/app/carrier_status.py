"""States of the carriers, written to the store for `sipsms carriers`, and the alarm about unknown outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sipsms.core.clock import Clock
from sipsms.messaging.alarms import Alarms
from sipsms.messaging.carrier import Carrier
from sipsms.messaging.queue.queue import Queue
from sipsms.store import carrier_state
from sipsms.store.store import Store

EVERY: Final = 10.0  # seconds between reports
_NEXT_ALARM: Final = 3600.0  # seconds


class CarrierStatus:
    def __init__(
        self, store: Store, alarms: Alarms, queue: Queue, carriers: Mapping[str, Carrier], clock: Clock
    ) -> None:
        self._store = store
        self._alarms = alarms
        self._queue = queue
        self._carriers = carriers
        self._clock = clock
        self._sent: dict[str, int] = {}
        self._reported: dict[str, dict[str, Any]] = {}
        self._unknown = 0  # unknown outcomes that the operator has been told of
        self._alarm_at = 0.0  # earliest time of the next alarm

    async def report(self) -> None:
        """Write the states that have changed. Call it every `EVERY` seconds. Raises Unavailable."""
        now = self._clock()
        health = {name: one for name, one in self._queue.health().items() if name.carrier}
        fresh = {}
        for courier, one in health.items():
            name = courier.carrier
            sent = sum(one.counts.values())
            rate = (sent - self._sent.get(name, sent)) / EVERY
            self._sent[name] = sent
            carrier = self._carriers.get(name)
            why = one.why or (carrier.status if carrier is not None else "")
            state = "down" if one.state == "up" and carrier is not None and carrier.is_down else one.state
            status = {"state": state, "why": why, "rate": round(rate, 2), "counts": one.counts}
            if self._reported.get(name) != status:
                self._reported[name] = fresh[name] = status
        await self._tell_of_unknown(sum(one.counts.get("unknown", 0) for one in health.values()), now)
        if fresh:
            await self._store.write(
                lambda db: carrier_state.set_status(db, {n: {**s, "at": now} for n, s in fresh.items()})
            )

    async def _tell_of_unknown(self, unknown: int, now: float) -> None:
        """Tell the operator, at most once an hour: only the operator can send those messages again (decision D6)."""
        if unknown > self._unknown and now >= self._alarm_at:
            count, self._unknown, self._alarm_at = unknown - self._unknown, unknown, now + _NEXT_ALARM
            await self._alarms.send(
                f"{count} messages were sent and nobody knows whether they arrived: queue --unknown"
            )
