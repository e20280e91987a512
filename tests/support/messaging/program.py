"""A program that sends by an HTTP API: `Outbound` on a real core, files and answers by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sipsms.accounts.quota import Usage
from sipsms.core.account import Account
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.attachments import Attachments
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.order import Order, Sent
from sipsms.messaging.outbound import Outbound
from sipsms.messaging.retry_guard import REPEAT
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.media import PNG

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


class Program:
    """A program that sends by an HTTP API, on a real core."""

    def __init__(self, here: Core, folder: Path, daily: int = 0) -> None:
        self.core = here
        self.fetched: list[str] = []
        self.slow = 0.0  # seconds that a file takes
        self.arrived: list[Sent] = []
        self.daily = daily
        self.usage = Usage(here.clock, here.store)
        self.files = MediaFiles(folder / "media", lambda: "http://x")
        self.outbound = self.make()

    def make(self) -> Outbound:
        """A new run of the server."""
        here, parts = self.core, self.core.messaging
        return Outbound(
            here.store, here.directory, parts.router, parts.gateway, parts.reporter, parts.consent, parts.parts,
            here.clock, self.usage, Attachments(self.files, self.fetch), lambda: self.daily, self.look,
        )  # fmt: skip

    async def look(self) -> None:
        """Those whose answer has arrived by now."""
        self.outbound.answered(*self.arrived)
        self.arrived = []

    async def fetch(self, url: str, customer: str = "") -> tuple[bytes, str]:
        self.fetched.append(url)
        self.core.clock.now += self.slow
        if "gone" in url:
            raise MediaRefused("the server answered 404")
        return (bytes(2_000_000), "big") if "big" in url else (PNG, "a.png")

    async def order(self, text: str = "hi", **changes: Any) -> Sent | Refusal:
        values = {
            "account": DEMO, "source": "5550001111", "destination": PEER, "text": text, "origin": "rest",
            "counted": True, **changes,
        }  # fmt: skip
        return await self.outbound.send(Order(**values))

    async def send(self, text: str = "hi", **changes: Any) -> int:
        sent = await self.order(text, **changes)
        assert isinstance(sent, Sent), sent
        return sent.message

    async def refused(self, text: str = "hi", **changes: Any) -> RefusalCode:
        refusal = await self.order(text, **changes)
        assert isinstance(refusal, Refusal)
        assert refusal.reason
        return refusal.in_short

    async def count(self) -> int:
        return int((await self.core.rows("SELECT count(*) FROM messages"))[0][0])


@asynccontextmanager
async def program(folder: Path, daily: int = 0, **options: Any) -> AsyncIterator[Program]:
    async with core(folder, {"carrier:sim": ScriptedCourier()}, **options) as here:
        found = Program(here, folder, daily)
        here.clock.now += REPEAT + 1  # long after the start
        yield found


async def broken(*_: Any, **__: Any) -> Any:
    raise Unavailable("disk is full")
