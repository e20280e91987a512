"""The retry guard: a program that repeats a request sends one message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Account, Did
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.order import File
from sipsms.messaging.retry_guard import REPEAT
from tests.support.messaging.core import ScriptedCourier, core
from tests.support.messaging.media import PNG
from tests.support.messaging.program import Program, broken, program

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


@pytest.mark.req("F-21")
async def test_a_repeated_order_is_the_same_message_until_its_answer_is_read(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        first = await client.order("once")
        again = await client.order("once")
        assert (again.message, again.duplicate, first.duplicate) == (first.message, True, False)
        assert await client.send("other") != first.message
        client.outbound.answered(again)
        third = await client.order("once")
        assert third.message != first.message
        client.core.clock.now += REPEAT
        assert (await client.order("once")).message not in (first.message, third.message), "too late for a retry"


async def test_fifty_equal_orders_at_the_same_time_are_one_message(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        ids = await asyncio.gather(*(client.send("at once") for _ in range(50)))
        assert (len(set(ids)), await client.count()) == (1, 1)


async def test_another_account_origin_or_text_is_another_message(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        ids = [
            await client.send(),
            await client.send(account=ALICE),
            await client.send(origin="v1"),
            await client.send(text="hi "),
        ]
        assert len(set(ids)) == 4


async def test_a_failed_order_is_not_remembered(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        gateway: Any = client.core.messaging.gateway
        real, gateway.submit = gateway.submit, broken
        results = await asyncio.gather(*(client.send("later") for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        gateway.submit = real
        assert await client.send("later") == 1
        assert await client.usage.sent("demo") == 1


async def test_a_retry_after_a_crash_is_the_same_message(tmp_path: Path) -> None:
    """The answer of what was taken just before may have been lost with the server."""
    async with program(tmp_path) as client:
        first = await client.send("did you get it?")
        later = await client.send("next week", when="1", due_at=client.core.clock.now + 7 * 86400)
        client.core.clock.now += 5
        client.outbound = client.make()  # as after kill -9
        assert await client.send("did you get it?", origin="v1") != first, "another program's"
        assert await client.send("did you get it?", account=ALICE) != first
        assert await client.send("next week") != later, "that one is held"
        again = await client.order("did you get it?")
        assert (again.message, again.duplicate) == (first, True)
        client.outbound.answered(again)
        assert await client.send("did you get it?") != first, "it has its answer now"
        assert await client.send("something else") != first
        client.core.clock.now += REPEAT + 1
        assert await client.send("did you get it?") != first
        client.outbound = client.make()
        client.core.clock.now += REPEAT + 1
        assert await client.count() == 8


async def test_a_retry_after_a_crash_of_a_held_message_or_an_mms_is_the_same_message(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        noon = client.core.clock.now + 86400
        held = await client.send("at noon", when="noon", due_at=noon)
        soon = await client.send("soon", when="5", due_at=client.core.clock.now + 300)
        over = await client.send("in ten seconds", when="then", due_at=client.core.clock.now + 10)
        files = [File(url="https://example.net/a.png"), File(PNG)]
        mms = await client.send("look", files=files)
        client.core.clock.now += 25
        client.outbound = client.make()
        client.core.clock.now += 25
        assert await client.send("in ten seconds") != over, "at once is another"
        assert await client.send("in ten seconds", when="then") == over, "its moment is over"
        assert await client.send("at noon", when="one", due_at=noon + 3600) != held
        assert await client.send("at noon", when="noon", due_at=noon) == held
        assert await client.send("soon", when="5", due_at=client.core.clock.now + 300) == soon
        assert await client.send("look", files=[File(PNG + b"!"), File(PNG)]) != mms, "other files"
        assert await client.send("look", files=files[:1]) != mms
        assert await client.send("look", files=files) == mms
        before = len(client.fetched)
        assert await client.send("look", files=[File(url="https://example.net/b.png"), File(PNG + b"!")]) != mms
        assert len(client.fetched) == before + 1, "once"
        assert await client.count() == 9


async def test_two_retries_at_once_after_a_crash_do_not_answer_a_third_order(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        first = await client.send("hello")
        other = await client.send("good bye")
        client.core.clock.now += 5
        client.outbound = client.make()
        sent = await asyncio.gather(*(client.order(text) for text in ("hello", "good bye")))
        assert [each.message for each in sent] == [first, other]
        client.outbound.answered(*sent)
        assert await client.send("hello") not in (first, other)
        assert await client.send("good bye") not in (first, other)


async def test_a_clock_that_is_set_back_swallows_no_order(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        first = await client.send("of an hour ahead")
        client.core.clock.now -= 3600
        client.outbound = client.make()
        assert await client.send("of an hour ahead") != first


async def test_an_order_that_took_long_is_remembered_from_its_end(tmp_path: Path) -> None:
    """Three slow files: the client may have given up just when the message was stored."""
    async with program(tmp_path) as client:
        client.slow = 20.0
        files = [File(url=f"https://example.net/{n}.png") for n in range(3)]
        first = await client.send("slowly", files=files)
        client.core.clock.now += REPEAT - 1
        assert await client.send("slowly", files=files) == first
        client.core.clock.now += REPEAT + 1
        assert await client.send("slowly", files=files) != first


async def test_an_order_after_an_acknowledged_answer_is_a_new_message(tmp_path: Path) -> None:
    """Three programs of a customer say the same and keep their connections: nobody says that the answers were heard."""
    async with program(tmp_path) as client:
        ids = []
        for _ in range(3):
            sent = await client.order("disk full")
            ids.append(sent.message)
            client.arrived = [sent]
        assert ids == [1, 2, 3]


async def test_an_order_for_another_time_is_another_message(tmp_path: Path) -> None:
    """As the client wrote it: what is counted from now is a little later each time."""
    async with program(tmp_path) as client:
        soon = client.core.clock.now + 3600
        ids = await asyncio.gather(*(client.send("remember", when=f"day {n}", due_at=soon + n) for n in range(30)))
        assert len(set(ids)) == 30
        assert await client.send("remember", when="day 1", due_at=soon + 1.5) == ids[1]
        assert await client.send("remember") not in ids


async def test_a_client_that_cancels_during_the_commit_loses_no_message(tmp_path: Path) -> None:
    """The request is cancelled while its message is being committed: it leaves, and a retry is the same message."""
    courier = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": courier}) as here:
        client = Program(here, tmp_path)
        here.clock.now += REPEAT + 1
        task = asyncio.create_task(client.send("given up"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.send("given up") == 1
        await courier.wait(1)
        assert (await client.count(), courier.texts) == (1, ["given up"])


@pytest.mark.req("W-06", "F-21")
async def test_an_idempotency_key_never_expires(tmp_path: Path) -> None:
    async with program(tmp_path, daily=10) as client:
        ids = await asyncio.gather(*(client.send("pay", idempotency="k1") for _ in range(50)))
        assert len(set(ids)) == 1
        client.core.clock.now += 40 * 86400
        client.outbound = client.make()
        assert await client.send("pay", idempotency="k1") == ids[0]
        assert await client.refused("pay twice", idempotency="k1") is RefusalCode.CONFLICT
        assert await client.refused("pay", destination="5551230000", idempotency="k1") is RefusalCode.CONFLICT
        later = {"when": "1", "due_at": client.core.clock.now + 100}
        assert await client.refused("pay", **later, idempotency="k1") is RefusalCode.CONFLICT
        mms = await client.send("look", files=[File(PNG)], idempotency="k3")
        assert await client.send("look", files=[File(PNG)], idempotency="k3") == mms
        assert await client.refused("look", files=[File(PNG + b"!")], idempotency="k3") is RefusalCode.CONFLICT
        assert await client.send("pay", idempotency="k2") != ids[0]
        client.core.directory.update(2, False, [Account("eve")], [Did("5550009999", "eve")], frozenset())
        eve = Account("eve")
        assert await client.send("pay", idempotency="k1", account=eve, source="5550009999") not in ids, "another's key"
        client.core.directory.update(3, False, [Account("demo", since=5.0)], [], frozenset())
        assert await client.send("pay", idempotency="k1") not in ids, "of who had this name before"
        assert await client.count() == 5
        assert await client.usage.sent("demo") == 3, "today"


@pytest.mark.req("F-21")
async def test_each_retry_begins_the_time_of_remembrance_anew(tmp_path: Path) -> None:
    """It asks every 20 seconds and never reads an answer: each time the half minute begins anew."""
    async with program(tmp_path) as client:
        first = await client.send("again and again")
        for _ in range(6):
            client.core.clock.now += REPEAT - 10
            assert await client.send("again and again") == first
        client.core.clock.now += REPEAT + 1
        assert await client.send("again and again") != first


@pytest.mark.req("F-21", "I2")
@pytest.mark.parametrize("down", [1, 45, 110])
async def test_downtime_of_the_server_does_not_count_for_a_retry(tmp_path: Path, down: float) -> None:
    """A client that asks again blindly could not ask meanwhile."""
    async with program(tmp_path) as client:
        first = await client.send("the last before the crash")
        client.core.clock.now += down
        client.outbound = client.make()
        assert await client.send("the last before the crash") == first


async def test_a_message_from_long_before_a_restart_is_not_a_first_try(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        first = await client.send("every hour")
        client.core.clock.now += 3600
        client.outbound = client.make()
        assert await client.send("every hour") != first
