"""Requests to several recipients, by real HTTP APIs on a store that fails for a moment."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette

from sipsms.accounts.auth import Access
from sipsms.core.errors import Unavailable
from sipsms.core.message import Message
from sipsms.web.api.acrobits.routes import AcrobitsApi
from sipsms.web.api.kannel.routes import KannelApi
from sipsms.web.api.wildix.routes import WildixApi
from sipsms.web.server import HttpServer
from tests.support.http.server import listening
from tests.support.http.voipms_api import DID, Rest, rest

FIRST, SECOND, THIRD = "2125550101", "2125550102", "2125550103"
PHONE = "s3cret"  # what acme's phone registers with
Said = tuple[int, str]


class Doors:
    def __init__(self, site: Rest, server: HttpServer) -> None:
        self.site = site
        self.server = server

    async def _ask(self, path: str, fields: dict[str, str], **headers: str) -> Said:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.site.session.post(url, data=fields, headers=headers) as answer:
            return answer.status, await answer.text()

    async def kannel(self, to: str, text: str, password: str = PHONE) -> Said:
        fields = {"username": "acme", "password": password, "to": to.replace(",", " "), "text": text}
        return await self._ask("/cgi-bin/sendsms", fields)

    async def acrobits(self, to: str, text: str, password: str = PHONE) -> Said:
        fields = {"username": "acme", "password": password, "sms_to": to, "sms_body": text}
        return await self._ask("/acrobits/send", fields)

    async def originate(self, to: str, text: str, password: str = PHONE) -> Said:
        login = base64.b64encode(f"acme:{password}".encode()).decode()
        fields = {"number": to, "message": text}
        return await self._ask("/api/v1/originate/sms", fields, Authorization=f"Basic {login}")

    async def ask(self, door: str, to: str, text: str, password: str = PHONE) -> Said:
        said: Said = await getattr(self, door)(to, text, password)
        return said

    def break_at(self, number: str) -> None:
        """From now on the store cannot take what goes there."""
        gateway: Any = self.site.core.messaging.gateway
        real = gateway.submit

        async def submit(message: Message, *rest: Any) -> Any:
            if message.destination == number:
                raise Unavailable("disk full")
            return await real(message, *rest)

        gateway.submit = submit

    async def receivers(self) -> list[str]:
        """Of all that was taken, in order."""
        found = await self.site.call("getSMS")
        return [row["contact"] for row in reversed(found.get("sms", []))]


@asynccontextmanager
async def doors(folder: Path, daily: int = 0) -> AsyncIterator[Doors]:
    async with rest(folder, daily=daily) as site:
        core: Any = site.core
        await site.service.set_account("acme", caller_id=DID)
        access = Access(core.directory, core.clock, "sip.example.net", lambda: 0)
        nothing: Any = None
        routes = [
            *KannelApi(access, site.outbound, core.clock, lambda: False).routes(),
            *AcrobitsApi(access, core.directory, site.outbound, nothing, nothing, nothing, core.clock).routes(),
            *WildixApi(access, site.outbound, core.clock, lambda: 300, lambda: "UTC").routes(),
        ]
        server = listening(Starlette(routes=routes))
        task = asyncio.create_task(server.run())
        yield Doors(site, server)
        server.stop()
        await task


@pytest.mark.req("F-05", "I2")
@pytest.mark.parametrize("door", ["kannel", "acrobits", "originate"])
async def test_a_store_that_fails_between_recipients_does_not_lose_the_accepted_ones(tmp_path: Path, door: str) -> None:
    """What is taken is said to be taken: told to come again, a client would send the first one twice."""
    async with doors(tmp_path) as here:
        here.break_at(SECOND)
        status, said = await here.ask(door, f"{FIRST},{SECOND}", "hi")
        assert status in (200, 202)
        assert SECOND in said, "it is named as one that gets nothing"
        assert FIRST not in said
        assert await here.receivers() == [FIRST]


@pytest.mark.req("F-05", "I2")
@pytest.mark.parametrize("door", ["kannel", "acrobits", "originate"])
async def test_a_store_that_accepts_nothing_makes_the_request_fail(tmp_path: Path, door: str) -> None:
    async with doors(tmp_path) as here:
        here.break_at(FIRST)
        assert (await here.ask(door, FIRST, "hi"))[0] == 503
        assert await here.receivers() == []


async def test_the_answer_names_refused_and_failed_recipients(tmp_path: Path) -> None:
    async with doors(tmp_path) as here:
        here.break_at(SECOND)
        status, said = await here.kannel(f"911,{FIRST},{SECOND},{THIRD}", "hi")
        assert (status, said) == (202, f"0: Accepted for delivery\nDenied receivers are: 911 {SECOND} {THIRD}")


@pytest.mark.req("S-006")
@pytest.mark.parametrize(("door", "by_phone"), [("acrobits", 200), ("kannel", 429), ("originate", 200)])
async def test_the_daily_limit_counts_only_messages_of_programs(tmp_path: Path, door: str, by_phone: int) -> None:
    """An app's messages, with the phone's own password, are a phone's; with an API password they count everywhere."""
    async with doors(tmp_path, daily=1) as here:
        key = here.site.passwords["acme"]
        assert (await here.ask(door, FIRST, "one", key))[0] in (200, 202)
        await here.ask(door, FIRST, "two", key)
        assert await here.receivers() == [FIRST], "the second one is over the limit"
        assert (await here.ask(door, SECOND, "by phone"))[0] == by_phone
        assert await here.receivers() == ([FIRST, SECOND] if door == "acrobits" else [FIRST])


@pytest.mark.req("S-159")
@pytest.mark.parametrize("media", [{"url": "https://x/a.png"}, [{"url": "https://x/a.png"}], ["https://x/a.png", 5]])
async def test_media_that_is_no_list_of_urls_is_refused(tmp_path: Path, media: Any) -> None:
    """Sent without its file, and called a success, the client would never know."""
    async with doors(tmp_path) as here:
        url = f"http://127.0.0.1:{here.server.port}/api/v1/originate/sms"
        login = aiohttp.BasicAuth("acme", PHONE)
        body = {"number": FIRST, "message": "look", "media": media}
        async with here.site.session.post(url, json=body, auth=login) as answer:
            assert await answer.json() == {"type": "error", "reason": "Media should be a list of URLs", "result": None}
        assert await here.receivers() == []
