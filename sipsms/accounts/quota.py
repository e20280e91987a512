"""Quota: messages that each customer has sent by the APIs today."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from sipsms.core.clock import Clock
from sipsms.store import api_usage
from sipsms.store.store import Store


class Usage:
    """Messages sent by each customer today (UTC), kept in memory and stored once a second."""

    def __init__(self, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store
        self._day, self._number = "", -1
        self._sent: dict[str, int] = {}
        self._unsaved: dict[str, dict[str, int]] = {}  # day -> account -> sends

    async def sent(self, account: str) -> int:
        """Return the messages sent today. Raises Unavailable."""
        day = self._today()
        if account not in self._sent:
            stored = await self._store.read(lambda db: api_usage.sent(db, day, account))
            unsaved = self._unsaved.get(day, {}).get(account, 0)
            if day == self._day:
                self._sent.setdefault(account, stored + unsaved)
        return self._sent.get(account, 0)

    def add(self, account: str, count: int = 1, day: str = "") -> str:
        """Count messages on `day`, else today. Return the day."""
        today = self._today()
        counts = self._unsaved.setdefault(day or today, {})
        counts[account] = counts.get(account, 0) + count
        if account in self._sent and day in ("", today):
            self._sent[account] += count
        return day or today

    def _today(self) -> str:
        number = int(self._clock() // 86400)
        if number != self._number:
            self._number, self._sent = number, {}
            self._day = datetime.fromtimestamp(number * 86400, UTC).strftime("%Y-%m-%d")
        return self._day

    async def save(self) -> None:
        """Write the counts to the store. Raises Unavailable; the counts are then saved later."""
        for day in list(self._unsaved):
            counts = self._unsaved.pop(day)
            more = {name: count for name, count in counts.items() if count}
            try:
                await self._store.write(partial(api_usage.add, day=day, counts=more))
            except BaseException:
                kept = self._unsaved.setdefault(day, {})
                for name, count in counts.items():
                    kept[name] = kept.get(name, 0) + count
                raise
