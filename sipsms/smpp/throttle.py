"""How fast a carrier takes messages, learned from what it throttles (P-09, F-15). Pure.

When it says that it is too much, nothing goes for a while, and then a bit less a second than it took before; the longer
it says nothing of the kind, the more goes again.
"""

from __future__ import annotations

from typing import Final

_PAUSE: Final = 1.0  # seconds, twice as long each time that the first after a pause is throttled, too
_LONGEST: Final = 60.0
_LESS: Final = 0.7
_MORE: Final = 1.1  # a second
_FORGET: Final = 60.0  # seconds without throttling, after which there is no limit any more


class Pace:
    def __init__(self) -> None:
        self.rate = 0.0  # messages a second that are let go; 0: any number
        self._pause = 0.0
        self._until = 0.0
        self._throttled_at = 0.0
        self._grown_at = 0.0
        self._taken = 0  # since `_counted_at`
        self._counted_at = 0.0
        self._measured = 0.0

    def paused(self, now: float) -> float:
        """Seconds for which nothing may go."""
        return max(0.0, self._until - now)

    def rate_at(self, now: float) -> float:
        """Messages a second that may go now; 0: any number."""
        self._grow(now)
        return self.rate

    def taken(self, now: float) -> None:
        """The carrier has accepted one."""
        self._pause = 0.0
        self._count(now)
        self._taken += 1

    def throttled(self, now: float) -> float:
        """The carrier says that it is too much; seconds for which nothing may go. Several at once are one word."""
        if now >= self._until:
            self._count(now)
            seconds = now - self._counted_at
            measured = self._taken / seconds if seconds > 0.2 else self._measured
            before = min(self.rate, measured or self.rate) if self.rate else max(measured, self._measured)
            self.rate = max(1.0, before * _LESS)
            self._pause = min(_LONGEST, self._pause * 2 or _PAUSE)
            self._until = now + self._pause
        self._throttled_at = self._grown_at = now
        return self.paused(now)

    def _count(self, now: float) -> None:
        seconds = now - self._counted_at
        if seconds >= 1.0:
            self._measured = self._taken / seconds if self._counted_at else 0.0
            self._counted_at, self._taken = now, 0

    def _grow(self, now: float) -> None:
        if not self.rate:
            return
        if now - self._throttled_at >= _FORGET:
            self.rate = 0.0
        elif now - self._grown_at >= 1.0:
            self.rate = self.rate * _MORE + 1
            self._grown_at = now
