"""What every HTTP API does when it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.core import Core, ScriptedCourier, core
from support.media import PNG

from sipsms.accounts.quota import Usage
from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from sipsms.core.errors import Unavailable
from sipsms.core.queue_rows import Past
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.outbound import REPEAT, File, Likeness, Order, SendCode, Sender, SendRefused, Sent
from sipsms.messaging.settings import PolicySettings
from sipsms.store import api_usage

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


class Desk:
    """A sender on a real core; `fail` makes the store refuse."""

    def __init__(self, here: Core, folder: Path, daily: int = 0) -> None:
        self.core = here
        self.fetched: list[str] = []
        self.slow = 0.0  # seconds that a file takes
        self.arrived: list[Sent] = []
        self.daily = daily
        self.usage = Usage(
            here.clock,
            lambda day, account: here.store.read(lambda db: api_usage.sent(db, day, account)),
            lambda day, counts: here.store.write(lambda db: api_usage.add(db, day, counts)),
        )
        self.files = MediaFiles(folder / "media", lambda: "http://x")
        self.sender = self.make()

    def make(self) -> Sender:
        """A new run of the server."""
        here = self.core

        async def recent(span: float, until: float) -> dict[Likeness, list[Past]]:
            return await here.store.read(lambda db: api_usage.recent(db, span, until))

        return Sender(
            here.gateway, here.directory, self.files, self.fetch, self.usage, here.clock, lambda: self.daily, recent,
            here.store.named, self.look,
        )  # fmt: skip

    async def look(self) -> None:
        """Those whose answer has arrived by now."""
        self.sender.answered(*self.arrived)
        self.arrived = []

    async def fetch(self, url: str, customer: str = "") -> tuple[bytes, str]:
        self.fetched.append(url)
        self.core.clock.now += self.slow
        if "gone" in url:
            raise MediaRefused("the server answered 404")
        return (bytes(2_000_000), "big") if "big" in url else (PNG, "a.png")

    async def send(self, text: str = "hi", **changes: Any) -> int:
        values = {"account": DEMO, "source": "5550001111", "destination": PEER, "text": text, "origin": "t", **changes}
        sent = await self.sender.send(Order(**values))
        return sent.message

    async def refused(self, text: str = "hi", **changes: Any) -> SendCode:
        with pytest.raises(SendRefused) as caught:
            await self.send(text, **changes)
        assert caught.value.reason
        return caught.value.code

    async def count(self) -> int:
        return int((await self.core.rows("SELECT count(*) FROM messages"))[0][0])


@asynccontextmanager
async def desk(folder: Path, daily: int = 0, **options: Any) -> AsyncIterator[Desk]:
    async with core(folder, {"carrier:sim": ScriptedCourier()}, **options) as here:
        found = Desk(here, folder, daily)
        here.clock.now += REPEAT + 1  # long after the start
        yield found


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert await one.refused(source="5550002222") is SendCode.SOURCE, "not for SMS"
        assert await one.refused(source="5559998888") is SendCode.SOURCE
        assert await one.refused(source="x y z ü") is SendCode.SOURCE
        assert await one.refused(destination="") is SendCode.NO_DESTINATION
        for number in ("911", "12", "9005551234", "+4479111234567", "\u0665\u0665\u0665", "abc"):
            assert await one.refused(destination=number) is SendCode.DESTINATION, number
        assert await one.refused(" \n") is SendCode.EMPTY
        assert await one.refused("x" * 161) is SendCode.TOO_LONG
        assert await one.refused("a\0b") is SendCode.TEXT
        assert await one.refused("a\ud83d") is SendCode.TEXT
        assert await one.refused("see bit.ly/x") is SendCode.POLICY
        assert await one.count() == 0
        assert await one.send("x" * 160, destination=f"+1 ({PEER[:3]}) {PEER[3:]}") == 1


async def test_who_is_meant_where_no_sender_is_named(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert await one.send(account=ALICE, source="") == 1
        assert await one.send("the only one", source="") == 2
        one.core.directory.update(2, False, [], [Did("5550003333", "demo")], frozenset())
        assert await one.refused(source="") is SendCode.NO_SOURCE
        assert await one.core.rows("SELECT DISTINCT source FROM messages") == [("5550001111",)]


async def test_bulk_and_blocks(tmp_path: Path) -> None:
    async with desk(tmp_path, policy=PolicySettings(same_text=1, destinations=5)) as one:
        await one.send("buy our things")
        assert await one.refused("buy our things", destination="5551230000") is SendCode.BULK
        await one.core.gateway.consent.set_block(Block("5550001111", PEER, "out"), "t")
        assert await one.refused("something else") is SendCode.BLOCKED


# --- files ------------------------------------------------------------------------------------------------------------


async def test_files(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        await one.send("", files=[File(PNG, name="cat.png"), File(url="https://example.net/a.png")])
        assert one.fetched == ["https://example.net/a.png"]
        assert await one.refused(files=[File(PNG)] * 4) is SendCode.MEDIA_COUNT
        assert await one.refused(files=[File(url="https://example.net/gone")]) is SendCode.MEDIA
        assert await one.refused(files=[File(b"MZ no picture")]) is SendCode.MEDIA
        assert await one.refused(files=[File(url="https://example.net/big")]) is SendCode.MEDIA_SIZE
        assert await one.refused("x" * 2049, files=[File(PNG)]) is SendCode.TOO_LONG
        assert await one.count() == 1


# --- once -------------------------------------------------------------------------------------------------------------


@pytest.mark.req("F-21")
async def test_the_same_again_is_the_same_until_it_is_answered(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        order = Order(DEMO, "5550001111", PEER, "once", "t")
        first = await one.sender.send(order)
        again = await one.sender.send(order)
        assert (again.message, again.duplicate, first.duplicate) == (first.message, True, False)
        assert await one.send("other") != first.message
        one.sender.answered(again)
        third = await one.sender.send(order)
        assert third.message != first.message
        one.core.clock.now += REPEAT
        assert (await one.sender.send(order)).message not in (first.message, third.message), "too late for a retry"


async def test_at_the_same_time(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        ids = await asyncio.gather(*(one.send("at once") for _ in range(50)))
        assert (len(set(ids)), await one.count()) == (1, 1)


async def test_another_account_or_door_is_another_message(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        ids = [await one.send(), await one.send(account=ALICE), await one.send(origin="u"), await one.send(text="hi ")]
        assert len(set(ids)) == 4


async def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        real, one.core.gateway.send = one.core.gateway.send, broken  # type: ignore[method-assign]
        results = await asyncio.gather(*(one.send("later") for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        one.core.gateway.send = real  # type: ignore[method-assign]
        assert await one.send("later") == 1
        assert await one.usage.sent("demo") == 1


async def broken(*_: Any, **__: Any) -> Any:
    raise Unavailable("disk is full")


async def test_a_retry_after_a_crash(tmp_path: Path) -> None:
    """The answer of what was taken just before may have been lost with the server."""
    async with desk(tmp_path) as one:
        first = await one.send("did you get it?")
        later = await one.send("next week", when="1", due_at=one.core.clock.now + 7 * 86400)
        one.core.clock.now += 5
        one.sender = one.make()  # as after kill -9
        assert await one.send("did you get it?", origin="u") != first, "another program's"
        assert await one.send("did you get it?", account=ALICE) != first
        assert await one.send("next week") != later, "that one is held"
        again = await one.sender.send(Order(DEMO, "5550001111", PEER, "did you get it?", "t"))
        assert (again.message, again.duplicate) == (first, True)
        one.sender.answered(again)
        assert await one.send("did you get it?") != first, "it has its answer now"
        assert await one.send("something else") != first
        one.core.clock.now += REPEAT + 1
        assert await one.send("did you get it?") != first
        one.sender = one.make()
        one.core.clock.now += REPEAT + 1
        assert await one.count() == 8


async def test_a_retry_of_what_is_held_or_has_files_after_a_crash(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        noon = one.core.clock.now + 86400
        held = await one.send("at noon", when="noon", due_at=noon)
        soon = await one.send("soon", when="5", due_at=one.core.clock.now + 300)
        over = await one.send("in ten seconds", when="then", due_at=one.core.clock.now + 10)
        files = [File(url="https://example.net/a.png"), File(PNG)]
        mms = await one.send("look", files=files)
        one.core.clock.now += 25
        one.sender = one.make()
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
    async with desk(tmp_path) as one:
        first = await one.send("hello")
        other = await one.send("good bye")
        one.core.clock.now += 5
        one.sender = one.make()
        sent = await asyncio.gather(
            *(one.sender.send(Order(DEMO, "5550001111", PEER, text, "t")) for text in ("hello", "good bye"))
        )
        assert [each.message for each in sent] == [first, other]
        one.sender.answered(*sent)
        assert await one.send("hello") not in (first, other)
        assert await one.send("good bye") not in (first, other)


async def test_a_clock_that_was_set_back_swallows_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        first = await one.send("of an hour ahead")
        one.core.clock.now -= 3600
        one.sender = one.make()
        assert await one.send("of an hour ahead") != first


async def test_what_took_long_is_remembered_as_long(tmp_path: Path) -> None:
    """Three slow files: the client may have given up just when the message was stored."""
    async with desk(tmp_path) as one:
        one.slow = 20.0
        files = [File(url=f"https://example.net/{n}.png") for n in range(3)]
        first = await one.send("slowly", files=files)
        one.core.clock.now += REPEAT - 1
        assert await one.send("slowly", files=files) == first
        one.core.clock.now += REPEAT + 1
        assert await one.send("slowly", files=files) != first


async def test_an_answer_that_has_arrived_meanwhile(tmp_path: Path) -> None:
    """Three programs of a customer say the same and keep their connections: nobody says that the answers were heard."""
    async with desk(tmp_path) as one:
        ids = []
        for _ in range(3):
            sent = await one.sender.send(Order(DEMO, "5550001111", PEER, "disk full", "t"))
            ids.append(sent.message)
            one.arrived = [sent]
        assert ids == [1, 2, 3]


async def test_another_moment_is_another_message(tmp_path: Path) -> None:
    """As the client wrote it: what is counted from now is a little later each time."""
    async with desk(tmp_path) as one:
        soon = one.core.clock.now + 3600
        ids = await asyncio.gather(*(one.send("remember", when=f"day {n}", due_at=soon + n) for n in range(30)))
        assert len(set(ids)) == 30
        assert await one.send("remember", when="day 1", due_at=soon + 1.5) == ids[1]
        assert await one.send("remember") not in ids


async def test_who_gives_up_loses_nothing(tmp_path: Path) -> None:
    """The request is cancelled while its message is being committed: it leaves, and a retry is the same message."""
    courier = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": courier}) as here:
        one = Desk(here, tmp_path)
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


async def test_what_is_refused_leaves_no_file_and_no_count(tmp_path: Path) -> None:
    async with desk(tmp_path, daily=5) as one:
        for _ in range(3):
            assert await one.refused("see bit.ly/x", files=[File(PNG), File(PNG)]) is SendCode.POLICY
            assert await one.refused(files=[File(PNG), File(url="https://example.net/gone")]) is SendCode.MEDIA
        real, one.core.gateway.send = one.core.gateway.send, broken  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await one.send(files=[File(PNG)])
        one.core.gateway.send = real  # type: ignore[method-assign]
        assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
        assert await one.usage.sent("demo") == 0


async def test_a_refund_is_of_the_day_it_was_counted_on(tmp_path: Path) -> None:
    async with desk(tmp_path, daily=5) as one:
        await one.usage.sent("demo")
        day = one.usage.add("demo")
        one.core.clock.now += 86400
        assert await one.usage.sent("demo") == 0
        one.usage.add("demo", -1, day)
        assert await one.usage.sent("demo") == 0
        await one.usage.save()
        assert await one.core.rows("SELECT sum(sends) FROM api_usage") in ([(None,)], [(0,)])


@pytest.mark.req("W-06", "F-21")
async def test_an_idempotency_key_is_for_ever(tmp_path: Path) -> None:
    async with desk(tmp_path, daily=10) as one:
        ids = await asyncio.gather(*(one.send("pay", idempotency="k1") for _ in range(50)))
        assert len(set(ids)) == 1
        one.core.clock.now += 40 * 86400
        one.sender = one.make()
        assert await one.send("pay", idempotency="k1") == ids[0]
        assert await one.refused("pay twice", idempotency="k1") is SendCode.CONFLICT
        assert await one.refused("pay", destination="5551230000", idempotency="k1") is SendCode.CONFLICT
        later = {"when": "1", "due_at": one.core.clock.now + 100}
        assert await one.refused("pay", **later, idempotency="k1") is SendCode.CONFLICT
        mms = await one.send("look", files=[File(PNG)], idempotency="k3")
        assert await one.send("look", files=[File(PNG)], idempotency="k3") == mms
        assert await one.refused("look", files=[File(PNG + b"!")], idempotency="k3") is SendCode.CONFLICT
        assert await one.send("pay", idempotency="k2") != ids[0]
        one.core.directory.update(2, False, [Account("eve")], [Did("5550009999", "eve")], frozenset())
        eve = Account("eve")
        assert await one.send("pay", idempotency="k1", account=eve, source="5550009999") not in ids, "another's key"
        one.core.directory.update(3, False, [Account("demo", since=5.0)], [], frozenset())
        assert await one.send("pay", idempotency="k1") not in ids, "of who had this name before"
        assert await one.count() == 5
        assert await one.usage.sent("demo") == 3, "today"


# --- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-006")
async def test_so_many_a_day(tmp_path: Path) -> None:
    async with desk(tmp_path, daily=3) as one:
        for n in range(3):
            await one.send(f"n{n}", account=ALICE if n else DEMO)
        assert await one.refused("n3") is SendCode.LIMIT
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
    async with desk(tmp_path, daily=3) as one:
        results = await asyncio.gather(*(one.send(f"n{n}") for n in range(20)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 3
        assert await one.count() == 3


async def test_counts_outlive_a_restart_and_a_store_that_fails(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        await one.send("a")
        real, one.usage._save = one.usage._save, broken
        with pytest.raises(Unavailable):
            await one.usage.save()
        await one.send("b")
        one.usage._save = real
        await one.usage.save()
        assert await Desk(one.core, tmp_path).usage.sent("demo") == 2
        assert await one.usage.sent("demo") == 2


@pytest.mark.req("F-21")
async def test_a_client_that_goes_on_asking_is_not_forgotten(tmp_path: Path) -> None:
    """It asks every 20 seconds and never reads an answer: each time the half minute begins anew."""
    async with desk(tmp_path) as one:
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
    async with desk(tmp_path) as one:
        first = await one.send("the last before the crash")
        one.core.clock.now += down
        one.sender = one.make()
        assert await one.send("the last before the crash") == first


async def test_a_message_of_long_before_a_restart_is_no_first_try(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        first = await one.send("every hour")
        one.core.clock.now += 3600
        one.sender = one.make()
        assert await one.send("every hour") != first
