"""The VoIP.ms-compatible API on a real socket, store and gateway, in this process; the clock is set by hand.

Customers `acme` (DIDs 5550001111 and 5550002222, subaccount `acme_desk`) and `other` (DID 5550009999, `other_desk`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from starlette.applications import Starlette

from sipsms.accounts.auth import Access
from sipsms.accounts.service import AccountService
from sipsms.app.settings import Config
from sipsms.messaging.carrier import InboundMedia, InboundSms
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.outbound import Outbound
from sipsms.store.schema import dids
from sipsms.web.api.voipms.accounts import Accounts, Place
from sipsms.web.api.voipms.dids import Dids
from sipsms.web.api.voipms.messages import Messages
from sipsms.web.api.voipms.routes import PATH, RestPhp
from sipsms.web.server import HttpServer
from tests.support.http.server import listening
from tests.support.messaging.core import Core, ScriptedCourier, core

DID, SECOND, FOREIGN = "5550001111", "5550002222", "5550009999"
PHONE = "2125550123"
NOON = 1790960400.0  # 2026-10-02 12:20:00 in New York


class Rest:
    def __init__(
        self, core: Core, service: AccountService, outbound: Outbound, server: HttpServer, folder: Path
    ) -> None:
        self.core = core
        self.service = service
        self.outbound = outbound
        self.server = server
        self.folder = folder
        self.passwords: dict[str, str] = {}
        self.files: dict[str, bytes] = {}  # what other people's servers have, by URL
        self.url = f"http://127.0.0.1:{server.port}{PATH}"
        self.session: Any = None

    async def fetch(self, url: str) -> tuple[bytes, str]:
        if url not in self.files:
            raise MediaRefused("cannot fetch the file: the server answered 404")
        return self.files[url], url.rpartition("/")[2]

    async def take_over(self) -> None:
        new = await self.core.store.directory(self.core.directory.version)
        self.core.directory.update(*new[:5], new.blocks, new.tokens)

    def credentials(self, name: str = "acme") -> dict[str, str]:
        return {"api_username": name, "api_password": self.passwords[name]}

    async def call(self, method: str, name: str = "acme", **fields: Any) -> dict[str, Any]:
        """By GET."""
        return await self.ask("GET", params={**self.credentials(name), "method": method, **fields})

    async def ask(self, verb: str = "GET", path: str = "", **options: Any) -> dict[str, Any]:
        async with self.session.request(verb, self.url + path, **options) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["content-type"] == "application/json"
            found: dict[str, Any] = await answer.json()
            assert isinstance(found["status"], str)
            return found

    async def receive(
        self, text: str, source: str = PHONE, did: str = DID, media: tuple[str, ...] = (), at: float | None = None
    ) -> int:
        """A message comes in, with files that are links; its id."""
        self.core.clock.now = at if at is not None else self.core.clock.now
        links = tuple(InboundMedia(one) for one in media)
        sms = InboundSms(source, did, text, media=links)
        receipt: Any = await self.core.messaging.inbound.receive(sms, "hook:test")
        return int(receipt.message_id)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Nothing can be written meanwhile."""
        with sqlite3.connect(self.folder / "core.db", isolation_level=None) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                db.execute("ROLLBACK")
        db.close()

    def sessions(self) -> int:
        """Connections that the server has."""
        return len(self.server._server.server_state.connections)


async def until(true: Any, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  (the server tells nobody)
            await asyncio.sleep(0.002)


@asynccontextmanager
async def rest(folder: Path, per_minute: int = 0, daily: int = 0) -> AsyncIterator[Rest]:
    site: Rest

    def prepare(here: Core) -> None:
        here.clock.now = NOON

    config = Config.model_validate({"domain": "sip.example.net", "store": f"sqlite:///{folder / 'core.db'}"})

    def fetch(url: str, customer: str = "") -> Any:
        return site.fetch(url)

    async with core(
        folder,
        {"carrier:sim": ScriptedCourier()},
        prepare=prepare,
        fetch=fetch,
        daily=lambda: daily,
        media_url="https://sms.example.net",
    ) as here:
        here.directory.update(0, True, [], [], frozenset())
        store = here.store

        async def take_over() -> None:
            await site.take_over()

        service = AccountService(store, lambda: config.service, take_over)
        access = Access(here.directory, here.clock, config.realm, lambda: per_minute)
        door = RestPhp(
            access,
            Messages(here.outbound, here.directory, store, here.files.url, here.clock).methods(),
            Dids(here.directory, service).methods(),
            Accounts(
                here.directory, service, store, lambda account: here.location.bindings(account, here.clock()),
                lambda: Place("sip.example.net", "192.0.2.1"), here.outbound.usage.sent,
            ).methods(),
        )  # fmt: skip
        server = listening(Starlette(routes=door.routes()))
        site = Rest(here, service, here.outbound, server, folder)
        task = asyncio.create_task(server.run())
        await _fill(site)
        async with aiohttp.ClientSession() as site.session:
            yield site
        server.stop()
        await task


async def _fill(site: Rest) -> None:
    service = site.service
    for name, numbers in (("acme", (DID, SECOND)), ("other", (FOREIGN,))):
        await service.add_account(name, "s3cret")
        await service.add_account(f"{name}_desk", "s3cret", parent=name)
        for number in numbers:
            await service.add_did(number, name, sip_account="")
            # The core's clock is long before today: the numbers are older than all messages.
            await service.write(lambda db: db.execute(dids.update().values(created_at=0.0)))
            await service.change_did(number, {"sms": True})  # the directory looks at it again
        site.passwords[name] = await service.make_api_password(name)
