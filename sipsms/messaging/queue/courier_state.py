"""State of one courier in the queue: concurrency, rate limiter, circuit breaker.

The breaker (circuit breaker) of a carrier opens when the far side as such cannot be reached, or when one attempt after
the other brings no clear answer. While it is open nothing is tried there; then one delivery goes first, and the others
follow if it fares well.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from sipsms.core.message import (
    EVENT,
    Accepted,
    Attempt,
    Deferred,
    Delivered,
    Outcome,
    Rejected,
    Scope,
    Unknown,
)
from sipsms.messaging.carrier import Courier
from sipsms.messaging.queue.lanes import Lane

BREAKER_MAX = 30.0  # seconds: a carrier that is back is noticed soon
_DOUBTS = 3  # attempts in a row without a clear answer that open the breaker
_SOFT = 5  # attempts in a row that were put off


class CourierLimits(NamedTuple):
    """A courier's limits: concurrency, messages a second, circuit breaker."""

    concurrency: int = 32
    rate: float = 0.0  # messages a second; 0: as fast as it takes them
    breaker: bool = False
    room: Callable[[], int] | None = None  # deliveries at once, as the courier sees it now
    pace: Callable[[float], float] | None = None  # messages a second at this time; 0: any number


class Health(NamedTuple):
    """Health of a courier, as operators see it."""

    state: str  # up, down (the breaker is open), trying (one goes first), paused, gone
    why: str
    counts: dict[str, int]  # outcomes of attempts since the start, by name


class CourierState:
    """State of a courier: its lanes that are ready, what is out, its breaker."""

    def __init__(self, name: str, courier: Courier, line: CourierLimits) -> None:
        self.name = name
        self.courier: Courier | None = courier  # None: not configured now; what waits stays in the store
        self.line = line
        self.active = 0
        self.ready: deque[Lane] = deque()
        self.overflow = False  # some lanes that are ready are only in the store
        self.poll_at = 0.0  # the next search for due lanes in the store
        self.cursor: tuple[float, int] | None = None  # (due time, id): how far the last look into the store has come
        self.failures = 0  # in a row, of the far side as such
        self.closed_until = 0.0
        self.paused = False
        self.counts: Counter[str] = Counter()  # outcomes by name
        self.why = ""  # it is closed
        self._doubts = 0
        self._soft = 0
        self._next_at = 0.0  # when the rate lets the next one go

    def replace(self, courier: Courier, line: CourierLimits) -> None:
        """Take another configuration; the breaker closes, since the cause may be mended."""
        self.courier, self.line = courier, line
        self.closed_until = self._next_at = 0.0

    def search_at(self, due: float | None) -> None:
        """Search for due lanes at this time, or sooner. None: what waits there has no due time."""
        if due is not None:
            self.poll_at = min(self.poll_at, due)

    # --- may it send? ---

    def serves(self) -> bool:
        return self.courier is not None and not self.paused

    def open(self, now: float) -> bool:
        return self.serves() and now >= self.closed_until

    @property
    def has_room(self) -> bool:
        """After a failure one goes first."""
        most = 1 if self.failures else self.line.concurrency
        return self.active < (most if self.line.room is None else min(most, self.line.room()))

    def is_free(self, now: float) -> bool:
        """Could a delivery go this moment?"""
        return self.open(now) and self.has_room and not self.ready and now >= self._next_at

    def take_slot(self, now: float) -> float:
        """Seconds until the rate lets this one go; the next goes after it."""
        rates = (self.line.rate, self.line.pace(now) if self.line.pace is not None else 0.0)
        rate = min(filter(None, rates), default=0.0)
        if not rate:
            return 0.0
        slot = max(now, self._next_at)
        self._next_at = slot + 1 / rate
        return slot - now

    # --- how it goes ---

    def note(self, outcome: Outcome) -> bool:
        """Learn from an attempt. True: the breaker has to open (again)."""
        match outcome:
            case Rejected(unsent=True) | Deferred(attempt=Attempt.NOT_MADE, scope=Scope.LANE | Scope.MESSAGE):
                return False
            case Delivered() | Accepted() | Rejected():
                self._doubts = self._soft = self.failures = 0
                self.why = ""
                return False
            case Unknown(reason):
                self._doubts += 1
                tripped = self.line.breaker and (self._doubts >= _DOUBTS or self.failures > 0)
            case Deferred(reason):
                self._soft += 1
                soft = self.line.breaker and outcome.retry != EVENT and outcome.scope is not Scope.MESSAGE
                tripped = outcome.scope is Scope.COURIER or (soft and (self._soft >= _SOFT or self.failures > 0))
        if tripped:
            self.why = reason
        return tripped

    def close_for(self, seconds: float, now: float) -> None:
        """Nothing goes for a while."""
        if now >= self.closed_until:
            self.closed_until = now + (min(seconds, BREAKER_MAX) if self.line.breaker else seconds)
            self.failures += 1

    def health(self, now: float) -> Health:
        if not self.serves():
            return Health("paused" if self.paused else "gone", "", dict(self.counts))
        state = "down" if now < self.closed_until else "trying" if self.failures else "up"
        return Health(state, self.why, dict(self.counts))
