"""Reconciliation: polls carriers for incoming messages and looks up unknown outcomes.

A message whose answer was lost is `unknown` and is never sent again by itself. Where a carrier can be asked, its own
records decide: it is there (then that is its state), or the carrier never had it (then it goes out after all).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId, hook_origin
from sipsms.core.http_client import NoAnswer, NotSent
from sipsms.core.message import Accepted, Delivered, Outcome, Rejected, State
from sipsms.core.queue_rows import LOOK_BACK, Closing, Doubt
from sipsms.core.refusal import Refusal
from sipsms.messaging.build import Messaging
from sipsms.messaging.carrier import Carrier, NotThere
from sipsms.messaging.inbound import sms_key
from sipsms.store.store import Store

LOOK_EVERY = 20.0  # seconds
PAUSES = (20.0, 60.0, 120.0, 300.0, 1800.0)  # seconds, after the first, second ... time that nobody could say
_UNANSWERED = 40.0  # seconds: a carrier that is back is asked about everything within a minute
_POLL_AGAIN = 60.0  # seconds after a look that failed
_AT_ONCE = 500  # in one look into the store
_REQUESTS = 20  # to a carrier in one round
_REMEMBERED = 50_000

Marks = Callable[[str], Awaitable[float]]  # carrier -> up to when it has been polled
SetMark = Callable[[str, float], Awaitable[None]]


class Reconciler:
    def __init__(
        self, store: Store, messaging: Messaging, carriers: Mapping[str, Carrier], clock: Clock, mark: Marks,
        set_mark: SetMark,
    ) -> None:  # fmt: skip
        self._store = store
        self._messaging = messaging
        self._queue = messaging.queue
        self._carriers = carriers
        self._clock = clock
        self._mark = mark
        self._set_mark = set_mark
        self._poll_at: dict[str, float] = {}
        self._look_at = 0.0
        self._cursor: dict[str, int] = {}  # carrier -> the last delivery of the round before, where there are many
        self._asked: dict[int, tuple[float, int]] = {}  # delivery -> when to ask again, how often nobody could say

    async def step(self) -> None:
        """Called every second or so; does what is due. Raises Unavailable."""
        now = self._clock()
        for name, carrier in list(self._carriers.items()):
            if carrier.poll_every and now >= self._poll_at.get(name, 0.0):
                self._poll_at[name] = now + min(_POLL_AGAIN, carrier.poll_every)
                if await self._poll(name, carrier):
                    self._poll_at[name] = now + carrier.poll_every
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            await self.look_up()

    # --- what came in ---

    async def _poll(self, name: str, carrier: Carrier) -> bool:
        """Take what is new since the last poll. The first poll only marks the time: the past is not delivered again.

        False: the carrier does not answer now. Raises Unavailable.
        """
        began, since = self._clock(), await self._mark(name)
        try:
            found = await carrier.poll(since) if since else ()
        except (NotSent, NoAnswer) as error:
            log.warning("poll_failed", carrier=name, why=str(error))
            return False
        new = 0
        for sms in found:
            result = await self._messaging.inbound.receive(sms, hook_origin(name), sms_key(name, sms))
            if result is None or isinstance(result, Refusal):
                log.note("poll_skipped", carrier=name, destination=sms.destination[:32])
            elif not result.duplicate:
                new += 1
        await self._set_mark(name, began)
        if new:
            log.warning("poll_recovered", carrier=name, messages=new)
        return True

    # --- what became of it ---

    async def look_up(self) -> None:
        """Look up some unknown deliveries, each less often the longer its outcome stays unknown."""
        now = self._clock()
        for name, carrier in list(self._carriers.items()):
            if not carrier.can_look_up:
                continue
            after = self._cursor.get(name, 0)
            found = await self._store.doubts(CourierId.of_carrier(name), now - LOOK_BACK, after, _AT_ONCE)
            self._cursor[name] = found[-1].delivery.id if len(found) == _AT_ONCE else 0
            due = [doubt for doubt in found if now >= self._asked.get(doubt.delivery.id, (0.0, 0))[0]]
            due.sort(key=lambda doubt: self._asked.get(doubt.delivery.id, (0.0, 0))[0])  # the longest unasked first
            for doubt in due[:_REQUESTS]:
                if not await self._ask(name, carrier, doubt):
                    break
        if len(self._asked) > _REMEMBERED:
            self._asked.clear()

    async def _ask(self, name: str, carrier: Carrier, doubt: Doubt) -> bool:
        """False: the carrier does not answer now."""
        try:
            outcome = await carrier.look_up(doubt.delivery, doubt.began)
        except (NotSent, NoAnswer) as error:
            log.note("look_up_failed", carrier=name, why=str(error))
            _, times = self._asked.get(doubt.delivery.id, (0.0, 0))  # it may be this one question that gets no answer
            self._asked[doubt.delivery.id] = (self._clock() + _UNANSWERED, times)
            return False
        except NotThere:
            await self._send_after_all(doubt)
            return True
        if outcome is None or not await self._settle(doubt, outcome):
            self._put_off(doubt)
        return True

    def _put_off(self, doubt: Doubt) -> None:
        _, times = self._asked.get(doubt.delivery.id, (0.0, 0))
        self._asked[doubt.delivery.id] = (self._clock() + PAUSES[min(times, len(PAUSES) - 1)], times + 1)

    async def _settle(self, doubt: Doubt, outcome: Outcome) -> bool:
        """False: that says nothing, or belongs to another."""
        match outcome:
            case Accepted(remote_id):
                state, detail, remote = State.ACCEPTED, "found at the carrier", remote_id
            case Delivered(detail):
                state, remote = State.DELIVERED, ""
            case Rejected(detail):
                state, remote = State.FAILED, ""
            case _:
                return False
        delivery = doubt.delivery
        closing = Closing(delivery.id, delivery.attempts, state, str(state), detail, self._clock(), remote_id=remote)
        if not await self._store.settle(closing):
            return False
        self._asked.pop(delivery.id, None)
        log.settled(delivery.message.id, delivery.id, str(state), detail)
        self._messaging.feed.changed(delivery, state, detail)
        if delivery.message.report and state is not State.ACCEPTED:
            await self._messaging.reporter.ended(delivery)
        return True

    async def _send_after_all(self, doubt: Doubt) -> None:
        delivery, now = doubt.delivery, self._clock()
        detail = "the carrier never had it"
        closing = Closing(delivery.id, delivery.attempts, State.QUEUED, "not there", detail, now, now)
        self._queue.expect(delivery.lane)
        if await self._store.settle(closing):
            log.settled(delivery.message.id, delivery.id, "queued", detail)
            self._queue.poll()
