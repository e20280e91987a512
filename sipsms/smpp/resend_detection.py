"""Messages of a peer that may not have heard our answer: what it sends again is the same message. Pure.

SMPP has no name that stays with a message when it is sent again in another session. So what was under way when a
session broke, or had been answered only just before, is in doubt: the same text for the same number, coming soon in
another session of that peer, is taken for it, once. Within one session nothing is: there two equal texts are two.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from math import inf
from typing import Any, Final, Generic, NamedTuple, TypeVar

HEARD: Final = 10.0  # seconds after an answer, in a session that goes on, by which its peer has acted on it
PARTED: Final = 3.0  # the same, where its peer has closed the connection in its own time, but without an unbind
QUIET: Final = 1.0  # seconds of silence, after which a session whose peer has not received our answers may be broken
AGAIN: Final = 60.0  # seconds after a session broke in which its messages may come again
LONGEST: Final = AGAIN + HEARD  # seconds that the messages of a broken session may have been here, or a little more
_A_MOMENT: Final = 0.001  # seconds
_MOST: Final = 200_000
_MOST_OF_ONE: Final = 100_000

Key = Hashable
T = TypeVar("T")


class Started(NamedTuple):
    """What is not answered yet."""

    key: Key
    since: float


class _Entry(NamedTuple, Generic[T]):
    at: float  # when it was answered, or its answer was seen to be on its way last
    key: Key
    result: T
    since: float  # that it has been here


class Trail(Generic[T]):
    """What one session has taken in lately.

    Whoever holds the connection looks now and then whether the peer's system has acknowledged all that it was told:
    what it provably has not received is remembered however long ago it was answered.
    """

    def __init__(self) -> None:
        self._told: deque[_Entry[T]] = deque()  # since the last look that found all acknowledged
        self._heard: deque[_Entry[T]] = deque()  # before it, by the time at which that was not so yet
        self._behind_at = 0.0  # the last look that found something that was not acknowledged

    def answered(self, key: Key, result: T, now: float, since: float | None = None) -> None:
        """`since`: that it has been here."""
        self._told.append(_Entry(now, key, result, now if since is None else since))
        self._trim(now)

    def looked(self, now: float, *, all_heard: bool) -> None:
        """`all_heard`: the peer's system has acknowledged every octet of ours."""
        if not all_heard:
            self._behind_at = now
        elif self._told:
            self._heard += [one._replace(at=max(one.at, self._behind_at)) for one in self._told]
            self._told.clear()
        self._trim(now)

    def _trim(self, now: float) -> None:
        while self._heard and (self._heard[0].at < now - HEARD or len(self) > _MOST_OF_ONE):
            self._heard.popleft()
        while len(self) > _MOST_OF_ONE:
            self._told.popleft()

    def __len__(self) -> int:
        return len(self._told) + len(self._heard)

    def unsure(self, now: float, span: float = HEARD) -> list[tuple[Key, T]]:
        """What the peer has heard within the last `span` seconds, or not at all as far as we know."""
        return [(one.key, one.result) for one in self._unsure(now, span)]

    def _unsure(self, now: float, span: float) -> Iterator[_Entry[T]]:
        yield from (one for one in self._heard if one.at >= now - span)
        yield from self._told

    def oldest(self, now: float) -> float:
        """Since when the oldest of these has been here; inf: there is none."""
        return min((one.since for one in self._unsure(now, HEARD)), default=inf)

    def forget(self, before: float = inf) -> None:
        """What was answered before that time is told to `Doubts` now, or is in none."""
        for entries in (self._told, self._heard):
            while entries and entries[0].at < before:
                entries.popleft()


def oldest_of(under_way: Iterable[Started], trail: Trail[Any], now: float) -> float:
    """Since when the oldest message of a session is here whose peer may not know that; inf: there is none."""
    return min([one.since for one in under_way] + [trail.oldest(now)])


class Mark:
    """Of one door: all that has been here since an earlier time has been heard of by its peers, so it need not be
    recalled after a restart."""

    def __init__(self) -> None:
        self.took_at = 0.0  # the last message
        self._at = 0.0

    def move(self, now: float, span: float, oldest: float) -> float:
        """To `span` seconds ago, but not beyond the oldest message whose peer may not know that we have it. The mark;
        0: there is nothing new to say."""
        fresh = min(now - span, oldest - _A_MOMENT)
        if self.took_at <= self._at or fresh <= self._at:
            return 0.0
        self._at = fresh
        return fresh


class _Doubt(NamedTuple, Generic[T]):
    until: float
    key: Key
    result: T
    session: object  # that it came by


class Doubts(Generic[T]):
    """Of all broken sessions, and of those that may be."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Doubt[T]] = OrderedDict()  # in the order of their end
        self._by_key: dict[Key, dict[object, deque[int]]] = {}  # and session
        self._next = 0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, left: Iterable[tuple[Key, T]], now: float, session: object = None) -> None:
        """A session broke, or seems to have, and this is what its peer may send again by another one."""
        for key, result in left:
            self._known[self._next] = _Doubt(now + AGAIN, key, result, session)
            self._by_key.setdefault(key, {}).setdefault(session, deque()).append(self._next)
            self._next += 1
        while len(self._known) > _MOST:
            self._drop(next(iter(self._known)))

    def take(self, key: Key, now: float, session: object = None) -> T | None:
        """What this was the first time, if it is one of those: once for each. `session`: that it comes by now; what
        came by the same one is another message."""
        self.sweep(now)
        for other, numbers in self._by_key.get(key, {}).items():
            if other is None or other is not session:
                return self._drop(numbers[0])
        return None

    def sweep(self, now: float) -> None:
        while self._known and next(iter(self._known.values())).until <= now:
            self._drop(next(iter(self._known)))

    def _drop(self, number: int) -> T:
        """Which is the oldest of its key and session."""
        doubt = self._known.pop(number)
        numbers = self._by_key[doubt.key][doubt.session]
        numbers.popleft()
        if not numbers:
            del self._by_key[doubt.key][doubt.session]
        if not self._by_key[doubt.key]:
            del self._by_key[doubt.key]
        return doubt.result
