"""State changes of messages as a stream of events, in order; the last ones are kept for listeners that were away.

In memory only: the messages themselves are in the store. A listener that asks for events after a change that is no
longer kept, or that another run of the server numbered, gets `Gap` and must read the messages instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice
from typing import NamedTuple

from sipsms.core.clock import Clock
from sipsms.core.message import Delivery, Message, State

KEPT = 10_000


class Change(NamedTuple):
    number: int
    at: float
    message: Message
    state: str  # accepted (by us), or the state of a delivery
    courier: str = ""
    detail: str = ""


class Gap(Exception):
    """Events after that change are no longer kept."""


class EventStream:
    def __init__(self, clock: Clock, kept: int = KEPT) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=kept)
        self._number = 0
        self._more = asyncio.Event()
        self.run = f"{int(clock() * 1000):x}"  # this run of the server: its numbers begin anew
        self.listeners: list[Callable[[Change], None]] = []

    @property
    def last(self) -> int:
        return self._number

    def note(self, message: Message, state: str, courier: str = "", detail: str = "") -> None:
        """Cheap: it happens for each message several times."""
        self._number += 1
        change = Change(self._number, self._clock(), message, state, courier, detail)
        self._changes.append(change)
        for listener in self.listeners:
            listener(change)
        if not self._more.is_set():
            self._more.set()

    def changed(self, delivery: Delivery, state: State, detail: str = "") -> None:
        """Note that a delivery of a person's message is in another state, or has been tried in vain."""
        if not delivery.message.kind:
            self.note(delivery.message, str(state), delivery.courier, detail)

    def after(self, number: int) -> Sequence[Change]:
        """Raises Gap."""
        behind = self._number - number
        if not 0 <= behind <= len(self._changes):
            raise Gap
        return list(islice(self._changes, len(self._changes) - behind, None))

    async def follow(self, number: int, patience: float) -> AsyncIterator[Sequence[Change]]:
        """Yield changes after that one as they come; an empty list after `patience` seconds without any. Raises Gap."""
        while True:
            found = self.after(number)
            if not found:
                self._more.clear()
                try:
                    await asyncio.wait_for(self._more.wait(), patience)
                except TimeoutError:
                    yield ()
                continue
            number = found[-1].number
            yield found
