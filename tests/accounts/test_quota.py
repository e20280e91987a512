"""The daily limit of messages by HTTP APIs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sipsms.core.account import Account
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import RefusalCode
from tests.support.messaging.program import Program, broken, program

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


async def test_a_refund_counts_for_the_day_of_the_message(tmp_path: Path) -> None:
    async with program(tmp_path, daily=5) as client:
        await client.usage.sent("demo")
        day = client.usage.add("demo")
        client.core.clock.now += 86400
        assert await client.usage.sent("demo") == 0
        client.usage.add("demo", -1, day)
        assert await client.usage.sent("demo") == 0
        await client.usage.save()
        assert await client.core.rows("SELECT sum(sends) FROM api_usage") in ([(None,)], [(0,)])


@pytest.mark.req("S-006")
async def test_messages_above_the_daily_limit_are_refused(tmp_path: Path) -> None:
    async with program(tmp_path, daily=3) as client:
        for n in range(3):
            await client.send(f"n{n}", account=ALICE if n else DEMO)
        assert await client.refused("n3") is RefusalCode.LIMIT
        assert await client.send("n4", counted=False) == 4
        await client.usage.save()
        await client.usage.save()
        assert await client.core.rows("SELECT account, sends FROM api_usage") == [("demo", 3)]
        client.core.clock.now += 86400
        assert await client.send("tomorrow") == 5
        client.core.directory.update(2, False, [Account("demo", api_daily_limit=0)], [], frozenset())
        for n in range(5):
            await client.send(f"no limit {n}")


async def test_simultaneous_messages_do_not_exceed_the_daily_limit(tmp_path: Path) -> None:
    async with program(tmp_path, daily=3) as client:
        results = await asyncio.gather(*(client.send(f"n{n}") for n in range(20)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 3
        assert await client.count() == 3


async def test_counts_survive_a_restart_and_a_store_that_fails(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        await client.send("a")
        real, client.core.store.write = client.core.store.write, broken  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await client.usage.save()
        client.core.store.write = real  # type: ignore[method-assign]
        await client.send("b")
        await client.usage.save()
        assert await Program(client.core, tmp_path).usage.sent("demo") == 2
        assert await client.usage.sent("demo") == 2
