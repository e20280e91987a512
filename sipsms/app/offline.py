"""Commands without a server: the same operations, on the store itself, which is locked meanwhile."""

from __future__ import annotations

from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.accounts.passwords import Passwords
from sipsms.accounts.service import AccountService
from sipsms.accounts.users import UserService
from sipsms.app.operations import Operations
from sipsms.app.settings import Config, load_dialplan
from sipsms.core.clock import steady_clock
from sipsms.messaging import carrier_options
from sipsms.messaging.build import build
from sipsms.messaging.media_store import MediaFiles
from sipsms.sip.location import Location
from sipsms.store.store import open_store


async def do(config: Config, name: str, arguments: dict[str, Any]) -> Any:
    """Do one operation. The caller has locked the store; a server will send later what this one submits."""
    clock = steady_clock()
    store = open_store(config.store_url, "")
    try:
        directory, location = Directory(), Location(store)

        async def load(number: str) -> None:
            directory.update(*await store.directory(0))
            did = directory.did(number)
            if did is not None and did.sip_account:
                await location.load(clock(), did.sip_account)

        async def take_over() -> None:
            """Nobody else has to know."""

        files = MediaFiles(config.media_folder, lambda: config.base_url)
        messaging = build(
            store, directory, location, load_dialplan(config), clock, files, settings=config.queue, policy=config.policy
        )
        carrier_options.apply(config.carriers, messaging.limits)
        service = AccountService(store, lambda: config.service, take_over)
        people = UserService(store, Passwords(), clock, lambda: config.domain)
        operations = Operations(lambda: config, store, service, messaging, directory, people, load)
        return await getattr(operations, name)(**arguments)
    finally:
        await store.close()
