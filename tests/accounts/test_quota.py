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


async def test_a_refund_is_of_the_day_it_was_counted_on(tmp_path: Path) -> None:
    async with program(tmp_path, daily=5) as one:
        await one.usage.sent("demo")
        day = one.usage.add("demo")
        one.core.clock.now += 86400
        assert await one.usage.sent("demo") == 0
        one.usage.add("demo", -1, day)
        assert await one.usage.sent("demo") == 0
        await one.usage.save()
        assert await one.core.rows("SELECT sum(sends) FROM api_usage") in ([(None,)], [(0,)])


@pytest.mark.req("S-006")
async def test_so_many_a_day(tmp_path: Path) -> None:
    async with program(tmp_path, daily=3) as one:
        for n in range(3):
            await one.send(f"n{n}", account=ALICE if n else DEMO)
        assert await one.refused("n3") is RefusalCode.LIMIT
        assert await one.send("n4", counted=False) == 4
        await one.usage.save()
        await one.usage.save()
        assert await one.core.rows("SELECT account, sends FROM api_usage") == [("demo", 3)]
        one.core.clock.now += 86400
        assert await one.send("tomorrow") == 5
        one.core.directory.update(2, False, [Account("demo", api_daily_limit=0)], [], frozenset())
        for n in range(5):
            await one.send(f"no limit {n}")


async def test_at_once_is_no_way_past_the_limit(tmp_path: Path) -> None:
    async with program(tmp_path, daily=3) as one:
        results = await asyncio.gather(*(one.send(f"n{n}") for n in range(20)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 3
        assert await one.count() == 3


async def test_counts_outlive_a_restart_and_a_store_that_fails(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        await one.send("a")
        real, one.core.store.write = one.core.store.write, broken  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await one.usage.save()
        one.core.store.write = real  # type: ignore[method-assign]
        await one.send("b")
        await one.usage.save()
        assert await Program(one.core, tmp_path).usage.sent("demo") == 2
        assert await one.usage.sent("demo") == 2
