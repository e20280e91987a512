"""Composition of messaging on one store, for server, commands and tests alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sipsms.accounts.directory import Directory
from sipsms.accounts.quota import Usage
from sipsms.core.clock import Clock
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, State
from sipsms.core.refusal import Refusal
from sipsms.messaging.alarms import Alarms
from sipsms.messaging.attachments import Attachments
from sipsms.messaging.concatenation import Concatenation
from sipsms.messaging.device_queue import DeviceQueue
from sipsms.messaging.event_stream import EventStream
from sipsms.messaging.gateway import Gateway, Receipt
from sipsms.messaging.inbound import Inbound
from sipsms.messaging.location import Location
from sipsms.messaging.media import MediaRefused, MediaStore
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.order import Fetch
from sipsms.messaging.outbound import Outbound
from sipsms.messaging.planner import Limits
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.reporter import Reporter
from sipsms.messaging.retry_guard import Look
from sipsms.messaging.router import Router
from sipsms.messaging.settings import PolicySettings, QueueSettings
from sipsms.routing.dialplan import Dialplan
from sipsms.store.store import Store


@dataclass(frozen=True, slots=True)
class Messaging:
    """The parts that every message passes."""

    queue: Queue
    limits: Limits
    router: Router
    consent: SendingPolicy
    feed: EventStream
    devices: DeviceQueue
    gateway: Gateway
    inbound: Inbound
    parts: Concatenation[Receipt | Refusal | None]
    reporter: Reporter
    alarms: Alarms
    outbound: Outbound


def _unheeded(delivery: Delivery, state: State, detail: str) -> None:
    """Nobody listens."""


async def _no_answers() -> None:
    """Nobody answers by HTTP here."""


async def _no_fetch(url: str, customer: str = "") -> tuple[bytes, str]:
    raise MediaRefused("files are not fetched here")


def build(
    store: Store, directory: Directory, location: Location, dialplan: Dialplan, clock: Clock, media: MediaStore, *,
    settings: QueueSettings, policy: PolicySettings, jitter: Callable[[], float] = random.random,
    on_change: Callable[[Delivery, State, str], None] = _unheeded, fetch: Fetch = _no_fetch,
    daily: Callable[[], int] = lambda: 0, look: Look = _no_answers,
) -> Messaging:  # fmt: skip
    """Build the parts and join them.

    `on_change`: a delivery, its state after an attempt or when it expired, and why. `fetch`, `daily`, `look`: as for
    `Outbound`.
    """

    def is_reachable(lane: LaneKey) -> bool:
        return bool(lane.device) and location.binding_of(lane.device, clock()) is not None

    queue = Queue(store, clock, settings, jitter, is_reachable, on_change)
    limits, feed = Limits(settings.keep), EventStream(clock)
    consent = SendingPolicy(store, directory, clock, policy)
    router = Router(directory, dialplan, consent, limits)
    devices = DeviceQueue(store, location, queue, clock)
    gateway = Gateway(store, directory, location, queue, devices, router, limits, feed, clock)
    parts = Concatenation[Receipt | Refusal | None](
        store, clock, lambda found, text: (outbound if found[0].account else inbound).whole(found, text)
    )
    inbound = Inbound(store, directory, gateway, consent, parts, clock)
    reporter = Reporter(store, directory, gateway, consent, feed, clock)
    alarms = Alarms(store, directory, gateway, clock)
    outbound = Outbound(
        store, directory, router, gateway, reporter, consent, parts, clock, Usage(clock, store),
        Attachments(media, fetch), daily, look,
    )  # fmt: skip
    return Messaging(queue, limits, router, consent, feed, devices, gateway, inbound, parts, reporter, alarms, outbound)
