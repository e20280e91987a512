"""Messages of a peer that may not have heard our answer: what it sends again is the same message. Pure.

SMPP has no name that stays with a message when it is sent again in another session. So what was under way when a
session broke, or had been answered only just before, is in doubt: the same text for the same number, coming soon in
another session of that peer, is taken for it, once. Within one session nothing is: there two equal texts are two.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

HEARD: Final = 10.0  # seconds after an answer, in a session that goes on, by which its peer has acted on it
PARTED: Final = 3.0  # the same, where its peer has closed the connection in its own time, but without an unbind
AGAIN: Final = 60.0  # seconds after a session broke in which its messages may come again
_MOST: Final = 200_000

Key = Hashable
T = TypeVar("T")


class Trail(Generic[T]):
    """What one session has taken in lately."""

    def __init__(self) -> None:
        self._answered: deque[tuple[float, Key, T]] = deque()

    def answered(self, key: Key, result: T, now: float) -> None:
        self._answered.append((now, key, result))
        while self._answered[0][0] < now - HEARD:
            self._answered.popleft()

    @property
    def is_empty(self) -> bool:
        return not self._answered

    def unsure(self, now: float, span: float = HEARD) -> list[tuple[Key, T]]:
        """What was answered within the last `span` seconds."""
        return [(key, result) for at, key, result in self._answered if at >= now - span]


class Doubts(Generic[T]):
    """Of all broken sessions."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[float, Key, T]] = OrderedDict()  # in the order of their end
        self._by_key: dict[Key, deque[int]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, left: Iterable[tuple[Key, T]], now: float) -> None:
        """A session broke, and this is what its peer may send again."""
        for key, result in left:
            self._known[self._next] = (now + AGAIN, key, result)
            self._by_key.setdefault(key, deque()).append(self._next)
            self._next += 1
        while len(self._known) > _MOST:
            self._drop_oldest()

    def take(self, key: Key, now: float) -> T | None:
        """What this was the first time, if it is one of those: once for each."""
        self.sweep(now)
        numbers = self._by_key.get(key)
        if not numbers:
            return None
        number = numbers.popleft()
        if not numbers:
            del self._by_key[key]
        return self._known.pop(number)[2]

    def sweep(self, now: float) -> None:
        while self._known and next(iter(self._known.values()))[0] <= now:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        number, (_, key, _) = self._known.popitem(last=False)
        numbers = self._by_key[key]
        numbers.remove(number)
        if not numbers:
            del self._by_key[key]
