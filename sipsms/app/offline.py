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
from sipsms.messaging.build import build
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.outbound import Outbound
from sipsms.sip.location import Location


@dataclass(frozen=True, slots=True)
class Offline:
    """Parts that a command works with, without a server."""

    gateway: Gateway
    outbound: Outbound
    directory: Directory


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
        messaging = build(
            store, directory, location, load_dialplan(config), clock, media_files(lambda: config),
            keep=config.queue.keep, terms=lambda: terms_of(config),
        )  # fmt: skip
        messaging.gateway.limits = {courier_name(name): limits_of(one) for name, one in config.carriers.items()}
        return await work(Offline(messaging.gateway, messaging.outbound, directory))
    finally:
        await store.close()
