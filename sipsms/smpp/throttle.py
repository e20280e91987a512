"""Pace of a carrier, learned from its throttling (P-09, F-15). Pure.

After a throttled message sending pauses, then continues at a lower rate than the carrier accepted before. While the
carrier does not throttle, the rate grows, and after `_FORGET` seconds there is no limit.
"""

from __future__ import annotations

from typing import Final

_PAUSE: Final = 1.0  # seconds; doubled each time that the first message after a pause is throttled, too
_LONGEST: Final = 60.0  # seconds
_LESS: Final = 0.7  # factor of the rate after throttling
_MORE: Final = 1.1  # factor of the rate each second
_FORGET: Final = 60.0  # seconds without throttling, after which the limit ends


class Pace:
    """Current rate and pause of one carrier."""

    def __init__(self) -> None:
        self.rate = 0.0  # messages a second; 0: no limit
        self._pause = 0.0
        self._until = 0.0
        self._throttled_at = 0.0
        self._grown_at = 0.0
        self._taken = 0  # messages accepted since `_counted_at`
        self._counted_at = 0.0
        self._measured = 0.0

    def paused(self, now: float) -> float:
        """Return the seconds until the pause ends; 0 without a pause."""
        return max(0.0, self._until - now)

    def rate_at(self, now: float) -> float:
        """Return the messages a second allowed now; 0 means no limit."""
        self._grow(now)
        return self.rate

    def taken(self, now: float) -> None:
        """Record a message that the carrier has accepted."""
        self._pause = 0.0
        self._count(now)
        self._taken += 1

    def throttled(self, now: float) -> float:
        """Record a throttled message, several in a pause as one; return the seconds to pause."""
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
