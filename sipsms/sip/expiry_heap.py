"""Heap of expiry times in which a key can get another time.

Pure; a call costs O(log n), amortised. A key's old entry stays in the heap until its time comes or until half of the
entries are old; then the heap is rebuilt.
"""

from __future__ import annotations

import heapq

_SLACK = 64


class ExpiryHeap:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._at: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: int, at: float) -> None:
        """Set or change the expiry time of a key."""
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)

    def drop(self, key: int) -> None:
        self._at.pop(key, None)

    def due(self, now: float) -> list[int]:
        """Remove and return the expired keys, earliest first."""
        found: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                found.append(key)
        return found
