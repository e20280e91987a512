"""The gateway in a command's own process, beside a server or alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.app.settings import Config, load_dialplan
from sipsms.core.clock import steady_clock
from sipsms.messaging import carrier_options
from sipsms.messaging.build import Messaging, build
from sipsms.messaging.media_store import MediaFiles
from sipsms.sip.location import Location
from sipsms.store.store import open_store


@dataclass(frozen=True, slots=True)
class Offline:
    """Parts that a command works with, without a server."""

    messaging: Messaging
    directory: Directory


async def offline(
    config: Config, work: Callable[[Offline], Awaitable[Any]], accounts: Callable[[Directory], list[str]]
) -> Any:
    """Run `work` on the store without serving; the server takes over what it submits, for phones of `accounts`."""
    clock = steady_clock()
    store = open_store(config.store_url, "", lambda: None)
    try:
        directory, location = Directory(), Location(store)
        directory.update(*await store.directory(0))
        for name in accounts(directory):
            await location.load(clock(), name)
        files = MediaFiles(config.media_folder, lambda: config.base_url)
        messaging = build(
            store, directory, location, load_dialplan(config), clock, files, settings=config.queue, policy=config.policy
        )
        carrier_options.apply(config.carriers, messaging.limits)
        return await work(Offline(messaging, directory))
    finally:
        await store.close()
