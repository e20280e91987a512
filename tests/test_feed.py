"""What happens to messages, told to whoever listens."""

from __future__ import annotations

import asyncio

import pytest

from sipsms.core.message import Direction, Message
from sipsms.messaging.event_stream import Feed, Gap

MESSAGE = Message(Direction.IN, "5551234567", "5550001111", "hi", "t", 0.0, id=7)


def feed(kept: int = 3) -> Feed:
    return Feed(lambda: 5.0, kept)


async def test_in_order_and_from_anywhere() -> None:
    one = feed()
    for state in ("accepted", "sending", "delivered"):
        one.note(MESSAGE, state)
    assert [(change.number, change.state, change.at) for change in one.after(1)] == [
        (2, "sending", 5.0), (3, "delivered", 5.0),
    ]  # fmt: skip
    assert [change.number for change in one.after(0)] == [1, 2, 3]
    assert one.after(one.last) == []


async def test_what_is_not_kept_is_a_gap() -> None:
    one = feed()
    for _ in range(5):
        one.note(MESSAGE, "accepted")
    assert [change.number for change in one.after(2)] == [3, 4, 5]
    for number in (1, 0, 6, -1):
        with pytest.raises(Gap):
            one.after(number)


async def test_it_waits_and_goes_on() -> None:
    one, seen = feed(), []
    quiet, two = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async for changes in one.follow(0, 0.01):
            seen.extend(change.number for change in changes)
            if not changes:
                quiet.set()
            if len(seen) == 2:
                two.set()
            if len(seen) == 4:
                return

    async with asyncio.timeout(5):
        task = asyncio.create_task(follow())
        await quiet.wait()
        one.note(MESSAGE, "a")
        one.note(MESSAGE, "b")
        await two.wait()
        one.note(MESSAGE, "c")
        one.note(MESSAGE, "d")
        await task
    assert seen == [1, 2, 3, 4]


async def test_two_listeners_see_the_same() -> None:
    one, seen = feed(10), {"a": [], "b": []}  # type: ignore[var-annotated]

    async def follow(name: str) -> None:
        async for changes in one.follow(0, 5):
            seen[name].extend(change.number for change in changes)
            if len(seen[name]) == 3:
                return

    async with asyncio.timeout(5):
        tasks = [asyncio.create_task(follow(name)) for name in seen]
        for _ in range(3):
            await asyncio.sleep(0)
            one.note(MESSAGE, "x")
        await asyncio.gather(*tasks)
    assert seen == {"a": [1, 2, 3], "b": [1, 2, 3]}


async def test_who_falls_behind_hears_of_the_gap() -> None:
    one = feed()
    following = one.follow(0, 5)
    one.note(MESSAGE, "a")
    assert [change.number for change in await anext(following)] == [1]
    for _ in range(9):
        one.note(MESSAGE, "b")
    with pytest.raises(Gap):
        await anext(following)
