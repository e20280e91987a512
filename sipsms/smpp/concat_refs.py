"""References of long texts: assigns each incoming segment to a text. Pure; random tokens come in.

References have 8 bits and repeat, some programs always use the same reference, and a segment may come twice. Each text
therefore gets its own token, which no other text has."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

PATIENCE: Final = 300.0  # seconds without a further segment, after which the gateway gives a text up
_MOST: Final = 10_000  # texts


class Full(Exception):
    """Error for an owner with too many incomplete texts."""


class Name(NamedTuple):
    """Common properties of the segments of a text."""

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


class ConcatReferences:
    def __init__(self, random_hex: Callable[[], str], most: int = 1000, *, gives_way: bool = False) -> None:
        """`random_hex`: returns at least 48 bits each time. `most`: texts of one owner. `gives_way`: above `most` the
        owner's oldest text is given up instead of raising `Full`, so that a sender of useless segments harms only its
        own texts.
        """
        self._random = random_hex
        self._most = most
        self._gives_way = gives_way
        self._open: OrderedDict[Name, _Text] = OrderedDict()
        self._of: Counter[str] = Counter()

    def place(self, name: Name, number: int, text: str, now: float) -> str:
        """Return the token of a segment's text: a repetition's own, a new one for other content. Raises Full."""
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
            self._close(name)  # the next segment with this reference starts another text
        return known.token

    def _make_room(self, owner: str) -> None:
        """Give up the oldest text if there are too many. Raises Full if texts must not be given up."""
        if self._of[owner] < self._most and len(self._open) < _MOST:
            return
        if not self._gives_way:
            raise Full(f"{self._of[owner]} long texts wait for parts")
        own = self._of[owner] >= self._most
        self._close(next(name for name in self._open if not own or name.owner == owner))

    def failed(self, name: Name, token: str, number: int, now: float) -> None:
        """Record that a segment could not be stored, and reopen a text whose last segment it was."""
        if name in self._open:
            self.refused(name, token, number)
        else:
            self._begin(name, token, now)

    def refused(self, name: Name, token: str, number: int) -> None:
        """Forget a segment that was refused; a refused text must not fill the table."""
        known = self._open.get(name)
        if known is not None and known.token == token:
            known.parts.pop(number, None)
            if not known.parts:
                self._close(name)

    def recall(self, name: Name, token: str, number: int, text: str, now: float) -> None:
        """Restore a waiting segment after a restart; call it in the order of arrival."""
        known = self._open.get(name)
        if known is None or known.token != token:  # a later text with the same reference
            self._close(name)
            known = self._begin(name, token, now)
        known.parts[number] = text
        if len(known.parts) == name.total:  # complete; the gateway joins the segments soon
            self._close(name)

    def sweep(self, now: float) -> None:
        """Give up texts without a new segment for `PATIENCE` seconds."""
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
    """Return the peer's reference from a token; 0 if malformed."""
    try:
        return int(token[:4], 16)
    except ValueError:
        return 0
