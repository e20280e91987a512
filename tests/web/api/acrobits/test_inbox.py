"""The Acrobits inbox: each fetch goes on where the last one ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import insert

from sipsms.core.account import Account
from sipsms.store.schema import messages
from sipsms.web.api.acrobits.inbox import Inbox
from tests.support.messaging.core import core

DIDS = ("5550000001", "5550000002")
OWN = (5, 6000, 7000)


async def test_sent_messages_are_read_from_the_last_fetch_on(tmp_path: Path) -> None:
    fixed = {"source": "4445556666", "destination": "x", "text": "x", "received_at": 100.0}
    mine, other = {"direction": "out", "account": "101"}, {"direction": "in", "account": "acme"}
    rows = [{**fixed, "id": n, "did": DIDS[n % 2], **(mine if n in OWN else other)} for n in range(1, 7001)]
    async with core(tmp_path, {}) as here:
        inbox = Inbox(here.store, here.messaging.feed, lambda ids: None, lambda: 0.0)
        await here.store.write(lambda db: db.execute(insert(messages), rows))

        async def sent(after: int, dids: Sequence[str] = DIDS, since: float = 0.0) -> list[int]:
            return [one.id for one in await inbox.sent(Account("101", since=since), dids, after, 0.0, 100)]

        found = [await sent(5) for _ in range(5)]
        assert found[0] == [], "a look is short"
        assert found[-2][0] == found[-1][0] == 6000, "goes on where the one before ended; told until known"
        assert await sent(6000) == [7000]
        assert await sent(7000) == []
        assert await sent(4, DIDS[1:]) == [5], "other numbers: from the start"
        assert await sent(5990) == [6000, 7000], "a second app"
        assert await sent(5, since=200.0) == [], "made anew since"
        assert await sent(0) == [6000, 7000]
