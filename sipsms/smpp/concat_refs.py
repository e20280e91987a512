"""Which text a part belongs to. Pure; the randomness of tokens is handed in.

References have 8 bits and come round, some programs always use the same, and a part may come twice: so each text gets a
token of its own, which nothing else has.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

PATIENCE: Final = 300.0  # seconds without a further part; the gateway gives a text up then
_MOST: Final = 10_000  # texts


class Full(Exception):
    """This owner has too many texts of which parts are missing."""


class Name(NamedTuple):
    """What the parts of a text have in common."""

    owner: str
    source: str
    destination: str
    reference: int
    total: int


class _Text:
    def __init__(self, token: str, now: float) -> None:
        self.token = token
        self.parts: dict[int, str] = {}
        self.at = now


class Texts:
    def __init__(self, random_hex: Callable[[], str], most: int = 1000, *, gives_way: bool = False) -> None:
        """`random_hex`: at least 48 bits each time. `most`: of one owner. `gives_way`: beyond that its oldest is not
        waited for any more (else `Full`): who sends parts that nothing can be made of harms his own texts only."""
        self._random = random_hex
        self._most = most
        self._gives_way = gives_way
        self._open: OrderedDict[Name, _Text] = OrderedDict()
        self._of: Counter[str] = Counter()

    def place(self, name: Name, number: int, text: str, now: float) -> str:
        """The token of the text. The same part again is that part; another text under its number begins the next
        message. Raises Full."""
        known = self._open.get(name)
        if known is not None and known.parts.get(number, text) != text:
            self._close(name)
            known = None
        if known is None:
            self._make_room(name.owner)
            known = self._begin(name, f"{name.reference:04x}{self._random()}", now)
        known.parts[number] = text
        known.at = now
        self._open.move_to_end(name)
        if len(known.parts) == name.total:
            self._close(name)  # the next one with this reference is another
        return known.token

    def _make_room(self, owner: str) -> None:
        """Raises Full."""
        if self._of[owner] < self._most and len(self._open) < _MOST:
            return
        if not self._gives_way:
            raise Full(f"{self._of[owner]} long texts wait for parts")
        own = self._of[owner] >= self._most
        self._close(next(name for name in self._open if not own or name.owner == owner))

    def failed(self, name: Name, token: str, number: int, now: float) -> None:
        """The part could not be stored: it is still missing. If it was the last one, the store has the others."""
        known = self._open.get(name)
        if known is None:
            known = self._begin(name, token, now)
        if known.token == token:
            known.parts.pop(number, None)

    def recall(self, name: Name, token: str, number: int, text: str, now: float) -> None:
        """After a restart: a part that waits for others, in the order in which they came."""
        known = self._open.get(name)
        if known is None or known.token != token:  # a later one with the same reference
            self._close(name)
            known = self._begin(name, token, now)
        known.parts[number] = text
        if len(known.parts) == name.total:  # the server ended before they were joined: soon they will be
            self._close(name)

    def sweep(self, now: float) -> None:
        while self._open:
            name, first = next(iter(self._open.items()))
            if first.at >= now - PATIENCE:
                return
            self._close(name)

    def _begin(self, name: Name, token: str, now: float) -> _Text:
        self._of[name.owner] += 1
        fresh = self._open[name] = _Text(token, now)
        return fresh

    def _close(self, name: Name) -> None:
        if self._open.pop(name, None) is None:
            return
        self._of[name.owner] -= 1
        if not self._of[name.owner]:
            del self._of[name.owner]


def reference_of(token: str) -> int:
    """What its peer called it."""
    try:
        return int(token[:4], 16)
    except ValueError:
        return 0
