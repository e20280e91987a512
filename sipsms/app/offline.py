"""The gateway in a command's own process, beside a server or alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.app.couriers import limits_of, media_files
from sipsms.app.settings import Config
from sipsms.app.wiring import load_dialplan, open_store, terms_of
from sipsms.core.clock import steady_clock
from sipsms.core.courier_name import courier_name
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.queue.queue import Pace, Queue
from sipsms.sip.location import Location


@dataclass(frozen=True, slots=True)
class Offline:
    """Parts that a command works with, without a server."""

    gateway: Gateway
    directory: Directory
    files: MediaFiles


async def offline(
    config: Config, work: Callable[[Offline], Awaitable[Any]], accounts: Callable[[Directory], list[str]]
) -> Any:
    """Run `work` on the store without serving: what it submits is taken over by the server, now or at its next start.

    `accounts`: whose phones have to be known for that.
    """
    clock = steady_clock()
    store = open_store(config, "", lambda: None)
    try:
        directory, location = Directory(), Location(store)
        directory.update(*await store.directory(0))
        for name in accounts(directory):
            await location.load(clock(), name)
        consent = SendingPolicy(store, directory, clock, lambda: terms_of(config))
        gateway = Gateway(
            store, directory, location, Queue(store, clock, Pace()), load_dialplan(config), clock, config.queue.keep,
            consent,
        )  # fmt: skip
        gateway.limits = {courier_name(name): limits_of(one) for name, one in config.carriers.items()}
        return await work(Offline(gateway, directory, media_files(config)))
    finally:
        await store.close()
