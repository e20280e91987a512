"""Session with a peer that sends us messages: which of the messages the peer may send again in another session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from sipsms.smpp.resend_detection import HEARD, LONGEST, Key, ResendDetection, Started, Trail

Taken = asyncio.Future[str]  # done with the id in the response when the message is stored


def known(message_id: str) -> Taken:
    """Return the result of a message that was answered before."""
    taken: Taken = asyncio.get_running_loop().create_future()
    taken.set_result(message_id)
    return taken


class PeerSession:
    """Messages of one session: those in progress, and those answered lately."""

    def __init__(self) -> None:
        self.trail: Trail[str] = Trail()  # only ids, because there may be many
        self.under_way: dict[Taken, Started] = {}
        self.is_doubted = False  # the session is treated as broken before its end is known
        self._told: set[Taken] = set()  # messages of under_way already returned by `unsure`

    def take(
        self, doubts: ResendDetection[Taken], key: Key, now: float, store: Callable[[], Coroutine[Any, Any, str]]
    ) -> tuple[Taken, bool]:
        """Return a message's result, and whether it came again by this session after another had stored it."""
        taken = doubts.take(key, now, self) if len(doubts) else None
        is_again = taken is not None and not (taken.done() and (taken.cancelled() or taken.exception() is not None))
        if taken is None or not is_again:
            taken = asyncio.ensure_future(store())
        self.under_way[taken] = Started(key, now - LONGEST if is_again else now)
        return taken, is_again

    def answered(self, taken: Taken, now: float) -> None:
        """Record the response to a message. The peer may send the message again if the response is lost."""
        started = self.under_way.pop(taken, None)
        if started is not None and taken not in self._told:
            self.trail.answered(started.key, taken.result(), now, started.since)
        self._told.discard(taken)

    def failed(self, taken: Taken) -> None:
        """Forget a message that was not stored."""
        self.under_way.pop(taken, None)
        self._told.discard(taken)

    def unsure(self, now: float, span: float = HEARD) -> list[tuple[Key, Taken]]:
        """Return, once, the messages that the peer may send again after its session broke.

        These have no response, or one that the peer received within the last `span` seconds or perhaps not at all."""
        answered = [(key, known(message_id)) for key, message_id in self.trail.unsure(now, span)]
        waiting = [(one.key, taken) for taken, one in self.under_way.items() if taken not in self._told]
        self.trail.forget()
        self._told.update(taken for _, taken in waiting)
        return answered + waiting

    def oldest(self, now: float) -> float:
        """Return the arrival time of the oldest message whose response may be lost; inf if none."""
        waiting = min((one.since for one in self.under_way.values()), default=inf)
        return min(waiting, self.trail.oldest(now))
