"""Composition of messaging: queue, sending policy and gateway on one store, for server, commands and tests alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sipsms.accounts.directory import Directory
from sipsms.core.clock import Clock
from sipsms.core.message import Delivery, State
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.location import Location
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.settings import PolicySettings, QueueSettings
from sipsms.routing.dialplan import Dialplan
from sipsms.store.store import Store


@dataclass(frozen=True, slots=True)
class Messaging:
    """The parts that every message passes."""

    queue: Queue
    gateway: Gateway


def _unheeded(delivery: Delivery, state: State, detail: str) -> None:
    """Nobody listens."""


def build(
    store: Store, directory: Directory, location: Location, dialplan: Dialplan, clock: Clock, *,
    settings: QueueSettings, policy: PolicySettings, jitter: Callable[[], float] = random.random,
    on_change: Callable[[Delivery, State, str], None] = _unheeded,
) -> Messaging:  # fmt: skip
    """Build the parts and join them.

    `on_change`: a delivery, its state after an attempt or when it expired, and why.
    """
    queue = Queue(
        store, clock, settings, jitter, is_reachable=lambda lane: gateway.is_reachable(lane), on_change=on_change
    )
    consent = SendingPolicy(store, directory, clock, policy)
    gateway = Gateway(store, directory, location, queue, dialplan, clock, settings.keep, consent)
    return Messaging(queue, gateway)
