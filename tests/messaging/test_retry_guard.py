"""A program that asks again sends one message."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
async def test_the_same_again_is_the_same_until_it_is_answered(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        first = await one.order("once")
        again = await one.order("once")
        assert (again.message, again.duplicate, first.duplicate) == (first.message, True, False)
        assert await one.send("other") != first.message
        one.outbound.answered(again)
        third = await one.order("once")
        assert third.message != first.message
        one.core.clock.now += REPEAT
        assert (await one.order("once")).message not in (first.message, third.message), "too late for a retry"


async def test_at_the_same_time(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        ids = await asyncio.gather(*(one.send("at once") for _ in range(50)))
        assert (len(set(ids)), await one.count()) == (1, 1)


async def test_another_account_or_door_is_another_message(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        ids = [await one.send(), await one.send(account=ALICE), await one.send(origin="v1"), await one.send(text="hi ")]
        assert len(set(ids)) == 4


async def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        real, one.core.gateway.submit = one.core.gateway.submit, broken  # type: ignore[method-assign]
        results = await asyncio.gather(*(one.send("later") for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        one.core.gateway.submit = real  # type: ignore[method-assign]
        assert await one.send("later") == 1
        assert await one.usage.sent("demo") == 1


async def test_a_retry_after_a_crash(tmp_path: Path) -> None:
    """The answer of what was taken just before may have been lost with the server."""
    async with program(tmp_path) as one:
        first = await one.send("did you get it?")
        later = await one.send("next week", when="1", due_at=one.core.clock.now + 7 * 86400)
        one.core.clock.now += 5
        one.outbound = one.make()  # as after kill -9
        assert await one.send("did you get it?", origin="v1") != first, "another program's"
        assert await one.send("did you get it?", account=ALICE) != first
        assert await one.send("next week") != later, "that one is held"
        again = await one.order("did you get it?")
        assert (again.message, again.duplicate) == (first, True)
        one.outbound.answered(again)
        assert await one.send("did you get it?") != first, "it has its answer now"
        assert await one.send("something else") != first
        one.core.clock.now += REPEAT + 1
        assert await one.send("did you get it?") != first
        one.outbound = one.make()
        one.core.clock.now += REPEAT + 1
        assert await one.count() == 8


async def test_a_retry_of_what_is_held_or_has_files_after_a_crash(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        noon = one.core.clock.now + 86400
        held = await one.send("at noon", when="noon", due_at=noon)
        soon = await one.send("soon", when="5", due_at=one.core.clock.now + 300)
        over = await one.send("in ten seconds", when="then", due_at=one.core.clock.now + 10)
        files = [File(url="https://example.net/a.png"), File(PNG)]
        mms = await one.send("look", files=files)
        one.core.clock.now += 25
        one.outbound = one.make()
        one.core.clock.now += 25
        assert await one.send("in ten seconds") != over, "at once is another"
        assert await one.send("in ten seconds", when="then") == over, "its moment is over"
        assert await one.send("at noon", when="one", due_at=noon + 3600) != held
        assert await one.send("at noon", when="noon", due_at=noon) == held
        assert await one.send("soon", when="5", due_at=one.core.clock.now + 300) == soon
        assert await one.send("look", files=[File(PNG + b"!"), File(PNG)]) != mms, "other files"
        assert await one.send("look", files=files[:1]) != mms
        assert await one.send("look", files=files) == mms
        before = len(one.fetched)
        assert await one.send("look", files=[File(url="https://example.net/b.png"), File(PNG + b"!")]) != mms
        assert len(one.fetched) == before + 1, "once"
        assert await one.count() == 9


async def test_two_retries_at_once_after_a_crash_take_no_third_along(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        first = await one.send("hello")
        other = await one.send("good bye")
        one.core.clock.now += 5
        one.outbound = one.make()
        sent = await asyncio.gather(*(one.order(text) for text in ("hello", "good bye")))
        assert [each.message for each in sent] == [first, other]
        one.outbound.answered(*sent)
        assert await one.send("hello") not in (first, other)
        assert await one.send("good bye") not in (first, other)


async def test_a_clock_that_was_set_back_swallows_nothing(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        first = await one.send("of an hour ahead")
        one.core.clock.now -= 3600
        one.outbound = one.make()
        assert await one.send("of an hour ahead") != first


async def test_what_took_long_is_remembered_as_long(tmp_path: Path) -> None:
    """Three slow files: the client may have given up just when the message was stored."""
    async with program(tmp_path) as one:
        one.slow = 20.0
        files = [File(url=f"https://example.net/{n}.png") for n in range(3)]
        first = await one.send("slowly", files=files)
        one.core.clock.now += REPEAT - 1
        assert await one.send("slowly", files=files) == first
        one.core.clock.now += REPEAT + 1
        assert await one.send("slowly", files=files) != first


async def test_an_answer_that_has_arrived_meanwhile(tmp_path: Path) -> None:
    """Three programs of a customer say the same and keep their connections: nobody says that the answers were heard."""
    async with program(tmp_path) as one:
        ids = []
        for _ in range(3):
            sent = await one.order("disk full")
            ids.append(sent.message)
            one.arrived = [sent]
        assert ids == [1, 2, 3]


async def test_another_moment_is_another_message(tmp_path: Path) -> None:
    """As the client wrote it: what is counted from now is a little later each time."""
    async with program(tmp_path) as one:
        soon = one.core.clock.now + 3600
        ids = await asyncio.gather(*(one.send("remember", when=f"day {n}", due_at=soon + n) for n in range(30)))
        assert len(set(ids)) == 30
        assert await one.send("remember", when="day 1", due_at=soon + 1.5) == ids[1]
        assert await one.send("remember") not in ids


async def test_who_gives_up_loses_nothing(tmp_path: Path) -> None:
    """The request is cancelled while its message is being committed: it leaves, and a retry is the same message."""
    courier = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": courier}) as here:
        one = Program(here, tmp_path)
        here.clock.now += REPEAT + 1
        task = asyncio.create_task(one.send("given up"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await one.send("given up") == 1
        await courier.wait(1)
        assert (await one.count(), courier.texts) == (1, ["given up"])


@pytest.mark.req("W-06", "F-21")
async def test_an_idempotency_key_is_for_ever(tmp_path: Path) -> None:
    async with program(tmp_path, daily=10) as one:
        ids = await asyncio.gather(*(one.send("pay", idempotency="k1") for _ in range(50)))
        assert len(set(ids)) == 1
        one.core.clock.now += 40 * 86400
        one.outbound = one.make()
        assert await one.send("pay", idempotency="k1") == ids[0]
        assert await one.refused("pay twice", idempotency="k1") is RefusalCode.CONFLICT
        assert await one.refused("pay", destination="5551230000", idempotency="k1") is RefusalCode.CONFLICT
        later = {"when": "1", "due_at": one.core.clock.now + 100}
        assert await one.refused("pay", **later, idempotency="k1") is RefusalCode.CONFLICT
        mms = await one.send("look", files=[File(PNG)], idempotency="k3")
        assert await one.send("look", files=[File(PNG)], idempotency="k3") == mms
        assert await one.refused("look", files=[File(PNG + b"!")], idempotency="k3") is RefusalCode.CONFLICT
        assert await one.send("pay", idempotency="k2") != ids[0]
        one.core.directory.update(2, False, [Account("eve")], [Did("5550009999", "eve")], frozenset())
        eve = Account("eve")
        assert await one.send("pay", idempotency="k1", account=eve, source="5550009999") not in ids, "another's key"
        one.core.directory.update(3, False, [Account("demo", since=5.0)], [], frozenset())
        assert await one.send("pay", idempotency="k1") not in ids, "of who had this name before"
        assert await one.count() == 5
        assert await one.usage.sent("demo") == 3, "today"


@pytest.mark.req("F-21")
async def test_a_client_that_goes_on_asking_is_not_forgotten(tmp_path: Path) -> None:
    """It asks every 20 seconds and never reads an answer: each time the half minute begins anew."""
    async with program(tmp_path) as one:
        first = await one.send("again and again")
        for _ in range(6):
            one.core.clock.now += REPEAT - 10
            assert await one.send("again and again") == first
        one.core.clock.now += REPEAT + 1
        assert await one.send("again and again") != first


@pytest.mark.req("F-21", "I2")
@pytest.mark.parametrize("down", [1, 45, 110])
async def test_the_time_that_the_server_was_down_does_not_count_for_a_retry(tmp_path: Path, down: float) -> None:
    """A client that asks again blindly could not ask meanwhile."""
    async with program(tmp_path) as one:
        first = await one.send("the last before the crash")
        one.core.clock.now += down
        one.outbound = one.make()
        assert await one.send("the last before the crash") == first


async def test_a_message_of_long_before_a_restart_is_no_first_try(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        first = await one.send("every hour")
        one.core.clock.now += 3600
        one.outbound = one.make()
        assert await one.send("every hour") != first
