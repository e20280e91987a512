"""Resend detection: recognizes messages that a peer sends again after a lost response. Pure.

SMPP has no id that stays with a message when it is sent again in another session. Messages that were in flight when a
session broke, or that were answered just before, are therefore candidates: the same text for the same number, soon and
in another session of that peer, is treated as the same message, once. Within one session equal texts are always two
messages.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

HEARD: Final = 10.0  # seconds after our response by which a live peer must have processed it
PARTED: Final = 3.0  # the same for a peer that has closed the connection itself, but without an unbind
QUIET: Final = 1.0  # seconds of silence, after which a session with unacknowledged responses may be broken
AGAIN: Final = 60.0  # seconds after a broken session in which its messages may come again
LONGEST: Final = AGAIN + HEARD  # upper bound of the age of a broken session's messages, seconds
_A_MOMENT: Final = 0.001  # seconds
_MOST: Final = 200_000
_MOST_OF_ONE: Final = 100_000

Key = Hashable
T = TypeVar("T")


class Started(NamedTuple):
    """Message that is not answered yet, with its arrival time."""

    key: Key
    since: float


class _Entry(NamedTuple, Generic[T]):
    at: float  # last time at which the response was not yet acknowledged
    key: Key
    result: T
    since: float  # arrival time


class Trail(Generic[T]):
    """Messages that one session has answered lately.

    The owner must report regularly whether the peer's system has acknowledged all our octets; unacknowledged responses
    are remembered without a time limit."""

    def __init__(self) -> None:
        self._told: deque[_Entry[T]] = deque()  # answered since the last report of "all acknowledged"
        self._heard: deque[_Entry[T]] = deque()  # acknowledged, in the order of `at`
        self._behind_at = 0.0  # last report of unacknowledged octets

    def answered(self, key: Key, result: T, now: float, since: float | None = None) -> None:
        """Record a response to a message that arrived at `since`; None: now."""
        self._told.append(_Entry(now, key, result, now if since is None else since))
        self._trim(now)

    def looked(self, now: float, *, all_heard: bool) -> None:
        """Report whether the peer's system has acknowledged every octet of ours."""
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
        """Return the messages whose response the peer got in the last `span` seconds, or perhaps not at all."""
        return [(one.key, one.result) for one in self._unsure(now, span)]

    def _unsure(self, now: float, span: float) -> Iterator[_Entry[T]]:
        yield from (one for one in self._heard if one.at >= now - span)
        yield from self._told

    def oldest(self, now: float) -> float:
        """Return the arrival time of the oldest message that the peer may send again; inf if none."""
        return min((one.since for one in self._unsure(now, HEARD)), default=inf)

    def forget(self, before: float = inf) -> None:
        """Forget messages answered before then: processed by the peer, or passed to `ResendDetection`."""
        for entries in (self._told, self._heard):
            while entries and entries[0].at < before:
                entries.popleft()


class Mark:
    """Time mark of one origin: earlier messages, whose responses are processed, need no recall after a restart."""

    def __init__(self) -> None:
        self.took_at = 0.0  # time of the last message
        self._at = 0.0

    def move(self, now: float, span: float, oldest: float) -> float:
        """Move the mark to `span` seconds ago, or before the oldest message in doubt, and return it; 0: not moved."""
        fresh = min(now - span, oldest - _A_MOMENT)
        if self.took_at <= self._at or fresh <= self._at:
            return 0.0
        self._at = fresh
        return fresh


class _Doubt(NamedTuple, Generic[T]):
    until: float
    key: Key
    result: T
    session: object  # the session that the message came by


class ResendDetection(Generic[T]):
    """Messages that the peers of all broken or mute sessions may send again."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Doubt[T]] = OrderedDict()  # in the order of `until`
        self._by_key: dict[Key, dict[object, deque[int]]] = {}  # key -> session -> numbers
        self._next = 0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, left: Iterable[tuple[Key, T]], now: float, session: object = None) -> None:
        """Add the messages that the peer of a broken or mute session may send again."""
        for key, result in left:
            self._known[self._next] = _Doubt(now + AGAIN, key, result, session)
            self._by_key.setdefault(key, {}).setdefault(session, deque()).append(self._next)
            self._next += 1
        while len(self._known) > _MOST:
            self._drop(next(iter(self._known)))

    def take(self, key: Key, now: float, session: object = None) -> T | None:
        """Remove and return the first result of a message that came by another session, or None."""
        self.sweep(now)
        for other, numbers in self._by_key.get(key, {}).items():
            if other is None or other is not session:
                return self._drop(numbers[0])
        return None

    def sweep(self, now: float) -> None:
        while self._known and next(iter(self._known.values())).until <= now:
            self._drop(next(iter(self._known)))

    def _drop(self, number: int) -> T:
        """Remove the entry, which must be the oldest of its key and session."""
        doubt = self._known.pop(number)
        numbers = self._by_key[doubt.key][doubt.session]
        numbers.popleft()
        if not numbers:
            del self._by_key[doubt.key][doubt.session]
        if not self._by_key[doubt.key]:
            del self._by_key[doubt.key]
        return doubt.result
