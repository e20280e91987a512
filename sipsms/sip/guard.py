"""Slows down password guessing. Pure and bounded: a fixed number of (address, user) pairs is remembered.

After `free` failures in `window` seconds a pair gets one evaluated guess a second; the others are answered as wrong
without a look at the password. The account itself is never locked: its owner, elsewhere, is another pair.
"""

from __future__ import annotations


class Guard:
    def __init__(self, free: int = 10, window: float = 300.0, capacity: int = 10_000) -> None:
        self._free = free
        self._window = window
        self._capacity = capacity
        self._failures: dict[tuple[str, str], list[float]] = {}  # [failures, since, next guess]

    def allows(self, address: str, user: str, now: float) -> bool:
        """May a guess of this pair be looked at now?"""
        if not self._failures:
            return True
        entry = self._failures.get((address, user))
        if entry is None or entry[0] < self._free or now - entry[1] > self._window:
            return True
        if now < entry[2]:
            return False
        entry[2] = now + 1.0
        return True

    def failed(self, address: str, user: str, now: float) -> None:
        key = (address, user)
        entry = self._failures.pop(key, None)
        if entry is None or now - entry[1] > self._window:
            entry = [0, now, 0.0]
        entry[0] += 1
        self._failures[key] = entry
        if len(self._failures) > self._capacity:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, address: str, user: str) -> None:
        if self._failures:
            self._failures.pop((address, user), None)
