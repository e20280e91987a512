"""The centre of messaging: every way in ends in `Gateway.submit`.

`submit` asks the dialplan, commits message, deliveries and duplicate key together, and only then returns: whoever
called may answer its client. It knows couriers by name only and never waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import MEDIA, SIP
from sipsms.core.message import Delivery, Direction, Media, Message, Route
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging import planner
from sipsms.messaging.device_queue import DeviceQueue
from sipsms.messaging.event_stream import EventStream
from sipsms.messaging.location import Location
from sipsms.messaging.planner import Facts, Limits
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.router import Router
from sipsms.routing.dialplan import Decision
from sipsms.store.store import Store


class Receipt(NamedTuple):
    message_id: int
    duplicate: bool = False


class Gateway:
    def __init__(
        self, store: Store, directory: Directory, location: Location, queue: Queue, devices: DeviceQueue,
        router: Router, limits: Limits, feed: EventStream, clock: Clock,
    ) -> None:  # fmt: skip
        self._store = store
        self._directory = directory
        self._location = location
        self._queue = queue
        self._devices = devices
        self._router = router
        self._limits = limits
        self._feed = feed
        self._clock = clock

    async def submit(
        self, message: Message, instance: str = "", due_at: float | None = None, copies_of: int = 0
    ) -> Receipt | Refusal:
        """Commit a message with all its deliveries, then let them go. Raises Unavailable: nothing was stored.

        `instance`: only to this device of the account. `due_at`: not before. `copies_of`: the device that sent the
        message, if the account's other devices get a copy.
        """
        decision = self._router.decide(message)
        if decision.refusal is not None:
            return decision.refusal
        now, routes = self._clock(), decision.routes
        if message.direction is Direction.IN and (answering := self._answering(message, decision)):
            message = message._replace(answering=answering)
        if message.direction is Direction.IN and any(not one.token for one in message.media):
            routes = (Route(MEDIA, message.did, message.source),)  # `complete` is called when it has the media
        planned = self._plan(message, routes, now)
        if copies_of:
            others = [phone for phone in self._devices.phones(message.account, now) if phone.device != copies_of]
            planned += planner.copies(message, others, now, self._limits)
        if instance:
            chosen = self._location.device_of_instance(message.destination, instance)
            planned = [one for one in planned if one.device == chosen]
            if not planned:
                return Refusal(RefusalCode.NO_ROUTE, "this device is not known any more")
        if due_at is not None and due_at > now:
            planned = [planner.held(delivery, due_at) for delivery in planned]
        deliveries = [self._queue.reserve(delivery) for delivery in planned]
        try:
            stored = await self._store.accept(message, deliveries, now)
        except BaseException:
            self._queue.release(deliveries)
            raise
        if stored.duplicate:
            self._queue.release(deliveries)
            log.duplicate(stored.message_id, message.origin)
            return Receipt(stored.message_id, duplicate=True)
        log.accepted(
            stored.message_id, message.direction.value, message.origin, message.source, message.destination,
            len(stored.deliveries),
        )  # fmt: skip
        if not message.kind:
            self._feed.note(message._replace(id=stored.message_id), "accepted")
        self._queue.offer(stored.deliveries, deliveries)
        if waiting := [one for one in stored.deliveries if one.due_at is None]:
            await self._devices.catch_up(waiting)
        return Receipt(stored.message_id)

    def _answering(self, message: Message, decision: Decision) -> tuple[str, ...]:
        """Return the accounts that answer the sender from this DID: those that get the message, else its customer."""
        if message.kind or not message.did or decision.kept:
            return ()
        names = [route.destination for route in decision.routes if route.courier == SIP] or [message.account]
        accounts = [self._directory.account(name) for name in names]
        return tuple(one.name for one in accounts if one is not None and one.reply_from_thread)

    async def complete(self, message: Message, media: Sequence[Media]) -> None:
        """Deliver an incoming MMS whose parts have been fetched, as far as they could be. Raises Unavailable."""
        message, now = message._replace(media=tuple(media)), self._clock()
        planned = self._plan(message, self._router.decide(message).routes, now)
        added = await self._store.add(message, planned, MEDIA, now)
        self._queue.offer(added)
        await self._devices.catch_up(added)

    def _plan(self, message: Message, routes: Sequence[Route], now: float) -> list[Delivery]:
        if message.direction is Direction.OUT and message.did:
            away = [one.courier for one in routes if self._queue.is_away(one.courier)] if len(routes) > 1 else ()
            return planner.plan(message, routes, Facts(now, away=away), self._limits)
        accounts = {route.destination for route in routes if route.courier == SIP}
        phones = {account: self._devices.phones(account, now) for account in accounts}
        owners = filter(None, map(self._directory.account, accounts))
        apps = {owner.name for owner in owners if owner.app_messages}
        planned = planner.plan(message, routes, Facts(now, phones, apps), self._limits)
        self._devices.planned(planned)
        return planned
